"""Names of segmenters, and checkpoints of SAM: loaded whole, or one clear line why not.

What can be wrong with a file is tested once, in tests/weights/test_checkpoints.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import segment_anything
import torch

from ovseg.errors import UsageError, WeightsError
from ovseg.segmenters import tiny
from ovseg.segmenters.load import DEFAULT, check_segmenter, list_segmenters, load_segmenter

SMALL = tiny.Shape(side=64, patch=16, width=16, depth=1, heads=2, channels=16)


def small_sam(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return tiny.build(SMALL)


@pytest.fixture(autouse=True)
def small_vit_b(monkeypatch):
    """The released SAM is a small one, as if segment-anything built it."""
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", small_sam)


def test_names_and_their_errors():
    assert list_segmenters() == ("small", "tiny", "grabcut", "vit_b", "vit_l", "vit_h", "mobile", "hf:")
    assert DEFAULT in list_segmenters() and check_segmenter("hf:a/b") == "hf:a/b"
    with pytest.raises(
        UsageError, match="unknown segmenter 'vit_x': expected one of small, tiny, grabcut, .*, hf:…"
    ):
        load_segmenter("vit_x")
    for wrong in (None, 5, "", Path("tiny")):
        with pytest.raises(UsageError, match="expected segmenter as a text"):
            load_segmenter(wrong)
    with pytest.raises(UsageError, match="unknown device 'gpu9'"):
        load_segmenter("vit_b", "a.pth", device="gpu9")


def test_grabcut_has_no_weights_and_takes_any_device():
    with pytest.raises(UsageError, match=r"grabcut has no weights: expected none, got 'a\\nb.pth'"):
        load_segmenter("grabcut", "a\nb.pth")
    for device in ("cpu", "cuda:1", "mps"):
        assert load_segmenter("grabcut", device=device).name == "grabcut"
    for device in ("x", "cuda:", "CPU", "meta"):
        with pytest.raises(UsageError, match=f"unknown device '{device}': expected cpu, cuda, cuda:1"):
            load_segmenter("grabcut", device=device)


def test_a_checkpoint_is_loaded_whole_also_as_training_scripts_wrap_it(tmp_path):
    file, wanted = tmp_path / "sam.pth", small_sam(seed=9).state_dict()
    torch.save({"model": {f"module.{key}": value for key, value in wanted.items()}, "epoch": 3}, file)
    loaded = load_segmenter("vit_b", file)
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.sam.state_dict().items())
    assert load_segmenter("vit_b", "random").name == "vit_b random" != loaded.name


def test_a_checkpoint_of_another_architecture_is_one_clear_line(tmp_path):
    state = small_sam().state_dict()
    hq = {**state, "mask_decoder.hf_token.weight": torch.zeros(1, 32)}
    other = {**state, "image_encoder.pos_embed": torch.zeros(1, 4, 4, 8)}
    for wrong, message in ((hq, "Unexpected key"), (other, r"size mismatch: .* of image_encoder.pos_embed")):
        torch.save(wrong, tmp_path / "wrong.pth")
        with pytest.raises(WeightsError, match=f"weights of vit_b, .*wrong.pth does not fit: {message}"):
            load_segmenter("vit_b", tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=r"nothing\.pth does not exist"):
        load_segmenter("vit_b", tmp_path / "nothing.pth")


def test_missing_official_weights_say_what_where_how_large_and_what_to_do(home, asked):
    for name, file, size in (("vit_h", "sam_vit_h_4b8939.pth", 2565), ("mobile", "mobile_sam.pt", 41)):
        place = home / "weights" / file
        hint = (
            f"`ovseg models pull {name}` fetches it (behind a proxy set HTTPS_PROXY); offline, copy it there "
            f"under this name ({size} MB, https://"
        )
        with pytest.raises(WeightsError) as caught:
            load_segmenter(name, offline=True)
        assert str(caught.value).startswith(f"expected {name} at {place}, found none: {hint}")
        assert str(caught.value).endswith(f"/{file})") and asked == []
        with pytest.raises(WeightsError) as caught:
            load_segmenter(name)
        assert f"expected {name} at {place}, no connection (no network in this test): {hint}" in str(
            caught.value
        )
        assert asked.pop().endswith((".com", "github.com")) and not asked
