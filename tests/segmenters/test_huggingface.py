"""transformers' SAM, SAM-HQ, SAM 2 and EdgeTAM behind the protocol: the real classes, small and untrained."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from transformers import SamConfig, SamModel

from ovseg.errors import ImageError, MissingPackageError, UsageError, WeightsError
from ovseg.segmenters.huggingface import FAMILIES, HuggingFace
from ovseg.segmenters.load import load_segmenter
from ovseg.segmenters.sam import SegmentAnything

_file = Path(__file__).parent / "small_transformers.py"
_spec = importlib.util.spec_from_file_location("small_transformers", _file)
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

KINDS = ("sam", "sam_hq", "sam2", "edgetam")
SHAPES = [(40, 60), (60, 40), (64, 64), (200, 130), (9, 90)]
PROMPTS = {
    "one point": {"points": [(7, 3)]},
    "points": {"points": [(7, 3), (20.5, 5), (2, 8)], "labels": [1, 0, 1]},
    "box": {"box": (4, 1, 30, 8)},
    "box and points": {"points": [(7, 3), (20.5, 5)], "labels": [1, 0], "box": (4, 1, 30, 8)},
    "mask": {"mask": True},
    "all": {"points": [(7, 3)], "labels": [1], "box": (4, 1, 30, 8), "mask": True},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for kind in small.BUILDERS:
        small.model(kind).save_pretrained(root / kind)
    return {kind: root / kind for kind in small.BUILDERS}


@pytest.fixture(scope="module")
def loaded(folders) -> dict[str, HuggingFace]:
    return {kind: load_segmenter(f"hf:{folder}") for kind, folder in folders.items()}


def picture(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@cache
def pipeline(kind: str) -> tuple:
    return small.processor(kind), small.model(kind)


def theirs(kind: str, image: np.ndarray, prompt: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks, scores and logits of transformers' documented way: everything in one call."""
    processor, model = pipeline(kind)
    given = {}
    if "points" in prompt:  # (B, P, N, 2) and (B, P, N)
        given["input_points"] = [[[list(map(float, point)) for point in prompt["points"]]]]
        given["input_labels"] = [[list(prompt.get("labels", [1] * len(prompt["points"])))]]
    if "box" in prompt:
        given["input_boxes"] = [[list(map(float, prompt["box"]))]]
    inputs = processor(images=image, return_tensors="pt", **given)
    sizes = {key: inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs}
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    if "mask" in prompt:
        inputs["input_masks"] = torch.tensor(prompt["mask"])[None, None]
    with torch.no_grad():
        found = model(**inputs, multimask_output=True)
    masks = processor.post_process_masks(found.pred_masks, **sizes)[0][0]
    return masks.numpy(), found.iou_scores[0, 0].numpy(), found.pred_masks[0, 0].numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_encoding_and_many_prompts_give_what_one_call_with_transformers_processor_gives(
    loaded, kind, shape
):
    segmenter, image = loaded[kind], picture(shape)
    embedding = segmenter.encode(image)
    low = np.random.default_rng(5).normal(size=(segmenter.low_side,) * 2).astype(np.float32) * 5
    logits_seen = []
    for prompt in PROMPTS.values():
        prompt = {**prompt, "mask": low} if "mask" in prompt else prompt
        found = segmenter.decode(embedding, **prompt)
        masks, scores, logits = theirs(kind, image, prompt)
        assert found.masks.shape == (3, *shape)
        assert np.allclose(found.scores, scores, atol=1e-4)
        assert np.allclose(found.logits, logits, atol=1e-4 * np.abs(logits).max())
        assert (found.masks != masks).mean() < 1e-3  # a pixel on the very border may round either way
        assert 0.02 < found.masks.mean() < 0.98  # the comparison is of masks with borders
        logits_seen.append(found.logits)
    assert len(logits_seen) == len(PROMPTS)
    spread = logits_seen[0].std()
    assert all(np.abs(one - logits_seen[0]).max() > 0.02 * spread for one in logits_seen[1:])  # they matter


@pytest.mark.parametrize("kind", KINDS)
def test_encoded_once_for_all_prompts_and_an_answer_refines_the_next(loaded, kind, monkeypatch):
    segmenter, calls = loaded[kind], []
    vision = segmenter.model.vision_encoder.forward
    monkeypatch.setattr(
        segmenter.model.vision_encoder, "forward", lambda *a, **k: calls.append(1) or vision(*a, **k)
    )
    image = picture((50, 31), seed=8)
    first = segmenter.decode(segmenter.encode(image), points=[(3, 3)])
    again = segmenter.decode(segmenter.encode(image.copy()), points=[(3, 3)], mask=first.logits[0])
    other = segmenter.decode(segmenter.encode(image), points=[(30, 40), (3, 3)], labels=[1, 0])
    assert len(calls) == 1
    change = [np.abs(first.logits - found.logits).max() for found in (again, other)]
    assert min(change) > 0.02 * first.logits.std()
    quarter = segmenter.decode(segmenter.encode(image), points=[(3, 3)], mask=first.logits[0, ::2, ::2])
    assert quarter.logits.shape == first.logits.shape  # logits of another size are resized


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_of_different_length_do_not_disturb_each_other(loaded, kind):
    segmenter = loaded[kind]
    embedding = segmenter.encode(picture((40, 60)))
    prompts = [[(5, 5)], [(5, 5), (30, 20), (50, 39)], [(5, 5), (30, 20)]]
    alone = [segmenter.decode(embedding, points=points).logits for points in prompts]
    for order in ([2, 0, 1], [1, 2, 0]):
        for index in order:
            assert np.array_equal(segmenter.decode(embedding, points=prompts[index]).logits, alone[index])


def test_a_prior_lies_in_the_familys_frame(loaded):
    values = np.zeros((30, 60), np.float32)
    values[:, 30:] = 1
    for kind in KINDS:
        segmenter = loaded[kind]
        embedding = segmenter.encode(picture((30, 60)))
        logits = segmenter.prior(embedding, values)
        side = segmenter.low_side
        filled = side // 2 if FAMILIES[kind].pads else side  # SAM pads below, SAM 2 stretches
        assert logits.shape == (side, side) and (logits[filled:] < 0).all()
        assert (logits[:filled, side // 2 + 1 :] > 0).all() and (logits[:filled, : side // 2 - 1] < 0).all()
        assert segmenter.decode(embedding, mask=logits).masks.shape == (3, 30, 60)


@pytest.mark.parametrize("shape", [(1, 1), (1, 100), (3, 2)])
def test_tiny_and_flat_images(loaded, shape):
    for kind in KINDS:
        found = loaded[kind].decode(loaded[kind].encode(picture(shape)), points=[(0, 0)])
        assert found.masks.shape == (3, *shape) and np.isfinite(found.logits).all()


def test_a_strip_that_padding_would_shrink_to_nothing(loaded):
    with pytest.raises(ImageError, match=r"sides within 1:128 for SAM, got 200 x 1 pixels"):
        loaded["sam"].encode(picture((1, 200)))
    assert loaded["sam2"].encode(picture((1, 200))).features.input_size == (64, 64)


# --------------------------------------------------------------- the same weights in Meta's own package


def meta_name(name: str) -> str:
    """transformers' name of a tensor to segment-anything's."""
    for theirs_, ours in [
        ("shared_image_embedding.positional_embedding",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
        ("vision_encoder.layers.", "image_encoder.blocks."), ("vision_encoder.", "image_encoder."),
        ("patch_embed.projection", "patch_embed.proj"),
        ("neck.conv1", "neck.0"), ("neck.layer_norm1", "neck.1"), ("neck.conv2", "neck.2"),
        ("neck.layer_norm2", "neck.3"),
        ("mask_embed.conv1", "mask_downscaling.0"), ("mask_embed.layer_norm1", "mask_downscaling.1"),
        ("mask_embed.conv2", "mask_downscaling.3"), ("mask_embed.layer_norm2", "mask_downscaling.4"),
        ("mask_embed.conv3", "mask_downscaling.6"), ("encoder.point_embed.", "encoder.point_embeddings."),
        ("layer_norm_final_attn", "norm_final_attn"), ("layer_norm", "norm"),
        ("upscale_conv1", "output_upscaling.0"), ("upscale_norm", "output_upscaling.1"), ("upscale_conv2",
        "output_upscaling.3"),
        (".layers.0." if "mlps" in name or "head" in name else "\0", ".layers.1."),  # of three
        ("proj_in", "layers.0"), ("proj_out", "layers.2"),
    ]:  # fmt: skip
        name = name.replace(theirs_, ours)
    return name


def test_the_same_weights_in_metas_package_give_the_same_masks(loaded):
    """Padding, frames of points and boxes, and logits, across two implementations."""
    model = small.model("sam")
    state = {
        meta_name(name): value for name, value in model.state_dict().items() if "shared_embedding" not in name
    }
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    options = {"use_rel_pos": True, "window_size": 3, "global_attn_indexes": (1,), "norm_layer": norm}
    encoder = ImageEncoderViT(64, 8, embed_dim=16, depth=2, num_heads=2, out_chans=32, **options)
    decoder = MaskDecoder(
        transformer_dim=32, transformer=TwoWayTransformer(2, 32, 2, 64), iou_head_hidden_dim=32
    )
    sam = Sam(encoder, PromptEncoder(32, (8, 8), (64, 64), 16), decoder)
    sam.load_state_dict(state, strict=True)
    meta, compared = SegmentAnything(sam, "meta"), 0
    for shape in [(40, 64), (64, 40), (64, 64)]:  # the long side as it is: nothing to resize differently
        image = picture(shape)
        one, two = loaded["sam"].encode(image), meta.encode(image)
        prior = np.random.default_rng(2).random(shape, np.float32)
        assert np.allclose(loaded["sam"].prior(one, prior), meta.prior(two, prior))
        for prompt in PROMPTS.values():
            prompt = {**prompt, "mask": meta.prior(two, prior)} if "mask" in prompt else prompt
            ours, wanted = loaded["sam"].decode(one, **prompt), meta.decode(two, **prompt)
            assert np.allclose(ours.logits, wanted.logits, atol=2e-3 * np.abs(wanted.logits).max())
            assert np.allclose(ours.scores, wanted.scores, atol=5e-3)
            assert (ours.masks != wanted.masks).mean() < 0.01
            compared += 1
    assert compared == 18


# -------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("kind", list(small.BUILDERS))
def test_what_save_pretrained_wrote_is_loaded_whole(loaded, folders, kind):
    state, wanted = loaded[kind].model.state_dict(), small.model(kind).state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in state.items())
    assert loaded[kind].name != load_segmenter(f"hf:{folders[kind]}", "random").name
    assert type(loaded[kind].model).__name__ == FAMILIES[kind].model


def test_an_image_processor_saved_beside_the_model_is_used(folders, tmp_path):
    for kind in ("sam", "sam2"):
        folder = shutil.copytree(folders[kind], tmp_path / kind)
        own = small.processor(kind)
        own.image_processor.image_mean, own.image_processor.image_std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
        own.save_pretrained(folder)
        found = load_segmenter(f"hf:{folder}").processor
        assert [*found.image_mean, *found.image_std] == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7]


def edited(folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **changes}))
    return to


def test_weights_of_another_family_are_an_error(folders, tmp_path):
    hq = json.loads((folders["sam_hq"] / "config.json").read_text())
    plain = json.loads((folders["sam"] / "config.json").read_text())
    cases = {
        "sam in hq": (edited(folders["sam"], tmp_path / "a", **hq), r"sam_hq, .*missing keys mask_decoder\."),
        "hq in sam": (edited(folders["sam_hq"], tmp_path / "b", **plain), r"sam, .*unexpected keys mask_dec"),
        "other": (
            edited(folders["sam"], tmp_path / "c", model_type="bert"),
            r"expected a model of sam, .*'bert'",
        ),
        "no type": (edited(folders["sam"], tmp_path / "d", model_type=None), r"got 'None'"),
    }
    for folder, message in cases.values():
        with pytest.raises(WeightsError, match=message) as caught:
            load_segmenter(f"hf:{folder}")
        assert "\n" not in str(caught.value)


def test_damage_is_one_clear_line(folders, tmp_path):
    whole = (folders["sam"] / "model.safetensors").read_bytes()
    for name, content in {"cut": whole[:5000], "empty": b"", "text": b"not found, sorry"}.items():
        folder = shutil.copytree(folders["sam"], tmp_path / name)
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(
            WeightsError, match=r"expected weights of sam, .* (cannot be read|is a text file)"
        ) as caught:
            load_segmenter(f"hf:{folder}")
        assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="expected model.safetensors in"):
        load_segmenter(f"hf:{folder}")
    vision = {**SamConfig.from_pretrained(folders["sam"]).to_dict()["vision_config"], "output_channels": 16}
    folder = edited(folders["sam"], tmp_path / "narrow", vision_config=vision)
    with pytest.raises(WeightsError, match=r"expected weights of sam, .* does not fit"):
        load_segmenter(f"hf:{folder}")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="expected config.json, .* is no JSON"):
        load_segmenter(f"hf:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="expected config.json, .* does not exist"):
        load_segmenter(f"hf:{folder}")


def test_half_precision_weights_are_computed_with_in_full(tmp_path):
    model = small.model("sam").half()
    model.save_pretrained(tmp_path)
    assert next(SamModel.from_pretrained(tmp_path).parameters()).dtype == torch.float16
    assert {value.dtype for value in load_segmenter(f"hf:{tmp_path}").model.parameters()} == {torch.float32}


def test_wrong_names_and_a_missing_extra(folders, monkeypatch):
    for wrong in ("hf:", "hf:./nothing/here", "hf:a/b/c", "hf:../up"):
        with pytest.raises(
            UsageError, match="expected hf: and a repository of the hub or an existing folder"
        ):
            load_segmenter(wrong)
    with pytest.raises(UsageError, match="has its own weights: expected no weights or 'random'"):
        load_segmenter(f"hf:{folders['sam']}", "a.pth")
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "ovseg.segmenters.huggingface")
    with pytest.raises(MissingPackageError, match=r"hf:.* needs a package .*: pip install '\.\[hf\]' "):
        load_segmenter(f"hf:{folders['sam']}")


def test_eight_threads_load_alike_and_leave_transformers_settings_as_they_were(folders):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), warnings.filters[:]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load_segmenter, [f"hf:{folders[kind]}" for kind in ("sam", "sam2") * 8]))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), warnings.filters[:]) == before
    for index, segmenter in enumerate(found):
        state, wanted = segmenter.model.state_dict(), found[index % 2].model.state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in state.items())


def test_a_network_is_not_asked_for_what_lies_in_a_folder(folders, asked):
    for kind in KINDS:
        load_segmenter(f"hf:{folders[kind]}", offline=True)
        load_segmenter(f"hf:{folders[kind]}", "random", offline=True)
    assert asked == []


CONFIGS = {
    "a list": [],
    "a text": "sam",
    "no type": {"model_type": None},
    "a type that is a list": {"model_type": ["sam"]},
    "vision is a number": {"vision_config": 5},
    "vision is a text": {"vision_config": "large"},
    "vision is a list": {"vision_config": [1]},
    "a side of 0": {"prompt_encoder_config": {"hidden_size": 32, "image_size": 0, "patch_size": 8}},
    "a patch of 0": {"prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 0}},
    "a negative patch": {"prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": -8}},
    "prompts for another side": {
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 128, "patch_size": 8}
    },
    "prompts for another patch": {
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16}
    },
    "a side that is a text": {
        "prompt_encoder_config": {"hidden_size": 32, "image_size": "64", "patch_size": 8}
    },
    "a decoder that is a number": {"mask_decoder_config": 5},
}


@pytest.mark.parametrize("weights", [None, "random"])
@pytest.mark.parametrize("change", CONFIGS.values(), ids=CONFIGS)
def test_a_config_of_other_values_is_one_line(folders, tmp_path, change, weights):
    folder = shutil.copytree(folders["sam"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, **change} if isinstance(change, dict) else change)
    )
    with pytest.raises(WeightsError, match="expected") as caught:
        load_segmenter(f"hf:{folder}", weights)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("content", ["", "{", "[]", "5", '{"image_mean": "grey"}', '{"image_std": [0, 0]}'])
def test_a_damaged_image_processor_is_one_line_or_its_own(folders, tmp_path, content):
    folder = shutil.copytree(folders["sam"], tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(content)
    try:
        segmenter = load_segmenter(f"hf:{folder}")
        segmenter.encode(picture((40, 60)))
    except WeightsError as error:
        assert "\n" not in str(error)
