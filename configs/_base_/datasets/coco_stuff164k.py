_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="COCOStuffDataset",
        data_root="{{$OVSEG_DATA:data}}/coco_stuff164k",
        data_prefix=dict(img_path="images/val2017", seg_map_path="annotations/val2017"),
    )
)
