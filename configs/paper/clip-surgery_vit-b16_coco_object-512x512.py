_base_ = ["../_base_/protocols/paper.py", "../_base_/datasets/coco_object.py"]
model = dict(vocabulary="coco_object")
test_pipeline = _base_.pipelines.square512
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
