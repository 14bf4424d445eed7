"""The page without a browser: what is computed, what is kept, what goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovseg
from ovseg.annotation.classes import read_classes
from ovseg.annotation.convert import convert
from ovseg.annotation.finder import MaskFinder
from ovseg.annotation.formats import read_annotations
from ovseg.annotation.review import review
from ovseg.annotation.run.annotate import annotate
from ovseg.annotation.run.folder import read_run
from ovseg.apps.page.answers import Step
from ovseg.apps.page.photos import ACCEPTED, OPEN, SKIPPED
from ovseg.errors import DataError, OvsegError, UsageError, one_line
from ovseg.model import Model
from ovseg.options import AnnotateOptions
from ovseg.segmenters.base import Segmenter


@pytest.fixture
def counts(monkeypatch, segmenter):
    """How often each encoder ran, and how many prompts were decoded."""
    found = {"clip": 0, "segmenter": 0, "prompts": 0}
    dense, encode, decode = Model.dense_features, type(segmenter)._encode, Segmenter.decode_many

    def counted_dense(self, *args, **named):
        found["clip"] += 1
        return dense(self, *args, **named)

    def counted_encode(self, *args):
        found["segmenter"] += 1
        return encode(self, *args)

    def counted_decode(self, embedding, prompts):
        found["prompts"] += len(prompts)
        return decode(self, embedding, prompts)

    monkeypatch.setattr(Model, "dense_features", counted_dense)
    monkeypatch.setattr(type(segmenter), "_encode", counted_encode)
    monkeypatch.setattr(Segmenter, "decode_many", counted_decode)
    segmenter._embeddings._values.clear()
    return found


def masks(view):
    """The pixels of each word."""
    size = view.picture.shape[:2]
    return {
        one.word: np.any([np.zeros(size, bool), *(found.mask(size) for found in one.found)], axis=0)
        for one in view.answers
    }


def rows_of(folder):
    return read_run(Path(folder))[2]


# ----------------------------------------------------------------------------- what is computed how often


def test_a_word_on_a_picture_already_seen_costs_its_own_decoding_only(counts, page, scenes):
    first = page.view()
    assert (counts["clip"], counts["segmenter"]) == (1, 1) and counts["prompts"] > 0
    assert all(one.found for one in first.answers)
    prompts = counts["prompts"]
    page.set_words(", ".join([*scenes[0].present[:2], "red star"]))
    third = page.view().answers[2]
    assert (counts["clip"], counts["segmenter"]) == (1, 1)
    assert not third.found and third.presence < 0.5 and counts["prompts"] == prompts
    page.set_words(", ".join(reversed(scenes[0].present[:2])))  # known words in another order
    again = page.view()
    assert counts["prompts"] == prompts
    assert [one.word for one in again.answers] == list(reversed([one.word for one in first.answers]))
    for word, mask in masks(again).items():
        assert np.array_equal(mask, masks(first)[word])


def test_a_click_decodes_its_word_only_and_undo_nothing(counts, page):
    before = page.view()
    prompts = counts["prompts"]
    page.click(64, 64)
    page.view()
    clicked = counts["prompts"] - prompts
    assert 0 < clicked < prompts
    page.undo()
    assert all(np.array_equal(mask, masks(before)[word]) for word, mask in masks(page.view()).items())
    page.click(64, 64)
    page.view()
    assert counts["prompts"] == prompts + clicked
    assert (counts["clip"], counts["segmenter"]) == (1, 1)


def test_pictures_that_were_seen_are_not_encoded_again(counts, page, photos):
    page.view()
    page.move(1)
    page.view()
    page.move(-1)
    page.view()
    assert (counts["clip"], counts["segmenter"]) == (2, 2)
    (photos / "again.png").write_bytes((photos / "scene_0.png").read_bytes())
    page.open_folder(photos / "again.png")
    assert page.view().name == "again.png"
    assert (counts["clip"], counts["segmenter"]) == (2, 2)


# ------------------------------------------------------------------------------------------- the answers


def test_masks_without_corrections_are_those_of_annotate(pages, photos, scenes, model, segmenter, tmp_path):
    words = list(dict.fromkeys(word for scene in scenes for word in scene.present))[:6]
    page = pages()
    page.open_folder(photos)
    page.set_words(", ".join(words))
    for _ in scenes:
        page.accept()
    page.export(["coco", "mmseg"])
    page.close()
    options = AnnotateOptions(batch=1)  # the page looks at one picture at a time
    finder = MaskFinder(model, segmenter, read_classes(words), options)
    annotate(photos, words, tmp_path / "other", finder, ["coco", "mmseg"])
    compared = 0
    for path in sorted((tmp_path / "other").rglob("*")):
        if (
            path.is_file()
            and path.name not in ("run.json", "manifest.jsonl", ".lock")
            and not path.is_symlink()
        ):
            assert path.read_bytes() == (tmp_path / "run" / path.relative_to(tmp_path / "other")).read_bytes()
            compared += 1
    assert compared > 8
    again = annotate(photos, words, tmp_path / "run", finder)
    assert (again.done, again.before) == (0, 3)  # the same settings: it goes on, and finds all done


@pytest.mark.parametrize("foreground", [True, False])
def test_corrections_are_those_of_a_session(pages, photos, scenes, model, segmenter, foreground):
    """Where pixels may belong to several words, a word's answer is that of TextToMask."""
    word, absent = scenes[0].present[0], "red star"
    page = pages(options=AnnotateOptions(overlap=True))
    page.open_folder(photos)
    page.set_words(f"{word}, {absent}")
    finder = ovseg.TextToMask(model, segmenter)
    for asked in (word, absent):
        session = finder.session(scenes[0].image)
        session.text(asked)
        wanted = session.click(40, 90, foreground)
        page.choose(asked)
        page.click(40, 90, foreground)
        view = page.view()
        found = next(one for one in view.answers if one.word == asked).found
        assert len(found) == len(wanted)
        for mine, mask in zip(found, wanted.masks, strict=True):
            assert np.array_equal(mine.mask(mask.shape), mask)


def test_what_was_clicked_last_keeps_its_pixels(page):
    one, two = (answer.word for answer in page.view().answers)
    for word in (one, two, one):
        page.choose(word)
        page.click(64, 64)
        pixels = masks(page.view())
        assert not (pixels[one] & pixels[two]).any()
        assert pixels[word].any()
        alone = page.view().answers[[one, two].index(word)]
        assert alone.clicks


def test_a_word_that_is_left_out_says_so_and_comes_back(page):
    word = page.view().chosen
    before = masks(page.view())
    page.leave_out()
    answer = page.view().answers[0]
    assert (answer.word, len(answer.found), answer.reason) == (word, 0, "you left it out of this photo")
    page.leave_out()
    assert np.array_equal(masks(page.view())[word], before[word])
    page.undo()
    assert not page.view().answers[0].found
    page.click(64, 64)
    assert page.view().answers[0].found


def test_an_absent_word_has_a_reason_and_a_click_brings_it(page, scenes):
    page.set_words("red star")
    (answer,) = page.view().answers
    assert not answer.found and answer.reason.startswith(f"presence {answer.presence:.2f} is below 0.50")
    page.click(64, 64)
    assert page.view().answers[0].found
    page.accept()
    page.close()
    (record,) = read_annotations(page.photos.out).records()
    assert [region.prompt for region in record.regions] == ["red star; + 64 64"]


# ------------------------------------------------------------------------------------ going through a folder


def test_accept_and_skip_go_on_and_are_found_after_a_restart(pages, photos, scenes):
    page = pages()
    page.open_folder(photos)
    page.set_words(", ".join(scenes[0].present[:2]))
    page.click(64, 64)
    page.click(10, 10, foreground=False)
    accepted = masks(page.view())
    page.accept()
    assert (page.view().name, page.view().accepted, page.view().skipped) == ("scene_1.png", 1, 0)
    page.skip()
    page.close()  # as when the process ends

    again = pages()
    again.open_folder(photos)
    again.set_words(", ".join(scenes[0].present[:2]))
    view = again.view()
    assert (view.name, view.accepted, view.skipped, view.state) == ("scene_2.png", 1, 1, OPEN)
    again.move(-1)
    assert again.view().state == SKIPPED
    again.move(-1)
    view = again.view()
    assert view.state == ACCEPTED and len(view.steps) == 2
    for word, mask in masks(view).items():
        assert np.array_equal(mask, accepted[word])
    records = {record.name: record for record in read_annotations(again.photos.out).records()}
    assert list(records) == ["scene_0.png"]
    kept = {
        word: np.any([r.mask.array() for r in records["scene_0.png"].regions if r.label == word], axis=0)
        for word in accepted
    }
    for word, mask in accepted.items():
        assert np.array_equal(kept[word], mask) or not mask.any()


def test_a_decision_may_be_changed(page):
    page.skip()
    page.move(-1)
    page.accept()
    assert (page.view().accepted, page.view().skipped) == (1, 0)
    page.move(-1)
    page.skip()
    assert (page.view().accepted, page.view().skipped) == (0, 1)
    assert page.view().name == "scene_1.png"


def test_after_the_last_picture_the_page_stays(page):
    for _ in range(3):
        page.accept()
    view = page.view()
    assert (view.name, view.accepted, view.state) == ("scene_2.png", 3, ACCEPTED)
    with pytest.raises(UsageError, match="this is the last photo"):
        page.move(1)


def test_words_may_change_on_the_way(page, scenes):
    page.accept()
    page.set_words(scenes[1].present[0])
    page.accept()
    outcome = page.export(["coco", "yolo"])
    names = {
        one["name"] for one in json.loads((page.photos.out / "coco/instances.json").read_text())["categories"]
    }
    assert names == {*scenes[0].present[:2], scenes[1].present[0]}
    assert set(outcome.masks) <= names and outcome.before == 2
    assert len(json.loads((page.photos.out / "run.json").read_text())["runs"]) == 2


def test_what_a_page_accepted_is_reviewed_and_converted(page, tmp_path):
    page.accept()
    page.skip()
    page.close()
    run = read_annotations(page.photos.out)
    assert convert(run, tmp_path / "other", ["voc", "labelme"]) == 1
    found = review(run, read_annotations(tmp_path / "other" / "voc"))
    assert found.images == 1


def test_pictures_that_are_added_are_kept_in_the_run_folder(pages, photos):
    page = pages()
    scene = (photos / "scene_1.png").read_bytes()
    page.upload("scene_1.png", scene)
    page.upload("scene_1.png", scene)
    page.upload("scene_1.png", (photos / "scene_0.png").read_bytes())
    view = page.view()
    assert (view.name, view.total) == ("scene_1_2.png", 2)
    page.set_words("purple triangle")
    page.accept()
    page.close()
    again = pages()
    assert (again.view().total, again.view().accepted, again.view().name) == (2, 1, "scene_1.png")
    again.open_folder(photos)
    assert again.view().total == 5


@pytest.mark.parametrize(
    "name, kept",
    [
        ("../../scene.png", "scene.png"),
        ("/etc/scene.png", "scene.png"),
        (r"C:\photos\scene.png", "scene.png"),
        (".scene.png", "scene.png"),
        ("sce\nne\0.png", "scene.png"),
        ("x" * 400 + ".png", None),
    ],
)
def test_the_name_of_an_added_picture_leads_nowhere_else(pages, photos, name, kept):
    page = pages()
    page.upload(name, (photos / "scene_0.png").read_bytes())
    (path,) = page.photos.out.rglob("*.png")
    assert path.parent == page.photos.out / "photos" and (kept is None or path.name == kept)
    assert page.view().picture is not None


def test_nothing_is_written_or_read_through_links_in_the_run_folder(pages, photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "photos").symlink_to(photos)
    page = pages()
    assert page.view().total == 0
    with pytest.raises(UsageError, match="photos is a link"):
        page.upload("scene.png", b"content")
    (run / "photos").unlink()
    (run / "photos").mkdir()
    (run / "photos" / "a.png").symlink_to(photos / "scene_0.png")
    (run / "photos" / "b.png").symlink_to(elsewhere / "b.png")
    again = pages()
    assert again.view().total == 0
    again.upload("b.png", b"content")
    assert (again.view().name, list(elsewhere.iterdir())) == ("b_2.png", [])


def test_where_other_machines_look_only_files_inside_the_folder_are_shown(pages, photos, tmp_path):
    """Fault 66: a link in the folder showed any picture of the machine."""
    private = tmp_path / "private.png"
    private.write_bytes((photos / "scene_0.png").read_bytes())
    (photos / "link.png").symlink_to(private)
    (photos / "own.png").symlink_to(photos / "scene_1.png")
    page = pages()
    for place in (photos, photos / "*.png"):
        (line,) = page.open_folder(place, confined=True)
        assert line.startswith("1 links to files outside") and page.view().total == 4
    page.open_folder(photos)
    assert page.view().total == 5
    only = tmp_path / "only"
    only.mkdir()
    (only / "link.png").symlink_to(private)
    with pytest.raises(UsageError, match="outside"):
        page.open_folder(only, confined=True)
    assert page.view().total == 5


def test_a_word_that_the_model_cannot_know_is_said_with_near_ones(page):
    page.set_words("purple trangle, red star")
    assert page.view().unknown == {
        "purple trangle": 'unknown word "trangle": did you mean triangle or orange?'
    }
    page.set_words("red star")
    assert page.view().unknown == {}


def test_a_threshold_of_a_word_is_its_own_and_stays_in_the_words(page):
    two = page.view().answers[1]
    page.set_threshold(two.word, min(1.0, two.presence + 0.001))
    after = page.view().answers
    assert after[0].found and not after[1].found and "is below" in after[1].reason
    assert (after[0].wanted, after[1].wanted) == (0.5, pytest.approx(two.presence + 0.001))
    assert f"{two.word} >= " in page.view().words
    page.set_threshold(two.word, 0)
    assert page.view().answers[1].found and page.view().answers[1].wanted == 0


# --------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "expected words such as 'sky, tree', got none"),
        (" , ,", "expected"),
        ("background", "expected a word besides 'background', got none"),
        ("a photo of " + "very " * 99 + "long", "too long|77|tokens"),
        (", ".join(f"word {number}" for number in range(2000)), "at most 100 words on the page, got 2000"),
        ("dog >= 5: dog", "threshold"),
        ("dog:", "expected"),
    ],
)
def test_words_that_cannot_be_asked_for_leave_all_as_it_was(page, words, said):
    before = page.view()
    with pytest.raises(UsageError, match=said) as caught:
        page.set_words(words)
    assert len(one_line(caught.value)) < 300
    assert page.view().words == before.words
    assert [one.word for one in page.view().answers] == [one.word for one in before.answers]


@pytest.mark.parametrize("folder", ["", "nowhere", "empty", "scene_0.png/x", "*.jpg", "http://a/b"])
def test_folders_without_pictures_leave_all_as_it_was(page, photos, folder):
    (photos / "empty").mkdir()
    with pytest.raises(UsageError, match="expected"):
        page.open_folder(photos / folder if folder else "")
    assert (page.view().name, page.view().total) == ("scene_0.png", 3)


def test_a_picture_that_cannot_be_read_is_said_and_can_be_skipped(pages, photos):
    (photos / "scene_0.png").write_bytes(b"no picture")
    page = pages()
    page.open_folder(photos)
    page.set_words("purple triangle")
    view = page.view()
    assert view.picture is None and view.answers == () and "scene_0.png" in view.problem
    for act in (page.accept, lambda: page.click(3, 3)):
        with pytest.raises(UsageError, match="that cannot be read"):
            act()
    page.skip()
    assert page.view().name == "scene_1.png"
    assert "scene_0.png" in rows_of(page.photos.out)["scene_0"]["error"]


def test_what_is_not_possible_yet_is_a_line(pages, photos):
    page = pages()
    for act in (page.accept, page.skip, lambda: page.move(1), lambda: page.click(1, 1), page.leave_out):
        with pytest.raises(UsageError, match="expected a photo first"):
            act()
    page.open_folder(photos)
    for act in (page.accept, page.skip, lambda: page.click(1, 1), lambda: page.choose("dog")):
        with pytest.raises(UsageError, match="expected words first"):
            act()
    page.set_words("purple triangle")
    for act, said in (
        (page.undo, "nothing to undo"),
        (lambda: page.click(500, 1), "expected"),
        (lambda: page.choose("dog"), "expected one of the words"),
        (lambda: page.move(-1), "this is the first photo"),
        (lambda: page.export(["coco"]), "expected a picture that was accepted, got none"),
        (lambda: page.export([]), "expected a format"),
        (lambda: page.export(["jpeg"]), "format"),
        (lambda: page.upload("", b""), "expected a photo such as"),
        (lambda: page.upload("../scene.txt", b""), "expected a photo such as .jpg or .png, got 'scene.txt'"),
        (lambda: page.set_threshold("dog", 0.5), "expected one of the words"),
        (lambda: page.set_threshold("purple triangle", 1.5), "threshold"),
    ):
        with pytest.raises(UsageError, match=said):
            act()
    assert not page.photos.out.exists()
    page.accept()
    with pytest.raises(UsageError, match="cityscapes"):
        page.export(["cityscapes"])


def test_another_run_in_the_folder_is_a_line(page, pages, photos):
    page.accept()
    other = pages()
    other.open_folder(photos)
    other.set_words("purple triangle")
    with pytest.raises(UsageError, match="another run writes there"):
        other.accept()
    page.close()
    other.accept()
    assert other.view().accepted == 2


def test_a_folder_of_something_else_is_refused(pages, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(DataError, match="holds something else"):
        pages()


def test_photos_whose_folder_was_moved_stay_accepted_and_are_linked_there(page, pages, photos):
    page.accept()
    page.close()
    photos.rename(photos.with_name("moved"))
    again = pages()
    again.open_folder(photos.with_name("moved"))
    assert again.view().accepted == 1
    again.set_words("red star")
    again.export(["yolo"])
    (link,) = (again.photos.out / "yolo/images").iterdir()
    assert link.resolve().parent.name == "moved"


def test_damaged_corrections_are_a_line(page, pages, photos):
    page.accept()
    page.photos._run.append({**rows_of(page.photos.out)["scene_0"], "steps": [["a", "b"]]})
    with pytest.raises(OvsegError, match="expected the corrections of a picture"):
        page.move(-1)
    assert page.view().name == "scene_1.png"


def test_corrections_of_words_that_are_gone_come_back_with_them(page):
    words = page.view().words
    page.click(64, 64)
    page.set_words("red star")
    assert page.view().answers[0].clicks == ()
    page.set_words(words)
    assert page.view().answers[0].clicks == ((64, 64, True),)
    assert page._steps == [Step(page.view().answers[0].word, (64, 64, True))]


def test_large_pictures_keep_places_of_clicks(pages, tmp_path):
    Image.new("RGB", (3000, 40), "white").save(tmp_path / "wide.png")
    page = pages()
    page.open_folder(tmp_path / "wide.png")
    page.set_words("purple triangle")
    page.click(2999, 39)
    assert page.view().answers[0].clicks == ((2999, 39, True),)
