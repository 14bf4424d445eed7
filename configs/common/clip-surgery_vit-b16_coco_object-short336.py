_base_ = ["../_base_/protocols/common.py", "../_base_/datasets/coco_object.py"]
model = dict(vocabulary="coco_object", background_threshold=0.1)
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
