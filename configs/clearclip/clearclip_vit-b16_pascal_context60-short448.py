_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/pascal_context60.py"]
model = dict(vocabulary="context60_sclip", background_threshold=0.15)
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
