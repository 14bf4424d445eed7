"""What ``ovseg explain`` writes for an image: pictures, arrays and a record, named after image and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovseg.apps.cli.inputs import Inputs
from ovseg.apps.cli.records import beside, record_of_image, slug

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Work: TypeAlias = "Callable[[Path], Iterator[str]]"
"""Does one image, and gives the lines to print."""
TAKES = 8
"""Bytes of memory for each pixel of a large image, measured."""


@dataclass
class Outputs:
    """The results of one run, NAME.TEXTS.KIND and an ending.

    Attributes:
        folder: where they go.
        given: the images, and the texts.
        kind: "explain", "compare" or "tokens".
        npz, json: whether arrays and a record are wanted.
        run: what the record says of the run.
        written: the files of each image so far.
    """

    folder: Path
    given: Inputs
    kind: str
    npz: bool
    json: bool
    run: Mapping[str, object]
    written: dict[Path, list[Path]] = field(default_factory=dict)

    def write_pictures(self, file: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
        """Write the sheets of an image, each as soon as it is made: ".png", ".2.png" and so on."""
        from ovseg.files.write import write_picture

        for number, picture in enumerate(pictures, 1):
            write_picture(self._new(file, f".{number}.png" if number > 1 else ".png"), picture)

    def write_arrays(self, file: Path, content: Mapping[str, NDArray[np.generic]]) -> None:
        """Write the arrays of an image."""
        from ovseg.files.write import write_arrays

        write_arrays(self._new(file, ".npz"), **content)

    def write_json(self, file: Path, size: tuple[int, int], content: Mapping[str, object]) -> None:
        """Write the record of an image, which names the files that were written before it."""
        from ovseg.files.write import write_json

        image = record_of_image(file, size, self.written.pop(file, []))
        write_json(self._path(file, ".json"), {**image, **content, **self.run})

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
