_base_ = "./photos.py"
vocabulary = "coco_object"
test_dataloader = dict(
    dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/coco_things_val")
)
