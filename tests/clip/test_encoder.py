"""The encoder against saved outputs of the original, open_clip's own features, and literal formulas."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from open_clip.transformer import VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.clip.attention import METHODS, Heads, attend, gaussian_bias, get_method
from ovseg.clip.attention import weights as attention_weights
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.towers import resize_positions, tower_of
from ovseg.errors import UnsupportedModelError, UsageError
from ovseg.maps.similarity import cosine, place_features

TESTS = Path(__file__).parents[1]
SURGERY = METHODS["clip_surgery"]
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}
VISION: dict[str, dict[str, Any]] = {
    "vit": {"layers": 7, "width": 128, "head_width": 64, "patch_size": 16, "image_size": 64},
    "resnet": {"layers": (1, 1, 1, 1), "width": 8, "head_width": 64, "image_size": 64},
}


def load_reference() -> ModuleType:
    path = TESTS / "reference" / "surgery.py"
    spec = importlib.util.spec_from_file_location("reference_surgery", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def golden(family: str) -> SimpleNamespace:
    """open_clip's tower with the golden weights, and everything else of the file as tensors."""
    arrays = np.load(TESTS / "data" / f"{family}.npz")
    visual = CLIP(48, VISION[family], TEXT, quick_gelu=True).eval().requires_grad_(False).visual
    prefix = "w/visual."
    weights = {k[len(prefix) :]: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith(prefix)}
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    visual.load_state_dict(weights, strict=True)
    return SimpleNamespace(visual=visual, arrays={k: arrays[k] for k in arrays.files if k[:2] != "w/"})


@pytest.fixture(scope="module")
def vit() -> SimpleNamespace:
    return golden("vit")


@pytest.fixture(scope="module")
def resnet() -> SimpleNamespace:
    return golden("resnet")


@pytest.fixture(params=["vit", "resnet"])
def family(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor | np.ndarray, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, torch.as_tensor(b), rtol=0, atol=atol)


# ---------------------------------------------------------------------- saved outputs, class token


@pytest.mark.parametrize("side", [64, 128])
def test_vit_matches_the_original_implementation(vit: SimpleNamespace, side: int) -> None:
    out = encode_image(vit.visual, torch.from_numpy(vit.arrays[f"x{side}"]), SURGERY)
    assert out.grid == (side // 16, side // 16)
    close(torch.cat([out.class_token[:, None], out.patches], dim=1), vit.arrays[f"tokens{side}"])


@pytest.mark.parametrize("side", [64, 128])
def test_resnet_matches_the_original_implementation(resnet: SimpleNamespace, side: int) -> None:
    out = encode_image(resnet.visual, torch.from_numpy(resnet.arrays[f"x{side}"]), SURGERY)
    assert out.grid == (side // 32, side // 32)
    close(out.patches, resnet.arrays[f"spatial_tokens{side}"])


def test_method_clip_gives_the_untouched_tokens(vit: SimpleNamespace) -> None:
    out = encode_image(vit.visual, torch.from_numpy(vit.arrays["x64"]), METHODS["clip"])
    close(torch.cat([out.class_token[:, None], out.patches], dim=1), vit.arrays["plain64"])


@pytest.mark.parametrize("name", METHODS)
def test_class_token_is_open_clips_own(family: SimpleNamespace, name: str) -> None:
    x = torch.from_numpy(family.arrays["x64"])
    own = family.visual(x)
    close(encode_image(family.visual, x, METHODS[name]).class_token, own)
    alone = encode_image(family.visual, x, METHODS[name], patches=False)
    close(alone.class_token, own)
    assert alone.patches.shape == (2, 0, 48) and alone.grid == (0, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"ls_init_value": 0.1},
        {"no_ln_pre": True},
        {"final_ln_after_pool": True},
        {"pos_embed_type": "sin_cos_2d"},
        {"act_kwargs": {"approximate": "tanh"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_class_token_of_other_towers_of_open_clip(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    visual = CLIP(48, {**VISION["vit"], **options}, TEXT).eval().visual
    x = pixels(1, 3, 64, 64)
    with torch.no_grad():
        close(encode_image(visual, x, SURGERY).class_token, visual(x))


def test_layer_scale_reaches_the_new_path() -> None:
    torch.manual_seed(0)
    visual = CLIP(48, {**VISION["vit"], "ls_init_value": 0.0}, TEXT).eval().visual
    x = pixels(1, 3, 64, 64)
    with torch.no_grad():  # with a scale of 0 no block adds anything on either path
        tokens = visual.ln_post(reference.embed(visual, x)) @ visual.proj
        close(encode_image(visual, x, SURGERY).patches, tokens[:, 1:])


# -------------------------------------------------------------------------------- literal formulas


@pytest.mark.parametrize(
    "shape", [(1, 3, 64, 64), (2, 3, 128, 128), (2, 3, 48, 112), (1, 3, 160, 32), (1, 3, 16, 16)]
)
def test_encoder_equals_the_literal_reference(vit: SimpleNamespace, shape: tuple[int, ...]) -> None:
    x = pixels(*shape)
    out = encode_image(vit.visual, x, SURGERY)
    expected = reference.encode(vit.visual, x)
    assert out.grid == (shape[2] // 16, shape[3] // 16)
    close(out.class_token, expected[:, 0])
    close(out.patches, expected[:, 1:])


def test_seven_blocks_under_surgery_too(vit: SimpleNamespace) -> None:
    x = pixels(1, 3, 64, 64)
    out = encode_image(vit.visual, x, replace(SURGERY, blocks=7))
    close(out.patches, reference.encode(vit.visual, x, blocks=7)[:, 1:])


def soft(a: Tensor, b: Tensor, scale: float, bias: Tensor | float = 0.0) -> Tensor:
    logits = scale * torch.einsum("bhid,bhjd->bhij", a, b) + bias
    e = torch.exp(logits - logits.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)


def nearness(grid: tuple[int, int]) -> Tensor:
    """NACLIP's G in a double loop, row and column 0 for the class token."""
    height, width = grid
    g = torch.zeros(1 + height * width, 1 + height * width)
    for i in range(height * width):
        for j in range(height * width):
            squared = (i // width - j // width) ** 2 + (i % width - j % width) ** 2
            g[1 + i, 1 + j] = np.exp(-squared / (2 * 5**2))
    return g


def gem_weights(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    total = torch.zeros(())
    tau = (64**-0.5 * hidden.pow(2).sum(-1).sqrt().mean(-1))[:, None, None, None]
    for u in (q, k, v):
        u = u / u.norm(dim=-1, keepdim=True)
        u = soft(tau * u, u, 1.0) @ u
        u = u / u.norm(dim=-1, keepdim=True)
        total = total + soft(tau * u, u, 1.0) / 3
    return total


def normalised_weights(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
    unit = v / v.norm(dim=-1, keepdim=True)
    return soft(unit, unit, 8 * 64**-0.5)


S = 64**-0.5
Weights = Callable[[Tensor, Tensor, Tensor, Tensor, tuple[int, int]], Tensor]
# The table of docs/methods.md once more and by hand: blocks, residual, FFN, position resize, attention.
LITERAL: dict[str, tuple[int, bool, bool, str, Weights]] = {
    "clip": (0, True, True, "bilinear", lambda q, k, v, h, g: soft(q, k, S)),
    "maskclip": (1, False, False, "bicubic", lambda q, k, v, h, g: torch.eye(v.shape[2])),
    "clip_surgery": (6, True, False, "bilinear", lambda q, k, v, h, g: soft(v, v, S)),
    "clip_surgery_normalised": (6, True, False, "bilinear", normalised_weights),
    "gem": (6, True, False, "bicubic_antialias", gem_weights),
    "sclip": (1, True, True, "bicubic_factor", lambda q, k, v, h, g: soft(q, q, S) + soft(k, k, S)),
    "clearclip": (1, False, False, "bicubic_factor", lambda q, k, v, h, g: soft(q, q, S)),
    "naclip": (1, False, False, "bicubic_factor", lambda q, k, v, h, g: soft(k, k, S, nearness(g))),
    "segearth": (
        1,
        False,
        False,
        "bicubic_factor",
        lambda q, k, v, h, g: soft(q, q, S) + soft(k, k, S) + soft(v, v, S),
    ),
}  # fmt: skip


def literal_tokens(visual: Any, x: Tensor, name: str, own_path: bool = False) -> Tensor:
    """Projected tokens (B, 1+N, D) of the new path of method ``name``; ``own_path``: fed by itself."""
    blocks, residual, ffn, _, weights = LITERAL[name]
    grid = (x.shape[2] // 16, x.shape[3] // 16)
    x = reference.embed(visual, x)
    new = x
    layers = list(visual.transformer.resblocks)
    for index, block in enumerate(layers):
        if index >= len(layers) - blocks:
            source = new if own_path else x
            q, k, v = reference.queries_keys_values(block, source)
            out = weights(q, k, v, block.ln_1(source), grid) @ v
            out = block.attn.out_proj(torch.cat(list(out.unbind(dim=1)), dim=-1))
            new = new + out if residual else out
            if ffn:
                new = new + block.mlp(block.ln_2(new))
            x = reference.original_block(block, x)
        else:
            x = new = reference.original_block(block, x)
    return visual.ln_post(new) @ visual.proj  # type: ignore[no-any-return]


def test_every_method_has_a_literal_formula() -> None:
    assert set(LITERAL) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_method_equals_its_formula(vit: SimpleNamespace, name: str) -> None:
    x = pixels(2, 3, 64, 64, seed=1)
    close(encode_image(vit.visual, x, METHODS[name]).patches, literal_tokens(vit.visual, x, name)[:, 1:])


def test_methods_differ(vit: SimpleNamespace) -> None:
    x = pixels(1, 3, 64, 64)
    outs = [encode_image(vit.visual, x, method).patches for method in METHODS.values()]
    for i, one in enumerate(outs):
        assert all((one - other).abs().max() > 1e-3 for other in outs[:i])


@pytest.mark.parametrize("ffn", [False, True])
def test_single_path_over_many_blocks(vit: SimpleNamespace, ffn: bool, monkeypatch: Any) -> None:
    """The paper's ablation "many layers, single path" (Table 4): the new path feeds itself."""
    blocks, residual, _, resize, weights = LITERAL["clip_surgery"]
    monkeypatch.setitem(LITERAL, "clip_surgery", (blocks, residual, ffn, resize, weights))
    x = pixels(2, 3, 64, 64)
    expected = literal_tokens(vit.visual, x, "clip_surgery", own_path=True)
    for trace in (None, Trace()):
        out = encode_image(vit.visual, x, replace(SURGERY, paths=1, ffn=ffn), trace=trace)
        close(out.patches, expected[:, 1:])
        close(out.class_token, vit.visual(x))


@pytest.mark.parametrize("name", METHODS)
def test_resnet_pooling_equals_its_formula(resnet: SimpleNamespace, name: str) -> None:
    visual, pool = resnet.visual, resnet.visual.attnpool
    x = pixels(2, 3, 64, 64, seed=2)
    out = encode_image(visual, x, METHODS[name])
    h = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(x)))))
    h = torch.stack([h.mean(dim=(2, 3)), *h.flatten(2).unbind(dim=2)], dim=1) + pool.positional_embedding
    q, k, v = (
        torch.stack(layer(h).split(64, dim=-1), dim=1) for layer in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    mixed = LITERAL[name][4](q, k, v, h, (2, 2)) @ v
    close(out.patches, pool.c_proj(torch.cat(list(mixed.unbind(dim=1)), dim=-1))[:, 1:])


def test_no_changed_block_means_clip(family: SimpleNamespace) -> None:
    x = pixels(1, 3, 64, 64)
    for trace in (None, Trace()):
        none = encode_image(family.visual, x, replace(SURGERY, blocks=0), trace=trace)
        close(none.patches, encode_image(family.visual, x, METHODS["clip"]).patches)


# -------------------------------------------------------------------------------- position embedding


def test_bilinear_positions_by_hand() -> None:
    positions = torch.tensor([9.0, 0.0, 1.0, 2.0, 3.0])[:, None]  # class token, then [[0, 1], [2, 3]]
    ramp = torch.tensor([0.0, 0.25, 0.75, 1.0])
    table = 2 * ramp[:, None] + ramp[None]
    out = resize_positions(positions, (2, 2), (4, 4), "bilinear")
    close(out[:, 0], torch.cat([torch.tensor([9.0]), table.flatten()]), atol=1e-6)


@pytest.mark.parametrize("grid", [(9, 9), (3, 14), (20, 7)])
def test_bicubic_positions_equal_opencv(grid: tuple[int, int]) -> None:
    positions = pixels(50, 3)
    table = positions[1:].reshape(7, 7, 3).numpy()
    expected = cv2.resize(table, grid[::-1], interpolation=cv2.INTER_CUBIC).reshape(-1, 3)
    close(resize_positions(positions, (7, 7), grid, "bicubic")[1:], expected)


@pytest.mark.parametrize("grid", [(9, 9), (3, 14), (4, 5)])
def test_antialiased_positions_equal_pillow(grid: tuple[int, int]) -> None:
    positions = pixels(50, 1)
    table = Image.fromarray(positions[1:].reshape(7, 7).numpy())
    expected = np.array(table.resize(grid[::-1], Image.Resampling.BICUBIC)).reshape(-1, 1)
    close(resize_positions(positions, (7, 7), grid, "bicubic_antialias")[1:], expected)


@pytest.mark.parametrize("grid", [(9, 9), (3, 14), (7, 8), (21, 28)])
def test_positions_by_the_factor_sample_other_points(grid: tuple[int, int]) -> None:
    positions = pixels(50, 3)
    table = positions[1:].reshape(1, 7, 7, 3).permute(0, 3, 1, 2)
    factor = ((grid[0] + 0.1) / 7, (grid[1] + 0.1) / 7)
    expected = torch.nn.functional.interpolate(table, scale_factor=factor, mode="bicubic")
    found = resize_positions(positions, (7, 7), grid, "bicubic_factor")
    close(found[1:], expected[0].permute(1, 2, 0).flatten(0, 1))
    assert found.shape == (1 + grid[0] * grid[1], 3)
    assert (found - resize_positions(positions, (7, 7), grid, "bicubic")).abs().max() > 0.01


@pytest.mark.parametrize("grid", [(h, w) for h in (1, 6, 13, 64) for w in (5, 15, 37)])
@pytest.mark.parametrize("native", [7, 14, 16, 24, 37])
def test_positions_by_the_factor_reach_every_grid(native: int, grid: tuple[int, int]) -> None:
    """The size of the result is rounded down from a product of floats."""
    table = pixels(native**2, 1)
    assert len(resize_positions(table, (native, native), grid, "bicubic_factor", 0)) == grid[0] * grid[1]


@pytest.mark.parametrize("name", METHODS)
def test_each_method_resizes_its_own_way(vit: SimpleNamespace, name: str) -> None:
    """A tower that was 96 px from the start, with resized positions, gives the same tokens."""
    large = CLIP(48, {**VISION["vit"], "image_size": 96}, TEXT, quick_gelu=True).eval().visual
    weights = vit.visual.state_dict()
    positions = weights["positional_embedding"]
    mode = LITERAL[name][3]
    large.load_state_dict(
        {**weights, "positional_embedding": resize_positions(positions, vit.visual.grid_size, (6, 6), mode)}
    )
    x = pixels(1, 3, 96, 96)
    out = encode_image(vit.visual, x, METHODS[name])
    with torch.no_grad():
        close(out.class_token, large(x))
        close(out.patches, encode_image(large, x, METHODS[name]).patches)


def test_sizes_in_a_row_leave_no_trace(family: SimpleNamespace) -> None:
    before = {k: v.clone() for k, v in family.visual.state_dict().items()}
    for method in METHODS.values():
        first = encode_image(family.visual, pixels(1, 3, 64, 64), method)
        encode_image(family.visual, pixels(1, 3, 128, 96), method)
        again = encode_image(family.visual, pixels(1, 3, 64, 64), method)
        assert torch.equal(first.patches, again.patches)
        assert torch.equal(first.class_token, again.class_token)
    after = family.visual.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_batch_is_its_images(family: SimpleNamespace) -> None:
    x = pixels(3, 3, 64, 96)
    for method in METHODS.values():
        together = encode_image(family.visual, x, method)
        for index in range(3):
            alone = encode_image(family.visual, x[index : index + 1], method)
            close(together.patches[index], alone.patches[0])
            close(together.class_token[index], alone.class_token[0])


# ----------------------------------------------------------------------------------------- trace


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("patches", [True, False])
def test_tracing_changes_nothing(family: SimpleNamespace, name: str, patches: bool) -> None:
    x = pixels(2, 3, 96, 64)
    plain = encode_image(family.visual, x, METHODS[name], patches=patches)
    traced = encode_image(family.visual, x, METHODS[name], patches=patches, trace=Trace())
    close(traced.patches, plain.patches)
    close(traced.class_token, plain.class_token)


def test_traced_contributions_add_up(vit: SimpleNamespace) -> None:
    visual, trace = vit.visual, Trace()
    x = pixels(2, 3, 64, 64)
    out = encode_image(visual, x, SURGERY, trace=trace)
    assert len(trace.attention) == len(trace.ffn_out) == len(trace.new_attention) == 7
    assert [entry is None for entry in trace.new_attention] == [True] + 6 * [False]
    start = reference.embed(visual, x)
    original = start + sum(trace.attention_out) + sum(trace.ffn_out)
    close(out.class_token, (visual.ln_post(original) @ visual.proj)[:, 0])
    new = start + trace.attention_out[0] + trace.ffn_out[0] + sum(trace.new_attention_out[1:])  # type: ignore[arg-type]
    close(out.patches, (visual.ln_post(new) @ visual.proj)[:, 1:])


def test_traced_attention_is_the_reference_attention(vit: SimpleNamespace) -> None:
    trace = Trace()
    x = pixels(1, 3, 64, 64)
    encode_image(vit.visual, x, SURGERY, trace=trace)
    h = reference.embed(vit.visual, x)
    for index, block in enumerate(vit.visual.transformer.resblocks):
        q, k, v = reference.queries_keys_values(block, h)
        close(trace.attention[index], soft(q, k, S))
        if index > 0:
            close(trace.new_attention[index], soft(v, v, S))  # type: ignore[arg-type]
        h = reference.original_block(block, h)


@pytest.mark.parametrize(("name", "total"), [("clip_surgery", 1), ("gem", 1), ("sclip", 2), ("segearth", 3)])
def test_rows_of_the_traced_attention(family: SimpleNamespace, name: str, total: int) -> None:
    trace = Trace()
    encode_image(family.visual, pixels(1, 3, 64, 64), METHODS[name], trace=trace)
    share = trace.new_attention[-1]
    assert share is not None
    close(share.sum(dim=-1), torch.full(share.shape[:-1], float(total)))


# -------------------------------------------------------------------------------------- gradients


def test_gradients_of_pixels_equal_the_references(vit: SimpleNamespace) -> None:
    grads = []
    for encode in (
        lambda x: encode_image(vit.visual, x, SURGERY).patches,
        lambda x: reference.encode(vit.visual, x)[:, 1:],
    ):
        x = pixels(1, 3, 64, 64).requires_grad_()
        (grad,) = torch.autograd.grad(encode(x).square().sum(), x)
        grads.append(grad)
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-4)


def test_gradients_reach_every_traced_attention(vit: SimpleNamespace) -> None:
    trace = Trace()
    x = pixels(1, 3, 64, 64).requires_grad_()
    out = encode_image(vit.visual, x, SURGERY, trace=trace)
    new = [share for share in trace.new_attention if share is not None]
    own = torch.autograd.grad(out.class_token[0, 0], trace.attention, retain_graph=True)
    changed = torch.autograd.grad(out.patches.square().sum(), new)
    assert len(own) == 7 and len(changed) == 6
    assert all(grad.abs().max() > 0 for grad in (*own, *changed))


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_finite(family: SimpleNamespace, name: str) -> None:
    x = pixels(1, 3, 64, 64).requires_grad_()
    out = encode_image(family.visual, x, METHODS[name])
    (out.patches.sum() + out.class_token.sum()).backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0


# ------------------------------------------------------------------------- only what is needed


class Work:
    """Counts the multiplications of every linear layer and the queries of every fused attention."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.products = 0
        self.queries: list[int] = []
        linear, fused = F.linear, F.scaled_dot_product_attention

        def count_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            self.products += x.numel() * weight.shape[0]
            return linear(x, weight, bias)

        def count_attention(q: Tensor, *args: Any, **options: Any) -> Tensor:
            self.queries.append(q.shape[2])
            return fused(q, *args, **options)

        monkeypatch.setattr(F, "linear", count_linear)
        monkeypatch.setattr(F, "scaled_dot_product_attention", count_attention)


C, N = 128, 16  # of the golden ViT at 64 px
BLOCK = 12 * (1 + N) * C * C  # q, k, v (3), output (1) and feed-forward (8) of all tokens
LAST = (2 * (1 + N) + 1 + 1 + 8) * C * C  # k and v of all; q, output and feed-forward of the class token


def test_class_token_alone_touches_no_new_path(vit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    encode_image(vit.visual, pixels(1, 3, 64, 64), SURGERY, patches=False)
    assert work.queries == 6 * [1 + N] + [1]
    assert work.products == 6 * BLOCK + LAST


def test_surgery_shares_heads_and_ends_early(vit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    encode_image(vit.visual, pixels(1, 3, 64, 64), SURGERY)
    assert sorted(work.queries) == sorted(6 * [1 + N] + [1] + 6 * [N])
    assert work.products == 6 * BLOCK + LAST + 6 * N * C * C  # six output layers more than CLIP itself


def test_maskclip_adds_one_output_layer(vit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    encode_image(vit.visual, pixels(1, 3, 64, 64), METHODS["maskclip"])
    assert work.queries == 6 * [1 + N] + [1]
    assert work.products == 6 * BLOCK + LAST + N * C * C


def test_forms_that_read_all_queries_still_end_early(vit: SimpleNamespace, monkeypatch: Any) -> None:
    work = Work(monkeypatch)
    encode_image(vit.visual, pixels(1, 3, 64, 64), METHODS["sclip"])
    assert sorted(work.queries) == sorted(6 * [1 + N] + [1, N, N])
    # The class token's q comes with the others'; the patches' output and feed-forward are the new path's.
    assert work.products == 6 * BLOCK + LAST + N * C * C + (1 + 8) * N * C * C


# ---------------------------------------------------------------------------- compile, precision


def test_compiles_without_a_graph_break(vit: SimpleNamespace) -> None:
    name = "gem"  # the form with the most steps; clip_surgery is compiled in tests/clip/towers
    compiled = torch.compile(encode_image, backend="eager", fullgraph=True)
    x = pixels(1, 3, 96, 64)  # another grid than the native one, so that positions are resized inside
    expected = encode_image(vit.visual, x, METHODS[name])
    out = compiled(vit.visual, x, METHODS[name])
    assert out.grid == expected.grid
    close(out.patches, expected.patches)
    close(out.class_token, expected.class_token)


@pytest.mark.parametrize("name", METHODS)
def test_bf16_is_close(family: SimpleNamespace, name: str) -> None:
    half = copy.deepcopy(family.visual).to(torch.bfloat16)
    x = torch.from_numpy(family.arrays["x128"])
    out = encode_image(half, x, METHODS[name])
    expected = encode_image(family.visual, x, METHODS[name])
    assert out.patches.dtype == out.class_token.dtype == torch.float32
    for a, b in ((out.patches, expected.patches), (out.class_token, expected.class_token)):
        # Directions, since only cosines are read from tokens; bf16 keeps 8 bits.
        assert F.cosine_similarity(a, b, dim=-1).min() > 0.998


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("shape", [(1, 3, 60, 64), (1, 3, 64, 60), (1, 1, 64, 64), (3, 64, 64)])
def test_wrong_shapes_say_what_was_wanted(vit: SimpleNamespace, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected pixels \(B, 3, H, W\).*16.*got \("):
        encode_image(vit.visual, torch.zeros(shape), SURGERY)


def test_resnet_wants_multiples_of_its_stride(resnet: SimpleNamespace) -> None:
    assert tower_of(resnet.visual).patch_size == (32, 32)
    with pytest.raises(UsageError, match="multiples of"):
        encode_image(resnet.visual, torch.zeros(1, 3, 48, 64), SURGERY)


def tower(**options: Any) -> VisionTransformer:
    size = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1, "heads": 1, "mlp_ratio": 4.0}
    return VisionTransformer(**{**size, "output_dim": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("visual", "said"),
    [
        (nn.Linear(2, 2), "got Linear"),
        (tower(pool_type="none"), "got none pooling"),
        (
            tower(attentional_pool="parallel", attn_pooler_heads=1, output_dim=64),
            "got parallel attentional pooling",
        ),
        (tower(block_type="custom"), "got CustomResidualAttentionBlock"),
    ],
    ids=["module", "none", "two poolings", "custom block"],
)
def test_unsupported_towers(visual: nn.Module, said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said):
        tower_of(visual)
    with pytest.raises(UnsupportedModelError, match=said):
        encode_image(visual, torch.zeros(1, 3, 32, 32), SURGERY)


def test_an_oblong_native_grid_is_a_grid_like_any_other() -> None:
    """Grids are compared as pairs: 2x4 native is not 4x2, though both have eight tokens."""
    visual, images = tower(image_size=(32, 64)).eval(), pixels(1, 3, 32, 64)
    found = encode_image(visual, images, SURGERY)
    assert found.grid == (2, 4)
    with torch.no_grad():
        close(found.class_token, visual(images))
    assert encode_image(visual, images.transpose(2, 3), SURGERY).grid == (4, 2)


def test_segearths_class_token_is_that_of_the_changed_block() -> None:
    """The literal last block of SegEarth-OV: no residual, its own class token, 0.3 of it taken away."""
    visual, images = tower(layers=3, heads=2).eval(), pixels(2, 3, 32, 32)
    text = torch.nn.functional.normalize(pixels(3, 8), dim=-1)
    found = encode_image(visual, images, METHODS["segearth"])
    with torch.no_grad():
        x = visual.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(2, 1, -1), x], dim=1) + visual.positional_embedding
        x = visual.ln_pre(x)
        for block in visual.transformer.resblocks[:-1]:
            x = block(x)
        block = visual.transformer.resblocks[-1]
        attn, h = block.attn, block.ln_1(x)
        heads = attn.num_heads
        q, k, v = (
            u.unflatten(-1, (heads, -1)).transpose(1, 2)
            for u in torch.nn.functional.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        )
        share = sum((u @ u.transpose(-1, -2) * u.shape[-1] ** -0.5).softmax(-1) for u in (q, k, v))
        out = visual.ln_post(attn.out_proj((share @ v).transpose(1, 2).flatten(2))) @ visual.proj
    close(found.bias_token, out[:, 0])
    close(found.patches, out[:, 1:])
    unit = torch.nn.functional.normalize(out, dim=-1)
    wanted = unit[:, 1:] @ text.T - 0.3 * (unit[:, :1] @ text.T)
    close(cosine(place_features(found, METHODS["segearth"].class_token_weight), text), wanted)


def test_methods_by_name() -> None:
    assert get_method("gem") is METHODS["gem"]
    assert get_method(SURGERY) is SURGERY
    with pytest.raises(UsageError, match=r"unknown method 'Gem': expected one of clip, maskclip"):
        get_method("Gem")


# ------------------------------------------------------------------------------- attention.py alone


def test_gaussian_bias_equals_a_double_loop() -> None:
    close(gaussian_bias((3, 5)), nearness((3, 5)), atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_fused_and_explicit_attention_agree(name: str) -> None:
    q, k, v = (pixels(2, 3, 13, 8, seed=seed) for seed in range(3))
    heads = Heads(q, k, v, pixels(2, 13, 24, seed=3), (3, 4))
    terms = METHODS[name].form(heads)
    close(attend(terms, v, start=1), (attention_weights(terms, v) @ v)[:, :, 1:])
    assert heads.scale == pytest.approx(8**-0.5)


def test_gradients_reach_a_resnets_attention():
    """What Grad-CAM and its kin ask for: the similarity's gradient with respect to the pooling's weights."""
    torch.manual_seed(2)
    vision = {"layers": (1, 1, 1, 1), "width": 8, "head_width": 64, "image_size": 64}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    visual = CLIP(48, vision, text).eval().visual
    trace = Trace()
    tokens = encode_image(visual, torch.randn(1, 3, 64, 64), METHODS["clip_surgery"], trace=trace)
    first = torch.autograd.grad(tokens.class_token.sum(), trace.attention[0], retain_graph=True)[0]
    second = torch.autograd.grad(tokens.patches.sum(), trace.new_attention[0])[0]
    assert first.abs().max() > 0 and second.abs().max() > 0


@pytest.mark.parametrize("count", [0, 1, 3, 7, 99])
def test_the_last_blocks_alone_can_be_traced(vit: SimpleNamespace, count: int) -> None:
    """What comes before has no graph; tokens, attention and contributions are those of the full trace."""
    full, last = Trace(), Trace(blocks=count)
    x = pixels(1, 3, 64, 64)
    wanted = encode_image(vit.visual, x, METHODS["clip"], trace=full)
    found = encode_image(vit.visual, x, METHODS["clip"], trace=last)
    close(found.class_token, wanted.class_token)
    close(found.patches, wanted.patches)
    count = min(count, 7)
    assert len(last.tokens) == count + 1 and len(full.tokens) == 8
    for one, other in zip(last.tokens, full.tokens[7 - count :], strict=True):
        close(one, other)
    for name in ("attention", "attention_out", "ffn_out", "heads", "new_attention"):
        assert len(getattr(last, name)) == count
    assert last.tokens[0].is_leaf and last.tokens[0].requires_grad
    close(last.tokens[-1], last.tokens[0] + sum(last.attention_out) + sum(last.ffn_out))
    (gradient,) = torch.autograd.grad(found.class_token.sum(), last.tokens[0])
    assert gradient.abs().max() > 0


def test_a_method_has_all_the_blocks_that_it_changes_traced(vit: SimpleNamespace) -> None:
    last = Trace(blocks=1)
    x = pixels(1, 3, 64, 64)
    found = encode_image(vit.visual, x, SURGERY, trace=last)
    close(found.patches, encode_image(vit.visual, x, SURGERY).patches)
    assert len(last.attention) == 6 and None not in last.new_attention


def test_heads_of_the_trace_are_those_of_the_attention(family: SimpleNamespace) -> None:
    trace = Trace()
    encode_image(family.visual, pixels(1, 3, 64, 64), METHODS["clip"], trace=trace)
    for heads, share in zip(trace.heads, trace.attention, strict=True):
        close(soft(heads.q, heads.k, heads.scale), share)


def test_the_graph_of_a_resnet_begins_at_its_last_feature_map(resnet: SimpleNamespace) -> None:
    trace = Trace(blocks=0)
    found = encode_image(resnet.visual, pixels(1, 3, 64, 96), METHODS["clip"], trace=trace)
    (cells,) = trace.tokens
    assert cells.shape[2:] == (2, 3) and cells.is_leaf
    (gradient,) = torch.autograd.grad(found.class_token.sum(), cells)
    assert gradient.abs().max() > 0
    with torch.no_grad():
        trace = Trace(blocks=0)
        encode_image(resnet.visual, pixels(1, 3, 64, 96), METHODS["clip"], trace=trace)
    assert not trace.tokens[0].requires_grad
