_base_ = ["../_base_/protocols/common.py", "../_base_/datasets/cityscapes.py"]
model = dict(vocabulary="cityscapes")
test_pipeline = _base_.pipelines.short560
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
