"""A text token by token: what the text tower gives at every token, and what the token stands for."""

from __future__ import annotations

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.text_key import Tokenizer
from ovseg.clip.text_tower import check_lengths, text_device, text_tower
from ovseg.errors import UnsupportedModelError

START, END = "[start]", "[end]"


def token_features(clip: nn.Module, tokenizer: Tokenizer, text: str) -> tuple[tuple[str, ...], Tensor]:
    """The tokens of a text, and the feature of each in the common space.

    The text transformer is causal: the feature of a token depends on the tokens up to it. That of the end
    token is the text's own feature.

    Args:
        clip: an open_clip model.
        tokenizer: the tokenizer that belongs to it.
        text: one text, as it is.

    Returns:
        L tokens, "[start]" first and "[end]" last, a piece of a word that goes on in the next token with "-"
        behind it; and (L, D) float32, each row L2-normalised, on the text tower's device.

    Raises:
        UsageError: the text has more tokens than fit into the model's context.
        UnsupportedModelError: the text tower has no feature of single tokens.

    >>> import ovseg
    >>> loaded = ovseg.load_model("tiny").loaded
    >>> tokens, features = token_features(loaded.clip, loaded.tokenizer, "a skateboarder")
    >>> tokens, tuple(features.shape)
    (('[start]', 'a', 'skate-', 'boarder', '[end]'), (5, 128))
    """
    tower = text_tower(clip)
    if tower.each is None or not isinstance(tokenizer, SimpleTokenizer):
        raise UnsupportedModelError(
            "expected a causal text tower with CLIP's own tokenizer for the features of single tokens, "
            f"got {type(getattr(clip, 'text', clip)).__name__} with {type(tokenizer).__name__}"
        )
    check_lengths(tokenizer, [text], ["{}"])
    ids = tokenizer([text])
    ids = ids[:, : int(tower.ends(ids)[0])]
    with torch.inference_mode(False), torch.no_grad():
        features = tower.each(ids.to(text_device(clip)))[0].float()
    return tuple(_shown(tokenizer, token) for token in ids[0].tolist()), F.normalize(features, dim=-1)


def _shown(tokenizer: SimpleTokenizer, token: int) -> str:
    if token in (tokenizer.sot_token_id, tokenizer.eot_token_id):
        return START if token == tokenizer.sot_token_id else END
    piece = tokenizer.decode([token])
    return piece.rstrip() if piece.endswith(" ") else f"{piece}-"
