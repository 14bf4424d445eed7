"""Readers of the benchmarks in their own layouts, what is checked before a run, and data sets by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import DataError, OvsegError, UsageError
from ovseg.evaluation.data.cityscapes import read_cityscapes
from ovseg.evaluation.data.coco import read_coco2017, read_coco_stuff
from ovseg.evaluation.data.context import read_context
from ovseg.evaluation.data.items import ItemSet
from ovseg.evaluation.data.registry import DATA_SETS, SCENES, parse_source, parse_sources, read_scenes
from ovseg.evaluation.data.samples import WORDNET_IDS, read_ids, read_imagenet_s50, read_photos, read_voc
from ovseg.evaluation.data.tags import read_nus_wide, read_tags, tags_of
from ovseg.words.vocabulary import load_vocabulary

SIZE = (20, 30)


def picture(path, seed=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def label(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def lines(path, *words):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{word}\n" for word in words))


# ------------------------------------------------------------------------------------------ layouts


def imagenet_s(root, values=None):
    """Two pictures of the second and the last class; the mask of the first has all three kinds of pixels."""
    ids = np.full(SIZE, 2)
    ids[:4], ids[4:8] = 0, 1000
    for wordnet, name, mask in ((WORDNET_IDS[1], "a", ids), (WORDNET_IDS[49], "b", np.full(SIZE, 50))):
        picture(root / "validation" / wordnet / f"{name}.JPEG")
        coded = np.stack([mask % 256, mask // 256, np.zeros(SIZE, int)], axis=-1)
        label(root / "validation-segmentation" / wordnet / f"{name}.png", coded)
    return read_imagenet_s50(root)


def test_imagenet_s_codes_its_ids_in_colours(tmp_path):
    samples = imagenet_s(tmp_path)
    samples.check()
    first, last = samples
    assert samples.names == load_vocabulary("imagenet_s50").names and len(samples.names) == 50
    assert first.name == f"{WORDNET_IDS[1]}/a" and list(first.masks) == ["tiger shark"]
    assert first.masks["tiger shark"][8:].all() and not first.masks["tiger shark"][:8].any()
    assert first.valid[:4].all() and not first.valid[4:8].any()  # "other" counts as ground, 1000 does not
    assert list(last.masks) == ["agaric"]


def test_odd_folders_and_ids_of_imagenet_s(tmp_path):
    imagenet_s(tmp_path)
    bad = label(tmp_path / "bad.png", np.full((*SIZE, 3), (51, 0, 0)))
    with pytest.raises(DataError, match=r"expected ids below 51 or 1000 as red \+ 256 x green.*holds 51"):
        read_ids(bad, 51)
    with pytest.raises(DataError, match="holds 1"):
        read_ids(label(bad, np.full((*SIZE, 3), (1, 0, 9))), 51)
    label(tmp_path / "validation-segmentation" / "n00000000" / "x.png", np.zeros((*SIZE, 3)))
    with pytest.raises(DataError, match="expected the 50 folders of ImageNet-S-50, .* has n00000000"):
        read_imagenet_s50(tmp_path)
    with pytest.raises(UsageError, match=r"validation-segmentation does not exist"):
        read_imagenet_s50(tmp_path / "other")


def context(root):
    lines(root / "ImageSets" / "SegmentationContext" / "val.txt", "a", "b")
    for name, value in (("a", 1), ("b", 59)):
        picture(root / "JPEGImages" / f"{name}.jpg")
        values = np.zeros(SIZE)
        values[:, :10], values[:, 20:] = value, 255
        label(root / "SegmentationClassContext" / f"{name}.png", values)
    return read_context(root)


def test_pascal_context(tmp_path):
    samples = context(tmp_path)
    samples.check()
    assert samples.names == load_vocabulary("pascal_context59").names
    assert [list(one.masks) for one in samples] == [[samples.names[0]], [samples.names[58]]]
    assert all(one.valid[:, :20].all() and not one.valid[:, 20:].any() for one in samples)


def test_coco_2017_as_it_is_unpacked(tmp_path):
    picture(tmp_path / "val2017" / "000000000007.jpg")
    content = {
        "images": [{"id": 7, "file_name": "000000000007.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[0, 0, 10, 0, 10, 20, 0, 20]],
             "iscrowd": 0, "area": 200, "bbox": [0, 0, 10, 20]}
        ],
    }  # fmt: skip
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    samples = read_coco2017(tmp_path)
    samples.check()
    before = samples.digest(0)
    assert list(samples.load(0).masks) == ["dog"]
    content["annotations"][0]["category_id"] = 18
    content["annotations"][0]["area"] = 201  # what decides is in the annotation too
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    assert read_coco2017(tmp_path).digest(0) != before
    with pytest.raises(UsageError, match="train2017 does not exist"):
        read_coco2017(tmp_path, "train")


def test_coco_stuff_and_cityscapes(tmp_path):
    picture(tmp_path / "s/images/val2017/7.jpg")
    label(tmp_path / "s/annotations/val2017/7_labelTrainIds.png", np.full(SIZE, 170))
    picture(tmp_path / "c/leftImg8bit/val/bonn/bonn_1_leftImg8bit.png")
    label(tmp_path / "c/gtFine/val/bonn/bonn_1_gtFine_labelTrainIds.png", np.full(SIZE, 18))
    for read, root, count in ((read_coco_stuff, "s", 171), (read_cityscapes, "c", 19)):
        samples = read(tmp_path / root)
        samples.check()
        (sample,) = samples
        assert len(samples.names) == count and list(sample.masks) == [samples.names[-1]]
    with pytest.raises(UsageError, match=r"expected Cityscapes with CITY/\*_gtFine_labelTrainIds"):
        read_cityscapes(tmp_path / "s")


def nus_wide(root, place="Flickr/actor"):
    names = load_vocabulary("nus_wide").names
    lines(root / "ImageList/TestImagelist.txt", "actor\\0001_1.jpg", "actor\\0002_2.jpg")
    for name in names:
        there = ("1", "0") if name in ("sky", "person") else ("0", "1" if name == "zebra" else "0")
        lines(root / f"Groundtruth/TrainTestLabels/Labels_{name}_Test.txt", *there)
    for name in ("0001_1.jpg", "0002_2.jpg"):
        picture(root / place / name)


@pytest.mark.parametrize("place", ["Flickr/actor", "images/actor", "Flickr", "images"])
def test_nus_wide_and_its_places_for_pictures(tmp_path, place):
    nus_wide(tmp_path, place)
    tags = read_nus_wide(tmp_path)
    tags.check()
    assert len(tags) == 2 and len(tags.names) == 81
    first, second = tags
    assert [tags.names[k] for k in np.flatnonzero(first.truth)] == ["person", "sky"]
    assert [tags.names[k] for k in np.flatnonzero(second.truth)] == ["zebra"]
    assert (tags.truth(1) == second.truth).all() and first.image.shape == (*SIZE, 3)


def test_odd_files_of_nus_wide(tmp_path):
    nus_wide(tmp_path)
    lines(tmp_path / "ConceptsList" / "Concepts81.txt", "sky", "person")
    assert read_nus_wide(tmp_path).names == ("sky", "person")
    lines(tmp_path / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt", "1")
    with pytest.raises(DataError, match=r"expected 2 lines of 0 or 1 in .*Labels_sky_Test\.txt, it has 1"):
        read_nus_wide(tmp_path)
    lines(tmp_path / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt", "1", "2")
    with pytest.raises(DataError, match="0 or 1"):
        read_nus_wide(tmp_path)
    (tmp_path / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt").unlink()
    with pytest.raises(UsageError, match=r"Labels_sky_Test\.txt does not exist"):
        read_nus_wide(tmp_path)
    with pytest.raises(UsageError, match="unknown split 'val'"):
        read_nus_wide(tmp_path, "val")


def test_a_list_of_labels_and_labels_of_masks(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "names.tsv").write_text("a\tdog, cat\n")
    tags = read_tags(tmp_path)
    assert tags.names == ("cat", "dog") and tags.load(0).truth.tolist() == [1, 1]
    (tmp_path / "names.tsv").write_text("a\n")
    with pytest.raises(UsageError, match=r"names\.tsv, line 1: expected a name, a tab and labels"):
        read_tags(tmp_path)
    of_masks = tags_of(context(tmp_path / "context"))
    assert [int(of_masks.truth(k).argmax()) for k in (0, 1)] == [0, 58]
    assert of_masks.load(1).truth.sum() == 1 and len(of_masks) == 2


# ------------------------------------------------------------------------- before anything is loaded


def test_a_missing_or_odd_file_is_one_line(tmp_path):
    samples = context(tmp_path)
    samples.check()
    mask = tmp_path / "SegmentationClassContext" / "a.png"
    for change, message in (
        (lambda: label(mask, np.zeros((5, 5))), r"expected labels of \(20, 30\) pixels.*a\.png has \(5, 5\)"),
        (lambda: mask.write_bytes(b"no picture"), r"a\.png is not one"),
        (mask.unlink, r"a\.png, it does not exist"),
        ((tmp_path / "JPEGImages" / "b.jpg").unlink, r"a\.png, it does not exist \(1 more like it\)"),
    ):
        change()
        with pytest.raises(DataError, match=message) as caught:
            samples.check()
        assert "\n" not in str(caught.value) and str(caught.value).startswith("PASCAL Context: ")
    samples.first(1).check(headers=False) if mask.exists() else None
    with pytest.raises(DataError, match="cannot be read"):
        samples.digest(0)


def test_a_picture_turned_by_exif_fits_its_upright_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    turned = Image.new("RGB", (20, 30))
    turned.save(tmp_path / "images" / "a.jpg", exif=exif)
    label(tmp_path / "masks" / "a.png", np.zeros((20, 30)))
    lines(tmp_path / "classes.txt", "sky")
    lines(tmp_path / "val.txt", "a")
    read_photos(tmp_path).check()


def test_the_digest_is_that_of_the_content(tmp_path):
    samples = context(tmp_path)
    first = samples.digest(0)
    assert first == context(tmp_path).digest(0) != samples.digest(1)
    values = np.zeros(SIZE)
    values[0, 0] = 5
    label(tmp_path / "SegmentationClassContext" / "a.png", values)
    assert samples.digest(0) != first


def test_a_set_is_cut_and_read_again():
    numbers = ItemSet("numbers", ("n",), "abc", lambda index: index)
    assert list(numbers) == list(numbers) == [0, 1, 2] and list(numbers.first(2)) == [0, 1]
    assert numbers.first(None) is numbers
    for wrong in (0, -1, 2.5):
        with pytest.raises(UsageError, match="expected limit"):
            numbers.first(wrong)


# ------------------------------------------------------------------------------------------ by name


def test_data_sets_by_name(tmp_path):
    context(tmp_path / "context")
    source = parse_source(f"pascal_context={tmp_path / 'context'}")
    assert len(source.samples()) == 2 and len(source.tags()) == 2
    nus_wide(tmp_path / "nus")
    assert len(parse_source(f"nus_wide={tmp_path / 'nus'}:test").tags()) == 2
    with pytest.raises(UsageError, match="expected a data set with masks, got nus_wide"):
        parse_source(f"nus_wide={tmp_path / 'nus'}").samples()
    assert len(parse_source("scenes=3").samples()) == 3 == len(read_scenes(3))
    assert len(parse_sources(["scenes=3", "scenes=3"])) == 1


def test_photographs_with_other_names(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    label(tmp_path / "masks" / "a.png", np.ones(SIZE))
    lines(tmp_path / "classes.txt", "background", "pottedplant")
    lines(tmp_path / "val.txt", "a")
    lines(tmp_path / "names.txt", "background", "potted plant")
    source = parse_source(f"photos={tmp_path}:val:{tmp_path / 'names.txt'}")
    assert list(source.samples().load(0).masks) == ["potted plant"]
    with pytest.raises(UsageError, match="expected 2 names"):
        read_photos(tmp_path, names=["one"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("voc=x", "expected a data set as KIND=FOLDER"),
        ("voc2012", "expected a data set as KIND=FOLDER"),
        ("voc2012=", "expected a data set as KIND=FOLDER"),
        ("scenes=many", "expected the number of scenes"),
        ("scenes=0", "expected the number of scenes"),
        ("voc2012=a:val:x", "expected voc2012=FOLDER:SPLIT"),
    ],
)
def test_a_wrong_data_set_is_misuse(text, message):
    with pytest.raises(UsageError, match=message):
        parse_source(text)


@pytest.mark.parametrize("kind", DATA_SETS)
def test_every_kind_says_what_is_missing(tmp_path, kind):
    for root in (tmp_path / "none", tmp_path):
        with pytest.raises(OvsegError, match="expected") as caught:
            source = parse_source(f"{kind}={root}")
            source.tags()
        assert "\n" not in str(caught.value)
    assert kind != SCENES


def test_voc_is_read_by_the_registry(tmp_path):
    picture(tmp_path / "JPEGImages" / "a.jpg")
    label(tmp_path / "SegmentationClass" / "a.png", np.full(SIZE, 20))
    lines(tmp_path / "ImageSets" / "Segmentation" / "val.txt", "a")
    found = parse_source(f"voc2012={tmp_path}").samples()
    assert list(found.load(0).masks) == [load_vocabulary("voc20").names[19]]
    assert len(found.names) == 20 == len(read_voc(tmp_path, load_vocabulary("voc21").names).names)
