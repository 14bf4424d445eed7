dataset_type = "PascalContextDataset59"
data_root = "{{$OVSEG_DATA:data}}/VOCdevkit/VOC2010"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="ImageSets/SegmentationContext/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
        test_mode=True,
    ),
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
