"""``ovseg explain --tokens``: a caption token by token beside its map (the paper's Fig. 11)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.cli.inputs import open_image
from ovseg.cli.outputs import TAKES, Outputs, Work
from ovseg.cli.pictures import shrunk, viewing_size
from ovseg.io.sources import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explain.tokens import CaptionRun, CaptionTokens

CELL = 384
"""Long side in pixels of each of the two pictures."""
MARKED = 3
"""So many tokens of highest cosine are marked: red, yellow, blue."""


def tokens_marked(run: CaptionRun, outputs: Outputs) -> Work:
    """What is done with one image: its sheet, a line with the marked tokens, and what else is asked for."""

    def work(file: Path) -> Iterator[str]:
        import numpy as np

        image = open_image(file, TAKES)
        found = run(image, file)
        outputs.write_pictures(file, [token_sheet(image, found)])
        if outputs.npz:
            content: dict[str, NDArray[np.generic]] = {
                "grid_values": found.map.grid_values,
                "names": np.array(found.map.names),
                "size": np.array(found.map.size),
                "tokens": np.array(found.tokens),
                "cosines": found.cosines,
            }
            outputs.write_arrays(file, content)
        if outputs.json:
            tokens = [
                {"token": token, "cosine": cosine}
                for token, cosine in zip(found.tokens, found.cosines.tolist(), strict=True)
            ]
            outputs.write_json(file, found.map.size, {"tokens": tokens, "best": found.best(MARKED)})
        yield f"{shown(file)}: {token_line(found)}"

    return work


def token_sheet(image: NDArray[np.uint8], found: CaptionTokens) -> NDArray[np.uint8]:
    """The image, the map of the caption over it, and below the tokens with their cosines."""
    from ovseg import figures
    from ovseg.results import SimilarityMap

    size = viewing_size(image.shape, CELL)
    small = shrunk(image, size)
    heat = SimilarityMap(found.map.grid_values, found.map.names, size).values[0]
    title = "the whole caption: blue lowest, red highest"
    pictures = [figures.titled(small, "image"), figures.titled(figures.overlay_heat(small, heat), title)]
    row = figures.grid([pictures])
    colours = dict(zip(found.best(MARKED), figures.RANKS))
    entries = [
        (token, f"{cosine:.3f}", colours.get(place))
        for place, (token, cosine) in enumerate(zip(found.tokens, found.cosines.tolist()))
    ]
    return figures.grid([[row], [figures.words(entries, max(320, row.shape[1]))]], gap=0)


def token_line(found: CaptionTokens) -> str:
    """The marked tokens with their cosines, the highest first."""
    return ", ".join(f"{found.tokens[place]} {found.cosines[place]:.3f}" for place in found.best(MARKED))
