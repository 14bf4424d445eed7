"""Attention forms as pure functions, and the table of methods built from them.

Every form is a sum of terms ``softmax(scale * a bᵀ + bias) v``; a term names its ``a``, ``b``
and ``bias``, so the fast path (fused attention) and the explicit path (inspectable attention
weights) are computed from the same description.

Shapes: ``q``, ``k``, ``v`` are (B, heads, P+N, head_dim) with P leading tokens first: the class token, or
none in towers without one; N is the grid h x w, row-major.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import UsageError, described
from ovseg.options import Plain
from ovseg.options.checks import check_choice, check_integer, check_text

POSITIONS = ("bilinear", "bicubic", "bicubic_antialias", "bicubic_factor")
"""How positions reach another grid; the last scales by (n + 0.1) / native, as the code of DINO and SCLIP does."""
WHOLE = ("fitted", "cut")
"""Sides that are not whole patches: resized to them, or cut, and the map stretched to the input's size and from there
to the label map's, as NACLIP's code does."""


class Heads(NamedTuple):
    """Queries, keys and values of one block, and what some forms need besides."""

    q: Tensor  # (B, heads, P+N or 1, d); 1 where only the class token's query was computed
    k: Tensor  # (B, heads, P+N, d)
    v: Tensor  # (B, heads, P+N, d)
    hidden: Tensor  # (B, P+N, C), what q, k and v were projected from
    grid: tuple[int, int]
    prefix: int = 1  # P, leading tokens without a place: the class token, or 0

    @property
    def scale(self) -> float:
        return float(self.v.shape[-1]) ** -0.5


class Term(NamedTuple):
    """One summand ``softmax(scale * a bᵀ + bias) v`` of an attention form."""

    a: Tensor  # (B, heads, P+N, d)
    b: Tensor  # (B, heads, P+N, d)
    scale: float
    bias: Tensor | None = None  # (P+N, P+N)
    weight: float = 1.0


Form = Callable[[Heads], list[Term]]


def qk(x: Heads) -> list[Term]:
    """CLIP: softmax(s q kᵀ) v (CLIP Surgery, Eq. 2)."""
    return [Term(x.q, x.k, x.scale)]


def vv(x: Heads) -> list[Term]:
    """CLIP Surgery: softmax(s v vᵀ) v (Eq. 3)."""
    return [Term(x.v, x.v, x.scale)]


def vv_normalised(x: Heads) -> list[Term]:
    """The form the public code writes for ResNets and never switches on: unit v, 8 times the scale."""
    unit = x.v / (x.v.norm(dim=-1, keepdim=True) + 1e-6)
    return [Term(unit, unit, 8 * x.scale)]


def qq(x: Heads) -> list[Term]:
    """ClearCLIP: softmax(s q qᵀ) v."""
    return [Term(x.q, x.q, x.scale)]


def qq_kk(x: Heads) -> list[Term]:
    """SCLIP: (softmax(s q qᵀ) + softmax(s k kᵀ)) v; its rows sum to 2."""
    return [Term(x.q, x.q, x.scale), Term(x.k, x.k, x.scale)]


def qq_kk_vv(x: Heads) -> list[Term]:
    """SegEarth-OV: the sum of the three self-self attentions; its rows sum to 3."""
    return [Term(u, u, x.scale) for u in (x.q, x.k, x.v)]


def kk_near(x: Heads) -> list[Term]:
    """NACLIP: softmax(s k kᵀ + G) v, G a Gaussian of the patches' distance in grid steps."""
    bias = gaussian_bias(x.grid, device=x.k.device, prefix=x.prefix).to(x.k.dtype)
    return [Term(x.k, x.k, x.scale, bias)]


def gem(x: Heads) -> list[Term]:
    """GEM: mean over u in {q, k, v} of softmax(τ û ûᵀ) v after one self-self iteration on û.

    τ = s * (mean over tokens of ‖h‖), one per image, folded into the left operand.
    """
    tau = x.scale * x.hidden.norm(dim=-1).mean(dim=-1)  # (B,)
    tau = tau[:, None, None, None].to(x.v.dtype)
    terms = []
    for u in (x.q, x.k, x.v):
        u = F.normalize(u, dim=-1)
        u = F.normalize(F.scaled_dot_product_attention(tau * u, u, u, scale=1.0), dim=-1)
        terms.append(Term(tau * u, u, 1.0, weight=1 / 3))
    return terms


def identity(x: Heads) -> list[Term]:
    """MaskCLIP: v itself, no attention."""
    return []


def gaussian_bias(
    grid: tuple[int, int], std: float = 5.0, device: torch.device | None = None, prefix: int = 1
) -> Tensor:
    """exp(-d² / (2 std²)) of the distance d between two patches in grid steps, (P+N, P+N).

    Zero in the rows and columns of the P = ``prefix`` leading tokens (NACLIP: the class token).
    """
    height, width = grid
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    places = torch.cartesian_prod(rows, columns).float()  # (N, 2)
    squared = (places[:, None] - places[None]).square().sum(-1)  # (N, N)
    return F.pad(torch.exp(-squared / (2 * std**2)), (prefix, 0, prefix, 0))


def attend(terms: list[Term], v: Tensor, start: int = 0) -> Tensor:
    """The form's output for the queries from ``start`` on, (B, heads, P+N-start, d), fused."""
    if not terms:
        return v[:, :, start:]

    def one(term: Term) -> Tensor:
        query, bias = term.a[:, :, start:], None if term.bias is None else term.bias[start:]
        out = F.scaled_dot_product_attention(query, term.b, v, attn_mask=bias, scale=term.scale)
        return out if term.weight == 1 else out * term.weight

    return reduce(torch.add, map(one, terms))


def weights(terms: list[Term], v: Tensor) -> Tensor:
    """The form's attention weights, (B, heads, P+N, P+N), kept in the graph."""
    if not terms:
        return torch.eye(v.shape[2], dtype=v.dtype, device=v.device).expand(*v.shape[:2], -1, -1)

    def one(term: Term) -> Tensor:
        logits = term.scale * (term.a @ term.b.transpose(-1, -2))
        logits = logits if term.bias is None else logits + term.bias
        return term.weight * logits.softmax(dim=-1)

    return reduce(torch.add, map(one, terms))


@dataclass(frozen=True)
class Method:
    """How dense tokens are made from a frozen CLIP: one row of the table of methods.

    The class token that is handed out always comes from the original path.

    Attributes:
        name: what users call it.
        form: the attention of the changed blocks.
        blocks: how many of the last blocks are changed.
        paths: 2 where queries, keys and values of a changed block come from the original path, 1 where they
            come from the changed tokens themselves.
        residual: whether the changed tokens keep what they were before the block.
        ffn: whether the changed tokens go through the feed-forward network.
        resize: how the position embedding reaches other grids, one of ``POSITIONS``.
        source: the paper.
        class_token_weight: this much of the changed path's unit class token (or what the tower's pooling makes
            of the changed path) is taken from every unit patch token (SegEarth-OV: 0.3); 0 switches it off.
        attention: whether the changed tokens take in the block's attention; without it the feed-forward
            network alone is left (a row of the paper's Table 4).
        whole: how sides that are not whole patches are treated, one of ``WHOLE``.
    """

    name: str
    form: Form
    blocks: int
    paths: int
    residual: bool
    ffn: bool
    resize: str
    source: str
    class_token_weight: float = 0.0
    attention: bool = True
    whole: str = "fitted"

    def describe(self) -> dict[str, Plain]:
        """Name and rules, for records and the identity of runs."""
        return {"method": self.name, "positions": self.resize, "whole": self.whole}

    @property
    def needs_queries(self) -> bool:
        """Whether the form reads every token's query; otherwise the last block computes one query only."""
        return self.form not in (vv, vv_normalised, kk_near, identity)


_SURGERY, _FACTOR = "Li et al., Pattern Recognition 2025", "bicubic_factor"
_ROWS = (
    Method("clip", qk, 0, 1, True, True, "bilinear", "Radford et al., ICML 2021"),
    Method("maskclip", identity, 1, 1, False, False, "bicubic", "Zhou et al., ECCV 2022"),
    Method("clip_surgery", vv, 6, 2, True, False, "bilinear", _SURGERY),
    Method("gem", gem, 6, 2, True, False, "bicubic_antialias", "Bousselham et al., CVPR 2024"),
    Method("sclip", qq_kk, 1, 1, True, True, _FACTOR, "Wang et al., ECCV 2024"),
    Method("clearclip", qq, 1, 1, False, False, _FACTOR, "Lan et al., ECCV 2024"),
    Method("naclip", kk_near, 1, 1, False, False, _FACTOR, "Hajimiri et al., WACV 2025", whole="cut"),
    Method("segearth", qq_kk_vv, 1, 1, False, False, _FACTOR, "Li et al., CVPR 2025", 0.3),
    # The option of the public code for ResNets (docs/methods.md), reachable by name.
    Method("clip_surgery_normalised", vv_normalised, 6, 2, True, False, "bilinear", _SURGERY),
)
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def add_method(row: Method) -> None:
    """Register a method under its name.

    Raises:
        UsageError: the name belongs to another form or is not made of letters, digits and "_", or a field
            is out of range.
    """
    check_text("the name of a method", row.name)
    if not re.fullmatch(r"[A-Za-z]\w*", row.name, re.ASCII):
        raise UsageError(f"expected the name of a method in letters, digits and '_', got {row.name!r}")
    check_integer("blocks", row.blocks, 0, 1000)
    check_integer("paths", row.paths, 1, 2)
    check_choice("resize", row.resize, POSITIONS)
    check_choice("whole", row.whole, WHOLE)
    known = METHODS.get(row.name)
    origins = {(one.form.__module__, one.form.__qualname__) for one in (row, known or row)}
    if known is not None and len(origins) > 1:
        raise UsageError(f"expected a new name for a method, {row.name!r} is taken")
    METHODS[row.name] = row


def remove_method(name: str) -> None:
    """Remove a method. Raises UsageError for an unknown name."""
    del METHODS[get_method(name).name]


def method(
    name: str,
    *,
    blocks: int = 1,
    paths: int = 1,
    residual: bool = True,
    ffn: bool = True,
    resize: str = "bicubic",
    source: str = "",
    class_token_weight: float = 0.0,
    attention: bool = True,
    whole: str = "fitted",
) -> Callable[[Form], Form]:
    """Register an attention form as a method; the function is returned as it is.

    Args:
        name: what users call it. The other arguments are the fields of ``Method``.

    Raises:
        UsageError: as of ``add_method``.

    Example:
        >>> @method("kk", residual=False, ffn=False, source="nobody")
        ... def kk(x: Heads) -> list[Term]:
        ...     return [Term(x.k, x.k, x.scale)]
        >>> "kk" in list_methods()
        True
        >>> remove_method("kk")
    """

    def register(form: Form) -> Form:
        rest = (source, class_token_weight, attention, whole)
        add_method(Method(name, form, blocks, paths, residual, ffn, resize, *rest))
        return form

    return register


def list_methods() -> list[str]:
    """The names of the methods, in the order of the table."""
    return list(METHODS)


def get_method(method: str | Method) -> Method:
    """The row named ``method``, or ``method`` itself if it already is one.

    Raises:
        UsageError: there is no method of that name.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str) or method not in METHODS:
        raise UsageError(f"unknown method {described(method)}: expected one of {', '.join(METHODS)}")
    return METHODS[method]
