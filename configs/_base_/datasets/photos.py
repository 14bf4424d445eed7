# Folders of photographs as tools/photos_to_dataset.py makes them.
_base_ = "../evaluation.py"
test_dataloader = dict(
    dataset=dict(
        type="FolderDataset", data_prefix=dict(img_path="images/val", seg_map_path="annotations/val")
    )
)
