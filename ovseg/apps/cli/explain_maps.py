"""``ovseg explain``: the image and a heat map for each text on sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.inputs import open_image
from ovseg.apps.cli.outputs import TAKES, Outputs, Work
from ovseg.apps.cli.shared import note
from ovseg.errors import OvsegError
from ovseg.files.sizes import shrunk, viewing_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.results import SimilarityMap

CELL = 512
"""Long side in pixels of one picture on a sheet."""
COLUMNS, ROWS = 5, 4


def explained(
    explain: Callable[[NDArray[np.uint8], Path], SimilarityMap], outputs: Outputs, full_size: bool
) -> Work:
    """What is done with one image: its maps on sheets, and as arrays where they are asked for.

    Args:
        explain: from an image (H, W, 3) and its file to the maps.
        outputs: where results go.
        full_size: the arrays hold the maps at the image's size too.
    """

    def work(file: Path) -> Iterator[str]:
        image = open_image(file, TAKES)
        found = explain(image, file)
        outputs.write_pictures(file, sheets(image, found))
        if outputs.npz:
            outputs.write_arrays(file, arrays(found, full_size))
        if outputs.json:
            ranges = {
                name: {"low": float(grid.min()), "high": float(grid.max())}
                for name, grid in zip(found.names, found.grid, strict=True)
            }
            outputs.write_json(file, found.size, {"similarity": ranges})
        return iter(())

    return work


def sheets(image: NDArray[np.uint8], found: SimilarityMap) -> Iterator[NDArray[np.uint8]]:
    """Pictures of at most ``COLUMNS`` times ``ROWS`` cells: the image, then the heat map of each text.

    Each is made when it is asked for, so memory does not depend on the number of texts or the image's size.
    """
    from ovseg.results import SimilarityMap, figures

    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    step = COLUMNS * ROWS - 1
    for start in range(0, len(found), step):
        names = found.names[start : start + step]
        maps = SimilarityMap(found.grid[start : start + step], names, size).at(size)
        cells = [figures.titled(small, "image")]
        cells += [figures.titled(figures.overlay_heat(small, one), name) for one, name in zip(maps, names)]
        yield figures.grid([cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)])


def arrays(found: SimilarityMap, full_size: bool) -> dict[str, NDArray[np.generic]]:
    """What --npz writes. With ``full_size``, what it takes is said before it is taken.

    Raises:
        OvsegError: the maps at the image's size are larger than one array may be.
    """
    import numpy as np

    from ovseg.results import MAX_VALUES

    content: dict[str, NDArray[np.generic]] = {
        "grid_values": found.grid,
        "names": np.array(found.names),
        "size": np.array(found.size),
    }
    if full_size:
        count = len(found) * found.size[0] * found.size[1]
        takes = f"{len(found)} maps of {found.size[0]} x {found.size[1]} take {count * 4 / 1e9:.1f} GB"
        if count > MAX_VALUES:
            raise OvsegError(
                f"expected at most {MAX_VALUES * 4 / 1e9:.1f} GB of maps, {takes}: ask for fewer texts"
            )
        if count * 4 > 1e9:
            note(f"note: {takes}")
        content["values"] = found.values
    return content
