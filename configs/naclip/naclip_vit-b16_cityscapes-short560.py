_base_ = ["../_base_/protocols/naclip.py", "../_base_/datasets/cityscapes.py"]
model = dict(vocabulary="cityscapes_sclip")
test_pipeline = _base_.pipelines.short560
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
