# What every data set has in common: how it is loaded and scored.
_base_ = "./default_runtime.py"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(test_mode=True),  # a leaf adds the pipeline
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
