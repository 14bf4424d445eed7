"""The encoder against the original implementation's outputs, a literal reference, and open_clip itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP

from ovseg.clip import encoder
from ovseg.clip.attention import METHODS, Method, gaussian_bias, get_method
from ovseg.clip.encoder import Trace, encode_image, resize_positions
from ovseg.errors import UnsupportedModelError, UsageError

DATA = Path(__file__).parents[1] / "data"
TEXT = dict(context_length=8, vocab_size=64, width=32, heads=2, layers=2)
VISION = {
    "vit": dict(layers=7, width=128, head_width=64, patch_size=16, image_size=64),
    "resnet": dict(layers=(1, 1, 1, 1), width=8, head_width=64, image_size=64),
}


@pytest.fixture(scope="module", params=["vit", "resnet"])
def golden(request):
    """(kind, arrays, open_clip model with the golden weights)."""
    arrays = np.load(DATA / f"{request.param}.npz")
    clip = CLIP(48, VISION[request.param], TEXT, quick_gelu=True).eval()
    state = {k[2:]: torch.from_numpy(arrays[k]).float() for k in arrays.files if k.startswith("w/")}
    found = clip.load_state_dict(state, strict=False)
    assert not found.unexpected_keys and not [k for k in found.missing_keys if k.startswith("visual")]
    return request.param, arrays, clip


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(1)
    return CLIP(48, VISION["vit"], TEXT, quick_gelu=True).eval().visual


@pytest.mark.parametrize("side", [64, 128])
def test_tokens_equal_the_original_implementation(golden, side):
    kind, arrays, clip = golden
    with torch.no_grad():
        tokens = encode_image(clip.visual, torch.from_numpy(arrays[f"x{side}"]), METHODS["clip_surgery"])
    if kind == "vit":
        got = torch.cat([tokens.class_token[:, None], tokens.patches], dim=1)
        wanted = arrays[f"tokens{side}"]
    else:
        got, wanted = tokens.patches, arrays[f"spatial_tokens{side}"]
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("patches", [True, False])
def test_class_token_is_open_clips_own(golden, name, patches):
    _, arrays, clip = golden
    pixels = torch.from_numpy(arrays["x64"])
    with torch.no_grad():
        own = clip.encode_image(pixels)
        got = encode_image(clip.visual, pixels, METHODS[name], patches=patches)
    np.testing.assert_allclose(got.class_token.numpy(), own.numpy(), atol=1e-5)
    assert got.patches.shape[1] == (got.grid[0] * got.grid[1] if patches else 0)


@pytest.mark.parametrize("name", METHODS)
def test_tracing_changes_nothing(golden, name):
    kind, arrays, clip = golden
    pixels, trace = torch.from_numpy(arrays["x64"]), Trace()
    with torch.no_grad():
        plain = encode_image(clip.visual, pixels, METHODS[name])
        traced = encode_image(clip.visual, pixels, METHODS[name], trace=trace)
    np.testing.assert_allclose(traced.patches.numpy(), plain.patches.numpy(), atol=1e-5)
    np.testing.assert_allclose(traced.class_token.numpy(), plain.class_token.numpy(), atol=1e-5)
    assert len(trace.attention) == (7 if kind == "vit" else 1)
    rows = trace.attention[0].sum(dim=-1)
    np.testing.assert_allclose(rows.numpy(), np.ones(rows.shape), atol=1e-5)


def test_contributions_add_up_to_the_class_token(visual):
    """ln_post(embedding + every module's contribution) is the class token: nothing is left out of a trace."""
    pixels, trace = torch.randn(2, 3, 64, 64), Trace()
    with torch.no_grad():
        x, _ = encoder._embed(visual, pixels, "bilinear")
        got = encode_image(visual, pixels, METHODS["clip_surgery"], trace=trace)
        total = x[:, :1] + sum(o[:, :1] for o in trace.attention_out) + sum(o[:, :1] for o in trace.ffn_out)
        wanted = encoder._finish(visual, total)[:, 0]
    np.testing.assert_allclose(got.class_token.numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (48, 112), (16, 16)], ids=str)
def test_equals_the_literal_reference(visual, reference, size):
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        tokens = encode_image(visual, pixels, METHODS["clip_surgery"])
        wanted = reference.encode(visual, pixels)
    got = torch.cat([tokens.class_token[:, None], tokens.patches], dim=1)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=2e-5)
    assert tokens.grid == (size[0] // 16, size[1] // 16)


def literal_last_block(visual, pixels, name):
    """The one-path methods written out: the last block's tokens with explicit weights, class token included."""
    method = METHODS[name]
    x, grid = encoder._embed(visual, pixels, method.resize)
    *before, block = visual.transformer.resblocks
    for b in before:
        x = b(x)
    attn, h = block.attn, block.ln_1(x)
    q, k, v = torch.nn.functional.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    outputs = []
    for head in range(attn.num_heads):
        part = slice(64 * head, 64 * head + 64)
        a, b, c = q[..., part], k[..., part], v[..., part]

        def soft(left, right, bias=0.0):
            return (left @ right.mT / 8 + bias).softmax(dim=-1)

        share = {
            "maskclip": lambda: torch.eye(v.shape[1]),
            "sclip": lambda: soft(a, a) + soft(b, b),
            "clearclip": lambda: soft(a, a),
            "naclip": lambda: soft(b, b, gaussian_bias(grid)),
            "segearth": lambda: soft(a, a) + soft(b, b) + soft(c, c),
        }[name]()
        outputs.append(share @ c)
    out = attn.out_proj(torch.cat(outputs, dim=-1))
    out = x + out if method.residual else out
    out = out + block.mlp(block.ln_2(out)) if method.ffn else out
    return (visual.ln_post(out) @ visual.proj)[:, 1:]


@pytest.mark.parametrize("name", ["maskclip", "sclip", "clearclip", "naclip", "segearth"])
def test_last_block_methods_equal_their_formulas(visual, name):
    pixels = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        got = encode_image(visual, pixels, METHODS[name]).patches
        wanted = literal_last_block(visual, pixels, name)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=2e-5)


def test_gem_equals_its_formula(visual):
    pixels = torch.randn(2, 3, 64, 64)
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        got = encode_image(visual, pixels, METHODS["gem"]).patches
        x, _ = encoder._embed(visual, pixels, "bicubic_antialias")
        new = None
        for index, block in enumerate(visual.transformer.resblocks):
            if index >= 1:
                new = x if new is None else new
                attn, h = block.attn, block.ln_1(x)
                qkv = torch.nn.functional.linear(h, attn.in_proj_weight, attn.in_proj_bias)
                q, k, v = (u.unflatten(-1, (2, 64)).transpose(1, 2) for u in qkv.chunk(3, dim=-1))
                tau = h.norm(dim=-1).mean(dim=-1)[:, None, None, None] / 8
                total = 0
                for u in (q, k, v):
                    u = unit(u, dim=-1)
                    u = unit((tau * u @ u.mT).softmax(dim=-1) @ u, dim=-1)
                    total = total + (tau * u @ u.mT).softmax(dim=-1) @ v / 3
                new = new + attn.out_proj(total.transpose(1, 2).flatten(2))
            x = block(x)
        wanted = (visual.ln_post(new) @ visual.proj)[:, 1:]
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=2e-5)


def test_gaussian_bias_by_a_double_loop():
    got = gaussian_bias((2, 3))
    for i in range(6):
        for j in range(6):
            squared = (i // 3 - j // 3) ** 2 + (i % 3 - j % 3) ** 2
            assert got[i + 1, j + 1].item() == pytest.approx(np.exp(-squared / 50), abs=1e-6)
    assert got[0].abs().max() == 0 and got[:, 0].abs().max() == 0


def test_sizes_in_a_row_leave_no_trace(visual):
    """The fault of the public code: the same image gave another result after a larger one."""
    before = {k: v.clone() for k, v in visual.state_dict().items()}
    small, large = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 128, 96)
    with torch.no_grad():
        first, _, again = (
            encode_image(visual, x, METHODS["clip_surgery"]).patches for x in (small, large, small)
        )
    assert torch.equal(first, again)
    assert all(torch.equal(v, visual.state_dict()[k]) for k, v in before.items())


def test_a_batch_is_its_images(visual):
    pixels = torch.randn(3, 3, 64, 80)
    with torch.no_grad():
        together = encode_image(visual, pixels, METHODS["gem"]).patches
        alone = torch.cat([encode_image(visual, p[None], METHODS["gem"]).patches for p in pixels])
    np.testing.assert_allclose(together.numpy(), alone.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(1, 3, 60, 64), (1, 3, 64, 60), (1, 1, 64, 64), (3, 64, 64), (1, 3, 0, 64)]
)
def test_wrong_pixels_are_misuse(visual, shape):
    with pytest.raises(UsageError, match="multiples of"):
        encode_image(visual, torch.zeros(shape), METHODS["clip_surgery"])


def test_towers_without_a_class_token_are_refused():
    pooled = CLIP(48, {**VISION["vit"], "pool_type": "avg"}, TEXT).visual
    with pytest.raises(UnsupportedModelError, match="class token, got avg"):
        encode_image(pooled, torch.zeros(1, 3, 64, 64), METHODS["clip_surgery"])
    with pytest.raises(UnsupportedModelError, match="got Linear"):
        encode_image(torch.nn.Linear(2, 2), torch.zeros(1, 3, 64, 64), METHODS["clip_surgery"])


def test_gradients_flow_to_the_pixels(visual):
    pixels = torch.randn(1, 3, 64, 64, requires_grad=True)
    encode_image(visual, pixels, METHODS["clip_surgery"]).patches.sum().backward()
    assert pixels.grad.abs().max() > 0


def test_torch_compile_gives_the_same(visual):
    pixels = torch.randn(1, 3, 64, 64)
    compiled = torch.compile(
        lambda x: encode_image(visual, x, METHODS["clip_surgery"]).patches,
        backend="aot_eager",
        fullgraph=True,
    )
    with torch.no_grad():
        wanted = encode_image(visual, pixels, METHODS["clip_surgery"]).patches
        np.testing.assert_allclose(compiled(pixels).numpy(), wanted.numpy(), atol=1e-5)


def test_only_what_is_read_is_computed(visual):
    """The last feed-forward sees one token; without patches no new path is computed at all."""
    seen = []
    last, first = visual.transformer.resblocks[-1], visual.transformer.resblocks[1]
    hooks = [
        last.mlp.register_forward_hook(lambda m, i, o: seen.append(("mlp", i[0].shape[1]))),
        first.attn.out_proj.register_forward_hook(lambda m, i, o: seen.append(("first", i[0].shape[1]))),
        last.attn.out_proj.register_forward_hook(lambda m, i, o: seen.append(("last", i[0].shape[1]))),
    ]
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        encode_image(visual, pixels, METHODS["clip_surgery"])
        dense, seen[:] = sorted(seen), []
        encode_image(visual, pixels, METHODS["clip_surgery"], patches=False)
    for hook in hooks:
        hook.remove()
    assert dense == [("first", 16), ("first", 17), ("last", 1), ("last", 16), ("mlp", 1)]
    assert sorted(seen) == [("first", 17), ("last", 1), ("mlp", 1)]


def test_bf16_is_close(visual):
    pixels = torch.randn(1, 3, 64, 64)
    half = CLIP(48, VISION["vit"], TEXT, quick_gelu=True).eval().visual
    half.load_state_dict(visual.state_dict())
    half.to(torch.bfloat16)
    with torch.no_grad():
        a = encode_image(visual, pixels, METHODS["clip_surgery"]).patches
        b = encode_image(half, pixels, METHODS["clip_surgery"]).patches
    assert b.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(a, b, dim=-1).min() > 0.99


def test_positions_keep_the_class_row_and_their_own_grid():
    table = torch.randn(1 + 16, 8)
    assert resize_positions(table, (4, 4), "bicubic") is table
    for how in ("bilinear", "bicubic", "bicubic_antialias"):
        larger = resize_positions(table, (3, 5), how)
        assert larger.shape == (16, 8) and torch.equal(larger[0], table[0])
    ramp = torch.cat([torch.zeros(1, 1), torch.arange(4.0).repeat_interleave(4)[:, None]])  # grows downwards
    rows = resize_positions(ramp, (8, 2), "bilinear")[1:].reshape(8, 2)
    assert (rows.diff(dim=0) >= 0).all() and rows.diff(dim=1).abs().max() == 0


def test_methods_are_a_table():
    assert list(METHODS)[:8] == "clip maskclip clip_surgery gem sclip clearclip naclip segearth".split()
    assert isinstance(get_method("gem"), Method) and get_method(METHODS["gem"]) is METHODS["gem"]
    with pytest.raises(UsageError, match="unknown method 'surgery'.*clip_surgery"):
        get_method("surgery")
