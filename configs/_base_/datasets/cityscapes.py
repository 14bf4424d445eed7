_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="CityscapesDataset",
        data_root="{{$OVSEG_DATA:data}}/cityscapes",
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
    )
)
