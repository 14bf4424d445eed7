_base_ = ["../_base_/protocols/naclip.py", "../_base_/datasets/voc21.py"]
model = dict(vocabulary="voc21_sclip", window=None, stride=None, background_threshold=0.1)
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
