"""The tokens of a caption compared with an image (the paper's Fig. 11)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from ovseg.clip.text_tower import token_features
from ovseg.explanation.registry import Explanation, get_explanation
from ovseg.explanation.run import Run
from ovseg.files.pictures import ImageLike
from ovseg.model import Model
from ovseg.options import ExplainOptions
from ovseg.options.checks import check_integer
from ovseg.results import SimilarityMap
from ovseg.results.base import read_only
from ovseg.words.names import check_name
from ovseg.words.vocabulary import as_vocabulary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import ExplainChoices


@dataclass(frozen=True, eq=False)
class CaptionTokens:
    """The tokens of a caption compared with an image.

    Attributes:
        tokens: L tokens, "[start]" first and "[end]" last.
        cosines: (L,) float32, the cosine of each token's feature with the image's feature.
        map: the explanation of the whole caption.
    """

    tokens: tuple[str, ...]
    cosines: NDArray[np.float32]
    map: SimilarityMap

    def __post_init__(self) -> None:
        object.__setattr__(self, "cosines", read_only(self.cosines))

    def best(self, count: int = 3) -> list[int]:
        """The indices of the ``count`` tokens with the highest cosines, the highest first.

        Raises UsageError if ``count`` is not an integer from 1 on.
        """
        count = check_integer("count", count, 1, 2**31 - 1)
        return [int(place) for place in np.argsort(-self.cosines, kind="stable")[:count]]


def explain_tokens(
    model: Model,
    image: ImageLike,
    caption: str,
    method: str | Explanation = "clip_surgery",
    *,
    options: ExplainOptions | None = None,
    **choices: Unpack[ExplainChoices],
) -> CaptionTokens:
    """Compare every token of a caption with the image's feature, and map the whole caption.

    No prompt template is applied to the caption. The paper's Fig. 11 marks the three tokens of highest
    cosine; the end token is often among them, since its feature is that of the whole caption.

    Args:
        model: a model with a causal text tower, as CLIP's.
        image: one picture.
        caption: one text, commas included.
        method: the explanation of the map, as in ``explain``.
        options, choices: as in ``explain``; templates are ignored.

    Returns:
        The tokens with their cosines, and the map.

    Raises:
        UsageError: the caption is empty or longer than the model's context, or another argument is wrong.
        UnsupportedModelError: the text tower has no features of single tokens, or the explanation does not
            apply to the image tower.
        ImageError: the image cannot be read.

    Example:
        >>> import ovseg
        >>> scene = ovseg.make_scene(11)
        >>> found = explain_tokens(ovseg.load_model("tiny"), scene.image, "a red triangle on gravel")
        >>> found.tokens
        ('[start]', 'a', 'red', 'triangle', 'on', 'gravel', '[end]')
        >>> len(found.best(3)), found.map.names
        (3, ('a red triangle on gravel',))
    """
    chosen = ExplainOptions.make(options, choices)
    return CaptionRun(model, caption, get_explanation(method), chosen)(image)


class CaptionRun:
    """``explain_tokens`` with a fixed caption for any number of images. The constructor checks and encodes it.

    Args:
        model, caption: as in ``explain_tokens``.
        row: the explanation of the map.
        options: surgery, size, resize; templates are ignored.

    Raises:
        UsageError, UnsupportedModelError: as in ``explain_tokens``.
    """

    def __init__(self, model: Model, caption: str, row: Explanation, options: ExplainOptions) -> None:
        self.caption = check_name(caption, "caption")
        self.tokens, features = token_features(model.clip, model.loaded.tokenizer, self.caption)
        self.features = features.to(model.device)
        plain = replace(options, templates="plain")
        self.run = Run(model, as_vocabulary([self.caption]), [row], plain)

    def __call__(self, image: ImageLike, file: Path | None = None) -> CaptionTokens:
        """Explain one image; arguments and errors are those of ``Run``."""
        found = self.run(image, file)
        cosines = F.normalize(found.feature, dim=-1) @ self.features.T
        return CaptionTokens(self.tokens, cosines.cpu().numpy(), found.maps[self.run.rows[0].name])
