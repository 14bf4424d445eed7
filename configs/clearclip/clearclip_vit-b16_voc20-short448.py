_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/voc20.py"]
model = dict(vocabulary="voc20_clearclip")
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
