"""Converted labels equal those they were made from; ids are compared with MMSegmentation's converters."""

from __future__ import annotations

import ast
import importlib.util
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovseg.errors import DataError
from ovseg.evaluation.data import cityscapes, coco, context, convert

TOOL = Path(__file__).parents[2] / "tools" / "convert_datasets.py"


def theirs(name: str) -> Path:
    """A converter of MMSegmentation as its wheel ships it."""
    return Path(importlib.util.find_spec("mmseg").origin).parent / ".mim/tools/dataset_converters" / name


def context_ids() -> list[int]:
    tree = ast.parse(theirs("pascal_context.py").read_text())
    values = next(n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "_mapping")
    return sorted(ast.literal_eval(values.args[0].args[0]))[1:]  # their first is 0


def moved(folder: Path, pattern: str, where: Path) -> dict[str, np.ndarray]:
    """The label maps of that pattern, moved away, by name."""
    where.mkdir()
    found = {}
    for path in sorted(folder.glob(pattern)):
        found[path.name] = np.asarray(Image.open(path))
        shutil.move(path, where / path.name)
    assert len(found) >= 4
    return found


def assert_same(folder: Path, wanted: dict[str, np.ndarray]) -> None:
    for name, labels in wanted.items():
        picture = Image.open(folder / name)
        assert picture.mode == "L", name
        np.testing.assert_array_equal(np.asarray(picture), labels, err_msg=name)


def test_ids_are_those_of_mmsegmentation():
    table = runpy.run_path(str(theirs("coco_stuff164k.py")))["clsID_to_trID"]
    ours = {value: int(k) for value, k in enumerate(coco.stuff_table()) if k >= 0}
    assert ours == table and len(ours) == 172
    objects = coco.object_table()
    assert all(objects[v] == (0 if v > 90 else k + 1) for v, k in table.items())
    assert sorted(set(objects.tolist())) == list(range(-1, 81))
    assert list(context.IDS) == context_ids()
    assert len(context.IDS) == 59


def test_coco_stuff(trees, tmp_path):
    folder = trees.write_tree("coco_stuff164k", tmp_path) / "annotations/val2017"
    wanted = moved(folder, "*_labelTrainIds.png", tmp_path / "away")
    assert coco.convert_coco_stuff(folder, folder) == convert.Converted(4, 0)
    assert_same(folder, wanted)
    assert coco.convert_coco_stuff(folder, folder) == convert.Converted(0, 4)  # its own files are no source


def test_coco_object_from_instances(trees, tmp_path):
    root = trees.write_tree("coco_object", tmp_path)
    source = root / "annotations/instances_val2017.json"
    assert len(trees.write_instances(root, source)) == 80
    wanted = moved(root / "annotations/val2017", "*.png", tmp_path / "away")
    assert coco.convert_coco_object(source, root / "annotations/val2017").written == 4
    assert_same(root / "annotations/val2017", wanted)


def test_coco_object_from_stuffthingmaps(trees, tmp_path):
    folder = trees.write_tree("coco_stuff164k", tmp_path) / "annotations/val2017"
    assert coco.convert_coco_object(folder, tmp_path / "objects").written == 4
    count = 0
    for path in (tmp_path / "objects").iterdir():
        stuff = np.asarray(Image.open(folder / path.name.replace("instance", "label"))).astype(int)
        wanted = np.where(stuff < 80, stuff + 1, 0)  # the first 80 classes of COCO-Stuff are the things
        np.testing.assert_array_equal(np.asarray(Image.open(path)), wanted)
        count += (wanted > 0).any()
    assert count >= 3


def test_instances_in_every_form_and_over_each_other():
    """Polygons, run lengths as numbers and as text; the crowd below, the smaller object on top."""
    square = np.zeros((8, 10), np.uint8)
    square[2:6, 2:8] = 1
    text = rle.encode(np.asfortranarray(square))
    everything = {"size": [8, 10], "counts": [0, 80]}
    polygon = [[4, 3, 6, 3, 6, 5, 4, 5]]
    objects = [
        dict(id=1, category_id=1, segmentation=polygon, area=4, iscrowd=0),
        dict(id=2, category_id=44, segmentation=text, area=24, iscrowd=0),
        dict(id=3, category_id=90, segmentation=everything, area=1, iscrowd=1),  # small by its number
    ]
    labels = coco.draw_objects(dict(height=8, width=10), objects, {1: 1, 44: 40, 90: 80})
    wanted = np.full((8, 10), 80)
    wanted[square > 0] = 40
    wanted[3:5, 4:6] = 1
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize("form", ["mat", "json"])
def test_context(trees, tmp_path, form):
    folder = trees.write_tree("pascal_context59", tmp_path)
    trees.write_context_sources(folder, tmp_path / "sources", context_ids())
    listed = (folder / "ImageSets/SegmentationContext/val.txt").read_text()
    shutil.rmtree(folder / "ImageSets/SegmentationContext")
    wanted = moved(folder / "SegmentationClassContext", "*.png", tmp_path / "away")
    trained = max(wanted)  # the image of the other split
    del wanted[trained]
    sources = tmp_path / "sources"
    if form == "mat":
        done = context.convert_context_mat(sources / "trainval", sources / "labels.txt", folder)
    else:
        done = context.convert_context_json(sources / "trainval_merged.json", folder)
    assert done == convert.Converted(4, 0)
    assert_same(folder / "SegmentationClassContext", wanted)
    assert not (folder / "SegmentationClassContext" / trained).exists()
    assert (folder / "ImageSets/SegmentationContext/val.txt").read_text() == listed


def test_regions_of_context_lie_over_each_other_in_order():
    counts = {"size": [2, 3], "counts": [0, 4, 2]}
    image = dict(height=2, width=3, file_name="a.jpg")
    first = dict(category_id=2, segmentation=counts)
    other = dict(category_id=1, segmentation={"size": [2, 3], "counts": [2, 1, 3]})  # none of the 59
    drawn = context.draw_regions(image, [first, other])
    np.testing.assert_array_equal(drawn, [[1, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(context.draw_regions(image, [other, first]), [[1, 1, 0], [1, 1, 0]])


def test_cityscapes(trees, tmp_path):
    root = trees.write_tree("cityscapes", tmp_path) / "gtFine"
    wanted = {path: np.asarray(Image.open(path)) for path in root.rglob("*_labelTrainIds.png")}
    assert len(wanted) == 6
    for path in wanted:
        path.unlink()
    assert cityscapes.convert_cityscapes(root) == convert.Converted(6, 0)
    for path, labels in wanted.items():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels)


def test_an_interrupted_conversion_goes_on_and_overwrites_nothing(trees, tmp_path, monkeypatch):
    folder = trees.write_tree("coco_stuff164k", tmp_path) / "annotations/val2017"
    out = tmp_path / "out"
    calls = []

    def write_picture(path, labels):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path)
        path.write_bytes(b"mine")

    monkeypatch.setattr(convert, "write_picture", write_picture)
    with pytest.raises(KeyboardInterrupt):
        coco.convert_coco_stuff(folder, out)
    assert sorted(out.iterdir()) == sorted(calls)
    monkeypatch.undo()
    assert coco.convert_coco_stuff(folder, out) == convert.Converted(2, 2)
    assert [path.read_bytes() for path in calls] == [b"mine", b"mine"]
    assert not list(out.glob("*.partial"))


def test_a_list_of_other_images_is_not_overwritten(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text("b\na\n")
    convert.write_list(path, ["a", "b"])
    assert path.read_text() == "b\na\n"
    with pytest.raises(DataError, match="expected .* to list the 1 images of this split, it lists others"):
        convert.write_list(path, ["a"])


def test_the_command(trees, tmp_path, monkeypatch, capsys):
    folder = trees.write_tree("coco_stuff164k", tmp_path) / "annotations/val2017"

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["convert_datasets.py", *map(str, words)])
        runpy.run_path(str(TOOL), run_name="__main__")

    run("coco-stuff", folder, tmp_path / "out")
    said = capsys.readouterr()
    assert said.out == "coco-stuff: 4 label maps written, 0 were there already\n"
    assert "COCO-Stuff" in said.err  # the bar
    with pytest.raises(SystemExit) as stopped:
        run("coco-stuff", tmp_path / "nowhere", tmp_path / "out")
    assert stopped.value.code == 2
    missing = tmp_path / "nowhere"
    assert capsys.readouterr().err == f"error: expected a folder with *.png, {missing} does not exist\n"
