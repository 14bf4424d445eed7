"""Grad-CAM and gScoreCAM against pytorch-grad-cam, and against outputs of it that are kept here.

Its package requires a second OpenCV in the folder of ours, so it is installed without its dependencies:
pip install --no-deps grad-cam ttach. Where it is missing, the tests against the package itself are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovseg.explanation import gradcam
from ovseg.explanation.run import normalised

KEPT = Path(__file__).parents[1] / "data" / "pytorch_grad_cam.npz"
# Of each case the tolerance. The ResNet's map has 2 x 2 places, whose small range enlarges rounding.
# gScoreCAM adds 1e-6 to the range of a channel, Score-CAM 1e-8: it shows in channels of a small range.
CASES = {"gradcam_resnet": 5e-5, "gradcam_vit": 1e-5, "scorecam_resnet": 1e-3, "scorecam_vit": 1e-5}


def asked(family, models):
    """An image of the native size, and a text with its opposite, so that one of the maps is not empty."""
    side = {"vit": 32, "resnet": 16}[family]
    subject = models.subject(family, shape=(side, side))
    subject.text = torch.cat([subject.text[:1], -subject.text[:1]])
    return subject


def ours(case, models):
    """The two maps (2, h, w), min-max normalised."""
    kind, family = case.split("_")
    subject = asked(family, models)
    if kind == "scorecam":  # all channels chosen: then gScoreCAM is Score-CAM
        every = torch.zeros(2, subject.last_map.shape[-1])
        return normalised(gradcam.scored(subject, every, every.shape[1]))
    found = gradcam.gradcam(subject) if family == "resnet" else gradcam.gradcam_input(subject)
    return normalised(found)


class Cosines(nn.Module):
    """What pytorch-grad-cam explains: an image to its logits for the texts."""

    def __init__(self, subject):
        super().__init__()
        self.visual, self.text = subject.model.clip.visual, subject.text
        self.scale = subject.model.logit_scale

    def forward(self, x):
        return self.scale * F.normalize(self.visual(x), dim=-1) @ self.text.T


def theirs(case, models):
    package = pytest.importorskip("pytorch_grad_cam", reason="pip install --no-deps grad-cam ttach")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind, family = case.split("_")
    subject = asked(family, models)
    visual = subject.model.clip.visual
    side = subject.grid[0]
    if family == "vit":  # Grad-CAM: the block before the last; Score-CAM: the last
        blocks = visual.transformer.resblocks
        layer = blocks[-1] if kind == "scorecam" else blocks[-2]

        def places(tokens):
            return tokens[:, 1:].transpose(1, 2).unflatten(-1, (side, side))
    else:
        layer, places = visual.layer4[-1], None
    cam = {"gradcam": package.GradCAM, "scorecam": package.ScoreCAM}[kind]
    maps = []
    for index in range(2):
        with cam(model=Cosines(subject), target_layers=[layer], reshape_transform=places) as explain:
            x = subject.pixels.clone().requires_grad_()
            explain(input_tensor=x, targets=[ClassifierOutputTarget(index)])
            activations = explain.activations_and_grads.activations[0].numpy()
            gradients = explain.activations_and_grads.gradients
            gradients = gradients[0].numpy() if gradients else None
            raw = explain.get_cam_image(
                x.detach(), layer, [ClassifierOutputTarget(index)], activations, gradients
            )
            maps.append(np.maximum(raw[0], 0))
    return normalised(torch.from_numpy(np.stack(maps)))


@pytest.mark.parametrize("case", CASES)
def test_maps_equal_those_of_the_package(models, case):
    torch.testing.assert_close(ours(case, models), theirs(case, models), rtol=0, atol=CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_maps_equal_those_that_the_package_gave(models, case):
    """pytorch_grad_cam.npz holds what ``theirs`` returned with grad-cam 1.5.7."""
    with np.load(KEPT) as kept:
        wanted = kept[case]
    assert wanted.max() == 1
    np.testing.assert_allclose(ours(case, models).numpy(), wanted, atol=CASES[case])
