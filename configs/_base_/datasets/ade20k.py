dataset_type = "ADE20KDataset"
data_root = "{{$OVSEG_DATA:data}}/ade/ADEChallengeData2016"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        test_mode=True,
    ),
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
