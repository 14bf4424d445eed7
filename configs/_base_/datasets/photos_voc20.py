_base_ = "./photos.py"
vocabulary = "voc20"
test_dataloader = dict(dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/voc20"))
