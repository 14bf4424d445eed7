_base_ = ["../_base_/protocols/paper.py", "../_base_/datasets/pascal_context59.py"]
model = dict(vocabulary="pascal_context59")
test_pipeline = _base_.pipelines.square512
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
