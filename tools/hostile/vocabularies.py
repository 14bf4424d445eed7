"""Calls of vocabularies: names in every form, and files of names."""

from __future__ import annotations

from random import Random

import ovseg
from hostile.call import Call, told
from hostile.models import names
from hostile.place import Place
from hostile.values import anything, hostile
from ovseg.words.vocabulary import as_vocabulary, find_vocabulary, parse_vocabulary

LINES = ("sky", "tree, wood", "background", "a: b, c", "a:", ": x", "a, a", "A", "a", "# a comment", "",
    "  ", "\t", "a\tb",
    "a\0b", "\ufeffsky", "a\u2028b", "a\x0cb", "\u200b", "n" * 3000, "🐄", "caf\xe9", ",", "a,,b", "a;b",
    "x=y", '"a, b"',
    "background, wall", "sky: sky", "-1", "<|endoftext|>")  # fmt: skip
CODINGS = (
    "utf-8",
    "utf-8",
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "latin-1",
    "gbk",
    "cp1252",
)
ENDS = ("\n", "\r\n", "\r", "\n\n")
WHERE = ("voc20", "VOC20", "ade20k", "voc22", "", " ", "names.txt", "picture.png", "cut.png",
    "empty.jpg", "pipe.jpg", "many", ".",
    "/", "/dev/null", "gone-link.png", "~/x.txt", "~nobody/x", "../voc20", "a\0b", "n" * 5000,
    "\ud800")  # fmt: skip


def vocabulary_file(place: Place, rng: Random) -> Call:
    text = rng.choice(ENDS).join(rng.choices(LINES, k=rng.randrange(6)))
    content = text.encode(rng.choice(CODINGS), "replace")
    if rng.random() < 0.3 and content:
        at = rng.randrange(len(content))
        content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    path = place.folder / "given" / "names.txt"
    path.write_bytes(content)
    return Call(f"load_vocabulary(file {told(content)})", lambda: ovseg.load_vocabulary(path))


def vocabulary(place: Place, rng: Random) -> Call:
    wanted = names(rng)
    where = hostile(rng, WHERE)
    words = anything(rng)
    made = ovseg.load_vocabulary("voc20")
    makers = (
        (f"load_vocabulary({told(where)})", lambda: ovseg.load_vocabulary(where)),
        (f"find_vocabulary({told(where)})", lambda: find_vocabulary(where)),
        (f"find_vocabulary({told(wanted)})", lambda: find_vocabulary(wanted)),
        (f"as_vocabulary({told(wanted)})", lambda: as_vocabulary(wanted)),
        (f"parse_vocabulary({told(words)})", lambda: parse_vocabulary(words)),
        (f"with_background({told(words)})", lambda: made.with_background(words)),
        (f"Vocabulary({told(wanted)}, {told(words)})", lambda: ovseg.Vocabulary(wanted, words)),
    )
    said, make = rng.choice(makers)
    return Call(said, make)
