_base_ = [
    "../_base_/models/peers.py",
    "../_base_/pipelines/short448.py",
    "../_base_/datasets/coco_stuff164k.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="coco_stuff164k")
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
