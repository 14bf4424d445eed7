dataset_type = "CityscapesDataset"
data_root = "{{$OVSEG_DATA:data}}/cityscapes"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        test_mode=True,
    ),
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
