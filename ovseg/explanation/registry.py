"""The list of explanations, and the decorator that puts another one into it. Every method is one by itself.

@explanation("center", source="a baseline that looks at no image")
def center(subject: Subject) -> Tensor:
    ...  # (K, h, w), one map for each text
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ovseg.clip.attention import METHODS, Method
from ovseg.clip.encoder import encode_image
from ovseg.clip.towers import BlockTower, Tower, check_method, tower_of
from ovseg.errors import UnsupportedModelError, UsageError, described
from ovseg.explanation.subject import Subject, tower_visual
from ovseg.maps.similarity import apply_surgery, place_features, to_grid
from ovseg.options.checks import check_choice, check_integer, check_text

Maps: TypeAlias = "Callable[[Subject], Tensor]"
"""From an image and K texts to a map for each text, (K, h, w)."""
NEEDS = ("any", "blocks", "class token")
"""What an explanation asks of the image tower: nothing, transformer blocks, or blocks and a class token that
alone makes the image's feature."""
RESERVED = ("names", "size", "cosines")
"""Names of other arrays in the files that hold one array for each explanation."""
MAX_BLOCKS = 1000


@dataclass(frozen=True)
class Explanation:
    """One way to show where in an image a text's score comes from.

    Attributes:
        name: what users call it.
        maps: from a ``Subject`` to (K, h, w) values, larger where the text's score comes from.
        needs: one of ``NEEDS``.
        blocks: how many of the last blocks of ``Subject.trace`` it reads, None for all.
        source: the paper.
        method: the row of the table of methods whose similarity it is; None for other explanations. Their
            maps are min-max normalised, similarities are kept as they are.
    """

    name: str
    maps: Maps
    needs: str = "any"
    blocks: int | None = 0
    source: str = ""
    method: Method | None = None

    def check(self, visual: nn.Module) -> None:
        """Raise UnsupportedModelError, in one line, if it does not apply to this image tower."""
        tower = tower_of(visual)
        if self.method is not None:
            check_method(visual, self.method)
        if self.needs != "any" and not _has(tower, self.needs):
            what = "transformer blocks" if self.needs == "blocks" else "blocks and a class token"
            raise UnsupportedModelError(
                f"expected an image tower with {what} for the explanation {self.name!r}, got {tower.family}"
            )


_TABLE: dict[str, Explanation] = {}


def explanation(
    name: str, *, source: str = "", needs: str = "any", blocks: int | None = 0
) -> Callable[[Maps], Maps]:
    """Register a function as an explanation; it is returned as it is.

    Args:
        name: what users call it: letters, digits and "_". A name that is taken is an error, unless by an
            earlier definition of the same function, as when a notebook's cell runs again.
        source: the paper, for lists.
        needs: "any", "blocks" (a transformer), or "class token" (a transformer whose class token alone makes
            the image's feature).
        blocks: how many of the last blocks the function reads from ``subject.trace``; None for all. The
            blocks before cost no memory.

    Returns:
        The decorator.

    Raises:
        UsageError: the name is taken or not of this form, or ``needs`` or ``blocks`` are wrong.

    Example:
        >>> import ovseg, torch
        >>> from ovseg.explanation import explain, explanation
        >>> @explanation("ramp", source="nobody")
        ... def ramp(subject):
        ...     height, width = subject.grid
        ...     return torch.linspace(0, 1, width).expand(len(subject.text), height, width)
        >>> found = explain(ovseg.load_model("tiny"), ovseg.make_scene(11).image, "stripes", method="ramp")
        >>> float(found["stripes"][0, 0]), float(found["stripes"][0, -1])
        (0.0, 1.0)
        >>> remove_explanation("ramp")
    """

    def register(maps: Maps) -> Maps:
        add_explanation(Explanation(name, maps, needs, blocks, source))
        return maps

    return register


def add_explanation(row: Explanation) -> None:
    """Put a row into the list. Raises UsageError as ``explanation`` does."""
    known = _table().get(check_row(row).name)
    if known is not None and _origin(known) != _origin(row):
        raise UsageError(f"expected a new name for an explanation, {row.name!r} is taken")
    _TABLE[row.name] = row


def check_row(row: Explanation) -> Explanation:
    """The row itself. Raises UsageError where its name, ``needs`` or ``blocks`` are wrong."""
    check_text("the name of an explanation", row.name)
    if not re.fullmatch(r"[A-Za-z]\w*", row.name, re.ASCII) or row.name in RESERVED:
        raise UsageError(f"expected the name of an explanation in letters, digits and '_', got {row.name!r}")
    check_choice("needs", row.needs, NEEDS)
    if row.blocks is not None:
        check_integer("blocks", row.blocks, 0, MAX_BLOCKS)
    return row


def remove_explanation(name: str) -> None:
    """Take a row out of the list. Raises UsageError for an unknown name."""
    if get_explanation(name).method is not None:
        raise UsageError(f"expected an explanation that is no method, got {name!r}")
    del _TABLE[name]


def list_explanations() -> list[str]:
    """The names of the explanations, the training-free methods first.

    >>> {"clip", "clip_surgery", "gradcam", "bimodal"} <= set(list_explanations())
    True
    """
    return list(_table())


def get_explanation(name: str | Explanation) -> Explanation:
    """The row of this name, or the argument itself if it already is a row.

    Raises:
        UsageError: there is no explanation of that name.
    """
    if isinstance(name, Explanation):
        return name
    table = _table()
    if not isinstance(name, str) or name not in table:
        raise UsageError(f"unknown explanation {described(name)}: expected one of {', '.join(table)}")
    return table[name]


def _table() -> dict[str, Explanation]:
    """All rows by name: those of the table of methods as it is now, then the others in order of arrival."""
    return {name: _row(method) for name, method in METHODS.items()} | _TABLE


def _row(method: Method) -> Explanation:
    def maps(subject: Subject) -> Tensor:
        return similarity(subject, method, own_surgery(method, subject.surgery))

    return Explanation(method.name, maps, source=method.source, method=method)


def _origin(row: Explanation) -> tuple[object, object]:
    """Where the row's function was defined."""
    return getattr(row.maps, "__module__", None), getattr(row.maps, "__qualname__", row.maps)


def _has(tower: Tower, needs: str) -> bool:
    return isinstance(tower, BlockTower) and (needs == "blocks" or tower.reads_class_token)


@explanation("rclip", source="Li et al., arXiv 2209.07046 (the reversed map of CLIP)")
def rclip(subject: Subject) -> Tensor:
    """1 minus CLIP's own map of cosines, whatever surgery was asked for."""
    return -similarity(subject, METHODS["clip"], "none")


OWN = {"clip_surgery": "empty", "clip_surgery_normalised": "empty"}
"""The feature surgery that belongs to a method; the other methods' papers compare places by cosine."""


def own_surgery(method: Method, surgery: str | None) -> str:
    """``surgery``, or for None what belongs to the method.

    >>> from ovseg.clip.attention import METHODS
    >>> own_surgery(METHODS["clip_surgery"], None), own_surgery(METHODS["gem"], None)
    ('empty', 'none')
    """
    return surgery or OWN.get(method.name, "none")


def similarity(subject: Subject, method: Method, surgery: str) -> Tensor:
    """The similarity of every place with every text, (K, h, w), as ``Model.similarity`` makes it."""
    if surgery == "empty" and subject.empty is None:
        raise UsageError("expected the feature of the empty text for surgery 'empty', got none")
    with torch.no_grad():
        tokens = encode_image(tower_visual(subject.tower), subject.pixels, method)
        features = place_features(tokens, method.class_token_weight)
        found = apply_surgery(features, tokens.class_token, subject.text, surgery, subject.empty)
    return to_grid(found, tokens.grid)[0]
