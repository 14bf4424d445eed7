"""What a result's JSON says of how it was made, and what results are called."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ovseg
from ovseg.options import LoadOptions, Options, Plain

if TYPE_CHECKING:
    from ovseg.model import Model
    from ovseg.words.vocabulary import Vocabulary

PLAIN = re.compile(r"(?:[^\W_]|[+-])+(?: (?:[^\W_]|[+-])+)*")
LONGEST = 50
"""Bytes of the texts' part in a file name; with the image's part (180) and an ending it is below 255."""


def record_of_run(
    command: str, model: Model, loading: LoadOptions, options: Options, names: Vocabulary
) -> dict[str, object]:
    """What is the same for all images of a run.

    Args:
        command: the command's name.
        model: the model that was used.
        loading: how it was loaded.
        options: what decided the result.
        names: the names that were asked for.
    """
    return {
        "ovseg": ovseg.__version__,
        "command": command,
        "model": {
            "name": model.loaded.name,
            "weights": model.loaded.weights.describe(),
            "method": model.method.name,
            "device": loading.device,
            "precision": loading.precision,
        },
        "options": options.describe(),
        "vocabulary": {"digest": names.digest(), "names": list(names.names)},
    }


def record_of_image(file: Path, size: tuple[int, int], outputs: Sequence[Path]) -> dict[str, Plain]:
    """The image's path and (height, width), and the files that were written for it, beside the JSON."""
    return {
        "image": os.path.abspath(file),
        "size": list(size),
        "outputs": [path.name for path in outputs],
    }


def slug(texts: Sequence[str]) -> str:
    """The part of a file name that stands for some texts, no two alike, also where case does not count.

    Texts of small letters, digits, "+", "-" and single spaces are joined by commas, each space written as
    "_". Others are written in such letters as far as possible, and "~" with eight characters of their SHA-256
    follows.

    >>> slug(["red car"]), slug(["bench", "person+dog"])
    ('red_car', 'bench,person+dog')
    >>> slug(["red/car"]), slug(["red_car"])
    ('red_car~b051c95a', 'red_car~ee3f7484')
    """
    joined = ",".join(texts).replace(" ", "_")
    plain = all(PLAIN.fullmatch(text) and text == text.casefold() for text in texts)
    if plain and len(joined.encode()) <= LONGEST:
        return joined
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w+,-]+", "_", joined).strip("_,").encode()[: LONGEST - 9]
    return f"{readable.decode(errors='ignore') or 'text'}~{digest}"


def beside(target: Path, ending: str) -> Path:
    """The path of a result: ``target`` with something behind it, whatever dots it has in it."""
    return target.with_name(target.name + ending)
