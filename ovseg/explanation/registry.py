"""The list of explanations, and the decorator that adds one. Training-free methods are listed with their similarity.

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

from ovseg.clip.attention import METHODS, POSITIONS, Method
from ovseg.clip.encoder import encode_image
from ovseg.clip.towers import BlockTower, Tower, check_method, tower_of
from ovseg.errors import UnsupportedModelError, UsageError, described
from ovseg.explanation.subject import CLIP, Subject, tower_visual
from ovseg.maps.similarity import apply_surgery, place_features, to_grid
from ovseg.options.checks import check_choice, check_integer, check_text

Maps: TypeAlias = "Callable[[Subject], Tensor]"
"""Maps an image with K texts to one map for each text, (K, h, w)."""
NEEDS = ("any", "blocks", "class token")
"""What an explanation needs of the image tower: nothing, transformer blocks, or blocks and a class token from
which alone the image's feature is computed."""
RESERVED = ("names", "size", "cosines")
"""Names of other arrays in NPZ files that have one array for each explanation."""
MAX_BLOCKS = 1000


@dataclass(frozen=True)
class Explanation:
    """A way to show where in an image a text's score comes from.

    Attributes:
        name: the name that users give.
        maps: ``Subject`` to values (K, h, w), larger where the text's score comes from.
        needs: one of ``NEEDS``.
        blocks: how many of the last blocks of ``Subject.trace`` it reads; None for all.
        source: the paper.
        method: the training-free method whose similarity it is; None for other explanations, whose maps
            are min-max normalised. Similarities are not.
        resize: how positions reach other grids in ``Subject.trace``, one of ``clip.attention.POSITIONS``; a
            similarity takes its method's rule.
    """

    name: str
    maps: Maps
    needs: str = "any"
    blocks: int | None = 0
    source: str = ""
    method: Method | None = None
    resize: str = CLIP.resize

    def check(self, visual: nn.Module) -> None:
        """Raise UnsupportedModelError if it does not apply to this image tower."""
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
    name: str,
    *,
    source: str = "",
    needs: str = "any",
    blocks: int | None = 0,
    resize: str = CLIP.resize,
) -> Callable[[Maps], Maps]:
    """Register a function as an explanation; the function is returned unchanged.

    Args:
        name: the name that users give: letters, digits and "_". A name that is taken is an error, except by
            the same function, so that a notebook's cell can run again.
        source: the paper, for lists.
        needs: "any", "blocks" (a transformer), or "class token" (a transformer that computes the image's
            feature from its class token alone).
        blocks: how many of the last blocks the function reads from ``subject.trace``; None for all. Earlier
            blocks cost no memory.
        resize: how positions reach other grids, one of ``clip.attention.POSITIONS``.

    Returns:
        The decorator.

    Raises:
        UsageError: the name is taken or has another form, or another argument is wrong.

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
        add_explanation(Explanation(name, maps, needs, blocks, source, resize=resize))
        return maps

    return register


def add_explanation(row: Explanation) -> None:
    """Add an explanation to the list. Raises UsageError as ``explanation`` does."""
    known = _table().get(check_row(row).name)
    if known is not None and _origin(known) != _origin(row):
        raise UsageError(f"expected a new name for an explanation, {row.name!r} is taken")
    _TABLE[row.name] = row


def check_row(row: Explanation) -> Explanation:
    """Return the row. Raises UsageError if one of its fields is wrong."""
    check_text("the name of an explanation", row.name)
    if not re.fullmatch(r"[A-Za-z]\w*", row.name, re.ASCII) or row.name in RESERVED:
        raise UsageError(f"expected the name of an explanation in letters, digits and '_', got {row.name!r}")
    check_choice("needs", row.needs, NEEDS)
    check_choice("resize", row.resize, POSITIONS)
    if row.blocks is not None:
        check_integer("blocks", row.blocks, 0, MAX_BLOCKS)
    return row


def remove_explanation(name: str) -> None:
    """Remove an explanation from the list. Raises UsageError for an unknown name or a method."""
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
    """The explanation of this name; an ``Explanation`` is returned unchanged.

    Raises:
        UsageError: the name is unknown.
    """
    if isinstance(name, Explanation):
        return name
    table = _table()
    if not isinstance(name, str) or name not in table:
        raise UsageError(f"unknown explanation {described(name)}: expected one of {', '.join(table)}")
    return table[name]


def _table() -> dict[str, Explanation]:
    """All explanations by name: the current methods, then the others in the order in which they were added."""
    return {name: _row(method) for name, method in METHODS.items()} | _TABLE


def _row(method: Method) -> Explanation:
    def maps(subject: Subject) -> Tensor:
        return similarity(subject, method, own_surgery(method, subject.surgery))

    return Explanation(method.name, maps, source=method.source, method=method, resize=method.resize)


def _origin(row: Explanation) -> tuple[object, object]:
    """Module and name of the function, which stay the same when it is defined again."""
    return getattr(row.maps, "__module__", None), getattr(row.maps, "__qualname__", row.maps)


def _has(tower: Tower, needs: str) -> bool:
    return isinstance(tower, BlockTower) and (needs == "blocks" or tower.reads_class_token)


@explanation("rclip", source="Li et al., arXiv 2209.07046 (the reversed map of CLIP)")
def rclip(subject: Subject) -> Tensor:
    """1 minus CLIP's own map of cosines, whatever surgery was asked for."""
    return -similarity(subject, METHODS["clip"], "none")


OWN = {"clip_surgery": "empty", "clip_surgery_normalised": "empty"}
"""The feature surgery of a method's paper; the papers of the other methods compare by cosine alone."""


def own_surgery(method: Method, surgery: str | None) -> str:
    """``surgery``, or the method's own for None.

    >>> from ovseg.clip.attention import METHODS
    >>> own_surgery(METHODS["clip_surgery"], None), own_surgery(METHODS["gem"], None)
    ('empty', 'none')
    """
    return surgery or OWN.get(method.name, "none")


def similarity(subject: Subject, method: Method, surgery: str) -> Tensor:
    """The similarity of every place with every text, (K, h, w), equal to ``Model.similarity``."""
    if surgery == "empty" and subject.empty is None:
        raise UsageError("expected the feature of the empty text for surgery 'empty', got none")
    with torch.no_grad():
        tokens = encode_image(tower_visual(subject.tower), subject.pixels, method)
        features = place_features(tokens, method.class_token_weight)
        found = apply_surgery(features, tokens.class_token, subject.text, surgery, subject.empty)
    return to_grid(found, tokens.grid)[0]
