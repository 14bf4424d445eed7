_base_ = [
    "../_base_/models/paper.py",
    "../_base_/pipelines/512x512.py",
    "../_base_/datasets/pascal_context60.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary="pascal_context60")
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
