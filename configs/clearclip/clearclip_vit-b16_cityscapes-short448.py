_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/cityscapes.py"]
model = dict(vocabulary="cityscapes_sclip", window=224)
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
