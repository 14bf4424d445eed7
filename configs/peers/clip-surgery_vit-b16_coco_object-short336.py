_base_ = [
    "../_base_/models/peers.py",
    "../_base_/pipelines/short336.py",
    "../_base_/datasets/coco_object.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="coco_object", background=0.1)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
