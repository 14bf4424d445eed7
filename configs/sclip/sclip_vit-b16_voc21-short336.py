_base_ = ["../_base_/protocols/sclip.py", "../_base_/datasets/voc21.py"]
model = dict(vocabulary="voc21_sclip", logit_scale=65.0, background_threshold=0.1, area_threshold=0.1)
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
