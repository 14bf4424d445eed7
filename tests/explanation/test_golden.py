"""Explanations against outputs of the methods' public code on small random models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovseg.explanation import gradcam
from ovseg.explanation.attention import propagated
from ovseg.explanation.plrp import attention_relevance
from ovseg.explanation.run import normalised
from ovseg.results import SimilarityMap


@pytest.fixture(scope="module")
def subject(models):
    return models.golden()


def at_64(maps):
    """The public code's way: min-max on the grid, enlarged, min-max again."""
    return SimilarityMap(normalised(maps).numpy(), ("a", "b"), (64, 64)).array


WEIGHTS = {
    "gradcam_clsgrad": lambda s: s.model.logit_scale * gradcam.class_weights(s),
    "gscorecam": lambda s: gradcam.channel_scores(s, gradcam.mean_weights(s), 40),
    "gscorecam_clsgrad": lambda s: gradcam.channel_scores(s, gradcam.class_weights(s), 40),
}
MAPS = {
    "gradcam": gradcam.gradcam,
    "gradcam_clsgrad": gradcam.gradcam_cls,
    "gscorecam": lambda s: gradcam.scored(s, gradcam.mean_weights(s), 40),
    "gscorecam_clsgrad": lambda s: gradcam.scored(s, gradcam.class_weights(s), 40),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_grad_cam_and_gscorecam(models, subject, name):
    found = at_64(MAPS[name](subject))
    for index in range(2):
        np.testing.assert_allclose(found[index], models.ARRAYS[f"vit/{name}/text{index}"], atol=2e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_channel_weights_of_grad_cam_and_gscorecam(models, subject, name):
    found = WEIGHTS[name](subject)
    for index in range(2):
        wanted = models.ARRAYS[f"vit/{name}/text{index}/weights"][0]
        np.testing.assert_allclose(found[index].numpy(), wanted, atol=1e-5)


def test_the_literal_grad_cam_of_a_vit_is_empty(models, subject):
    assert not models.ARRAYS["vit/gradcam/text0"].any()
    assert not gradcam.mean_weights(subject).any()


@pytest.mark.parametrize("name, blocks", [("bimodal_last", 1), ("bimodal_all", 4)])
def test_bimodal(models, subject, name, blocks):
    found = propagated(subject, blocks).flatten(1)
    np.testing.assert_allclose(found.numpy(), models.ARRAYS[f"vit/{name}"], atol=1e-5)


def test_partial_relevance(models):
    """The public code explains class 2; its own relevance of the scores is 1 there and 0 elsewhere."""
    subject = models.golden_timm()
    np.testing.assert_allclose(subject.feature.detach(), models.ARRAYS[f"{models.LRP}logits"][0], atol=1e-5)
    with torch.no_grad():
        found = attention_relevance(subject, torch.eye(5)[2:3])
    found = found.clamp_min(0).mean(dim=1)[0, 1:]
    np.testing.assert_allclose(found.numpy(), models.ARRAYS[f"{models.LRP}last_layer"], atol=2e-5)
