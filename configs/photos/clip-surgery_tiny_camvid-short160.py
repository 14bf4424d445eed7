_base_ = ["../_base_/protocols/embedded.py", "../_base_/datasets/photos_camvid.py"]
model = dict(vocabulary=_base_.vocabulary, backbone="tiny")
test_pipeline = _base_.pipelines.short160
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
