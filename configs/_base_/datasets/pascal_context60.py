_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="PascalContextDataset",
        data_root="{{$OVSEG_DATA:data}}/VOCdevkit/VOC2010",
        ann_file="ImageSets/SegmentationContext/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
    )
)
