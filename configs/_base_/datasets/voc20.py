_base_ = "./voc21.py"
test_dataloader = dict(dataset=dict(type="VOC20Dataset"))
