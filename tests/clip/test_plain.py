"""The embedded models: the bits of open_clip's and timm's modules without their import, and files of theirs."""

from __future__ import annotations

import json
import subprocess
import sys

import open_clip
import pytest
import timm
import torch
from open_clip.modified_resnet import AttentionPool2d
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from ovseg.clip import embedded
from ovseg.clip.attention import METHODS, get_method
from ovseg.clip.embedded import pack, unpack
from ovseg.clip.encoder import encode_image
from ovseg.clip.loaded import LoadedClip
from ovseg.clip.models import load_clip
from ovseg.clip.pooled import TRUNKS, EfficientNetLite, PlaceHead, PooledTrunk
from ovseg.clip.text import TextEncoder
from ovseg.clip.towers import tower_of
from ovseg.clip.towers.convolutions import PooledTrunkTower
from ovseg.errors import WeightsError
from ovseg.weights import checkpoints

NO_VISION = {"layers": 1, "width": 64, "head_width": 64, "patch_size": 32, "image_size": 32}
NAMES = ["tree", "traffic light", "", "дерево", "木", "Tom & Jerry&#39;s “café”", "word " * 40]


class Upstream(nn.Module):
    """The image tower of "small" of timm's trunk and open_clip's pooling."""

    def __init__(self, embed_dim: int, trunk: str, image_size: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.image_size = (image_size, image_size)
        self.trunk = timm.create_model(trunk, num_classes=0, global_pool="", output_stride=16)
        self.head = PlaceHead(self.trunk.num_features, hidden, embed_dim)
        self.attnpool = AttentionPool2d(image_size // 16, embed_dim, heads, embed_dim)

    def places(self, pixels):
        x = self.trunk.forward_features(pixels.contiguous(memory_format=torch.channels_last))
        return F.normalize(self.head(x.permute(0, 2, 3, 1)), dim=-1).permute(0, 3, 1, 2)

    def forward(self, pixels):
        return self.attnpool(self.places(pixels))


@pytest.fixture(scope="module", params=["tiny", "small"])
def pair(request):
    """The embedded model, and the same weights in open_clip's and timm's modules."""
    own = load_clip(request.param)
    config = checkpoints.config_of(checkpoints.read(embedded.asset_path(request.param)), request.param)
    pooled = "trunk" in config["vision_cfg"]
    clip = open_clip.CLIP(**({**config, "vision_cfg": NO_VISION} if pooled else config))
    if pooled:
        clip.visual = Upstream(config["embed_dim"], **config["vision_cfg"])
    clip.load_state_dict(own.clip.state_dict(), strict=True)
    clip.eval().requires_grad_(False)
    return own, LoadedClip(clip, open_clip.SimpleTokenizer(), own.name, own.mean, own.std, own.size)


def images(clip, *shape, seed=0):
    step = tower_of(clip.visual).patch_size[0]
    sides = [side * step for side in shape[1:]]
    return torch.randn(shape[0], 3, *sides, generator=torch.Generator().manual_seed(seed))


def dense(clip, pixels, method):
    """Tokens through ovseg's encoder, for which the upstream trunk needs its adapter by hand."""
    if isinstance(clip.visual, Upstream):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ovseg.clip.encoder.tower_of", PooledTrunkTower)
            return encode_image(clip.visual, pixels, method)
    return encode_image(clip.visual, pixels, method)


def test_weights_have_the_same_names_shapes_and_values(pair):
    own, other = (one.clip.state_dict() for one in pair)
    assert set(own) == set(other) and len(own) > 100
    assert all(torch.equal(other[key], value) for key, value in own.items())
    assert torch.equal(pair[0].clip.attn_mask, pair[1].clip.attn_mask)


def test_texts_have_the_same_tokens_and_features_to_the_last_bit(pair):
    own, other = pair
    assert torch.equal(own.tokenizer(NAMES), other.tokenizer(NAMES))
    assert torch.equal(own.tokenizer(NAMES, 9), other.tokenizer(NAMES, 9))
    found, wanted = (TextEncoder(one).encode(NAMES[:5], "paper") for one in pair)
    assert torch.equal(found, wanted)
    tokens = own.tokenizer(NAMES)
    torch.testing.assert_close(
        own.clip.encode_text(tokens), other.clip.encode_text(tokens), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", METHODS)
def test_images_have_the_same_features_to_the_last_bit(pair, name):
    own, other = (one.clip for one in pair)
    pixels = images(own, 2, 9, 12)
    found, wanted = (dense(clip, pixels, METHODS[name]) for clip in (own, other))
    assert found.grid == wanted.grid == (9, 12)
    assert torch.equal(found.patches, wanted.patches)
    assert torch.equal(found.class_token, wanted.class_token)


def test_an_image_of_the_towers_own_size_has_the_towers_own_feature(pair):
    own, other = (one.clip for one in pair)
    step = tower_of(own.visual).patch_size[0]
    pixels = images(own, 2, *(side // step for side in own.visual.image_size))
    with torch.no_grad():
        wanted = other.encode_image(pixels)
        torch.testing.assert_close(own.encode_image(pixels), wanted, atol=1e-5, rtol=1e-5)
    found = encode_image(own.visual, pixels, METHODS["clip_surgery"]).class_token
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TRUNKS)
def test_every_trunk_is_timms(name):
    """Of the untrained ones and at odd sizes too: weights by name, and their features."""
    torch.manual_seed(0)
    own = EfficientNetLite(*TRUNKS[name]).eval()
    other = timm.create_model(name, num_classes=0, global_pool="", output_stride=16).eval()
    other.load_state_dict(own.state_dict(), strict=True)
    with torch.no_grad():
        for side in (64, 61):
            pixels = torch.randn(1, 3, side, 48)
            assert torch.equal(own(pixels), other.forward_features(pixels))


def test_untrained_weights_are_spread_like_open_clips():
    torch.manual_seed(0)
    own = embedded.load("tiny", untrained=True)
    config = checkpoints.config_of(checkpoints.read(embedded.asset_path("tiny")), "tiny")
    other = open_clip.CLIP(**config).state_dict()
    for key, value in own.state_dict().items():
        torch.testing.assert_close(value.std(correction=0), other[key].std(correction=0), rtol=0.2, atol=1e-3)


def test_loading_and_running_import_neither_open_clip_nor_what_it_imports():
    script = """
import sys, numpy, ovseg
model = ovseg.load_model(sys.argv[1], cache=False)
model.encode_text(["tree"])
model.segment(numpy.zeros((32, 32, 3), numpy.uint8), ["sky", "tree"], size=32)
heavy = ("open_clip", "timm", "torchvision", "transformers", "torch._dynamo", "sympy", "huggingface_hub")
print([name for name in heavy if name in sys.modules])
"""
    for name in ("small", "tiny"):
        done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stdout + done.stderr


# -------------------------------------------------------------------------------------- the pooled tower

CONFIG = {"trunk": "tf_efficientnet_lite0", "image_size": 64, "hidden": 32, "heads": 2}


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(0)
    return PooledTrunk(64, **CONFIG).eval().requires_grad_(False)


def test_without_attention_a_place_is_the_head_of_that_place_alone(visual):
    """The value path: c_proj(v_proj(head(x) + position)); nothing of another place is in it."""
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    x = visual.places(pixels).flatten(2).transpose(1, 2) + visual.attnpool.positional_embedding[1:]
    wanted = visual.attnpool.c_proj(visual.attnpool.v_proj(x))
    found = encode_image(visual, pixels, get_method("maskclip")).patches
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("bits", [16, 8])
def test_what_is_saved_is_loaded(tmp_path, bits):
    torch.manual_seed(0)
    config = checkpoints.config_of(checkpoints.read(embedded.asset_path("tiny")), "tiny")
    made, rows, file = embedded.build(config), [5, 49407, 0], tmp_path / "model.safetensors"
    embedded.save(made, config, rows, file, bits)
    found = embedded.load("tiny", file).state_dict()
    for key, value in made.state_dict().items():
        if key == "token_embedding.weight":
            others = torch.ones(len(value), dtype=torch.bool)
            others[rows] = False
            assert not found[key][others].any()
            value, found[key] = value[rows], found[key][rows]
        step = value.abs().max() / 127 if bits == 8 and value.ndim > 1 else 1e-6
        torch.testing.assert_close(found[key], value, atol=float(step), rtol=1e-3)


VIT = {"layers": 6, "width": 128, "head_width": 64, "patch_size": 8, "image_size": 64}
CHANGES = {
    "trunk": {"vision_cfg": {**CONFIG, "trunk": "resnet50"}},
    "hidden": {"vision_cfg": {**CONFIG, "hidden": 0}},
    "heads": {"vision_cfg": {**CONFIG, "heads": True}},
    "image_size": {"vision_cfg": {**CONFIG, "image_size": 2048}},
    "more": {"vision_cfg": {**CONFIG, "more": 1}},
    "less": {"vision_cfg": {"trunk": "tf_efficientnet_lite0"}},
    "layers of a ResNet": {"vision_cfg": {**VIT, "layers": [1, 1]}},
    "no patch": {"vision_cfg": {key: VIT[key] for key in VIT if key != "patch_size"}},
    "heads that do not fit": {"text_cfg": {"layers": 3, "width": 128, "heads": 7}},
    "another activation": {"quick_gelu": True},
    "an unknown text": {"text_cfg": {"layers": 3, "width": 128, "heads": 2, "pool_type": "last"}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_config_of_something_else_is_one_line(tmp_path, change):
    asset = embedded.asset_path("tiny")
    config = checkpoints.config_of(checkpoints.read(asset), "tiny")
    file = tmp_path / "other.safetensors"
    save_file(load_file(asset), file, metadata={"config": json.dumps({**config, **CHANGES[change]})})
    with pytest.raises(WeightsError, match="expected a config of the embedded model 'tiny'") as caught:
        embedded.load("tiny", file)
    assert "\n" not in str(caught.value)


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(300, 200, generator=generator) * torch.logspace(-3, 3, 300)[:, None],
        "kernel": torch.randn(260, 200, 1, 1, generator=generator),
        "small": torch.randn(30, 20, generator=generator),
        "vector": torch.randn(300, generator=generator),
        "count": torch.tensor(7),
    }


def test_a_weight_is_off_by_at_most_half_a_step_of_its_row():
    given, packed = state(), pack(state())
    assert packed["matrix"].dtype == packed["kernel"].dtype == torch.int8
    found = unpack(packed, "a file")
    assert set(found) == set(given)
    for key in ("matrix", "kernel"):
        steps = given[key].flatten(1).abs().amax(dim=1) / 127
        error = (found[key] - given[key]).flatten(1).abs().amax(dim=1)
        assert (error <= 0.51 * steps).all()
    torch.testing.assert_close(found["small"].float(), given["small"], atol=0, rtol=1e-3)
    assert torch.equal(found["vector"], given["vector"]) and torch.equal(found["count"], given["count"])


def test_a_row_of_zeros_stays_zero():
    matrix = torch.randn(300, 200)
    matrix[3] = 0
    assert not unpack(pack({"m": matrix}), "a file")["m"][3].any()


@pytest.mark.parametrize(
    "change",
    [
        {"other.scale": torch.ones(300)},
        {"matrix.scale": torch.ones(299)},
        {"matrix.scale": torch.ones(300, 1)},
        {"matrix": torch.ones(300, 200)},
        {"matrix": torch.ones(300, dtype=torch.int8)},
    ],
    ids=["no matrix", "another length", "another shape", "no 8 bits", "a vector"],
)
def test_scales_that_belong_to_nothing_are_refused(change):
    with pytest.raises(WeightsError, match="no matrix of 8 bits has it"):
        unpack({**pack(state()), **change}, "a file")
