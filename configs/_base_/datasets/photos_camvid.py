_base_ = "./photos.py"
vocabulary = "{{ fileDirname }}/photos_camvid.txt"
test_dataloader = dict(dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/camvid"))
