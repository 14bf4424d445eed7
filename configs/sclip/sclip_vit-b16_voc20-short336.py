_base_ = ["../_base_/protocols/sclip.py", "../_base_/datasets/voc20.py"]
model = dict(vocabulary="voc20_sclip")
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
