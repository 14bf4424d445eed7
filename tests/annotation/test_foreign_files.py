"""Files as other tools write them: what each of them means by them, what is left out is said, bombs are refused."""

from __future__ import annotations

import base64
import io
import json
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ovseg.annotation.convert import convert
from ovseg.annotation.formats import Annotations, read_annotations
from ovseg.annotation.formats.brush import decode_brush, encode_brush
from ovseg.annotation.formats.voc import voc_colours
from ovseg.annotation.records import Record, Region
from ovseg.annotation.review import review
from ovseg.errors import DataError, UsageError
from ovseg.files.labels import load_labels
from ovseg.results.coco import Mask

SIZE = (100, 200)
SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]


def read(path, *args, **more):
    found = read_annotations(path, *args, **more)
    return found, list(found.records())


def boxes(record):
    return [(one.label, one.mask.box) for one in record.regions]


@pytest.fixture
def put(tmp_path):
    """Writes a text, JSON or picture below the temporary folder; gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Image.Image):
            content.save(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


# ------------------------------------------------------------------------------------------- Label Studio


def result(kind="rectanglelabels", label="cat", to_name="image", **value):
    kinds = {} if kind in ("rectangle", "ellipse") else {kind: [label]}
    return {
        "id": f"{kind} {value}",
        "type": kind,
        "to_name": to_name,
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "value": {**value, **kinds},
    }


def task(*results, data=None, **more):
    annotations = [{"id": 1, "was_cancelled": False, "result": list(results)}]
    return {"data": data or {"image": "/data/upload/1/0a1b2c3d-a.jpg"}, "annotations": annotations, **more}


BOX = {"x": 50, "y": 20, "width": 20, "height": 20}


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        pytest.param(result(**BOX), (100, 20, 140, 40), id="box"),
        pytest.param(result(**BOX, rotation=90), (80, 20, 100, 60), id="box turned around its corner"),
        pytest.param(result("labels", **BOX), (100, 20, 140, 40), id="box of <Labels>"),
        pytest.param(
            {**result(**BOX), "image_rotation": 90}, (100, 20, 140, 40), id="picture turned in the editor"
        ),
        pytest.param(
            result("ellipselabels", x=50, y=50, radiusX=10, radiusY=10), (80, 40, 120, 60), id="ellipse"
        ),
        pytest.param(
            result("ellipselabels", x=50, y=50, radiusX=10, radiusY=10, rotation=90),
            (90, 30, 110, 70),
            id="ellipse turned",
        ),
        pytest.param(
            result("polygonlabels", points=[[0, 0], [50, 0], [50, 50], [0, 50]]),
            (0, 0, 100, 50),
            id="polygon",
        ),
        pytest.param(
            result("brushlabels", rle=encode_brush(np.ones(SIZE, bool))), (0, 0, 200, 100), id="brush"
        ),
    ],
)
def test_shapes_of_label_studio(put, shape, box):
    found, (record,) = read(put("tasks.json", [task(shape)]))
    assert boxes(record) == [("cat", box)] and not found.skipped


def test_what_label_studio_has_besides_is_counted(put):
    relation = {"type": "relation", "from_id": "1", "to_id": "2", "direction": "right"}
    choice = {**result("choices", **BOX), "id": result(**BOX)["id"]}
    vector = result("vectorlabels", vertices=[{"x": 1, "y": 1}], closed=True)
    more = [result("keypointlabels", x=1, y=1, width=1), result("rectangle", **BOX), relation, choice, vector]
    cancelled = {"id": 7, "data": {"image": "b.jpg"}, "annotations": [{"was_cancelled": True, "result": []}]}
    other = {"id": 2, "result": [result(**BOX)]}
    first = task(result(**BOX), *more)
    first["annotations"].append(other)
    first["drafts"] = [{"id": 3, "result": []}]
    path = put("tasks.json", [first, {**cancelled, "predictions": [12]}])
    found, (record,) = read(path)
    assert len(record.regions) == 1
    assert found.skipped.lines() == [
        f"left out drafts: 1, the first in {path}, task 1, id 3",
        f"left out further annotations of a task: 1, the first in {path}, task 1, id 2",
        f"left out results 'relation': 1, the first in {path}, task 1, id None",
        f"left out tasks without an annotation: 1, the first in {path}, task 7",
        f"left out results 'keypointlabels': 1, the first in {path}, a.jpg, number 2",
        f"left out results 'rectangle': 1, the first in {path}, a.jpg, number 3",
        f"left out results 'choices': 1, the first in {path}, a.jpg, number 4",
        f"left out results 'vectorlabels': 1, the first in {path}, a.jpg, number 5",
    ]


def test_the_ground_truth_of_several_annotations_counts(put):
    one = task(result(**BOX))
    one["annotations"].append({"id": 2, "ground_truth": True, "result": [result(label="dog", **BOX)]})
    _, (record,) = read(put("tasks.json", [one]))
    assert [region.label for region in record.regions] == ["dog"]


@pytest.mark.parametrize(
    ("data", "config", "name"),
    [
        ({"caption": "a cat", "photo": "/data/upload/1/0a1b2c3d-a.jpg"}, None, "a.jpg"),
        ({"image": "https://host.example/x/b.jpg?sig=1%2F3"}, None, "x/b.jpg"),
        ({"a": "c.jpg", "b": "d.jpg"}, '<View><Image name="image" value="$b"/></View>', "d.jpg"),
    ],
)
def test_the_image_of_a_task_is_told_by_the_interface_or_its_look(put, data, config, name):
    if config:
        put("config.xml", config)
    _, (record,) = read(put("tasks.json", [task(result(**BOX), data=data)]))
    assert record.name == name and len(record.regions) == 1


def test_two_images_of_a_task_have_their_own_regions(put):
    data = {"image": "a.jpg", "second": "b.jpg"}
    other = result(label="dog", to_name="second", x=0, y=0, width=10, height=10)
    _, records = read(put("tasks.json", [task(result(**BOX), other, data=data)]))
    assert [(one.name, *boxes(one)) for one in records] == [
        ("a.jpg", ("cat", (100, 20, 140, 40))),
        ("b.jpg", ("dog", (0, 0, 20, 10))),
    ]


def test_predictions_are_no_truth(put):
    guess = {"predictions": [{"result": [result(**BOX)]}]}
    untouched = {"data": {"image": "b.jpg"}, **guess}
    put("i/a.jpg", Image.new("RGB", SIZE[::-1]))
    found, records = read(put("some.json", [task(**guess), untouched]), images=put("i/a.txt", "").parent)
    assert [(one.name, len(one.regions)) for one in records] == [("a.jpg", 0)] and not found.predicted
    found, records = read(put("none.json", [untouched]))
    assert len(records[0].regions) == 1 and found.predicted
    with pytest.raises(DataError, match="predictions only"):
        review(found, found)


def test_the_short_export_of_label_studio(put):
    short = {"id": 1, "image": "/data/upload/1/0a1b2c3d-a.jpg", "annotator": 1}
    label = {**BOX, "rectanglelabels": ["cat"], "original_width": 200, "original_height": 100}
    found, (record,) = read(put("min.json", [{**short, "label": [label]}]))
    assert (
        record.name == "a.jpg" and boxes(record) == [("cat", (100, 20, 140, 40))] and found.names == ("cat",)
    )


def test_names_of_label_studios_coco_export_are_found_in_a_run():
    regions = (Region("cat", Mask.of(np.ones((1, 1), bool))),)
    run, truth = (
        Annotations(("cat",), lambda name=name: iter([Record(name, (1, 1), regions)]))
        for name in ("photos/a.jpg", "images/0a1b2c3d-a.jpg")
    )
    assert review(run, truth).mean_iou == 1


# --------------------------------------------------------------------------------------------------- CVAT


def cvat(body, meta="<size>2</size>", name="a.jpg"):
    labels = "".join(f"<label><name>{one}</name></label>" for one in ("cat", "dog"))
    image = (
        body if "<track" in body else f'<image id="0" name="{name}" width="200" height="100">{body}</image>'
    )
    return f"<annotations><meta><task>{meta}<labels>{labels}</labels></task></meta>{image}</annotations>"


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="cat" xtl="80" ytl="40" xbr="120" ybr="60" rotation="90"/>', (90, 30, 110, 70)),
        ('<ellipse label="cat" cx="50" cy="50" rx="10" ry="20"/>', (40, 30, 60, 70)),
        ('<polygon label="cat" points="2,0;10,0;10,5;2,5"/>', (2, 0, 10, 5)),
        ('<mask label="cat" rle="1, 1, 1, 1" left="3" top="2" width="2" height="2"/>', (4, 2, 5, 4)),
    ],
)
def test_shapes_of_cvat(put, shape, box):
    _, (record,) = read(put("a.xml", cvat(shape)))
    assert boxes(record) == [("cat", box)]


def test_groups_of_cvat_are_one_object_and_lines_are_counted(put):
    part = '<box label="cat" xtl="{0}" ytl="0" xbr="{1}" ybr="9" group_id="{2}"/>'
    line = '<polyline label="dog" points="0,0;9,9"/><tag label="dog"/>'
    body = part.format(0, 9, 1) + part.format(20, 29, 1) + part.format(40, 49, 0) + line
    found, (record,) = read(put("a.xml", cvat(body)))
    assert boxes(record) == [("cat", (0, 0, 29, 9)), ("cat", (40, 0, 49, 9))]
    assert [line.split(":")[0] for line in found.skipped.lines()] == [
        "left out shapes <polyline>",
        "left out shapes <tag>",
    ]


def test_tracks_of_cvat_are_read_frame_by_frame(put):
    box = '<box frame="{}" outside="{}" xtl="10" ytl="10" xbr="50" ybr="50"/>'
    track = f'<track id="0" label="cat">{box.format(0, 0)}{box.format(3, 0)}{box.format(4, 1)}</track>'
    size = "<original_size><width>200</width><height>100</height></original_size>"
    _, records = read(put("a.xml", cvat(track, size)))
    assert [(one.name, one.size, len(one.regions)) for one in records] == [
        ("frame_000000.png", SIZE, 1),
        ("frame_000003.png", SIZE, 1),
        ("frame_000004.png", SIZE, 0),
    ]
    with pytest.raises(DataError, match="tracks need the original_size"):
        read(put("b.xml", cvat(track)))


# ------------------------------------------------------------------------------------------------- LabelMe


def labelme(*shapes, **more):
    sizes = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return {"version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": None, **sizes, **more} | {
        "shapes": list(shapes)
    }


def shape(label, kind="polygon", points=SQUARE):
    return {"label": label, "shape_type": kind, "points": points, "group_id": None, "flags": {}}


@pytest.mark.parametrize(
    ("kind", "points", "least"),
    [
        ("polygon", SQUARE, 1),
        ("polygon", [[-30, 20], [150, -40], [260, 130]], 0.98),
        ("rectangle", SQUARE[::2], 1),
        ("circle", [[60, 50], [60, 20]], 1),
        ("circle", [[3.4, 5.7], [9.2, 14.1]], 1),
        ("circle", [[60, 50], [60, 50.4]], 1),
    ],
)
def test_shapes_of_labelme_are_drawn_as_labelme_draws_them(put, kind, points, least):
    utils = pytest.importorskip("labelme.utils", reason="labelme is not installed")
    _, (record,) = read(put("a.json", labelme(shape("cat", kind, points))))
    mine, theirs = record.regions[0].mask.array(), utils.shape_to_mask(SIZE, points, kind)
    assert (mine & theirs).sum() / (mine | theirs).sum() >= least


def test_ignored_four_corners_and_lines_of_labelme(put):
    shapes = [
        shape("__ignore__"),
        shape("cat", "rectangle"),
        shape("dog", "linestrip"),
        shape("dog", "point", [[1, 1]]),
        shape("dog", "line"),
        shape("dog", "line"),
    ]
    found, (record,) = read(put("a.json", labelme(*shapes)))
    assert found.names == ("cat", "dog") and [one.label for one in record.regions] == ["cat"]
    assert record.void.area == 41 * 41
    assert found.skipped.lines()[-1].startswith("left out shapes 'line': 2, the first in ")
    assert list(found.records()) and len(found.skipped.lines()) == 3  # counted once, however often read


def test_labelme_without_sizes_takes_those_of_its_image(put):
    put("a.jpg", Image.new("RGB", SIZE[::-1]))
    _, (record,) = read(put("a.json", labelme(shape("cat"), imageHeight=None, imageWidth=None)))
    assert record.size == SIZE


@pytest.mark.parametrize("name", ["labelme", "cvat"])
def test_the_later_or_higher_shape_is_on_top(put, tmp_path, name):
    if name == "cvat":
        box = '<box label="{}" xtl="{}" ytl="{}" xbr="{}" ybr="{}" z_order="{}"/>'
        path = put("a.xml", cvat(box.format("cat", 30, 30, 50, 50, 1) + box.format("dog", 20, 20, 60, 60, 0)))
    else:
        small = [[30, 30], [49, 30], [49, 49], [30, 49]]
        large = [[20, 20], [59, 20], [59, 59], [20, 59]]
        path = put("a.json", labelme(shape("dog", points=large), shape("cat", points=small)))
    convert(read_annotations(path), tmp_path / "out", ("mmseg", "coco-panoptic", "voc"))
    counts = Counter(load_labels(tmp_path / "out/mmseg/labels/a.png").ravel().tolist())
    assert (counts[0], counts[1]) == (400, 1200)  # cat, dog
    areas = json.loads((tmp_path / "out/coco-panoptic/panoptic.json").read_text())["annotations"][0]
    assert sorted(one["area"] for one in areas["segments_info"]) == [400, 1200]
    objects = Counter(load_labels(tmp_path / "out/voc/SegmentationObject/a.png").ravel().tolist())
    assert sorted(objects.values())[:2] == [400, 1200]


# ---------------------------------------------------------------------------------------------------- COCO


def coco(*annotations, image="a.jpg", classes=("cat", "dog"), size=SIZE):
    return {
        "images": [{"id": 1, "file_name": image, "height": size[0], "width": size[1]}],
        "categories": [{"id": k, "name": one} for k, one in enumerate(classes)],
        "annotations": [{"image_id": 1, "category_id": 0, **one} for one in annotations],
    }


def test_boxes_of_coco_are_masks_and_empty_objects_are_counted(put):
    bbox = {"bbox": [20, 10, 50, 40]}
    found, (record,) = read(
        put("a.json", coco({"segmentation": [], **bbox}, bbox, {}, {"segmentation": [[1, 1, 5, 5]]}))
    )
    assert boxes(record) == [("cat", (20, 10, 70, 50))] * 2
    assert [line.split(":")[0] for line in found.skipped.lines()] == [
        "left out annotations without segmentation and bbox",
        "left out objects without a pixel",
    ]


def test_a_file_of_sa_1b(put):
    image = {"image_id": 5, "file_name": "sa_5.jpg", "height": 2, "width": 3}
    _, (record,) = read(
        put("sa.json", {"image": image, "annotations": [{"segmentation": {"size": [2, 3], "counts": "06"}}]})
    )
    assert record.name == "sa_5.jpg" and boxes(record) == [("object", (0, 0, 3, 2))]


# ------------------------------------------------------------------------------------------- YOLO and VOC

ROW = "2 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"


@pytest.mark.parametrize(
    ("names", "label"),
    [
        ("\n".join(f'  "{k}": n{k}' for k in range(12)), "n2"),
        ("  0: n0\n  2: n2\n  5: n5", "n2"),
        ("  - n0\n  - n1\n  - n2", "n2"),
        ("  0: n0\n  1: n1", None),
    ],
)
def test_numbers_of_yolo_keep_their_names(put, tmp_path, names, label):
    put("images/a.jpg", Image.new("RGB", SIZE[::-1]))
    put("labels/a.txt", ROW)
    put("data.yaml", f"names:\n{names}\n")
    if label is None:
        with pytest.raises(DataError, match="expected a class that data.yaml names, got 2"):
            read(tmp_path)
    else:
        assert read(tmp_path)[1][0].regions[0].label == label


def test_layouts_and_rows_of_other_tools_for_yolo(put, tmp_path):
    for part in ("train", "valid"):
        put(f"{part}/images/a.jpg", Image.new("RGB", SIZE[::-1]))
        put(f"{part}/labels/a.txt", f"0 0.5 0.5 0.2 0.2 0.75\n{ROW} 0.5\n")
    put("data.yaml", "train: ../train/images\nnames: [cat, dog, cow]\n")
    _, records = read(tmp_path, images=None)
    assert [one.name for one in records] == ["train/a.jpg", "valid/a.jpg"]
    assert [(one.label, one.score) for one in records[0].regions] == [("cow", 0.5), ("cat", 0.75)]
    (tmp_path / "data.yaml").unlink()
    put("train/labels/classes.txt", "cat\ndog\ncow\n")
    with pytest.raises(DataError, match="valid"):  # each folder of its own
        read(tmp_path / "valid", "yolo")
    assert read(tmp_path / "train")[0].names == ("cat", "dog", "cow")


def test_the_smaller_object_of_yolo_is_on_top(put, tmp_path):
    put("images/a.jpg", Image.new("RGB", SIZE[::-1]))
    put("labels/a.txt", "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.9 0.9\n")
    put("data.yaml", "names: [small, large]\n")
    assert [one.label for one in read(tmp_path)[1][0].regions] == ["large", "small"]


def test_folders_called_images_do_not_lead_ultralytics_astray(put, tmp_path):
    put("photos/images/a.jpg", Image.new("RGB", SIZE[::-1]))
    path = put("c.json", coco({"bbox": [20, 10, 50, 40]}, image="images/a.jpg"))
    convert(read_annotations(path, images=tmp_path / "photos"), tmp_path / "out", "yolo")
    (image,) = (tmp_path / "out/yolo/images").rglob("*.jpg")
    head, tail = str(image).rsplit("/images/", 1)  # Ultralytics' rule, in own words
    assert tmp_path.joinpath(head, "labels", tail).with_suffix(".txt").is_file()


@pytest.mark.parametrize("coloured", [True, False])
def test_colours_and_names_of_voc(put, tmp_path, coloured):
    labels = np.zeros(SIZE, np.uint8)
    labels[10:50, 10:50] = 8 if coloured else 1
    picture = Image.fromarray(voc_colours()[labels]) if coloured else Image.fromarray(labels)
    put("SegmentationClass/a.png", picture)
    if not coloured:
        put("class_names.txt", "_background_\nwidget\n")
    _, (record,) = read(tmp_path)
    assert boxes(record) == [("cat" if coloured else "widget", (10, 10, 50, 50))]
    put("SegmentationClass/a.png", Image.fromarray(labels + np.uint8(40)))
    with pytest.raises(DataError, match="holds 4"):
        read(tmp_path)


def test_objects_that_share_a_number_in_voc_are_said(put, tmp_path):
    found = read_annotations(put("a.json", coco(*[{"bbox": [k % 150, k // 150, 1, 1]} for k in range(300)])))
    convert(found, tmp_path / "out", "voc")
    assert found.skipped.lines() == [
        "left out numbers of objects beyond 254 of one image in SegmentationObject: 1, the first in a.jpg"
    ]


# ----------------------------------------------------------------------------------------------- converting


def test_all_formats_are_written_and_what_is_left_out_is_counted(put, tmp_path):
    found = read_annotations(put("a.json", labelme(shape("cat"), shape("dog", "line"))))
    assert convert(found, tmp_path / "out", ("coco", "voc")) == 1
    assert len(json.loads((tmp_path / "out/coco/instances.json").read_text())["annotations"]) == 1
    assert (tmp_path / "out/voc/labelmap.txt").is_file() and len(found.skipped.lines()) == 1


def test_a_used_folder_is_refused_before_anything_is_written(put, tmp_path):
    found = read_annotations(put("a.json", coco({"bbox": [0, 0, 9, 9]})))
    convert(found, tmp_path / "out", "voc")
    with pytest.raises(UsageError, match="earlier conversion"):
        convert(found, tmp_path / "out", ("coco", "voc"))
    assert not (tmp_path / "out/coco").exists()


# --------------------------------------------------------------------------------------------------- bombs

STAR = [[0, 0, 199, 99] * 8000]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.xml",
            cvat(f'<mask label="cat" rle="{2**63}, {2**63}" left="0" top="0" width="1" height="1"/>'),
            "run",
        ),
        ("a.json", coco({"segmentation": STAR}), "outline of at most"),
        ("a.json", coco({"segmentation": [[1, 1]]}, size=(46_000, 46_000)), "at most 178,956,970 pixels"),
        (
            "a.json",
            coco({"segmentation": {"size": list(SIZE), "counts": "o" * 400_000}}),
            "expected run lengths",
        ),
        ("a.json", labelme(shape("cat", "circle", [[0, 0], [float("nan"), 1]])), "corners"),
    ],
)
def test_small_files_that_would_take_all_memory_are_refused(put, name, content, said):
    with pytest.raises(DataError, match=said):
        read(put(name, content))


def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(put):
    file = io.BytesIO()
    Image.new("1", (9_000, 5_000)).save(file, "PNG")
    mask = {**shape("cat", "mask", [[0, 0], [1, 1]]), "mask": base64.b64encode(file.getvalue()).decode()}
    with pytest.raises(DataError, match="expected a mask inside 200 x 100"):
        read(put("a.json", labelme(mask)))


def test_brushes_of_runs_of_one_bit_are_read_in_time():
    height, width = 60, 1000
    head = f"{4 * height * width:032b}" + f"{7:05b}" + "0000" * 4
    blocks = "1000" + "1" * 8 + "1001" + "0" * 8  # a run of one value, then of two
    bits = head + blocks * (4 * height * width // 3) + "1000" + "1" * 8
    bits += "0" * (-len(bits) % 8)
    start = time.process_time()
    mask = decode_brush(list(int(bits, 2).to_bytes(len(bits) // 8, "big")), (height, width))
    assert mask.mean() == pytest.approx(1 / 3, abs=1e-4) and time.process_time() - start < 3


@pytest.mark.parametrize("names", ["&a [x, *a]", "&a {0: x, 1: *a}"])
def test_aliases_in_yaml_are_refused(put, tmp_path, names):
    put("labels/a.txt", ROW)
    put("data.yaml", f"names: {names}\n")
    with pytest.raises(DataError, match="alias"):
        read(tmp_path)


def test_many_small_shapes_of_a_large_picture_take_little_memory(put):
    triangles = [shape("cat", points=[[k, k], [k + 9, k], [k, k + 9]]) for k in range(200)]
    _, (record,) = read(put("a.json", labelme(*triangles, imageHeight=4000, imageWidth=4000)))
    assert len(record.regions) == 200 and {one.mask.area for one in record.regions} == {55}
