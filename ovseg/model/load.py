"""``load_model``: a name, weights and a method to a ``Model``."""

from __future__ import annotations

from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

from ovseg.clip.attention import Method, get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache
from ovseg.model.model import Model
from ovseg.options import LoadOptions
from ovseg.options.checks import check_name_or_path

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ovseg.options.models import LoadChoices


def load_model(
    name: str = "small",
    weights: str | PathLike[str] | None = None,
    *,
    method: str | Method = "clip_surgery",
    options: LoadOptions | None = None,
    **choices: Unpack[LoadChoices],
) -> Model:
    """A model that is ready to use: an embedded one, or any model of open_clip's.

    Args:
        name: "small" or "tiny" for an embedded model, or a name of open_clip's such as "ViT-B-16".
        weights: a tag of open_clip's such as "openai", the path of a file, or "random" for untrained weights.
            An embedded model needs none, every other model needs one of them.
        method: how dense tokens are made, a name of ``ovseg.list_methods()``.
        options, choices: a ``LoadOptions``, or its fields as keywords.

    Returns:
        The model, in evaluation mode, on the device.

    Raises:
        UsageError: a name, tag, method, device or precision is unknown, or weights are missing.
        UnsupportedModelError: the image tower cannot be read, or has no attention for the method to replace.
        WeightsError: the weights cannot be had or do not fit.

    Example:
        >>> import numpy as np
        >>> model = load_model()
        >>> model.segment(np.zeros((60, 80, 3), np.uint8), "sky, grass").array.shape
        (60, 80)
    """
    loading = LoadOptions.make(options, choices)
    row = get_method(method)
    loaded = load_clip(
        name,
        None if weights is None else check_name_or_path("weights", weights),
        device=loading.device,
        precision=loading.precision,
        offline=loading.offline,
        method=row,
    )
    model = Model(loaded, row, TextCache() if loading.cache else None)
    model.origin = partial(load_model, name, weights, method=row, options=loading)
    return model
