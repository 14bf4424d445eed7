_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/pascal_context59.py"]
model = dict(vocabulary="context59_sclip")
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
