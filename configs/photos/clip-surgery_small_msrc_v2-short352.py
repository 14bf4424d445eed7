_base_ = ["../_base_/protocols/embedded.py", "../_base_/datasets/photos_msrc_v2.py"]
model = dict(vocabulary=_base_.vocabulary)
test_pipeline = _base_.pipelines.short352
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
