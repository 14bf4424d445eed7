"""Tokens and texts to similarity maps: cosines, feature surgery in closed form, min-max, resize.

Symbols of the paper: image tokens N, texts K, F_i (N, D), F_t (K, D), class token F_c (D). All
features are L2-normalised here, by ``cosine`` and ``class_weights`` themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import UsageError

SURGERIES = ("label_set", "label_set_code", "empty")


def cosine(patches: Tensor, text: Tensor) -> Tensor:
    """D = F_i F_tᵀ: patches (B, N, D) as projected, text (K, D) -> (B, N, K) in -1..1."""
    return F.normalize(patches, dim=-1) @ F.normalize(text, dim=-1).T


def class_weights(class_token: Tensor, text: Tensor, tau: float = 2.0) -> Tensor:
    """w = s / mean(s), s = softmax(τ F_c F_tᵀ) (Eq. 9): class_token (B, D), text (K, D) -> (B, K)."""
    score = (tau * F.normalize(class_token, dim=-1) @ F.normalize(text, dim=-1).T).softmax(dim=-1)
    return score / score.mean(dim=-1, keepdim=True)


def label_set_surgery(cosines: Tensor, weights: Tensor, form: str = "paper") -> Tensor:
    """Feature surgery over a set of texts (Eq. 8-11) without the (N, K, D) product.

    S = Σ_c (F_m − F_r) with F_m = F_i ⊙ F_t and F_r = mean_k(F_m,k · w_k) is, since the sum over
    channels goes inside, D − mean_k(w · D) in the paper's form and w · D − mean_k(w · D) in the
    public code's. The first keeps the ranking of the texts at every token, the second does not.

    ``cosines`` (B, N, K), ``weights`` (B, K) -> (B, N, K). Raises UsageError for fewer than two
    texts (of one text nothing is left) or an unknown form.
    """
    if cosines.shape[-1] < 2:
        raise UsageError("label_set surgery wanted at least two names, got one: use surgery='empty'")
    weighted = cosines * weights[:, None, :]
    redundant = weighted.mean(dim=-1, keepdim=True)  # Σ_c F_r, one number a token
    if form == "paper":
        return cosines - redundant
    if form == "code":
        return weighted - redundant
    raise UsageError(f"unknown form {form!r}: wanted 'paper' or 'code'")


def empty_surgery(patches: Tensor, text: Tensor, empty: Tensor) -> Tensor:
    """S = F_i (F_t − F_empty)ᵀ: patches (B, N, D), text (K, D), empty (1, D) -> (B, N, K)."""
    unit = F.normalize(patches, dim=-1)
    return unit @ (F.normalize(text, dim=-1) - F.normalize(empty, dim=-1)).T


def to_grid(similarity: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, K) over a row-major grid (h, w) -> (B, K, h, w)."""
    return similarity.transpose(1, 2).unflatten(-1, grid)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, pixel centres aligned: (B, K, h, w) -> (B, K, H, W)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def resize_rows(maps: Tensor, size: tuple[int, int], rows: range) -> Tensor:
    """Some rows of ``resize(maps, size)``: (B, K, h, w) -> (B, K, len(rows), W).

    A label map of a large photograph needs every class at every pixel, but not all pixels at once.
    """
    height = maps.shape[2]
    place = torch.arange(rows.start, rows.stop, device=maps.device, dtype=torch.float32)
    place = ((place + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    upper = place.floor().long()
    lower = (upper + 1).clamp_max(height - 1)
    share = (place - upper)[:, None]
    band = torch.lerp(maps[:, :, upper], maps[:, :, lower], share.expand(-1, maps.shape[3]))
    return resize(band, (len(rows), size[1]))


def min_max(maps: Tensor) -> Tensor:
    """Each (H, W) map to 0..1; a constant map becomes 0 everywhere (nothing stands out)."""
    low = maps.amin(dim=(-2, -1), keepdim=True)
    spread = maps.amax(dim=(-2, -1), keepdim=True) - low
    # Below float32's resolution of a cosine differences are rounding, not content.
    return torch.where(spread > 1e-6, (maps - low) / spread.clamp_min(1e-12), 0.0)


def similarity_map(
    similarity: Tensor, grid: tuple[int, int], size: tuple[int, int], normalise_first: bool = False
) -> Tensor:
    """Equation 1: (B, N, K) -> (B, K, H, W) in 0..1.

    Reshape, bilinear, min-max, so that every map reaches 0 and 1 at the size it is used at;
    ``normalise_first`` is the order of the public code.
    """
    maps = to_grid(similarity, grid)
    return resize(min_max(maps), size) if normalise_first else min_max(resize(maps, size))
