_base_ = [
    "../_base_/models/paper.py",
    "../_base_/pipelines/1024x2048.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="cityscapes", mode="slide", window=512, stride=512)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
