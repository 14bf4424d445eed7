_base_ = ["../_base_/protocols/paper.py", "../_base_/datasets/ade20k.py"]
model = dict(vocabulary="ade20k")
test_pipeline = _base_.pipelines.square512
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
