"""Tokenize prompts, check their length, and run text towers without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.plain import Clip, is_a, open_clip_file
from ovseg.errors import UnsupportedModelError, UsageError, short_repr

START, END = "[start]", "[end]"
CLOSE = 8
"""All prompts of a name are counted where the longest leaves fewer spare tokens than this."""
ROWS = 4096
"""Prompts that the length check tokenizes at once."""


# ------------------------------------------------------------------------------------------ tokenizers


class Tokenizer(Protocol):
    """The interface of open_clip's tokenizers, the hub's included."""

    context_length: int

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """Token ids (P, L) of P prompts, int64: cut and padded to L = ``context_length``."""
        ...


class BytePairs:
    """CLIP's own tokenizer, open_clip's SimpleTokenizer; its vocabulary is read at the first text.

    Args:
        context_length: L, tokens of a prompt with its start, its end and its padding.
        options: of SimpleTokenizer.
    """

    def __init__(self, context_length: int = 77, **options: Any) -> None:
        self.context_length = context_length
        self.options = options

    @cached_property
    def own(self) -> Any:
        """open_clip's tokenizer."""
        module = open_clip_file("tokenizer")
        ready = getattr(module, "_tokenizer", None)  # the one without options, which the module makes itself
        return ready if ready and not self.options else module.SimpleTokenizer(**self.options)

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        rows: Tensor = self.own(texts, context_length or self.context_length)
        return rows


def check_lengths(tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]) -> None:
    """Raise UsageError for the first name with a prompt that exceeds the model's context.

    Tokenizers truncate silently. Here prompts are tokenized again at twice the length: a prompt that fits
    gives the same tokens both times.
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

    Padding is what the empty prompt has in the same column, as tokenizers need not name their padding id.
    """
    rows = tokenizer([*prompts, ""], context_length=length).cpu()
    return rows[:-1], _columns(rows[:-1] != rows[-1])


def _columns(marked: Tensor) -> Tensor:
    """The number of leading columns up to the last that is marked: (P, L) bool to (P,)."""
    return (marked * torch.arange(1, marked.shape[1] + 1)).amax(dim=1)


# ---------------------------------------------------------------------------------------------- towers


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
    """The text tower of a model, padding left out wherever it cannot change the feature.

    In a causal transformer, the feature at the end token does not depend on what comes behind it. The
    encoders of the hub mask their padding. Every other tower, such as SigLIP's, which reads its last
    position, gets the tokens at their full length.
    """
    model: Any = clip  # nn.Module declares none of the attributes of open_clip's classes
    tower: Any = getattr(model, "text", None)
    if isinstance(clip, Clip):
        return _causal(clip, lambda tokens: tokens.argmax(dim=-1))
    if is_a(clip, "open_clip.model.CLIP"):
        if model.attn_mask is not None and model.text_pool_type in ("argmax", "eos"):
            return _causal(model, _end_token(model.text_pool_type, model.text_eos_id))
    elif is_a(tower, "open_clip.transformer.TextTransformer"):
        if tower.attn_mask is not None and tower.cls_emb is None and tower.pool_type in ("argmax", "eos"):
            return _causal(tower, _end_token(tower.pool_type, tower.eos_id))
    elif is_a(tower, "open_clip.hf_model.HFTextEncoder"):
        return TextTower(model.encode_text, lambda tokens: _columns(tokens != tower.config.pad_token_id))
    return TextTower(model.encode_text, lambda tokens: torch.full((len(tokens),), tokens.shape[1]))


def text_device(clip: nn.Module) -> torch.device:
    """Where the text tower's weights are."""
    return next(weight.device for name, weight in clip.named_parameters() if not name.startswith("visual."))


def _end_token(pooling: str, end_token: int) -> Callable[[Tensor], Tensor]:
    """The column of the end token: the largest id in OpenAI's vocabulary, or a given one."""
    if pooling == "argmax":
        return lambda tokens: tokens.argmax(dim=-1)
    return lambda tokens: tokens.eq(end_token).int().argmax(dim=-1)


def _causal(tower: Any, places: Callable[[Tensor], Tensor]) -> TextTower:
    """A causal transformer that is read at its end token, cut to the tokens it gets."""

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


# ---------------------------------------------------------------------------------------- single tokens


def token_features(clip: nn.Module, tokenizer: Tokenizer, text: str) -> tuple[tuple[str, ...], Tensor]:
    """Split a text into tokens and compute the feature of each in the common space.

    The text transformer is causal: the feature of a token depends on the tokens up to it. That of the end
    token is the text's own feature.

    Args:
        clip: a model.
        tokenizer: the tokenizer that belongs to it.
        text: one text, used without a template.

    Returns:
        L tokens, "[start]" first and "[end]" last, a piece of a word that goes on in the next token with "-"
        behind it; and (L, D) float32, each row L2-normalised, on the text tower's device.

    Raises:
        UsageError: the text exceeds the model's context.
        UnsupportedModelError: the text tower has no feature of single tokens.

    >>> import ovseg
    >>> loaded = ovseg.load_model("tiny").loaded
    >>> tokens, features = token_features(loaded.clip, loaded.tokenizer, "a skateboarder")
    >>> tokens, tuple(features.shape)
    (('[start]', 'a', 'skate-', 'boarder', '[end]'), (5, 128))
    """
    tower, own = text_tower(clip), getattr(tokenizer, "own", tokenizer)
    if tower.each is None or not hasattr(own, "sot_token_id"):
        raise UnsupportedModelError(
            "expected a causal text tower with CLIP's own tokenizer for the features of single tokens, "
            f"got {type(getattr(clip, 'text', clip)).__name__} with {type(tokenizer).__name__}"
        )
    check_lengths(tokenizer, [text], ["{}"])
    ids = tokenizer([text])
    ids = ids[:, : int(tower.ends(ids)[0])]
    with torch.inference_mode(False), torch.no_grad():
        features = tower.each(ids.to(text_device(clip)))[0].float()
    return tuple(_shown(own, token) for token in ids[0].tolist()), F.normalize(features, dim=-1)


def _shown(tokenizer: Any, token: int) -> str:
    if token in (tokenizer.sot_token_id, tokenizer.eot_token_id):
        return START if token == tokenizer.sot_token_id else END
    piece = str(tokenizer.decode([token]))
    return piece.rstrip() if piece.endswith(" ") else f"{piece}-"
