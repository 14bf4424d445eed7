"""Prompts to tokens to features: how many tokens a prompt takes, and towers read without their padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from ovseg.clip.text_key import Tokenizer
from ovseg.clip.text_state import is_text
from ovseg.errors import UsageError, short_repr

CLOSE = 8
"""Of a name whose longest prompt has fewer tokens to spare than this, every prompt is counted."""
ROWS = 4096
"""Prompts that are tokenized at a time when lengths are checked."""


class TextTower(NamedTuple):
    """How a model's text tower is read.

    Attributes:
        encode: token ids (B, L) to features (B, D), not normalised.
        ends: token ids (P, L) to the number of leading columns (P,) that decide a prompt's feature. Batches
            may be cut to the largest.
        each: token ids (B, L) to the feature of every token (B, L, D), made as that of the end token is, not
            normalised; None where the tower has no feature of single tokens.
    """

    encode: Callable[[Tensor], Tensor]
    ends: Callable[[Tensor], Tensor]
    each: Callable[[Tensor], Tensor] | None = None


def text_tower(clip: nn.Module) -> TextTower:
    """The text tower of an open_clip model, padding left out wherever it cannot change the feature.

    In a causal transformer, the feature at the end token does not depend on what comes behind it. The
    encoders of the hub mask their padding. Every other tower, such as SigLIP's, which reads its last
    position, gets the tokens at their full length.
    """
    model: Any = clip  # nn.Module declares none of the attributes of open_clip's classes
    if isinstance(clip, CLIP):
        if clip.attn_mask is not None and clip.text_pool_type in ("argmax", "eos"):
            return _causal(clip, clip.text_pool_type, clip.text_eos_id)
    elif isinstance(tower := getattr(clip, "text", None), TextTransformer):
        if tower.attn_mask is not None and tower.cls_emb is None and tower.pool_type in ("argmax", "eos"):
            return _causal(tower, tower.pool_type, tower.eos_id)
    elif isinstance(tower, HFTextEncoder):
        return TextTower(model.encode_text, lambda tokens: _columns(tokens != tower.config.pad_token_id))
    return TextTower(model.encode_text, lambda tokens: torch.full((len(tokens),), tokens.shape[1]))


def text_device(clip: nn.Module) -> torch.device:
    """Where the text tower's weights are."""
    return next(tensor.device for name, tensor in clip.named_parameters() if is_text(name))


def feature_length(clip: nn.Module) -> int | None:
    """D, the number of values of a text feature, where the model's class tells; None otherwise."""
    tower = clip if isinstance(clip, CLIP) else getattr(clip, "text", None)
    projection = getattr(tower, "text_projection", None)
    if isinstance(projection, nn.Linear):
        return projection.out_features
    if isinstance(projection, Tensor):
        return int(projection.shape[1])
    length = getattr(tower, "output_dim", None) if isinstance(tower, HFTextEncoder) else None
    return length if isinstance(length, int) else None


def check_lengths(tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]) -> None:
    """Raise UsageError for the first name of which a prompt does not fit into the model's context.

    A tokenizer cuts what is too long without a word. Here the prompts are tokenized once more with twice the
    room: of a prompt that fits, both give the same tokens.
    """
    limit = tokenizer.context_length
    bare = [template.replace("{}", "") for template in templates]
    longest = templates[int(_tokenize(tokenizer, bare, 2 * limit)[1].argmax())]
    for start in range(0, len(names), ROWS):
        part = names[start : start + ROWS]
        _, used = _tokenize(tokenizer, [longest.replace("{}", name) for name in part], 2 * limit)
        for name, count in zip(part, used.tolist(), strict=True):
            if count > limit - CLOSE:
                _check_prompts(tokenizer, name, [template.replace("{}", name) for template in templates])


def _check_prompts(tokenizer: Tokenizer, name: str, prompts: list[str]) -> None:
    limit = tokenizer.context_length
    cut, _ = _tokenize(tokenizer, prompts, limit)
    whole, used = _tokenize(tokenizer, prompts, 2 * limit)
    behind = torch.arange(limit) >= used[:, None]  # padding, and what a tokenizer puts behind it
    fits = (used <= limit) & ((cut == whole[:, :limit]) | behind).all(dim=1)
    if not fits.all():
        count = int(used[~fits].max())
        takes = f"more than {count - 1}" if count >= 2 * limit else str(max(count, limit + 1))
        shown = short_repr(name if len(name) <= 40 else name[:37] + "…")
        raise UsageError(f"expected a name of at most {limit} tokens with its prompt, {shown} takes {takes}")


def _tokenize(tokenizer: Tokenizer, prompts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Token ids (P, L) at ``length``, and how many of them (P,) come before the padding.

    Padding is what the empty prompt has in the same place: no tokenizer need say which id it pads with.
    """
    rows = tokenizer([*prompts, ""], context_length=length).cpu()
    return rows[:-1], _columns(rows[:-1] != rows[-1])


def _columns(marked: Tensor) -> Tensor:
    """The number of leading columns up to the last that is marked: (P, L) bool to (P,)."""
    return (marked * torch.arange(1, marked.shape[1] + 1)).amax(dim=1)


def _causal(tower: Any, pooling: str, end_token: int) -> TextTower:
    """A causal transformer that is read at its end token, cut to the tokens it gets."""

    def places(tokens: Tensor) -> Tensor:
        """The column of the end token: the largest id in OpenAI's vocabulary, or a given one."""
        return tokens.argmax(dim=-1) if pooling == "argmax" else tokens.eq(end_token).int().argmax(dim=-1)

    def hidden(tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        return tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])  # (B, L, C)

    def project(x: Tensor) -> Tensor:
        x = tower.ln_final(x)
        if tower.text_projection is None:
            return x
        if isinstance(tower.text_projection, nn.Linear):
            return tower.text_projection(x)
        return x @ tower.text_projection

    def encode(tokens: Tensor) -> Tensor:
        x = hidden(tokens)
        return project(x[torch.arange(len(x), device=x.device), places(tokens)])  # (B, D)

    return TextTower(encode, lambda tokens: places(tokens) + 1, lambda tokens: project(hidden(tokens)))
