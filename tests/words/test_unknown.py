"""Words that a model cannot know: plain words are never among them, typing errors and other languages are."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

import ovseg
from ovseg.clip import unknown
from ovseg.clip.unknown import Unknown, unknown_words
from ovseg.words import spelling
from ovseg.words.spelling import class_words, is_word, near_words, split_words

GERMAN = (
    "Hund Katze Fahrrad Baum Haus Himmel Kuh Pferd Schaf Vogel Fisch Stuhl Tisch Tür Straße Fluss Brücke Zug Schiff "
    "Flugzeug Frau Junge Apfel Birne Kirsche Brot Käse Löffel Gabel Flasche Kissen Teppich Boden Dach Garten Blume "
    "Wiese Schnee Regen Wolke Sonne Koffer Tasche Regenschirm Zeitung Bildschirm Tastatur Schuh Kleid Brille Ampel "
    "Zaun Mauer Treppe Kirche Turm Bahnhof Flughafen Löwe Affe Esel Ziege Schwein Ente Frosch Schlange Biene Spinne "
    "Berg Tasse Strand"
).split()
FRENCH = (
    "chien vélo arbre maison voiture ciel vache mouton oiseau poisson fenêtre montagne rivière bateau homme enfant "
    "garçon pomme poire cerise lait assiette cuillère fourchette couteau bouteille coussin toit jardin feuille forêt "
    "pierre rocher neige nuage soleil étoile parapluie livre ordinateur écran téléphone pantalon lunettes raquette "
    "panneau clôture escalier église aéroport éléphant girafe chèvre cochon grenouille abeille araignée chapeau "
    "fromage papillon"
).split()
PLAIN = (
    "sunflower seagull tabby whiskers hooves croissant pizza zucchini grey lorry pavement firefighter waitress bride "
    "windshield bookshelf tablecloth toothbrush dishwasher doorknob wooden rusty shiny bluish smiling walking parked "
    "skateboarder leaves boxes berries"
).split()


@pytest.fixture(scope="module")
def small():
    return ovseg.load_model("small", cache=False)


def words_of(found):
    return [one.word for one in found]


def test_plain_words_are_known(small):
    """Every word of the class lists of data sets, and others."""
    assert len(class_words()) > 300
    assert small.unknown_words([*sorted(class_words()), *PLAIN]) == []


@pytest.mark.parametrize("words, least", [(GERMAN, 0.9), (FRENCH, 0.85)])
def test_words_of_other_languages_are_unknown(small, monkeypatch, words, least):
    monkeypatch.setattr(unknown, "MOST", 0)  # near words are not looked for here
    assert len(small.unknown_words(words)) >= least * len(words)


def errors():
    """Two random edits of one letter for every longer word of the class lists, with the word."""
    draw = random.Random(0)
    made = {}
    for word in sorted(one for one in class_words() if len(one) > 4):
        for kind in draw.sample(("swap", "drop", "double", "replace"), 2):
            place = draw.randrange(1, len(word) - 1)
            head, letter, tail = word[:place], word[place], word[place + 1 :]
            typed = {
                "swap": head + tail[0] + letter + tail[1:],
                "drop": head + tail,
                "double": head + 2 * letter + tail,
                "replace": head + draw.choice("aeioutnsr") + tail,
            }[kind]
            if typed not in class_words():
                made[typed] = word
    return made


def test_typing_errors_are_unknown_and_their_word_is_offered(small, monkeypatch):
    monkeypatch.setattr(unknown, "MOST", 0)
    typed = errors()
    found = words_of(small.unknown_words(typed))
    assert len(typed) > 400 and len(found) >= 0.95 * len(typed)
    near = [typed[word] in near_words(word)[:1] for word in found[::4]]
    assert sum(near) >= 0.95 * len(near)


def test_a_message_offers_near_words(small):
    assert str(Unknown("xyz")) == 'unknown word "xyz": expected an English word'
    (one,) = small.unknown_words("a red Bycicle in the rain")
    assert one.word == "bycicle" and one.near[0] == "bicycle"
    assert str(one).startswith('unknown word "bycicle": did you mean bicycle')
    assert small.unknown_words("knives")[0].near[0] == "knife"  # a plural without training


def test_a_word_without_training_is_unknown_though_it_is_english(model):
    """ "tiny" was trained on about a hundred words; near words are among them."""
    (one,) = model.unknown_words(["gravl", "gravel"])
    assert one == Unknown("gravl", ("gravel",))
    assert model.unknown_words(["rooftop"]) == [Unknown("rooftop", (), True)] and is_word("rooftop")


def test_the_text_space_offers_what_spelling_does_not(small, monkeypatch):
    encode = small._text.encode

    def taught(names, templates="plain", progress=None):
        """As if the tower took "hund" for a dog."""
        found = encode(names, templates, progress)
        if names[-1] == "hund":
            found = torch.cat([found[:-1], found[names.index("dog")][None]])
        return found

    monkeypatch.setattr(small._text, "encode", taught)
    monkeypatch.setattr(unknown, "near_words", lambda word: [])
    assert small.unknown_words(["hund"])[0].near[0] == "dog"


def test_models_that_may_know_other_languages_are_not_judged(small, monkeypatch):
    class Other:
        context_length = 77

    class Loaded:
        tokenizer, clip = Other(), small.clip

    class Encoder:
        loaded = Loaded()

    assert unknown_words(Encoder(), ["Hund"]) == []


def test_a_long_list_of_nonsense_is_bounded(small, monkeypatch):
    asked = []
    monkeypatch.setattr(unknown, "near_words", lambda word: asked.append(word) or ["bicycle"])
    found = small.unknown_words([f"zzq{a}{b}xw" for a in "abcdefgh" for b in "abcdefgh"] + ["q" * 5000])
    assert len(found) == 65 and len(asked) == unknown.MOST
    assert [len(one.near) for one in found] == [1] * unknown.MOST + [0] * (65 - unknown.MOST)


def test_long_words_are_no_words(monkeypatch):
    monkeypatch.setattr(spelling, "english", lambda: pytest.fail("looked up"))
    assert not is_word("a" * 41)


def test_words_are_split_at_everything_but_letters():
    assert split_words("person+dog, T-shirt (2 of) naïve_cats") == ["person", "dog", "shirt", "naive", "cats"]
    assert split_words("кошка 猫 über") == ["кошка", "über"]


def test_without_timms_lists_no_word_is_judged(small, monkeypatch, tmp_path):
    assert small.unknown_words(["bycicle"])
    nowhere = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(spelling, "find_spec", lambda name: nowhere)
    assert spelling.english.__wrapped__() == frozenset()
    monkeypatch.setattr(unknown, "english", spelling.english.__wrapped__)
    assert small.unknown_words(["bycicle"]) == []
