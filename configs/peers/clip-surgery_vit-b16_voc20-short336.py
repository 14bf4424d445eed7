_base_ = [
    "../_base_/models/peers.py",
    "../_base_/pipelines/short336.py",
    "../_base_/datasets/voc20.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="voc20")
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
