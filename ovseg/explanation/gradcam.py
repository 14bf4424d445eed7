"""Weighted sums of the last feature map's channels: Grad-CAM, gScoreCAM, and Grad-ECLIP with weights of places.

    map = relu(Σ_c weight_c · a_c)

Grad-CAM (Selvaraju et al., ICCV 2017): weights are gradients.

On a ResNet, a is the output of the last stage and weight_c the mean over places of ∂c/∂a_c. On a ViT, a is the
last block's output without the class token. The image's feature does not depend on those patch tokens, so their
gradient is exactly 0 and the literal map is empty. Two workarounds are in use: the public code of gScoreCAM takes
the gradient at the class token as weights; pytorch-grad-cam goes back to the first norm of the last block, and
explains the softmax over the texts (its example for CLIP). ``gradcam_norm`` is that form, which needs several texts;
``gradcam_input`` is ours: the input of the last block and the cosine of each text alone.

gScoreCAM (Chen et al., 2022): weights are scores of the image masked by a channel. The channels with the
highest mean gradient, at most ``CHANNELS``, are upsampled to the input's size, min-max normalised and multiplied
with the normalised pixels. The weights are the softmax of the masked images' scores over all channels, where the
score of a channel that was not chosen is 0.

Grad-ECLIP (Zhao et al., ICML 2024): the last block is computed with a single head. o is its attention output at
the class token, before the output projection; v are the values; q and k are queries and keys after the output
projection:

    map_i = relu(λ_i Σ_c (∂c/∂o)_c v_ic),  λ = min-max over places of cosine(q of the class token, k_i)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.encoder import encode_image
from ovseg.clip.towers import BlockTower
from ovseg.clip.towers.base import merge_heads
from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import Subject, tower_visual
from ovseg.model.engine import BATCH_PIXELS

CHANNELS = 300
SOURCE = "Selvaraju et al., ICCV 2017"
SCORE_SOURCE = "Chen et al., 2022 (anguyen8/gScoreCAM)"


def mean_weights(subject: Subject) -> Tensor:
    """(K, C): the mean over places of the gradient at the last feature map, Grad-CAM's own weights."""
    return subject.tail_gradients(subject.last_map, subject.pooled)[:, subject.prefix :].mean(dim=1)


def class_weights(subject: Subject) -> Tensor:
    """(K, C): the gradient at the last block's class token."""
    token = subject.last_map[:, :1]
    return subject.tail_gradients(token, subject.pooled)[:, 0]


def weighted(subject: Subject, channels: Tensor, activations: Tensor) -> Tensor:
    """relu(Σ_c weight_c · a_c): weights (K, C) and activations (1, N, C) to (K, h, w)."""
    return subject.on_grid((channels @ activations[0].detach().float().T).relu())


@explanation("gradcam", source=SOURCE)
def gradcam(subject: Subject) -> Tensor:
    """Grad-CAM as published: on a ViT with a class token this map is empty."""
    return weighted(subject, mean_weights(subject), subject.last_map[:, subject.prefix :])


@explanation("gradcam_cls", source=f"{SOURCE}; Chen et al., 2022", needs="class token")
def gradcam_cls(subject: Subject) -> Tensor:
    """Weights from the gradient at the class token, as in the public code of gScoreCAM."""
    return weighted(subject, class_weights(subject), subject.last_map[:, subject.prefix :])


@explanation("gradcam_input", source=f"{SOURCE}; pytorch-grad-cam", needs="blocks", blocks=1)
def gradcam_input(subject: Subject) -> Tensor:
    """Grad-CAM on the last block's input tokens, for the cosine of each text alone: no published form."""
    tokens = subject.trace.tokens[-2]
    gradients = torch.cat([gradient for (gradient,) in subject.gradients([tokens])])
    channels = gradients[:, subject.prefix :].mean(dim=1)
    return weighted(subject, channels, tokens[:, subject.prefix :])


@explanation("gradcam_norm", source=f"{SOURCE}; pytorch-grad-cam", needs="blocks", blocks=1)
def gradcam_norm(subject: Subject) -> Tensor:
    """Grad-CAM on the first norm of the last block, for the softmax over the texts: empty for a single text."""
    tokens = subject.trace.heads[-1].hidden
    scale = subject.model.logit_scale
    gradients = torch.cat(
        [gradient for (gradient,) in subject.gradients([tokens])]
    )  # (K, P+N, C) of the cosines
    channels = gradients[:, subject.prefix :].mean(dim=1)
    shares = (scale * subject.cosines).softmax(dim=0)[:, None]
    channels = scale * shares * (channels - (shares * channels).sum(dim=0))
    return weighted(subject, channels, tokens[:, subject.prefix :])


@explanation("gscorecam", source=SCORE_SOURCE)
def gscorecam(subject: Subject) -> Tensor:
    """gScoreCAM with channels chosen by the mean gradient over places, which is 0 on a ViT."""
    return scored(subject, mean_weights(subject), CHANNELS)


@explanation("gscorecam_cls", source=SCORE_SOURCE, needs="class token")
def gscorecam_cls(subject: Subject) -> Tensor:
    """gScoreCAM with channels chosen by the gradient at the class token, as the public code does for ViTs."""
    return scored(subject, class_weights(subject), CHANNELS)


def scored(subject: Subject, importance: Tensor, count: int) -> Tensor:
    """The maps (K, h, w), for the ``count`` channels of highest ``importance`` (K, C)."""
    activations = subject.last_map[:, subject.prefix :]
    return weighted(subject, channel_scores(subject, importance, count), activations)


def channel_scores(subject: Subject, importance: Tensor, count: int) -> Tensor:
    """The weights (K, C): softmax over all channels of the scores at the model's logit scale.

    A channel that several texts choose is encoded once.
    """
    chosen = importance.topk(min(count, importance.shape[1]), dim=1).indices  # (K, count)
    channels, place = chosen.unique(return_inverse=True)
    features = seen_through(subject, channels)  # (unique, D)
    scores = subject.model.logit_scale * features @ subject.text.T  # (unique, K)
    filled = torch.zeros_like(importance)
    own = torch.arange(len(chosen), device=chosen.device)[:, None]
    filled[own, chosen] = scores[place, own].nan_to_num(0.0)
    return filled.softmax(dim=1)


@torch.no_grad()
def seen_through(subject: Subject, channels: Tensor) -> Tensor:
    """The unit feature (n, D) of the image masked by each of n channels of the last feature map."""
    maps = subject.on_grid(subject.last_map[0, subject.prefix :].float().T[channels])  # (n, h, w)
    size = (subject.pixels.shape[2], subject.pixels.shape[3])
    step = max(1, BATCH_PIXELS // (size[0] * size[1]))
    found = []
    for part in maps.split(step):
        mask = F.interpolate(part[:, None], size, mode="bilinear", align_corners=True)
        low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
        masked = subject.pixels * ((mask - low) / (high - low + 1e-6))
        tokens = encode_image(tower_visual(subject.tower), masked, subject.clip, patches=False)
        found.append(F.normalize(tokens.class_token, dim=-1))
    return torch.cat(found)


@explanation("grad_eclip", source="Zhao et al., ICML 2024", needs="class token", blocks=1, resize="bicubic")
def grad_eclip(subject: Subject) -> Tensor:
    """Grad-ECLIP with the loosened similarities λ as weights of places."""
    tower, trace = subject.tower, subject.trace
    assert isinstance(tower, BlockTower)  # the registry has seen to it
    block, heads = tower.blocks[-1], trace.heads[-1]
    before = trace.tokens[-2][:, :1].detach()
    q, k, v = (merge_heads(u.detach()) for u in heads[:3])  # (1, 1+N, C)
    out = F.scaled_dot_product_attention(q[:, None, :1], k[:, None], v[:, None])  # (1, 1, 1, C): one head

    def rest(out: Tensor) -> Tensor:
        x = before + tower.project_attention(block, out)
        return tower.pooled(x + tower.feed_forward(block, x))

    channels = subject.tail_gradients(out, rest)[:, 0, 0]  # (K, C)
    found = channels @ v[0, 1:].float().T  # (K, N)
    return subject.on_grid((_place_weights(tower, subject) * found).relu())


def _place_weights(tower: BlockTower, subject: Subject) -> Tensor:
    """λ, (N,) in 0..1."""
    block, heads = tower.blocks[-1], subject.trace.heads[-1]
    query = tower.project_attention(block, heads.q[:, :, :1].detach())[0, 0].float()
    keys = tower.project_attention(block, heads.k[:, :, 1:].detach())[0].float()
    cosine = F.normalize(keys, dim=-1) @ F.normalize(query, dim=-1)
    low, high = cosine.min(), cosine.max()
    return (cosine - low) / (high - low).clamp_min(1e-12)
