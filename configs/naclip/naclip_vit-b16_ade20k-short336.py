_base_ = ["../_base_/protocols/naclip.py", "../_base_/datasets/ade20k.py"]
model = dict(vocabulary="ade20k_sclip")
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
