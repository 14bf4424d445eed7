_base_ = "./photos.py"
vocabulary = "voc21"
test_dataloader = dict(dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/voc21"))
