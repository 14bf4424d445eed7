"""The size of a picture from the beginning of its file, without decoding it."""

from __future__ import annotations

from pathlib import Path

from ovseg.files.orientation import orientation_of
from ovseg.files.pillow import open_picture, reading
from ovseg.files.sources import open_file, shown


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of a picture or a label file, as EXIF turns it upright.

    Raises:
        ImageError: the file is no picture, or its beginning is damaged.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> Image.new("L", (4, 3)).save(path)
    >>> upright_size(path)
    (3, 4)
    """
    name = shown(path)
    with open_file(path) as stream, reading(name):
        image = open_picture(stream, name)
        size = (image.height, image.width)
        return size[::-1] if orientation_of(image) >= 5 else size
