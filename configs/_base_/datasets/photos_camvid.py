vocabulary = "{{ fileDirname }}/photos_camvid.txt"
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="FolderDataset",
        vocabulary=vocabulary,
        data_root="{{$OVSEG_DATA:data}}/photos/camvid",
        data_prefix=dict(img_path="images/val", seg_map_path="annotations/val"),
        test_mode=True,
    ),
)
test_evaluator = dict(type="ExactIoUMetric", iou_metrics=["mIoU"])
