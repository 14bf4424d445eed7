_base_ = [
    "../_base_/models/embedded.py",
    "../_base_/pipelines/short160.py",
    "../_base_/datasets/photos_msrc_v2.py",
    "../_base_/default_runtime.py",
]
model = dict(vocabulary=_base_.vocabulary)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
