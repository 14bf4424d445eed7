_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/coco_object.py"]
model = dict(vocabulary="coco_object_clearclip", background_threshold=0.4)
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
