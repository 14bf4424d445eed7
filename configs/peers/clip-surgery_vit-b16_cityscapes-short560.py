_base_ = [
    "../_base_/models/peers.py",
    "../_base_/pipelines/short560.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="cityscapes")
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
