_base_ = ["../_base_/protocols/paper.py", "../_base_/datasets/cityscapes.py"]
model = dict(vocabulary="cityscapes", window=512, stride=512)
test_pipeline = _base_.pipelines.full1024x2048
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
