"""What conversions say of data that are not as they should be: one line, and nothing half-written."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.evaluation.data import cityscapes, coco, context
from ovseg.evaluation.data.context import IDS


def stuff_value(trees, tmp_path):
    folder = trees.write_tree("coco_stuff164k", tmp_path) / "annotations/val2017"
    path = next(path for path in folder.glob("*.png") if "_" not in path.name)
    Image.fromarray(np.full((4, 4), 11, np.uint8)).save(path)
    return lambda: coco.convert_coco_stuff(folder, tmp_path / "out")


def colour_map(trees, tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "1.png")
    return lambda: coco.convert_coco_stuff(tmp_path, tmp_path / "out")


def converted_alone(trees, tmp_path):
    (tmp_path / "1_labelTrainIds.png").write_bytes(b"")
    return lambda: coco.convert_coco_stuff(tmp_path, tmp_path / "out")


def torn_map(trees, tmp_path):
    (tmp_path / "1.png").write_bytes(b"\x89PNG")
    return lambda: coco.convert_coco_stuff(tmp_path, tmp_path / "out")


def json_without_keys(trees, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"images": []}))
    return lambda: coco.convert_coco_object(tmp_path / "a.json", tmp_path / "out")


def other_categories(trees, tmp_path):
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "unicorn"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return lambda: coco.convert_coco_object(tmp_path / "a.json", tmp_path / "out")


def few_categories(trees, tmp_path):
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return lambda: coco.convert_coco_object(tmp_path / "a.json", tmp_path / "out")


def no_json(trees, tmp_path):
    return lambda: coco.convert_coco_object(tmp_path / "a.json", tmp_path / "out")


def no_folder(trees, tmp_path):
    return lambda: coco.convert_coco_stuff(tmp_path / "nowhere", tmp_path / "out")


def no_cityscapes(trees, tmp_path):
    return lambda: cityscapes.convert_cityscapes(tmp_path)


def other_label_names(trees, tmp_path):
    folder = trees.write_tree("pascal_context59", tmp_path)
    trees.write_context_sources(folder, tmp_path / "s", list(IDS))
    labels = tmp_path / "s" / "labels.txt"
    labels.write_text(labels.read_text().replace("397: table", "397: tree"))
    return lambda: context.convert_context_mat(tmp_path / "s" / "trainval", labels, folder)


def missing_mat(trees, tmp_path):
    folder = trees.write_tree("pascal_context59", tmp_path)
    trees.write_context_sources(folder, tmp_path / "s", list(IDS))
    (tmp_path / "s/trainval/2008_000002.mat").unlink()
    return lambda: context.convert_context_mat(tmp_path / "s/trainval", tmp_path / "s/labels.txt", folder)


def mat_of_another_kind(trees, tmp_path):
    folder = trees.write_tree("pascal_context59", tmp_path / "data")
    trees.write_context_sources(folder, tmp_path / "s", list(IDS))
    shutil.rmtree(folder / "SegmentationClassContext")
    savemat(tmp_path / "s/trainval/2008_000002.mat", {"Other": np.zeros((2, 2))})
    return lambda: context.convert_context_mat(tmp_path / "s/trainval", tmp_path / "s/labels.txt", folder)


def no_mats(trees, tmp_path):
    return lambda: context.convert_context_mat(tmp_path / "trainval", tmp_path / "labels.txt", tmp_path)


def unknown_split(trees, tmp_path):
    return lambda: context.convert_context_json(tmp_path / "a.json", tmp_path, "test")


@pytest.mark.parametrize(
    "make, error, message",
    [
        (stuff_value, DataError, "expected ids of COCO-Stuff less one, or 255, .* holds 11"),
        (colour_map, DataError, "expected labels of one channel, .*1.png has mode RGB"),
        (torn_map, DataError, "expected an image file, .*1.png is not one"),
        (converted_alone, DataError, "expected stuffthingmaps, .* holds only converted files"),
        (json_without_keys, DataError, "lacks annotations, categories"),
        (other_categories, DataError, "expected COCO's 80 categories, .* has 'unicorn'"),
        (few_categories, DataError, "expected COCO's 80 categories, .* has 1"),
        (no_json, UsageError, "expected a JSON file, got .*a.json, which does not exist"),
        (no_folder, UsageError, "expected a folder with ..png, .*nowhere does not exist"),
        (no_cityscapes, UsageError, "expected a folder with ._gtFine_labelIds.png, .* has none"),
        (other_label_names, DataError, "expected label 397 to be 'table', .* calls it 'tree'"),
        (missing_mat, DataError, "expected 4 .mat files in .*, 1 are missing: 2008_000002.mat"),
        (mat_of_another_kind, DataError, "expected a .mat file with LabelMap, .*2008_000002.mat"),
        (
            no_mats,
            UsageError,
            "expected a folder of .mat files, or trainval_merged.json, .*trainval does not",
        ),
        (unknown_split, UsageError, "unknown split 'test': expected one of train, val"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_is_said_in_one_line(trees, tmp_path, make, error, message):
    run = make(trees, tmp_path)
    with pytest.raises(error, match=message) as raised:
        run()
    assert "\n" not in str(raised.value) and isinstance(raised.value, OvsegError)
    assert not list(tmp_path.rglob("*.partial"))
