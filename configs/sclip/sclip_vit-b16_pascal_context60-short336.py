_base_ = ["../_base_/protocols/sclip.py", "../_base_/datasets/pascal_context60.py"]
model = dict(vocabulary="context60_sclip", logit_scale=50.0, background_threshold=0.1)
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
