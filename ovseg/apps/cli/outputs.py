"""Records of runs and images in JSON results, and the names of result files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import ovseg
from ovseg.apps.cli.inputs import Inputs
from ovseg.apps.cli.loop import Opened
from ovseg.options import ModelOptions, Options, Plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.model import Model
    from ovseg.words.vocabulary import Vocabulary

PLAIN = re.compile(r"(?:[^\W_]|[+-])+(?: (?:[^\W_]|[+-])+)*")
LONGEST = 50
"""Most bytes of the texts in a file name; with the image's name (180) and an ending it stays below 255."""


def record_of_run(
    command: str, model: Model, models: ModelOptions, options: Options, names: Vocabulary
) -> dict[str, object]:
    """The record of a run, which is the same for all its images.

    Args:
        command: the command's name.
        model: the model.
        models: the options with which it was loaded.
        options: the options that decided the result.
        names: the names that were looked for.
    """
    return {
        "ovseg": ovseg.__version__,
        "command": command,
        "model": {
            "name": model.loaded.name,
            "weights": model.loaded.weights.describe(),
            **model.method.describe(),
            "device": models.device,
            "precision": models.precision,
        },
        "options": options.describe(),
        "vocabulary": {"digest": names.digest(), **names.describe()},
    }


def record_of_image(opened: Opened, outputs: Sequence[Path]) -> dict[str, Plain]:
    """The record of an image: its path, (height, width), and the names of its other result files."""
    return {
        "image": os.path.abspath(opened.file),
        "size": list(opened.size),
        "outputs": [path.name for path in outputs],
    }


def slug(texts: Sequence[str]) -> str:
    """The part of a file name that stands for texts; distinct, even if the file system ignores case.

    Texts of lower-case letters, digits, "+", "-" and single spaces are joined by commas, with "_" for a
    space. In other texts, further characters are replaced, and "~" with eight digits of their SHA-256 is
    appended.

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
    """Append an ending to ``target``, whose own name may contain dots."""
    return target.with_name(target.name + ending)


@dataclass
class Outputs:
    """Writes the results of ``ovseg explain``, named NAME.TEXTS.KIND with an ending.

    Attributes:
        folder: the folder of results.
        given: the images and the texts.
        kind: "explain", "compare" or "tokens".
        npz, json: whether arrays and a record are written.
        run: the record of the run.
        written: by image, the files written so far.
    """

    folder: Path
    given: Inputs
    kind: str
    npz: bool
    json: bool
    run: Mapping[str, object]
    written: dict[Path, list[Path]] = field(default_factory=dict)

    def write_pictures(self, file: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
        """Write the sheets of an image one by one: ".png", ".2.png" and so on."""
        from ovseg.files.write import write_picture

        for number, picture in enumerate(pictures, 1):
            write_picture(self._new(file, f".{number}.png" if number > 1 else ".png"), picture)

    def write_arrays(self, file: Path, content: Mapping[str, NDArray[np.generic]]) -> None:
        """Write the arrays of an image."""
        from ovseg.files.write import write_arrays

        write_arrays(self._new(file, ".npz"), **content)

    def write_json(self, opened: Opened, content: Mapping[str, object]) -> None:
        """Write the record of an image, last, because it names the image's other files."""
        from ovseg.files.write import write_json

        image = record_of_image(opened, self.written.pop(opened.file, []))
        write_json(self._path(opened.file, ".json"), {**image, **content, **self.run})

    def _new(self, file: Path, ending: str) -> Path:
        path = self._path(file, ending)
        if self.json:
            self.written.setdefault(file, []).append(path)
        return path

    def _path(self, file: Path, ending: str) -> Path:
        from ovseg.files.write import make_folder

        target = self.folder / self.given.stems[file]
        make_folder(target.parent)
        return beside(target, f".{slug(self.given.names.names)}.{self.kind}{ending}")
