_base_ = ["../_base_/protocols/naclip.py", "../_base_/datasets/coco_stuff164k.py"]
model = dict(vocabulary="coco_stuff164k_sclip")
test_pipeline = _base_.pipelines.short336
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
