"""``ovseg explain --tokens``: a caption token by token beside its map (the paper's Fig. 11)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.inputs import open_image
from ovseg.apps.cli.outputs import TAKES, Outputs, Work
from ovseg.files.paths import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explanation.tokens import CaptionRun


def tokens_marked(run: CaptionRun, outputs: Outputs) -> Work:
    """What is done with one image: its sheet, a line with the marked tokens, and what else is asked for."""

    def work(file: Path) -> Iterator[str]:
        import numpy as np

        from ovseg.explanation.picture import MARKED, token_sheet

        image = open_image(file, TAKES)
        found = run(image, file)
        outputs.write_pictures(file, [token_sheet(image, found)])
        if outputs.npz:
            content: dict[str, NDArray[np.generic]] = {
                "grid_values": found.map.grid,
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
        best = [f"{found.tokens[place]} {found.cosines[place]:.3f}" for place in found.best(MARKED)]
        yield f"{shown(file)}: {', '.join(best)}"

    return work
