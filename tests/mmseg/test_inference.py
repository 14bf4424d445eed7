"""mmseg's own inference functions on our configs, with class names of one's own in one line."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot

import ovseg

LEAF = "configs/paper/clip-surgery_vit-b16_voc21-512x512.py"
EMBEDDED = {
    "model.backbone": "tiny",
    "model.weights": None,
    "model.templates": "plain",
    "test_pipeline.2.size": (128, 128),
    "test_pipeline.2.interpolation": "opencv",
    "test_dataloader.dataset.pipeline.2.size": (128, 128),
    "test_dataloader.dataset.pipeline.2.interpolation": "opencv",
}
NAMES = "sky, road, red ball"


@pytest.fixture
def files(tmp_path):
    """Two pictures of different sizes as PNG, and their pixels."""
    shapes = {"one": (48, 64), "two": (80, 56)}
    pictures = {name: ovseg.make_scene(3, shape).image for name, shape in shapes.items()}
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[..., ::-1])
    return [str(tmp_path / f"{name}.png") for name in pictures], list(pictures.values())


@pytest.fixture
def wanted(model, files):
    """The core's own label maps."""
    return [model.segment(image, NAMES, size=128, templates="plain").array for image in files[1]]


def test_a_model_from_a_config_with_own_names(root, files, wanted, tmp_path):
    model = init_model(str(root / LEAF), device="cpu", cfg_options={**EMBEDDED, "model.vocabulary": NAMES})
    paths, _ = files
    single = inference_model(model, paths[0])
    np.testing.assert_array_equal(single.pred_sem_seg.data[0], wanted[0])
    assert single.seg_logits.data.shape == (3, 48, 64)
    for found, labels in zip(inference_model(model, paths), wanted):
        np.testing.assert_array_equal(found.pred_sem_seg.data[0], labels)
    drawn = show_result_pyplot(
        model, paths[0], single, show=False, save_dir=str(tmp_path), out_file=str(tmp_path / "drawn.png")
    )
    assert drawn.shape == (48, 64, 3) and (tmp_path / "drawn.png").is_file()


def test_arrays_are_bgr_as_everywhere_in_mmseg(root, files, wanted):
    model = init_model(str(root / LEAF), device="cpu", cfg_options={**EMBEDDED, "model.vocabulary": NAMES})
    found = inference_model(model, [image[..., ::-1].copy() for image in files[1]])
    for result, labels in zip(found, wanted):
        np.testing.assert_array_equal(result.pred_sem_seg.data[0], labels)


@pytest.mark.filterwarnings(
    "ignore:Checkpoint is not loaded", "ignore:weights is None", "ignore:Failed to add"
)
def test_the_inferencer(root, files, wanted, tmp_path):
    config = Config.fromfile(root / LEAF)
    config.merge_from_dict({**EMBEDDED, "model.vocabulary": NAMES})
    inferencer = MMSegInferencer(copy.deepcopy(config), device="cpu")
    assert inferencer.model.dataset_meta["classes"] == ("sky", "road", "red ball")
    found = inferencer(files[0], batch_size=2, out_dir=str(tmp_path / "out"), return_vis=True)
    for result, labels in zip(found["predictions"], wanted):
        np.testing.assert_array_equal(result, labels)
    assert [picture.shape for picture in found["visualization"]] == [(48, 64, 3), (80, 56, 3)]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4
