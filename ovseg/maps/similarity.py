"""Features of places and texts to similarities: cosines and feature surgery in closed form.

Symbols of the paper: image tokens N, texts K, F_i (N, D), F_t (K, D), class token F_c (D). All features are
L2-normalised here, by ``place_features`` and ``class_weights`` themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import UsageError, described
from ovseg.results.base import ImageTokens


def place_features(tokens: ImageTokens, class_token_weight: float = 0.0) -> Tensor:
    """F_i: one feature for each place, whose product with a text's unit feature is the text's score there.

    The L2-normalised patch tokens; with a ``class_token_weight`` (SegEarth-OV: 0.3) that much of the
    L2-normalised class token of the changed path is taken from each, which takes the same multiple of its
    cosine from each text's map.

    Returns:
        (B, N, D) float32.
    """
    features = F.normalize(tokens.patches, dim=-1)
    if class_token_weight and tokens.bias_token is not None:
        features = features - class_token_weight * F.normalize(tokens.bias_token, dim=-1)[:, None]
    return features


def cosine(features: Tensor, text: Tensor) -> Tensor:
    """D = F_i F_tᵀ: place features (B, N, D), text (K, D) -> (B, N, K), in -1..1 for unit features."""
    return features @ F.normalize(text, dim=-1).T


def class_weights(class_token: Tensor, text: Tensor, tau: float = 2.0) -> Tensor:
    """w = s / mean(s), s = softmax(τ F_c F_tᵀ) (Eq. 9): class_token (B, D), text (K, D) -> (B, K)."""
    return score_weights(F.normalize(class_token, dim=-1) @ F.normalize(text, dim=-1).T, tau)


def score_weights(scores: Tensor, tau: float = 2.0) -> Tensor:
    """w of Eq. 9 from the cosines of images with texts, or from another model's scores in their place.

    Args:
        scores: (B, K).
        tau: the softmax's scale.

    Returns:
        (B, K), with the mean 1 in each row.
    """
    share = (tau * scores).softmax(dim=-1)
    return share / share.mean(dim=-1, keepdim=True)


def check_surgery(surgery: str | None, texts: int) -> None:
    """Raise UsageError for a surgery that this number of texts is too few for: of one, nothing is left."""
    if surgery in ("label_set", "label_set_code") and texts < 2:
        raise UsageError(f"surgery={surgery!r} needs at least two names, got one: use surgery='empty'")


def label_set_surgery(cosines: Tensor, weights: Tensor, form: str = "label_set") -> Tensor:
    """Feature surgery over a set of texts (Eq. 8-11) without the (N, K, D) product.

    S = Σ_c (F_m − F_r) with F_m = F_i ⊙ F_t and F_r = mean_k(F_m,k · w_k) is, since the sum over channels
    goes inside, D − mean_k(w · D) in the paper's form and w · D − mean_k(w · D) in the public code's. The
    first keeps the ranking of the texts at every token, the second does not.

    Args:
        cosines: D, (B, N, K).
        weights: w, (B, K).
        form: "label_set" (the paper's) or "label_set_code" (the public code's).

    Returns:
        S, (B, N, K).

    Raises:
        UsageError: there are fewer than two texts (of one text nothing is left), or the form is unknown.
    """
    check_surgery(form, cosines.shape[-1])
    weighted = cosines * weights[:, None, :]
    redundant = weighted.mean(dim=-1, keepdim=True)  # Σ_c F_r, one number a token
    if form == "label_set":
        return cosines - redundant
    if form == "label_set_code":
        return weighted - redundant
    raise UsageError(f"unknown form {described(form)}: expected 'label_set' or 'label_set_code'")


def empty_text_surgery(features: Tensor, text: Tensor, empty: Tensor) -> Tensor:
    """S = F_i (F_t − F_empty)ᵀ: place features (B, N, D), text (K, D), empty (1, D) -> (B, N, K)."""
    return features @ (F.normalize(text, dim=-1) - F.normalize(empty, dim=-1)).T


def apply_surgery(
    features: Tensor, class_token: Tensor, text: Tensor, surgery: str, empty: Tensor | None
) -> Tensor:
    """The similarity of every place with every text, by one of ``options.SURGERIES``.

    Args:
        features: F_i, (B, N, D).
        class_token: F_c, (B, D).
        text: F_t, (K, D).
        surgery: "none" (cosines), "empty", "label_set" or "label_set_code".
        empty: (1, D), the feature of the empty string; needed by "empty" alone.

    Returns:
        (B, N, K).
    """
    if surgery == "empty":
        assert empty is not None
        return empty_text_surgery(features, text, empty)
    cosines = cosine(features, text)
    if surgery == "none":
        return cosines
    return label_set_surgery(cosines, class_weights(class_token, text), surgery)


def to_grid(similarity: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, K) over a row-major grid (h, w) -> (B, K, h, w)."""
    return similarity.transpose(1, 2).unflatten(-1, grid)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, pixel centres aligned: (B, K, h, w) -> (B, K, H, W)."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def min_max(maps: Tensor) -> Tensor:
    """Each (H, W) map to 0..1; a constant map becomes 0 everywhere, since nothing stands out in it."""
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
