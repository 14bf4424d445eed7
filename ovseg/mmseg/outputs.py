"""Names of the files that are written for images: the images' own sub-folders are kept."""

from __future__ import annotations

import os
from pathlib import Path

from ovseg.errors import DataError


class OutputNames:
    """Gives each image its file below a folder, and none to two.

    Args:
        folder: where the files go.
        image_root: the folder of the images; None takes file names alone.

    >>> names = OutputNames(Path("out"), "data/images")
    >>> names.path("data/images/bonn/1.jpg", ".png").as_posix()
    'out/bonn/1.png'
    >>> names.path("data/images/1.jpg", ".png").as_posix()
    'out/1.png'
    """

    def __init__(self, folder: Path, image_root: str | Path | None = None) -> None:
        self.folder = folder
        self.image_root = None if image_root is None else os.path.abspath(image_root)
        self._taken: dict[Path, str] = {}

    def path(self, image: str | Path, ending: str) -> Path:
        """The file of ``image``. Raises DataError where another image has it already."""
        inside = Path(image).name
        if self.image_root is not None:
            relative = os.path.relpath(os.path.abspath(image), self.image_root)
            inside = inside if relative.startswith(os.pardir) else relative
        target = (self.folder / inside).with_suffix(ending)
        other = self._taken.setdefault(target, str(image))
        if other != str(image):
            raise DataError(
                f"expected a file of its own for each image, {target} belongs to {other} and {image}"
            )
        return target
