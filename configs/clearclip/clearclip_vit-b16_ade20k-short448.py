_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/ade20k.py"]
model = dict(vocabulary="ade20k_sclip")
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
