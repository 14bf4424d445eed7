"""Names of segmenters, and checkpoints of SAM: loaded whole, or one clear line why not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import ovseg.segmenters.segment_anything as family
from ovseg.errors import UsageError, WeightsError
from ovseg.segmenters.load import NAMES, list_segmenters, load_segmenter
from ovseg.weights.checkpoints import fill, read

_spec = importlib.util.spec_from_file_location("segmenters", Path(__file__).parent / "test_segmenters.py")
_segmenters = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_segmenters)
small_sam = _segmenters.small_sam


def test_names_and_their_errors(tmp_path):
    assert {"grabcut", "vit_b", "vit_l", "vit_h", "mobile", "hf:"} <= set(NAMES)
    with pytest.raises(UsageError, match="unknown segmenter 'vit_x': expected one of tiny, grabcut"):
        load_segmenter("vit_x")
    assert list_segmenters() == NAMES
    with pytest.raises(UsageError, match="grabcut has no weights"):
        load_segmenter("grabcut", "a.pth")
    with pytest.raises(UsageError, match=r"grabcut has no weights: expected none, got 'a\\nb.pth'"):
        load_segmenter("grabcut", "a\nb.pth")
    for wrong in (None, 5, b"tiny", "", ["tiny"], Path("tiny")):
        with pytest.raises(UsageError, match="expected segmenter as a text"):
            load_segmenter(wrong)
    for wrong in (5, b"a.pth", "", ["a.pth"]):
        with pytest.raises(UsageError, match="expected weights as a text"):
            load_segmenter("vit_b", wrong)
    with pytest.raises(UsageError, match="unknown device 'gpu9'"):
        load_segmenter("vit_b", "a.pth", device="gpu9")
    assert load_segmenter("grabcut").name == "grabcut"
    with pytest.raises(WeightsError, match=r"nothing\.pth does not exist"):
        load_segmenter("vit_b", tmp_path / "nothing.pth")


def test_a_checkpoint_is_loaded_whole(tmp_path, monkeypatch):
    monkeypatch.setitem(family.sam_model_registry, "vit_b", lambda: small_sam(seed=5))
    file = tmp_path / "sam.pth"
    torch.save(small_sam(seed=9).state_dict(), file)
    loaded = load_segmenter("vit_b", file)
    wanted = small_sam(seed=9).state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.sam.state_dict().items())
    assert load_segmenter("vit_b", "random").name != loaded.name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3},
        lambda state: {"state_dict": state},
        lambda state: {"module": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {"model": state}},
        lambda state: {key: torch.nn.Parameter(value) for key, value in state.items()},
        lambda state: {key: value.half() for key, value in state.items()},
    ],
    ids=["model", "state_dict", "module", "module.", "_orig_mod.", "twice", "parameters", "half"],
)
def test_what_training_scripts_wrap_around_the_weights_is_taken_off(tmp_path, monkeypatch, wrap):
    monkeypatch.setitem(family.sam_model_registry, "vit_b", lambda: small_sam(seed=5))
    state = {key: value.half().float() for key, value in small_sam(seed=9).state_dict().items()}
    torch.save(wrap(state), tmp_path / "tuned.pth")
    loaded = load_segmenter("vit_b", tmp_path / "tuned.pth")
    assert all(torch.equal(value, state[key]) for key, value in loaded.sam.state_dict().items())


def test_damaged_and_foreign_checkpoints_are_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(family.sam_model_registry, "vit_b", small_sam)
    state = small_sam().state_dict()
    whole = tmp_path / "whole.pth"
    torch.save(state, whole)
    cases = {
        "cut": ("expected weights of vit_b, .* cannot be read", whole.read_bytes()[:5000]),
        "empty": ("is empty and cannot be read", b""),
        "text": ("is a text file: not loaded", b"not found, sorry"),
    }
    for name, (message, content) in cases.items():
        file = tmp_path / f"{name}.pth"
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=message) as caught:
            load_segmenter("vit_b", file)
        assert "\n" not in str(caught.value)
    hq = {**state, "mask_decoder.hf_token.weight": torch.zeros(1, 32)}
    less = {key: value for key, value in state.items() if "iou_token" not in key}
    other = {**state, "image_encoder.pos_embed": torch.zeros(1, 4, 4, 16)}
    for number, wrong in enumerate((hq, less, other)):
        file = tmp_path / f"wrong{number}.pth"
        torch.save(wrong, file)
        with pytest.raises(
            WeightsError, match=f"expected weights of vit_b, .*wrong{number}.pth does not fit"
        ):
            load_segmenter("vit_b", file)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="expected a dictionary of tensors"):
        load_segmenter("vit_b", tmp_path / "list.pth")


def test_any_flipped_bit_in_a_checkpoint_is_one_clear_line_or_harmless(tmp_path):
    rng = np.random.default_rng(0)
    whole, file, damaged = tmp_path / "whole.pth", tmp_path / "damaged.pth", 0
    state = {f"layer{number}.weight": torch.zeros(4, 4) for number in range(4)}
    for zipped in (True, False):
        torch.save(state, whole, _use_new_zipfile_serialization=zipped)
        content = whole.read_bytes()
        for _ in range(300):
            flipped = bytearray(content)
            for place in rng.integers(0, 900, 3):
                flipped[place] ^= 1 << rng.integers(8)
            file.write_bytes(flipped)
            try:
                read(file)
            except WeightsError as error:
                assert "\n" not in str(error)
                damaged += 1
    assert damaged > 400


class Trap:
    """What unpickling would run."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_no_code_in_a_checkpoint_is_run(tmp_path, capsys):
    torch.save({"a": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match=r"expected tensors only, .*not loaded"):
        read(tmp_path / "trap.pth")
    assert capsys.readouterr().out == ""


def test_filling_says_which_tensor(tmp_path):
    with pytest.raises(WeightsError, match="Missing key"):
        fill(small_sam(), {}, "vit_b", tmp_path)
