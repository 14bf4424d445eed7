_base_ = ["../_base_/protocols/common.py", "../_base_/datasets/ade20k.py"]
model = dict(vocabulary="ade20k")
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
