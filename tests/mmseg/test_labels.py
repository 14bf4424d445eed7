"""Label files of 8 and 16 bits, images turned by EXIF, names in several folders: from files to a score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from ovseg.errors import DataError, UsageError
from ovseg.metrics import SegmentationScore
from ovseg.mmseg.evaluate import Run, evaluate
from ovseg.mmseg.metrics import ExactIoUMetric
from ovseg.mmseg.transforms import LoadImage, LoadLabels, to_classes

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ORIENTATION = 0x0112


def save(path: Path, pixels, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.asarray(pixels)).save(path, **({"exif": exif} if orientation != 1 else {}))
    return path


def picture(seed: int, shape=(16, 24)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)


def settings(root: Path, names: list[str], **dataset) -> Config:
    """A whole config for a folder of images and label maps, with the embedded model."""
    return Config(
        dict(
            default_scope="mmseg",
            protocol="test",
            model=dict(
                type="OpenVocabularySegmentor",
                vocabulary=names,
                backbone="tiny",
                templates="plain",
                cache=False,
                data_preprocessor=dict(type="ClipPreProcessor", mean=MEAN, std=STD),
            ),
            test_dataloader=dict(
                batch_size=1,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dict(
                    type="FolderDataset",
                    vocabulary=names,
                    data_root=str(root),
                    data_prefix=dict(img_path="images", seg_map_path="labels"),
                    test_mode=True,
                    pipeline=[
                        dict(type="LoadImageFromFile"),
                        dict(type="LoadAnnotations"),
                        dict(type="ClipResize", size=64),
                        dict(type="PackSegInputs"),
                    ],
                )
                | dataset,
            ),
            test_evaluator=dict(type="ExactIoUMetric"),
            test_cfg=dict(type="TestLoop"),
            log_level="ERROR",
        )
    )


def run(config: Config, tmp_path: Path, **flags) -> dict:
    return evaluate(config, Run(work_dir=str(tmp_path / "work"), **flags))


# ----------------------------------------------------------------------------- more than 255 classes


def test_300_classes_from_16_bit_labels_to_a_score_and_files(tmp_path):
    names = [f"thing {k}" for k in range(300)]
    rng = np.random.default_rng(0)
    for seed in range(2):
        labels = rng.choice([254, 255, 256, 299, 65535], (16, 24)).astype(np.uint16)
        save(tmp_path / f"images/{seed}.png", picture(seed))
        save(tmp_path / f"labels/{seed}.png", labels)
    found = run(settings(tmp_path, names), tmp_path, out=str(tmp_path / "out"))
    pixels = {k: row["pixels"] for k, row in enumerate(found["classes"]) if row["pixels"]}
    counted = np.concatenate([np.asarray(Image.open(tmp_path / f"labels/{k}.png")).ravel() for k in range(2)])
    assert pixels == {k: int((counted == k).sum()) for k in (254, 255, 256, 299)}  # 65535 is void
    score = SegmentationScore(300)
    for seed in range(2):
        predicted = np.asarray(Image.open(tmp_path / f"out/{seed}.png"))
        assert predicted.dtype == np.uint16
        score.update(predicted, np.asarray(Image.open(tmp_path / f"labels/{seed}.png")))
    assert found["mIoU"] == pytest.approx(100 * score.compute())


@pytest.mark.parametrize("classes, value", [(300, 300), (300, 1027), (4, 1027), (4, 256), (21, 65535)])
def test_a_value_that_is_neither_class_nor_void_is_an_error_with_the_files_name(classes, value, tmp_path):
    save(tmp_path / "images/a.png", picture(0))
    save(tmp_path / "labels/a.png", np.full((16, 24), value, np.uint16))
    with pytest.raises(DataError, match=rf"expected labels below {classes} or \d+, .*a.png holds {value}"):
        run(settings(tmp_path, [f"thing {k}" for k in range(classes)]), tmp_path)


@pytest.mark.parametrize(
    "values, dtype, classes, reduced, wanted",
    [
        ([0, 3, 255], np.uint8, 4, False, [0, 3, 255]),
        ([0, 1, 4, 255], np.uint8, 4, True, [255, 0, 3, 255]),
        ([0, 1, 255], np.uint16, 4, True, [255, 0, 255]),
        ([0, 255, 256], np.uint16, 256, True, [65535, 254, 255]),
        ([0, 1, 255], np.uint16, 255, True, [255, 0, 254]),  # beside 0 for void the file counts 256 values
        ([0, 256, 65535], np.uint16, 300, True, [65535, 255, 65535]),
        ([0, 255], np.uint8, 300, False, [0, 255]),
    ],
)
def test_values_of_a_file_become_classes(values, dtype, classes, reduced, wanted):
    found = to_classes(np.array([values], dtype), classes, reduced)
    assert found.tolist() == [wanted] and found.dtype in (np.uint8, np.uint16)


def test_a_map_to_other_classes_keeps_void():
    found = to_classes(np.array([[0, 1, 2, 255]], np.uint8), 2, label_map={0: 1, 1: 255, 2: 0})
    assert found.tolist() == [[1, 255, 0, 255]]


def test_a_void_within_the_classes_is_misuse():
    metric = ExactIoUMetric(ignore_index=2)
    metric.dataset_meta = {"classes": ("a", "b", "c")}
    with pytest.raises(UsageError, match="expected ignore_index outside the 3 classes, got 2"):
        metric.process({}, [])


# ------------------------------------------------------------------------------------------- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_upright_label_of_a_turned_photograph_scores(orientation, tmp_path):
    stored = picture(0)
    path = save(tmp_path / "images/a.jpg", stored, orientation)
    upright = LoadImage().transform({"img_path": str(path)})["img"].shape[:2]
    assert upright == ((24, 16) if orientation > 4 else (16, 24))
    save(tmp_path / "labels/a.png", np.zeros(upright, np.uint8))
    found = run(settings(tmp_path, ["sky", "tree"]), tmp_path)
    assert found["classes"][0]["pixels"] == 16 * 24
    assert found["dataset"]["turned by EXIF at the same size"] == (orientation in (2, 3, 4))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_as_the_sensor_saw_it_is_an_error(orientation, tmp_path):
    save(tmp_path / "images/a.jpg", picture(0), orientation)
    save(tmp_path / "labels/a.png", np.zeros((16, 24), np.uint8))
    with pytest.raises(DataError, match="a.png at its image's 16 x 24 pixels, got 24 x 16: it is not turned"):
        run(settings(tmp_path, ["sky", "tree"]), tmp_path)


def test_images_are_read_as_ovseg_reads_them_everywhere(tmp_path):
    transparent = np.zeros((4, 4, 4), np.uint8)
    found = LoadImage().transform({"img_path": str(save(tmp_path / "a.png", transparent))})
    assert (found["img"] == 255).all()  # transparent pixels are white
    deep = np.full((4, 4), 0x80FF, np.uint16)
    found = LoadImage().transform({"img_path": str(save(tmp_path / "b.png", deep))})
    assert (found["img"] == 0x80).all() and found["img"].shape == (4, 4, 3)
    red = np.array([[[200, 10, 20]]], np.uint8)
    found = LoadImage().transform({"img_path": str(save(tmp_path / "c.png", red))})
    assert found["img"].tolist() == [[[20, 10, 200]]]  # BGR, as everywhere in MMSegmentation
    labels = LoadLabels(classes=4)
    with pytest.raises(DataError, match="expected labels of .* pixels"):
        entry = {"seg_map_path": str(tmp_path / "b.png"), "ori_shape": (2, 2), "seg_fields": []}
        labels.transform(entry)


# ------------------------------------------------------------------------------- names and endings


def test_one_name_in_two_folders_gives_two_files(tmp_path):
    for city in ("bonn", "ulm"):
        save(tmp_path / f"images/{city}/1.png", picture(0))
        save(tmp_path / f"labels/{city}/1.png", np.zeros((16, 24), np.uint8))
    flags = {"out": str(tmp_path / "out"), "show_dir": str(tmp_path / "shown")}
    run(settings(tmp_path, ["sky", "tree"]), tmp_path, **flags)
    for folder in flags.values():
        found = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.png"))
        assert found == ["bonn/1.png", "ulm/1.png"]


def test_a_metric_on_its_own_does_not_write_one_file_twice(tmp_path):
    metric = ExactIoUMetric(output_dir=str(tmp_path), format_only=True)
    metric.dataset_meta = {"classes": ("a",)}
    data = {"pred_sem_seg": {"data": np.zeros((1, 2, 2), int)}}
    with pytest.raises(DataError, match="expected a file of its own for each image, .*1.png belongs to"):
        metric.process({}, [{**data, "img_path": "a/1.jpg"}, {**data, "img_path": "b/1.jpg"}])


def test_mixed_endings_are_found_and_dot_files_are_not(tmp_path):
    for name in ("a.jpg", "b.png", "c.JPEG"):
        save(tmp_path / "images" / name, picture(0))
        save(tmp_path / "labels" / f"{name[0]}.png", np.zeros((16, 24), np.uint8))
    (tmp_path / "images/._a.jpg").write_bytes(b"no image")
    (tmp_path / "labels/._a.png").write_bytes(b"no image")
    (tmp_path / "images/.hidden").mkdir()
    (tmp_path / "images/notes.txt").write_text("x")
    assert run(settings(tmp_path, ["sky", "tree"]), tmp_path)["dataset"]["images"] == 3
    only = settings(tmp_path, ["sky", "tree"], img_suffix=".jpg")
    with pytest.raises(DataError, match=r"end in .jpg, 2 would be skipped \(1 .JPEG, 1 .png\), the first b"):
        run(only, tmp_path)


def test_a_list_names_images_with_or_without_ending(tmp_path):
    for name in ("a.jpg", "b.png", "c.png"):
        save(tmp_path / "images" / name, picture(0))
        save(tmp_path / "labels" / f"{name[0]}.png", np.zeros((16, 24), np.uint8))
    (tmp_path / "val.txt").write_text("\ufeffb\na.jpg\n\n", encoding="utf-8")
    config = settings(tmp_path, ["sky", "tree"], ann_file="val.txt")
    assert run(config, tmp_path)["dataset"]["images"] == 2
    (tmp_path / "val.txt").write_text("b\nnowhere\n")
    with pytest.raises(DataError, match="expected an image nowhere in .*images, .*val.txt lists it"):
        run(config, tmp_path)


def test_labels_without_images_are_an_error_with_their_names(tmp_path):
    save(tmp_path / "images/a.png", picture(0))
    for name in "abcde":
        save(tmp_path / f"labels/{name}.png", np.zeros((16, 24), np.uint8))
    with pytest.raises(
        DataError, match="expected an image for each label of .*labels, 4 have none: b.png, c"
    ):
        run(settings(tmp_path, ["sky", "tree"]), tmp_path)


def test_two_images_of_one_label_are_an_error(tmp_path):
    for name in ("a.png", "a.jpg"):
        save(tmp_path / "images" / name, picture(0))
    save(tmp_path / "labels/a.png", np.zeros((16, 24), np.uint8))
    with pytest.raises(DataError, match="expected one image for a label, .* has a.jpg and a.png"):
        run(settings(tmp_path, ["sky", "tree"]), tmp_path)


# ------------------------------------------------------------------------- several metrics, records


def test_several_metrics_in_a_list(tmp_path):
    save(tmp_path / "images/a.png", picture(0))
    save(tmp_path / "labels/a.png", np.zeros((16, 24), np.uint8))
    config = settings(tmp_path, ["sky", "tree"])
    config.test_evaluator = [
        dict(type="ExactIoUMetric", iou_metrics=["mIoU"]),
        dict(type="IoUMetric", iou_metrics=["mDice"], prefix="other"),
    ]
    found = run(config, tmp_path, out=str(tmp_path / "out"))
    assert {"mIoU", "other/mDice"} <= set(found["summary"]) and (tmp_path / "out/a.png").is_file()
    written = json.loads(Path(found["file"]).read_text())
    assert written["vocabulary"]["names"] == ["sky", "tree"] and written["time"]["device name"]
