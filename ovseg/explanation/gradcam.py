"""Grad-CAM (Selvaraju et al., ICCV 2017): channels of the last feature map, weighted by their gradient.

    map = relu(Σ_c weight_c · a_c)

On a ResNet a is the output of the last stage and weight_c the mean over places of ∂c/∂a_c. On a ViT a is the
last block's output without the class token. The class token of that block does not depend on its patches, so
there the gradient is exactly 0 and the literal map is empty. Two ways round it are in use: the public code of
gScoreCAM takes the gradient at the class token as weights, pytorch-grad-cam's examples go one block back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovseg.explanation.registry import explanation
from ovseg.explanation.subject import Subject

SOURCE = "Selvaraju et al., ICCV 2017"


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
    """Grad-CAM as it is written: on a ViT with a class token this map is empty."""
    return weighted(subject, mean_weights(subject), subject.last_map[:, subject.prefix :])


@explanation("gradcam_cls", source=f"{SOURCE}; Chen et al., 2022", needs="class token")
def gradcam_cls(subject: Subject) -> Tensor:
    """Weights from the gradient at the class token, as in the public code of gScoreCAM."""
    return weighted(subject, class_weights(subject), subject.last_map[:, subject.prefix :])


@explanation("gradcam_input", source=f"{SOURCE}; pytorch-grad-cam", needs="blocks", blocks=1)
def gradcam_input(subject: Subject) -> Tensor:
    """Grad-CAM on the tokens that go into the last block."""
    tokens = subject.trace.tokens[-2]
    gradients = torch.cat([gradient for (gradient,) in subject.gradients([tokens])])
    channels = gradients[:, subject.prefix :].mean(dim=1)
    return weighted(subject, channels, tokens[:, subject.prefix :])
