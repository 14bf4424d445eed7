_base_ = [
    "../_base_/models/peers.py",
    "../_base_/pipelines/short336.py",
    "../_base_/datasets/pascal_context59.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="pascal_context59")
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
