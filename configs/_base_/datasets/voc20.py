dataset_type = "VOC20Dataset"
data_root = "{{$OVSEG_DATA:data}}/VOCdevkit/VOC2012"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="ImageSets/Segmentation/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        test_mode=True,
    ),
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
