"""Maps that another program saved, such as ECLIP's, as an explanation."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg.errors import DataError, UsageError, one_line
from ovseg.explanation.registry import Explanation, check_row
from ovseg.explanation.subject import Subject
from ovseg.options.checks import check_name_or_path
from ovseg.words.names import fold

MOST_BYTES = 256 << 20
"""Most bytes of a file of maps once it is unpacked: a small file can hold gigabytes of zeros."""


def saved_maps(name: str, folder: str | PathLike[str], source: str = "saved maps") -> Explanation:
    """An explanation that reads its maps from a folder: NAME.npz for an image NAME.jpg.

    A file holds ``names`` (T,), the texts, and ``grid_values`` (T, h, w), their maps of any size and range,
    larger where the text is: the format of ``SimilarityMap.save``. Texts are matched by name, in any order,
    ignoring case.

    Args:
        name: its name, as for ``explanation``.
        folder: the folder of the files.
        source: the paper, for lists.

    Returns:
        The explanation, for ``explain(..., method=row)`` or ``add_explanation``. It raises DataError if an
        image's file is missing, damaged or lacks a text, and UsageError if the image came from no file.

    Raises:
        UsageError: the name has another form, or there is no such folder.

    Example:
        >>> import ovseg, tempfile, pathlib
        >>> from PIL import Image
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.fromarray(ovseg.make_scene(11).image).save(folder / "scene.png")
        >>> np.savez(folder / "scene.npz", names=["gravel"], grid_values=np.eye(3)[None])
        >>> from ovseg.explanation import explain
        >>> row = saved_maps("eclip", folder)
        >>> explain(ovseg.load_model("tiny"), folder / "scene.png", "gravel", method=row).grid.shape
        (1, 3, 3)
    """
    place = Path(check_name_or_path("the folder of saved maps", folder)).expanduser()
    if not place.is_dir():
        raise UsageError(f"expected the folder of saved maps of {name!r}, found no folder {place}")

    def maps(subject: Subject) -> Tensor:
        if subject.file is None:
            raise UsageError(f"expected an image from a file for the saved maps of {name!r}, got an array")
        file = place / f"{subject.file.stem}.npz"
        names, values = read_maps(file)
        known = {fold(text): index for index, text in enumerate(names)}
        missing = [text for text in subject.names if fold(text) not in known]
        if missing:
            raise DataError(f"expected a map of {missing[0]!r} in {file}, it has {', '.join(names[:8])}")
        return torch.from_numpy(values[[known[fold(text)] for text in subject.names]])

    return check_row(Explanation(name, maps, source=source))


def read_maps(file: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read the texts (T) and their maps (T, h, w) from a file of saved maps.

    Raises:
        DataError: the file is missing, damaged, too large, or of another format.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(one.file_size for one in packed.infolist())
        if size > MOST_BYTES:
            raise DataError(f"expected at most {MOST_BYTES:,} bytes of maps, {file} unpacks to {size:,}")
        with np.load(file, allow_pickle=False) as arrays:
            names, values = arrays["names"], arrays["grid_values"]
    except FileNotFoundError:
        raise DataError(f"expected saved maps, found no file {file}") from None
    except KeyError:
        raise DataError(f"expected arrays names and grid_values in {file}") from None
    except DataError:
        raise
    except Exception as error:  # of zipfile, NumPy or the file system
        raise DataError(f"expected saved maps, {file} cannot be read: {one_line(error)}") from None
    if names.dtype.kind != "U" or names.ndim != 1 or values.ndim != 3 or len(values) != len(names):
        raise DataError(
            f"expected names (T,) as text and grid_values (T, h, w) in {file}, "
            f"got {names.shape} {names.dtype} and {values.shape}"
        )
    if values.dtype.kind not in "biuf" or 0 in values.shape or not np.isfinite(values).all():
        raise DataError(
            f"expected finite numbers as grid_values in {file}, got {values.dtype} {values.shape}"
        )
    return [str(name) for name in names], values.astype(np.float32)
