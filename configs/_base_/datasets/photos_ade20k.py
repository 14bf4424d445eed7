_base_ = "./photos.py"
vocabulary = "ade20k"
test_dataloader = dict(dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/ade20k"))
