"""Words: what is asked for, its maps and its presence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ovseg
from ovseg.errors import UsageError
from ovseg.evaluation.data.scenes import NAMES, make_scene
from ovseg.maps.recognition import BORDER, WIDTH, level, presences
from ovseg.masks import TextToMask
from ovseg.masks.encoded import Asked, parse_words, rate, words_of_classes
from ovseg.options import RIVALS
from ovseg.words.vocabulary import as_vocabulary


def test_commas_separate_texts_and_plus_joins_names():
    (word,) = parse_words("person + bench", 0.3)
    assert word.texts == tuple(word.names) == ("person", "bench")
    assert word.text == "person + bench" and word.threshold == 0.3
    words = parse_words("sky, person+bench ,park bench")
    assert [word.texts for word in words] == [("sky",), ("person", "bench"), ("park bench",)]
    (word,) = parse_words(["salt, with pepper"])
    assert word.texts == ("salt, with pepper",)


@pytest.mark.parametrize(
    "text",
    [
        None, 5, b"sky", object(), np.zeros(3), np.array("sky"), torch.zeros(2), [], (), {"sky", "cow"},
        "", "  ", ",", "sky,", "sky,,cow", "+", "a+a", "a++b", "bench+", ["a", ""], [None], [["sky"]],
        ["\ud800"],
    ],
    ids=lambda text: type(text).__name__,
)  # fmt: skip
def test_wrong_texts_are_one_clear_line(text):
    with pytest.raises(UsageError, match="expected") as caught:
        parse_words(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_classes_have_their_own_thresholds_and_the_background_is_no_word():
    vocabulary = as_vocabulary({"background": "wall", "car": "car, automobile", "dog": "dog"})
    words = words_of_classes(vocabulary, {"dog": 0.7}, 0.4)
    assert [(word.text, word.texts, word.threshold) for word in words] == [
        ("car", ("car", "automobile"), 0.4),
        ("dog", ("dog",), 0.7),
    ]


def test_texts_are_encoded_in_one_call_each_once(t2m, monkeypatch):
    calls = []
    encode = t2m.model.encode_text
    monkeypatch.setattr(
        t2m.model, "encode_text", lambda texts, *more: calls.append(list(texts)) or encode(texts, *more)
    )
    asked = Asked.of(t2m._setup, parse_words("sky, stripes+sky, Tree"), ["poster", "POSTER", "Grass"])
    (texts,) = calls
    assert len(texts) == len(set(texts)) == len(asked.features) and texts[-1] == ""
    assert [text for text in texts if text.lower() == "poster"] == ["POSTER"]  # to CLIP they are one
    sky, both, tree = asked.words
    assert "sky" not in asked.rivals_of(sky) and "sky" not in asked.rivals_of(both)
    assert "tree" not in asked.rivals_of(tree) and "sky" in asked.rivals_of(tree)


WORDS = ["sheep", "lawn", "brown dogs", "ship", "cat"]
"""What nobody may find at their places: rivals that mean them."""
MEANT = [{"animal"}, {"grass"}, {"dog", "animal"}, {"boat"}, {"cat"}]


def test_everyday_words_that_mean_a_text_are_not_its_rivals():
    model = ovseg.load_model("small")
    t2m = ovseg.TextToMask(model, ovseg.load_segmenter("grabcut"), templates="plain")
    asked = Asked.of(t2m._setup, parse_words(WORDS))
    assert [set(RIVALS) - set(asked.rivals_of(word)) for word in asked.words] == MEANT


def test_what_the_caller_chose_is_a_rival_however_alike():
    model = ovseg.load_model("small")
    t2m = ovseg.TextToMask(model, ovseg.load_segmenter("grabcut"), templates="plain")
    (lawn,) = words = parse_words("lawn")
    assert "Grass" in Asked.of(t2m._setup, words, ["Grass"]).rivals_of(lawn)
    own = ovseg.TextToMask(model, t2m.segmenter, templates="plain", rivals=["grass", "lawn", "dry lawn"])
    assert Asked.of(own._setup, words).rivals_of(lawn) == ("grass", "dry lawn")


def test_a_request_parses_and_encodes_once_and_clicks_do_neither(t2m, monkeypatch):
    calls = {"parse": 0, "encode": 0, "load": 0, "decode": 0}

    def counted(name, function):
        def run(*args, **named):
            calls[name] += 1
            return function(*args, **named)

        return run

    from ovseg.masks import predictor, session

    monkeypatch.setattr(predictor, "parse_words", counted("parse", parse_words))
    monkeypatch.setattr(session, "parse_words", counted("parse", parse_words))
    monkeypatch.setattr(predictor, "load_image", counted("load", predictor.load_image))
    monkeypatch.setattr(t2m.model, "encode_text", counted("encode", t2m.model.encode_text))
    monkeypatch.setattr(t2m.segmenter, "decode_many", counted("decode", t2m.segmenter.decode_many))
    scene = make_scene(505)
    t2m.predict_texts(scene.image, list(NAMES))
    assert calls == {"parse": 1, "encode": 1, "load": 1, "decode": 1}
    list(t2m.predict_each([scene.image] * 3, "red circle, stripes"))
    assert calls == {"parse": 2, "encode": 2, "load": 4, "decode": 4}
    asked = t2m.ask("red circle")
    assert (calls["parse"], calls["encode"]) == (3, 3)
    t2m.predict_texts(scene.image, asked)
    session = t2m.session(scene.image)
    session.text("red circle")
    assert (calls["parse"], calls["encode"]) == (4, 4)
    for x in (20, 40, 60):
        session.click(x, 50)
    session.undo()
    session.box(10, 10, 60, 60)
    assert (calls["parse"], calls["encode"]) == (4, 4)


# ------------------------------------------------------------------------------------------ maps


def test_our_map_is_low_where_another_word_fits_better(always, things):
    scene = make_scene(503)
    name = things(scene)[0]
    found = always.predict(scene.image, name)
    raw = always.model.similarity(scene.image, name).grid[0].copy()
    rivals = always.model.similarity(scene.image, list(always.options.rivals)).grid
    scale = float(always.model.clip.logit_scale.exp())
    wanted = raw - np.log1p(np.exp(scale * rivals.astype(np.float64)).sum(0)) / scale
    assert np.allclose(found.maps[0], wanted, atol=1e-5)
    alone = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=[])
    assert np.allclose(alone.predict(scene.image, name).maps[0], raw, atol=1e-5)


@pytest.mark.parametrize("rule", ["components", "paper"])
def test_the_best_of_several_texts_counts_in_map_and_presence(model, segmenter, rule):
    setup = TextToMask(model, segmenter, point_rule=rule)._setup
    features = setup.encode(make_scene(5, (64, 96)).image).features
    one, several = (
        rate(setup, Asked.of(setup, words_of_classes(as_vocabulary(names), {}, 0.5)), features)
        for names in ({"x": ["red circle", "stripes"]}, ["red circle", "stripes"])
    )
    assert np.allclose(one[0].maps[0], np.max([rated.maps[0] for rated in several], axis=0), atol=1e-6)
    shares = [share for rated in several for share in rated.presence.values()]
    assert one[0].presence["x"] == pytest.approx(max(shares))


# -------------------------------------------------------------------------------------- presence


def test_present_texts_score_higher_than_absent_ones(model, segmenter):
    """tools/interactive.py measures this on photographs too; here nothing is decoded."""
    strict = TextToMask(model, segmenter, presence_threshold=1.0)
    asked = strict.ask(list(NAMES))
    scenes = [make_scene(seed) for seed in range(500, 516)]
    here, away = [], []
    for scene, answers in zip(
        scenes, strict.predict_each([scene.image for scene in scenes], asked), strict=True
    ):
        for found in answers:
            share = found.presence[found.text]
            assert 0 <= share <= 1 and len(found) == 0 and found.masks.shape == (0, *scene.image.shape[:2])
            assert found.reason.startswith(f"not in this picture: '{found.text}' (presence 0.")
            (here if found.text in scene.present else away).append(share)
    assert len(here) > 50 and len(away) > 500
    assert np.mean([[h > a for a in away] for h in here]) > 0.85


def test_capitals_and_spaces_do_not_change_presence(always):
    """The everyday words are rivals of a text, but not of itself."""
    image = make_scene(3).image
    assert "person" in always.options.rivals
    shares = [always.predict(image, text).presence[text] for text in ("person", "Person", "PERSON")]
    assert np.ptp(shares) < 1e-5  # as rivals of themselves they would differ a hundred times as much
    rivals = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=["Green   Leaf"])
    alone = TextToMask(always.model, always.segmenter, presence_threshold=0, rivals=[])
    own, without = (one.predict(image, "green leaf").presence["green leaf"] for one in (rivals, alone))
    assert own == pytest.approx(without)


def test_a_model_of_the_sigmoid_loss_says_itself_how_likely_a_text_is(model, segmenter, monkeypatch):
    """SigLIP: σ(scale · cos + bias) of the best window's class token."""
    monkeypatch.setattr(model.clip, "logit_bias", torch.tensor(-2.5), raising=False)
    image = make_scene(3, (64, 96)).image
    t2m = TextToMask(model, segmenter, size=64)
    found = t2m.predict(image, "red circle")
    tokens = t2m.session(image)._encoded.features.class_tokens
    text = model.encode_text(["red circle"], "paper")[0]
    wanted = torch.sigmoid(model.logit_scale * (tokens @ text).max() - 2.5)
    assert found.presence["red circle"] == pytest.approx(float(wanted), abs=1e-5)
    assert len(found) == 0 or found.presence["red circle"] >= 0.5


def probability(text, rivals, scale):
    """The softmax over a text, its rivals and the empty string, one place after the other."""
    return np.array(
        [
            np.exp(scale * one) / (np.exp(scale * one) + sum(np.exp(scale * r) for r in row) + 1)
            for one, row in zip(text, rivals, strict=True)
        ]
    )


def test_log_odds_are_those_of_the_probability():
    rng = np.random.default_rng(1)
    text, rivals = rng.normal(0, 0.03, 40), rng.normal(0, 0.03, (40, 5))
    for scale in (15.0, 100.0):
        share = probability(text, rivals, scale)
        assert np.allclose(text - level(rivals, scale), np.log(share / (1 - share)) / scale)
    assert np.allclose(text - level(rivals[:, :0], 100.0), text)  # alone against the empty string
    assert np.isfinite(text + 2 - level(rivals - 2, 100.0)).all()


def test_presence_is_a_probability_against_the_empty_string_and_rivals():
    rng = np.random.default_rng(0)
    text, rivals = rng.normal(0, 0.02, 50), rng.normal(0, 0.02, (50, 3))
    wanted = np.sort(probability(text, rivals, 50))[-1:].mean()  # one place of fifty
    whole = probability(np.array([0.03]), np.array([[0.01, -0.02, 0.0]]), 50)[0]
    score = np.log(wanted * whole) - BORDER

    def presence(text, image, rivals, rival_images):
        levels = level(rivals, 50), level(rival_images[None], 50)
        return float(presences(text[:, None], np.array([[image]]), *levels, 50)[0])

    found = presence(text, 0.03, rivals, np.array([0.01, -0.02, 0.0]))
    assert found == pytest.approx(1 / (1 + np.exp(-score / WIDTH)))
    shares = [presence(text + d, d, rivals, np.zeros(3)) for d in (-2.0, -0.2, 0.0, 0.2, 2.0)]
    assert shares == sorted(shares) and 0 <= shares[0] < 0.01 and shares[-1] > 0.9
    assert BORDER < 0
