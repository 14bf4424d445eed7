"""The peers' own class lists, held to the facts that are known of the published files.

The digests are those of the lists as they were read from the peers' repositories, one class a line and its
texts separated by ", ".
"""

from __future__ import annotations

import hashlib

import pytest

from ovseg.words.vocabulary import Vocabulary, list_vocabularies, load_vocabulary

# name -> classes, texts, background words (None: no background class)
SIZES = {
    "voc21_sclip": (21, 56, 26),
    "voc20_sclip": (20, 30, None),
    "context59_sclip": (59, 59, None),
    "context60_sclip": (60, 60, 1),
    "coco_object_sclip": (81, 113, 26),
    "coco_stuff164k_sclip": (171, 171, None),
    "cityscapes_sclip": (19, 19, None),
    "ade20k_sclip": (150, 150, None),
    "voc21_clearclip": (21, 21, 1),
    "voc20_clearclip": (20, 20, None),
    "coco_object_clearclip": (81, 81, 1),
    "voc21_proxyclip": (21, 46, 26),
    "coco_object_proxyclip": (81, 97, 17),
}
PEERS = ("_sclip", "_clearclip", "_proxyclip")


def published(vocabulary: Vocabulary) -> str:
    """The list in the form in which the peers publish theirs."""
    return "\n".join(", ".join(texts) for texts in vocabulary.texts)


def test_every_peer_list_is_in_the_table():
    assert {name for name in list_vocabularies() if name.endswith(PEERS)} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_peer_list_has_its_published_number_of_classes_and_texts(name):
    found = load_vocabulary(name)
    words = None if found.background is None else len(found.texts[found.background])
    assert (len(found), len(found.flat), words) == SIZES[name]
    assert found.background in (None, 0)  # the peers send uncertain pixels to class 0


@pytest.mark.parametrize(
    "ours, theirs, count",
    [
        ("coco_stuff164k", "coco_stuff164k_sclip", 46),
        ("ade20k", "ade20k_sclip", 15),
        ("cityscapes", "cityscapes_sclip", 2),
        ("pascal_context59", "context59_sclip", 2),
    ],
)
def test_a_peer_list_differs_from_ours_in_as_many_names_as_the_files_do(ours, theirs, count):
    pairs = zip(load_vocabulary(ours).names, load_vocabulary(theirs).names, strict=True)
    assert sum(one != other for one, other in pairs) == count


def test_sclip_gives_person_and_television_several_texts_and_26_background_words():
    voc = dict(zip(load_vocabulary("voc21_sclip").names, load_vocabulary("voc21_sclip").texts, strict=True))
    assert len(voc["person"]) == 7 and len(voc["television monitor"]) == 5
    assert {"desk", "sands"} <= set(voc["background"]) and len(voc["background"]) == 26
    assert load_vocabulary("voc21_sclip").texts[1:] == load_vocabulary("voc20_sclip").texts
    coco = load_vocabulary("coco_object_sclip")
    assert coco.texts[0] == voc["background"] and coco.texts[1] == (*voc["person"], "body")


def test_the_class_bed_is_among_the_background_words_of_coco_object_as_it_was_published():
    found = load_vocabulary("coco_object_sclip")
    assert found.flat.count("bed") == 2 and "bed" in found.texts[0] and "bed" in found.names
    assert load_vocabulary("coco_object").flat.count("bed") == 1  # ours has no such word


def test_clearclip_gives_each_class_one_text():
    for name in ("voc21", "voc20", "coco_object"):
        found = load_vocabulary(f"{name}_clearclip")
        assert all(len(texts) == 1 for texts in found.texts)
    assert load_vocabulary("voc21_clearclip").texts[1:] == load_vocabulary("voc20_clearclip").texts
    assert load_vocabulary("coco_object_clearclip").names == load_vocabulary("coco_object_proxyclip").names


@pytest.mark.parametrize(
    "name, digest",
    [
        ("voc21_sclip", "80e643a9a1439668"),
        ("voc20_sclip", "c68f65a2b342397c"),
        ("context59_sclip", "cd808465f06a1616"),
        ("context60_sclip", "e29ff1a0eaea71eb"),
        ("coco_object_sclip", "3475d03d61f85ce0"),
        ("coco_stuff164k_sclip", "fb98709b9ab1baff"),
        ("cityscapes_sclip", "6f6782fc1bf92bfd"),
        ("ade20k_sclip", "e53ded02c488bdb9"),
        ("voc21_clearclip", "265d9ede93be451d"),
    ],
)
def test_a_peer_list_is_letter_for_letter_the_published_one(name, digest):
    assert hashlib.sha256(published(load_vocabulary(name)).encode()).hexdigest()[:16] == digest
