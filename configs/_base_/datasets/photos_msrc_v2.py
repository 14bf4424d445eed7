_base_ = "./photos.py"
vocabulary = "{{ fileDirname }}/photos_msrc_v2.txt"
test_dataloader = dict(dataset=dict(vocabulary=vocabulary, data_root="{{$OVSEG_DATA:data}}/photos/msrc_v2"))
