_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="PascalVOCDataset",
        data_root="{{$OVSEG_DATA:data}}/VOCdevkit/VOC2012",
        ann_file="ImageSets/Segmentation/val.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
    )
)
