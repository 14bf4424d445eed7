_base_ = ["../_base_/protocols/clearclip.py", "../_base_/datasets/voc21.py"]
model = dict(vocabulary="voc21_clearclip", background_threshold=0.5)
test_pipeline = _base_.pipelines.short448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
