"""What each tool can write besides plain masks: it is read, or counted with file and place; the rest is written."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ovseg.annotation.convert import convert, distinct
from ovseg.annotation.formats import guess_format, read_annotations, shapes
from ovseg.annotation.formats import labelme as labelme_reader
from ovseg.annotation.records import Record
from ovseg.errors import DataError
from ovseg.results.coco import Mask

SIZE = (100, 200)
TRIANGLE = [[1, 1, 50, 1, 50, 50]]


@pytest.fixture
def put(tmp_path):
    """Writes a text, JSON or picture below the temporary folder; gives its path."""

    def write(name, content=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = Image.new("RGB", SIZE[::-1])
        if isinstance(content, Image.Image):
            content.save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def read(path, *args, **more):
    found = read_annotations(path, *args, **more)
    return found, list(found.records())


def kinds(found):
    """The kinds of what was left out, without their places."""
    return [line.removeprefix("left out ").rpartition(": ")[0] for line in found.skipped.lines()]


def coco(*annotations, images=(1,), name="a.jpg", **more):
    listed = [{"id": key, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for key in images]
    objects = [{"image_id": 1, "category_id": 1, "segmentation": TRIANGLE, **one} for one in annotations]
    return {"images": listed, "categories": [{"id": 1, "name": "cat"}], "annotations": objects, **more}


# ---------------------------------------------------------------------------------------------------- COCO


def test_coco_counts_key_points_attributes_and_annotations_of_no_image(put):
    extras = {"occluded": True, "truncated": "0", "rotation": 0.0, "prompt": "a cat", "colour": "red"}
    points = {"keypoints": [1, 1, 2], "num_keypoints": 1}
    found, (record,) = read(put("a.json", coco({"attributes": extras}, points, {"image_id": 9})))
    assert [one.prompt for one in record.regions] == ["a cat", None]
    assert kinds(found) == [
        "annotations of an image that is not listed",
        "attributes 'occluded'",
        "attributes 'colour'",
        "key points of objects",
    ]


@pytest.mark.parametrize("flag", [{"iscrowd": 1}, {"ignore": 1}, {"iscrowd": "1"}])
def test_crowds_and_ignored_objects_of_coco_are_void(put, flag):
    found, (record,) = read(put("a.json", coco(flag, {"iscrowd": "0"})))
    assert record.void.area == record.regions[0].mask.area and len(record.regions) == 1 and not found.skipped


def test_boxes_that_cvat_turned_are_turned_in_its_coco_export(put):
    box = {"segmentation": [], "bbox": [80, 40, 40, 20], "attributes": {"rotation": 90.0}}
    _, (record,) = read(put("a.json", coco(box)))
    assert record.regions[0].mask.box == (90, 30, 110, 70)


@pytest.mark.parametrize("ids", [(1, "1"), ("1", 1), (-(10**20), -(10**20)), (1.0, 1)])
def test_ids_of_coco_may_be_texts_in_one_place_and_numbers_in_the_other(put, ids):
    content = coco({"image_id": ids[1], "category_id": ids[1]}, images=(ids[0],))
    content["categories"][0]["id"] = ids[0]
    found, (record,) = read(put("a.json", content))
    assert [one.label for one in record.regions] == ["cat"] and found.names == ("cat",) and not found.skipped


def test_two_images_of_coco_with_one_id_are_refused(put):
    with pytest.raises(DataError, match="images with ids of their own, 2 have 1"):
        read(put("a.json", coco({}, images=(1, 1))))


def test_lvis_names_images_by_addresses(put):
    content = coco({})
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = "https://images.example/zips/train2017/7.jpg"
    assert read(put("a.json", content))[1][0].name == "train2017/7.jpg"


def test_results_of_coco_say_what_is_missing(put):
    with pytest.raises(DataError, match="expected images, categories and annotations, got a list"):
        read(put("a.json", [{"image_id": 1, "category_id": 1, "segmentation": TRIANGLE, "score": 1}]))


def test_a_folder_with_one_json_is_what_the_json_is(put):
    path = put("export/annotations/instances_default.json", coco({}))
    assert guess_format(path.parents[1]) == "coco" and len(read(path.parents[1])[1]) == 1


def test_panoptic_segments_that_only_one_of_png_and_json_has_are_counted(put):
    ids = np.zeros((*SIZE, 3), np.uint8)
    ids[:10, :, 0], ids[10:20, :, 0] = 1, 2
    put("panoptic/a.png", Image.fromarray(ids))
    segments = [{"id": 1, "category_id": 1}, {"id": 3, "category_id": 1}]
    content = coco(images=(1, 2))
    content["annotations"] = [{"image_id": 1, "file_name": "a.png", "segments_info": segments}]
    found, (record,) = read(put("panoptic.json", content), "coco-panoptic")
    assert [one.mask.area for one in record.regions] == [2000]
    assert kinds(found) == [
        "images without segments",
        "objects without a pixel",
        "segments of a PNG that the JSON does not list",
    ]


# ---------------------------------------------------------------------------------------------------- CVAT


def test_cvat_counts_flags_attributes_and_shapes_without_masks(put):
    more = '<attribute name="colour">red</attribute><attribute name="prompt">a cat</attribute>'
    box = '<box label="cat" xtl="0" ytl="0" xbr="9" ybr="9" occluded="1">' + more + "</box>"
    skeleton = '<skeleton label="man"><points label="nose" points="1,1"/></skeleton>'
    cuboid = '<cuboid label="cat" xtl1="1"/><points points="1,1"/>'
    meta = (
        "<meta><task><labels><label><name>cat</name></label><label><name>man</name></label>"
        "<label><name>nose</name><parent>man</parent></label></labels></task></meta>"
    )
    image = '<image id="0" name="a.jpg" width="200" height="100">'
    found, (record,) = read(
        put("a.xml", f"<annotations>{meta}{image}{box}{skeleton}{cuboid}</image></annotations>")
    )
    assert found.names == ("cat", "man") and record.regions[0].prompt == "a cat"
    assert kinds(found) == [
        "attributes 'occluded'",
        "attributes 'colour'",
        "shapes <skeleton>",
        "shapes <cuboid>",
        "shapes without a label",
    ]


def test_cvat_without_sizes_takes_those_of_the_images(put):
    put("images/a.jpg")
    box = '<box label="cat" xtl="0" ytl="0" xbr="9" ybr="9"/>'
    path = put("a.xml", f'<annotations><image id="0" name="a.jpg">{box}</image></annotations>')
    assert read(path, images=path.parent / "images")[1][0].size == SIZE


def test_tracks_of_cvat_have_groups_and_tasks(put):
    sizes = "".join(
        f"<task><id>{k}</id><original_size><width>{w}</width><height>9</height></original_size></task>"
        for k, w in ((1, 20), (2, 30))
    )
    box = '<box frame="0" outside="0" xtl="{0}" ytl="0" xbr="{1}" ybr="9"/>'
    tracks = "".join(
        f'<track label="cat" task_id="{task}" group_id="{group}">{box.format(x, x + 4)}</track>'
        for task, group, x in ((1, 3, 0), (1, 3, 9), (2, 0, 0), (2, 0, 9))
    )
    path = put("a.xml", f"<annotations><meta><project>{sizes}</project></meta>{tracks}</annotations>")
    records = read(path)[1]
    assert [(one.name, one.size, len(one.regions)) for one in records] == [
        ("1/frame_000000.png", (9, 20), 1),
        ("2/frame_000000.png", (9, 30), 2),
    ]


# ------------------------------------------------------------------------------------------- Label Studio


def brush(label="cat", **more):
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": [label]}
    sizes = {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"id": "r", "type": "rectanglelabels", "to_name": "image", "value": value, **sizes, **more}


def test_an_album_of_label_studio_has_the_regions_of_each_page(put):
    results = [brush(item_index=1), brush("dog", item_index=1, id="q")]
    task = {"data": {"pages": ["a.jpg", "b.jpg"]}, "annotations": [{"result": results}]}
    config = '<View><Image name="image" valueList="$pages"/></View>'
    put("config.xml", b"\xef\xbb\xbf" + config.encode())
    path = put("tasks.json", [task])
    put("i/a.jpg")
    found, records = read(path, images=path.parent / "i")
    assert [(one.name, len(one.regions)) for one in records] == [("a.jpg", 0), ("b.jpg", 2)]
    assert len(kinds(found)) == 1 and "links to images that are not in" in kinds(found)[0]


def test_older_exports_notes_and_further_annotations_of_label_studio(put):
    noted = brush(meta={"text": ["prompt: a cat", "is it one?"]})
    old = {"id": 5, "data": {"image": "a.jpg"}, "completions": [{"result": [noted]}, {"skipped": True}]}
    found, (record,) = read(put("old.json", [old]))
    assert record.regions[0].prompt == "a cat" and kinds(found) == ["notes on regions"]
    short = {
        "id": 1,
        "image": "b.jpg",
        "annotator": 1,
        "label": [{**brush()["value"], "original_width": 200}],
    }
    short["label"][0]["original_height"] = 100
    found, records = read(put("min.json", [short, {**short, "annotator": 2}, {"id": 2, "image": "c.jpg"}]))
    assert len(records) == 1
    assert kinds(found) == ["further annotations of a task", "tasks without an annotation"]


def test_predictions_that_are_numbers_are_tasks_without_an_annotation(put):
    found, records = read(put("a.json", [{"id": 1, "data": {"image": "a.jpg"}, "predictions": [12]}]))
    assert not records and kinds(found) == ["tasks without an annotation"]


# ------------------------------------------------------------------------------------------------- LabelMe


def labelme(*shapes, **more):
    content = {"imagePath": "a.jpg", "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}
    square = {"label": "cat", "points": [[10, 10], [50, 10], [50, 50]], "shape_type": "polygon"}
    return {**content, "shapes": [{**square, **one} for one in shapes]}


def test_labelme_counts_flags_descriptions_and_attributes(put):
    shapes = [
        {"flags": {"blurred": True, "old": False}, "description": "prompt a cat; method tiny"},
        {"description": "is it one?", "difficult": True, "attributes": {"colour": "red"}, "shape_type": None},
        {"shape_type": "cuboid"},
    ]
    found, (record,) = read(put("a.json", labelme(*shapes, flags={"night": True})))
    assert [(one.prompt, one.method) for one in record.regions] == [("a cat", "tiny"), (None, None)]
    assert kinds(found) == [
        "attributes 'night'",
        "attributes 'blurred'",
        "descriptions",
        "attributes 'difficult'",
        "attributes 'colour'",
        "shapes 'cuboid'",
    ]


def test_labelme_without_sizes_takes_those_of_the_picture_inside(put):
    file = io.BytesIO()
    Image.new("RGB", SIZE[::-1]).save(file, "PNG")
    content = labelme(
        {}, imageHeight=None, imageWidth=None, imageData=base64.b64encode(file.getvalue()).decode()
    )
    assert read(put("a.json", content))[1][0].size == SIZE


def test_an_image_path_of_labelme_leaves_no_folder(put):
    secret = put("private/a.jpg")
    own = put("set/photos/b.jpg")
    put("set/labels/a.json", labelme({}, imagePath="../../private/a.jpg"))
    put("set/labels/b.json", labelme({}, imagePath="..\\photos\\b.jpg"))
    root = secret.parents[1] / "set"
    found, records = read(root)
    assert [one.image for one in records] == [None, str(own)] and not found.skipped
    found, records = read(root / "labels", images=own.parent)
    assert [one.image for one in records] == [None, str(own)]
    assert len(kinds(found)) == 1 and kinds(found)[0].startswith("links to images that are not in")


# ---------------------------------------------------------------------------------- YOLO, VOC and label maps


def test_yolo_reads_images_without_labels_boms_floats_and_poses(put):
    for name in ("a", "b", "c"):
        put(f"images/{name}.jpg")
    put("data.yaml", b"\xef\xbb\xbfnames: [cat, dog]\r\nkpt_shape: [2, 3]\r\n")
    points = "0.1 0.1 2 0.2 0.2 2"
    put("labels/a.txt", f"\ufeff1.0 0.5 0.5 0.2 0.2 {points}\r\n0 0.5 0.5 0.1 0.1 {points} 0.75\r\n".encode())
    path = put("labels/b.txt", f"0 0.5 0.5 1.5 0.2 {points}")
    found = read_annotations(path.parents[1])
    assert convert(found, path.parents[1] / "out", "coco") == 2
    content = json.loads((path.parents[1] / "out/coco/instances.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["a.jpg", "c.jpg"]
    assert [(one["category_id"], one["bbox"]) for one in content["annotations"]] == [
        (2, [80, 40, 40, 20]),
        (1, [90, 45, 20, 10]),
    ]
    assert content["annotations"][1]["score"] == 0.75
    assert kinds(found)[0] == "key points of objects"
    assert "expected places in 0..1 of the image, got 0 0.5 0.5 1.5" in found.skipped.lines()[1]


def test_layouts_of_label_studio_and_cvat_for_yolo(put):
    for root in ("studio/images", "darknet/obj_train_data"):
        put(f"{root}/a.jpg")
    put("studio/classes.txt", "cat\n")
    put("darknet/obj.names", "cat\n")
    path = put("studio/labels/a.txt", "0 0.5 0.5 0.2 0.2")
    put("darknet/obj_train_data/a.txt", "0 0.5 0.5 0.2 0.2")
    for name in ("studio", "darknet"):
        folder = path.parents[2] / name
        assert guess_format(folder) == "yolo"
        (record,) = read(folder)[1]
        assert record.name == "a.jpg" and [one.label for one in record.regions] == ["cat"]


def test_pixels_of_voc_without_an_object_are_kept(put):
    classes, objects = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    classes[:10], objects[:5] = 8, 1
    put("SegmentationClass/a.png", Image.fromarray(classes))
    path = put("SegmentationObject/a.png", Image.fromarray(objects))
    (record,) = read(path.parents[1])[1]
    assert [(one.label, one.mask.area) for one in record.regions] == [("cat", 1000), ("cat", 1000)]


def test_cityscapes_reads_label_ids_only(put):
    labels = np.full(SIZE, 7, np.uint8)
    put("a_gtCoarse_labelIds.png", Image.fromarray(labels))
    path = put("a_gtCoarse_labelTrainIds.png", Image.fromarray(labels))
    (record,) = read(path.parent)[1]
    assert record.name == "a_leftImg8bit.png" and [one.label for one in record.regions] == ["road"]
    put("other/a_gtFine_labelTrainIds.png", Image.fromarray(labels))
    with pytest.raises(DataError, match="it has other files only"):
        read(path.parent / "other", "cityscapes")
    put("b_gtFine_labelIds.png", Image.fromarray(labels * 20))
    with pytest.raises(DataError, match="holds 140"):
        read(path.parent)


# ----------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("size", [(100, 200), (50, 100)])
def test_an_image_of_another_size_than_its_annotations_is_not_linked(put, size):
    put("i/a.jpg", Image.new("RGB", size))
    path = put("a.json", coco({}))
    found, (record,) = read(path, images=path.parent / "i")
    assert record.image is None and kinds(found) == ["links to images of another size than their annotations"]


def test_sizes_are_those_of_upright_images(put):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", SIZE).save(file, "JPEG", exif=exif)  # stored as 100 x 200, shown as 200 x 100
    put("i/a.jpg", file.getvalue())
    path = put("a.json", coco({}))
    found, (record,) = read(path, images=path.parent / "i")
    assert record.image and not found.skipped


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("sub\\a.jpg", "sub/a.jpg"), ("C:\\x\\a.jpg", "x/a.jpg"), ("a\ud800.jpg", "a\ufffd.jpg")],
)
def test_names_of_windows_and_halves_of_characters(put, name, wanted):
    path = put("a.json", coco({}, name=name))
    found, (record,) = read(path)
    assert record.name == wanted
    assert (
        convert(found, path.parent / "out", ("yolo", "voc", "label-studio", "cvat", "labelme", "mmseg")) == 1
    )


def test_folders_called_like_files_are_apart_from_them():
    names = ["a.jpg", "a.json/c.jpg", "a.png/c.jpg", "a.json_/c.jpg", "v1.0/c.jpg"]
    stems = [one.stem for one in distinct(iter([Record(name, (1, 1)) for name in names]))]
    assert stems == ["a", "a.json_/c", "a.png_/c", "a.json__/c", "v1.0/c"]


def test_damaged_files_end_no_conversion(put):
    for name in "abc":
        put(f"set/images/{name}.jpg")
        put(f"set/labels/{name}.txt", "0 0.5 0.5 0.2 0.2")
        put(f"me/{name}.json", labelme({}))
    put("set/images/b.jpg", b"\xff\xd8\xff broken")
    path = put("set/data.yaml", "names: [cat]")
    put("me/b.json", "{")
    for folder in (path.parent, path.parents[1] / "me"):
        found = read_annotations(folder)
        out = folder.with_suffix(".out")
        assert convert(found, out, ("coco", "voc")) == 2
        assert len(json.loads((out / "coco/instances.json").read_text())["images"]) == 2
        assert kinds(found)[0].startswith("images whose annotations cannot be read: 1, the first is: ")


def test_void_pixels_are_kept_or_counted(put):
    found = read_annotations(
        put("a.json", coco({"iscrowd": 1}, {"bbox": [60, 60, 9, 9], "segmentation": []}))
    )
    out = put("x", "").parent / "out"
    convert(found, out, ("labelme", "yolo", "voc"))
    assert kinds(found) == ["void pixels, which yolo cannot hold"]
    mask = Mask.of_polygons(SIZE, TRIANGLE)
    assert read(out / "labelme")[1][0].void == mask == read(out / "voc")[1][0].void


def test_a_conversion_shows_every_stage(put):
    stages = []
    path = put("a.json", coco({}, {}))
    convert(
        read_annotations(path),
        path.parent / "out",
        ("coco", "cvat"),
        progress=lambda *one: stages.append(one),
    )
    assert {one[0] for one in stages} == {"images", "coco", "cvat"} and stages[-1] == ("cvat", 1, 1)


def test_a_conversion_reads_foreign_files_once(put, monkeypatch):
    path = put("me/a.json", labelme({}, {"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "x"}))
    put("me/b.json", labelme({}))
    drawn = []
    monkeypatch.setattr(labelme_reader, "drawn_mask", lambda *given: drawn.append(1) or draw(*given))
    draw = shapes.drawn_mask
    found = read_annotations(path.parent)
    assert convert(found, path.parents[1] / "out", ("coco", "cvat", "label-studio")) == 1
    assert len(drawn) == 2 and len(found.skipped.lines()) == 1
