_base_ = "./pascal_context60.py"
test_dataloader = dict(dataset=dict(type="PascalContextDataset59"))
