_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="ADE20KDataset",
        data_root="{{$OVSEG_DATA:data}}/ade/ADEChallengeData2016",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
    )
)
