"""Explanations on a two-block model against autograd by hand, loops, and formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ovseg.explanation import Subject, explain, get_explanation, gradcam
from ovseg.explanation.attention import bimodal, bimodal_all, legrad, legrad_all, rollout, sensitivity
from ovseg.explanation.gradcam import grad_eclip
from ovseg.explanation.plrp import plrp
from ovseg.explanation.run import normalised


@pytest.fixture
def subject(models):
    return models.subject()


class ByHand:
    """The forward pass of the two-block ViT with everything kept, and gradients one text at a time."""

    def __init__(self, subject, reference):
        self.subject, self.visual = subject, subject.model.clip.visual
        self.blocks = list(self.visual.transformer.resblocks)
        x = reference.embed(self.visual, subject.pixels).requires_grad_()
        self.inputs, self.attention, self.values, self.outputs = [], [], [], []
        for block in self.blocks:
            q, k, v = reference.queries_keys_values(block, x)
            share = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
            self.inputs.append(x)
            self.attention.append(share)
            self.values.append(v)
            x = x + block.attn.out_proj((share @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.ln_2(x))
            self.outputs.append(x)
        self.score = [self.cosine(x[:, 0], text) for text in subject.text]

    def cosine(self, token, text):
        feature = self.visual.ln_post(token) @ self.visual.proj
        return F.cosine_similarity(feature[0], text, dim=0)

    def gradient(self, score, tensor):
        return torch.autograd.grad(score, tensor, retain_graph=True)[0]


@pytest.fixture
def by_hand(subject, reference):
    return ByHand(subject, reference)


def close(found, wanted, atol=1e-6):
    torch.testing.assert_close(found.flatten(1), torch.stack(list(wanted)), rtol=1e-4, atol=atol)


def test_cosines(subject, by_hand):
    torch.testing.assert_close(subject.cosines, torch.stack(by_hand.score).detach(), rtol=0, atol=1e-6)


def propagate(by_hand, score, blocks):
    """R in full, as matrices; the class token's row without its own column."""
    count = by_hand.attention[0].shape[-1]
    relevance = torch.eye(count)
    for share in by_hand.attention[-blocks:]:
        gradient = by_hand.gradient(by_hand.subject.model.logit_scale * score, share)
        total = torch.zeros(count, count)
        for head in range(share.shape[1]):
            total += (gradient[0, head] * share[0, head]).clamp_min(0).detach()
        relevance = relevance + total / share.shape[1] @ relevance
    return relevance[0, 1:]


def test_bimodal_equals_full_matrices(subject, by_hand):
    close(bimodal(subject), [propagate(by_hand, score, 1) for score in by_hand.score])
    close(bimodal_all(subject), [propagate(by_hand, score, 2) for score in by_hand.score])
    assert not torch.allclose(bimodal(subject), bimodal_all(subject))


def test_rollout_equals_a_loop_over_blocks_and_heads(subject, by_hand):
    count = by_hand.attention[0].shape[-1]
    joint = np.eye(count)
    for share in by_hand.attention:
        mean = np.zeros((count, count))
        for head in range(share.shape[1]):
            mean += share[0, head].detach().numpy() / share.shape[1]
        mean += np.eye(count)
        for row in range(count):
            mean[row] /= mean[row].sum()
        joint = mean @ joint
    found = rollout(subject)
    close(found, 3 * [torch.from_numpy(joint[0, 1:]).float()])


@pytest.mark.parametrize(
    "method, depth",
    [(legrad, 2), (legrad_all, 2), (lambda subject: sensitivity(subject, 1), 1)],
    ids=["default", "all", "last"],
)
def test_legrad(subject, by_hand, method, depth):
    close(method(subject), legrad_by_hand(by_hand, depth))


def legrad_by_hand(by_hand, depth):
    wanted, subject = [], by_hand.subject
    for text in subject.text:
        total = 0.0
        for share, out in zip(by_hand.attention[-depth:], by_hand.outputs[-depth:]):
            score = by_hand.cosine(out.mean(dim=1), text)
            gradient = by_hand.gradient(score, share).clamp_min(0)  # (1, heads, queries, keys)
            total = total + gradient[0].mean(dim=0).mean(dim=0)[1:]
        wanted.append(total)
    return wanted


def test_grad_eclip(subject, by_hand):
    close(grad_eclip(subject), grad_eclip_by_hand(by_hand))


def grad_eclip_by_hand(by_hand):
    """The last block with a single head, gradients at its output before the projection."""
    subject = by_hand.subject
    visual, block = by_hand.visual, by_hand.blocks[-1]
    x = by_hand.inputs[-1].detach()
    q, k, v = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
    out = ((q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v).requires_grad_()
    y = x + block.attn.out_proj(out)
    y = y + block.mlp(block.ln_2(y))
    feature = F.normalize(visual.ln_post(y[:, 0]) @ visual.proj, dim=-1)[0]
    query, keys = block.attn.out_proj(q)[0, 0], block.attn.out_proj(k)[0, 1:]
    near = F.cosine_similarity(query[None], keys, dim=-1)
    near = (near - near.min()) / (near.max() - near.min())
    wanted = []
    for text in subject.text:
        (gradient,) = torch.autograd.grad(feature @ text, out, retain_graph=True)
        wanted.append(torch.relu((gradient[0, :1] * v[0, 1:] * near[:, None]).sum(dim=-1)))
    return wanted


class Originals:
    """The literal reference with the positions of the original code."""

    def __init__(self, reference, antialias):
        self.queries_keys_values = reference.queries_keys_values
        self.antialias = antialias

    def embed(self, visual, pixels):
        x = visual.conv1(pixels)
        table = visual.positional_embedding[1:].T.unflatten(1, visual.grid_size)[None]
        table = F.interpolate(
            table, size=x.shape[2:], mode="bicubic", align_corners=False, antialias=self.antialias
        )
        x = x.flatten(2).transpose(1, 2) + table.flatten(2).transpose(1, 2)
        first = visual.class_embedding + visual.positional_embedding[0]
        return visual.ln_pre(torch.cat([first[None, None], x], dim=1))


ORIGINALS = {
    "legrad": (True, lambda by_hand: legrad_by_hand(by_hand, 2)),
    "legrad_all": (True, lambda by_hand: legrad_by_hand(by_hand, 3)),
    "grad_eclip": (False, grad_eclip_by_hand),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_off_the_native_grid_positions_are_those_of_the_original_code(models, reference, name):
    """Pixels of 256 x 400 on a tower of 336 px: a grid of 16 x 25 in place of 21 x 21."""
    antialias, by_formula = ORIGINALS[name]
    model = models.larger()
    image = np.random.default_rng(4).integers(0, 256, (256, 400, 3), np.uint8)
    names = {"one": "a", "other": "b"}
    found = explain(model, image, names, name, size=(256, 400), templates="plain")
    text = model.encode_text(["a", "b"], "plain")
    subject = Subject(model, model.preprocess([image], (256, 400)), text, blocks=None)
    wanted = torch.stack(
        [one.detach() for one in by_formula(ByHand(subject, Originals(reference, antialias)))]
    )
    wanted = normalised(wanted.unflatten(1, (16, 25)))
    np.testing.assert_allclose(found.grid, wanted.numpy(), atol=1e-5)
    # The rule shows: with that of CLIP Surgery's code the map is another.
    other = normalised(get_explanation(name).maps(subject).detach())
    assert np.abs(other.numpy() - found.grid).max() > 1e-3


def test_grad_cam_at_the_first_norm_of_the_last_block(subject, by_hand):
    """As pytorch-grad-cam's example for CLIP: gradients of the softmax over the texts at the output of the norm."""
    visual, block = by_hand.visual, by_hand.blocks[-1]
    x = by_hand.inputs[-1].detach()
    tokens = block.ln_1(x).detach().requires_grad_()
    y = x + block.attn(tokens, tokens, tokens, need_weights=False)[0]
    y = y + block.mlp(block.ln_2(y))
    feature = F.normalize(visual.ln_post(y[:, 0]) @ visual.proj, dim=-1)[0]
    shares = (subject.model.logit_scale * feature @ subject.text.T).softmax(dim=0)
    wanted = []
    for share in shares:
        weights = torch.autograd.grad(share, tokens, retain_graph=True)[0][0, 1:].mean(dim=0)
        wanted.append(torch.relu(tokens[0, 1:].detach() @ weights))
    close(gradcam.gradcam_norm(subject), wanted)
    assert any(one.any() for one in wanted)


def test_the_softmax_over_one_text_explains_nothing(models):
    assert not gradcam.gradcam_norm(models.subject(texts=1)).any()


def test_grad_cam_at_the_last_blocks_input(subject, by_hand):
    tokens = by_hand.inputs[-1]
    wanted = []
    for score in by_hand.score:
        weights = by_hand.gradient(score, tokens)[0, 1:].mean(dim=0)
        wanted.append(torch.relu(tokens[0, 1:].detach() @ weights))
    close(gradcam.gradcam_input(subject), wanted)


def test_grad_cam_with_the_class_tokens_gradient(subject, by_hand):
    out = by_hand.outputs[-1]
    wanted = []
    for score in by_hand.score:
        gradient = by_hand.gradient(score, out)[0]
        assert not gradient[1:].any()  # which is why the literal map is empty
        wanted.append(torch.relu(out[0, 1:].detach() @ gradient[0]))
    close(gradcam.gradcam_cls(subject), wanted)
    assert not gradcam.gradcam(subject).any()


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_gscorecam_equals_a_loop_over_channels(models, family):
    """Each channel on its own: enlarged, normalised, multiplied on the image, scored."""
    subject = models.subject(family, texts=2)
    activations = subject.on_grid(subject.last_map[0, subject.prefix :].T)  # (C, h, w)
    importance = torch.randn(2, len(activations), generator=torch.Generator().manual_seed(5))
    count = 7
    for index, text in enumerate(subject.text):
        scores = torch.zeros(len(activations))
        for channel in importance[index].argsort(descending=True)[:count].tolist():
            mask = F.interpolate(
                activations[None, None, channel],
                subject.pixels.shape[2:],
                mode="bilinear",
                align_corners=True,
            )
            mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-6)
            feature = subject.model.encode_image(subject.pixels * mask).class_token[0]
            scores[channel] = subject.model.logit_scale * F.cosine_similarity(feature, text, dim=0)
        weights = scores.softmax(dim=0)
        total = torch.zeros(subject.grid)
        for weight, one in zip(weights, activations):
            total += weight * one
        found = gradcam.scored(subject, importance, count)[index]
        torch.testing.assert_close(found, total.relu(), rtol=1e-4, atol=1e-5)


def test_a_channel_that_several_texts_choose_is_looked_through_once(models, monkeypatch):
    subject = models.subject(texts=3)
    seen = []
    through = gradcam.seen_through
    monkeypatch.setattr(gradcam, "seen_through", lambda s, c: seen.append(len(c)) or through(s, c))
    importance = torch.arange(32.0).expand(3, -1)
    gradcam.channel_scores(subject, importance, 5)
    assert seen == [5]


# -------------------------------------------------------------------------------------- relevance


def test_relevance_by_elements(subject, by_hand):
    """pLRP with every rule written out for single elements, in double loops where it is one."""
    found = plrp(subject).flatten(1)
    visual, block = by_hand.visual, by_hand.blocks[-1]
    for index, text in enumerate(subject.text):
        after = by_hand.outputs[-1][0, 0].detach()
        normed = visual.ln_post(after)
        feature = normed @ visual.proj
        relevance = linear([1.0], feature.tolist(), [text.tolist()])
        relevance = linear(relevance, normed.tolist(), visual.proj.T.tolist())
        x = by_hand.inputs[-1][0, 0].detach()
        share, values = by_hand.attention[-1][0, :, 0].detach(), by_hand.values[-1][0].detach()
        mixed = torch.einsum("hn,hnd->hd", share, values)
        added = block.attn.out_proj(mixed.flatten())
        middle = x + added
        hidden = block.mlp.gelu(block.mlp.c_fc(block.ln_2(middle)))
        fed = block.mlp.c_proj(hidden)
        kept = [r * m / (m + f) for r, m, f in zip(relevance, middle.tolist(), fed.tolist())]
        down = [r * f / (m + f) for r, m, f in zip(relevance, middle.tolist(), fed.tolist())]
        down = linear(down, hidden.tolist(), block.mlp.c_proj.weight.tolist())
        down = linear(down, block.ln_2(middle).tolist(), block.mlp.c_fc.weight.tolist())
        both = [a + b for a, b in zip(kept, down)]
        attended = [r * a / (o + a) for r, a, o in zip(both, added.tolist(), x.tolist())]
        attended = linear(attended, mixed.flatten().tolist(), block.attn.out_proj.weight.tolist())
        heads, count, width = values.shape
        wanted = []
        for key in range(1, count):
            total = 0.0
            for head in range(heads):
                part = sum(
                    attended[head * width + d] / float(mixed[head, d]) * float(values[head, key, d])
                    for d in range(width)
                )
                total += max(0.0, float(share[head, key]) * part / 2) / heads
            wanted.append(total)
        np.testing.assert_allclose(found[index].detach().numpy(), wanted, rtol=2e-3, atol=1e-4)


def linear(relevance, inputs, weight):
    """Positive inputs by positive weights and negative by negative, each handing on the whole relevance."""
    handed = [0.0] * len(inputs)
    for sign in (1, -1):
        for out, amount in enumerate(relevance):
            parts = [
                x * w if x * sign > 0 and w * sign > 0 else 0.0
                for x, w in zip(inputs, weight[out], strict=True)
            ]
            if sum(parts):
                for place, part in enumerate(parts):
                    handed[place] += amount * part / sum(parts)
    return handed
