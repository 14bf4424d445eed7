"""gScoreCAM (Chen et al., 2022): channels weighted by the score of the image seen through them.

The channels of the last feature map with the highest mean gradient, at most ``CHANNELS``, are enlarged to
the input, min-max normalised and multiplied on the normalised pixels. Each masked image gets its score, and
the softmax over all channels, with 0 for those not chosen, gives the weights: map = relu(Σ_c weight_c · a_c).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.encoder import encode_image
from ovseg.explanation.gradcam import class_weights, mean_weights, weighted
from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import CLIP, Subject, tower_visual
from ovseg.model.engine import BATCH_PIXELS

CHANNELS = 300
SOURCE = "Chen et al., 2022 (anguyen8/gScoreCAM)"


@explanation("gscorecam", source=SOURCE)
def gscorecam(subject: Subject) -> Tensor:
    """gScoreCAM with channels chosen by the mean gradient over places, which is 0 on a ViT."""
    return scored(subject, mean_weights(subject), CHANNELS)


@explanation("gscorecam_cls", source=SOURCE, needs="class token")
def gscorecam_cls(subject: Subject) -> Tensor:
    """gScoreCAM with channels chosen by the gradient at the class token, the public code's way for ViTs."""
    return scored(subject, class_weights(subject), CHANNELS)


def scored(subject: Subject, importance: Tensor, count: int) -> Tensor:
    """The maps (K, h, w), for the ``count`` channels of highest ``importance`` (K, C)."""
    activations = subject.last_map[:, subject.prefix :]
    return weighted(subject, channel_scores(subject, importance, count), activations)


def channel_scores(subject: Subject, importance: Tensor, count: int) -> Tensor:
    """The weights (K, C): softmax over all channels of the scores at the model's logit scale.

    A channel that several texts choose is looked through once.
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
        tokens = encode_image(tower_visual(subject.tower), masked, CLIP, patches=False)
        found.append(F.normalize(tokens.class_token, dim=-1))
    return torch.cat(found)
