"""Damaged and foreign files: one line each, whatever is wrong, and no code run.

Every case goes through ``read`` and ``fill``; of the loaders each is shown to use them by a few cases.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import open_clip
import pytest
import segment_anything
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ovseg.clip import embedded
from ovseg.clip.models import load_clip
from ovseg.errors import WeightsError
from ovseg.segmenters import sam, tiny
from ovseg.segmenters.load import load_segmenter
from ovseg.weights import checkpoints

SEGMENTERS = Path(__file__).parents[1] / "segmenters"
LOADERS = ("clip", "embedded", "sam", "mobile", "tiny sam", "hf")
SMALL = tiny.Shape(side=64, patch=16, width=16, depth=1, heads=2, channels=16)


def helper(name: str):
    spec = importlib.util.spec_from_file_location(name, SEGMENTERS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def small_sam() -> torch.nn.Module:
    torch.manual_seed(9)
    return tiny.build(SMALL)


def small_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16))


def fill(file: Path) -> torch.nn.Module:
    module = small_module()
    checkpoints.fill(module, checkpoints.read(file).state, "a small module", file)
    return module


@dataclass
class Whole:
    """A whole file of one loader: its tensors, and how it is loaded."""

    load: Callable[[Path], object]
    state: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    file: str = "weights.safetensors"

    @property
    def key(self) -> str:
        """The largest tensor of floats."""
        floats = {key: value for key, value in self.state.items() if value.is_floating_point()}
        return max(floats, key=lambda key: floats[key].numel())


def read_all(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(file, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118


@pytest.fixture(scope="module")
def wholes(tmp_path_factory, add_model_configs) -> dict[str, Whole]:
    root = tmp_path_factory.mktemp("wholes")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"layers": 1, "width": 32, "head_width": 32, "patch_size": 16, "image_size": 32},
        "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    }
    (root / "ovseg-damaged.json").write_text(json.dumps(config))
    add_model_configs(root)
    torch.manual_seed(0)
    clip = open_clip.CLIP(**config)
    folder = root / "hf"
    helper("small_transformers").model("sam").save_pretrained(folder)

    def hf(file: Path) -> object:
        target = file.parent / "folder"
        shutil.copytree(folder, target)
        (target / "model.safetensors").unlink()
        if file.exists() or file.is_symlink():
            file.rename(target / "model.safetensors")
        return load_segmenter(f"hf:{target}")

    return {
        "fill": Whole(fill, small_module().state_dict()),
        "clip": Whole(lambda file: load_clip("ovseg-damaged", file), clip.state_dict()),
        "embedded": Whole(lambda file: load_clip("tiny", file), *read_all(embedded.asset_path("tiny"))),
        "sam": Whole(lambda file: load_segmenter("vit_b", file), small_sam().state_dict()),
        "mobile": Whole(lambda file: load_segmenter("mobile", file), small_sam().state_dict()),
        "tiny sam": Whole(lambda file: load_segmenter("tiny", file), *read_all(tiny.asset_path())),
        "hf": Whole(hf, *read_all(folder / "model.safetensors")),
    }


@pytest.fixture
def whole(request, wholes, monkeypatch) -> Whole:
    """The loader that a test names, by default ``read`` and ``fill`` alone."""
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", small_sam)
    monkeypatch.setattr(sam, "build_mobile", small_sam)
    monkeypatch.setattr(sam, "timm_name", lambda name: name)
    return wholes[getattr(request, "param", "fill")]


every_loader = pytest.mark.parametrize("whole", LOADERS, indirect=True)


def save_safe(file: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    save_file({key: value.contiguous() for key, value in state.items()}, file, metadata=metadata or None)


def refused(whole: Whole, file: Path) -> str:
    """The one line that loading ends with."""
    with pytest.raises(WeightsError, match="expected") as caught:
        whole.load(file)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 700, text
    return text


@pytest.mark.parametrize("whole", ("fill", *LOADERS), indirect=True)
def test_the_whole_files_are_loaded(whole, tmp_path):
    """Otherwise the tables below would show nothing."""
    save_safe(tmp_path / whole.file, whole.state, whole.metadata)
    assert whole.load(tmp_path / whole.file)


@every_loader
@pytest.mark.parametrize("kind", ["missing", "half", "NaN", "a key less", "a key more", "flat", "code"])
def test_every_loader_refuses_what_read_and_fill_refuse(whole, tmp_path, kind):
    file = tmp_path / ("weights.pt" if kind == "code" else whole.file)
    if kind == "code":
        torch.save({**whole.state, "code": Trap()}, file)
    elif kind in TENSORS:
        save_safe(file, TENSORS[kind](whole), whole.metadata)
    elif kind == "half":
        save_safe(file, whole.state, whole.metadata)
        file.write_bytes(BYTES[kind](file.read_bytes()))
    refused(whole, file)


# ---------------------------------------------------------------------------------------------- bytes

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: b"\x00",
    "eight bytes": lambda whole: whole[:8],
    "nine bytes": lambda whole: whole[:9],
    "half the header": lambda whole: whole[:200],
    "half": lambda whole: whole[: len(whole) // 2],
    "without the last byte": lambda whole: whole[:-1],
    "with more at the end": lambda whole: whole + b"more",
    "with more at the beginning": lambda whole: b"more" + whole,
    "zeros": lambda whole: b"\x00" * len(whole),
    "ones": lambda whole: b"\xff" * len(whole),
    "noise": lambda whole: np.random.default_rng(0).bytes(5000),
    "text": lambda whole: b"not found, sorry",
    "a web page": lambda whole: b"<!DOCTYPE html><html><body>404</body></html>",
    "a pointer of git lfs": lambda whole: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    ),
    "JSON": lambda whole: b'{"a": [1, 2]}',
    "a picture": lambda whole: b"\x89PNG\r\n\x1a\n" + whole[:1000],
    "gzip": lambda whole: gzip.compress(whole[:10_000]),
    "a cut zip": lambda whole: b"PK\x03\x04rest",
    "a header of length 0": lambda whole: struct.pack("<Q", 0) + whole[8:],
    "a header of 2^63 bytes": lambda whole: struct.pack("<Q", 1 << 63) + whole[8:],
    "a header one byte short": lambda whole: (
        struct.pack("<Q", struct.unpack("<Q", whole[:8])[0] - 1) + whole[8:]
    ),
    "a header that is no JSON": lambda whole: whole[:8] + b"{{{{" + whole[12:],
    "a header in UTF-16": lambda whole: whole[:8] + b"{\xff\xfe\x00" + whole[12:],
    "an unknown type": lambda whole: whole.replace(b'"dtype":"F', b'"dtype":"Q', 1),
    "a negative shape": lambda whole: whole.replace(b'"shape":[', b'"shape":[-', 1),
    "offsets beyond the end": lambda whole: whole.replace(b'"data_offsets":[', b'"data_offsets":[9', 2),
    "a pickle of a number": lambda whole: pickle.dumps(5),
    "a pickle that ends early": lambda whole: pickle.dumps({"a": list(range(50))})[:-20],
}


@pytest.mark.parametrize("damage", BYTES.values(), ids=BYTES)
def test_damaged_bytes_are_one_line(whole, tmp_path, damage):
    file = tmp_path / whole.file
    save_safe(file, whole.state, whole.metadata)
    file.write_bytes(damage(file.read_bytes()))
    refused(whole, file)


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "device", "dangling", "loop", "long name"])
def test_what_is_no_file_is_one_line_and_never_opened(whole, tmp_path, kind):
    file = tmp_path / whole.file
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind in ("device", "dangling", "loop"):
        file.symlink_to({"device": "/dev/zero", "dangling": "nothing", "loop": file.name}[kind])
    elif kind == "long name":
        file = tmp_path / ("x" * 300 + ".safetensors")
    refused(whole, file)


# ---------------------------------------------------------------------------------------------- tensors


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Whole], dict]:
    return lambda whole: {**whole.state, whole.key: change(whole.state[whole.key])}


def spoiled(value: float, dtype: torch.dtype | None = None) -> Callable[[Whole], dict]:
    def spoil(tensor: torch.Tensor) -> torch.Tensor:
        made = tensor.clone().to(dtype or tensor.dtype)
        made.view(-1)[made.numel() // 2] = value
        return made

    return changed(spoil)


TENSORS: dict[str, Callable[[Whole], dict]] = {
    "NaN": spoiled(float("nan")),
    "infinity": spoiled(float("inf")),
    "minus infinity": spoiled(float("-inf")),
    "too large for float32": spoiled(1e300, torch.float64),
    "NaN in bfloat16": spoiled(float("nan"), torch.bfloat16),
    "integers": changed(lambda value: value.to(torch.int64)),
    "bytes": changed(lambda value: value.to(torch.uint8)),
    "booleans": changed(lambda value: value > 0),
    "complex numbers": changed(lambda value: value.to(torch.complex64)),
    "a key less": lambda whole: {key: value for key, value in whole.state.items() if key != whole.key},
    "a key more": lambda whole: {**whole.state, "one.more": torch.zeros(3)},
    "another name": lambda whole: {f"{key}_": value for key, value in whole.state.items()},
    "one dimension more": changed(lambda value: value[None]),
    "flat": changed(lambda value: value.reshape(-1)),
    "a row less": changed(lambda value: value[1:]),
    "a number": changed(lambda value: value.sum()),
    "nothing in it": changed(lambda value: value[:0]),
    "only the first": lambda whole: dict(list(whole.state.items())[:1]),
    "a strange name": lambda whole: {**whole.state, "\u202e" * 500: torch.zeros(1)},
}


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_tensors_that_do_not_fit_are_one_line(whole, tmp_path, change, ending):
    file = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save(change(whole), file)
    else:
        save_safe(file, change(whole), whole.metadata)
    refused(whole, file)


@pytest.mark.parametrize("whole", ["hf"], indirect=True)
@pytest.mark.parametrize("change", ["integers", "complex numbers", "too large for float32", "a number"])
def test_transformers_models_are_checked_by_the_same_rules(whole, tmp_path, change):
    save_safe(tmp_path / whole.file, TENSORS[change](whole), whole.metadata)
    refused(whole, tmp_path / whole.file)


class Trap:
    """What unpickling would run."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle's code was run",))


OBJECTS: dict[str, Callable[[Whole], object]] = {
    "a list": lambda whole: [1, 2],
    "nothing": lambda whole: None,
    "a number": lambda whole: 5,
    "a tensor": lambda whole: torch.zeros(3),
    "an empty dictionary": lambda whole: {},
    "keys that are numbers": lambda whole: dict(enumerate(whole.state.values())),
    "one key that is a number": lambda whole: {**whole.state, 1: torch.zeros(1)},
    "a key that is None": lambda whole: {None: torch.zeros(1)},
    "a key that is a tuple": lambda whole: {("a", 1): torch.zeros(1)},
    "a key that is bytes": lambda whole: {b"a": torch.zeros(1)},
    "a value that is None": lambda whole: {**whole.state, whole.key: None},
    "a value that is a number": lambda whole: {**whole.state, "epoch": 3},
    "a value that is a text": lambda whole: {**whole.state, whole.key: "weights"},
    "a value that is a list": lambda whole: {**whole.state, whole.key: [1.0, 2.0]},
    "a wrapper around a number": lambda whole: {"state_dict": 5},
    "a wrapper around nothing": lambda whole: {"state_dict": {}},
    "a wrapper around itself five times": lambda whole: {
        "model": {"model": {"model": {"model": {"model": whole.state}}}}
    },
    "a wrapper that is unknown": lambda whole: {"weights": whole.state},
    "a sparse tensor": lambda whole: {**whole.state, whole.key: whole.state[whole.key].to_sparse()},
    "a tensor without numbers": lambda whole: {**whole.state, whole.key: whole.state[whole.key].to("meta")},
    "a giant of one number": lambda whole: {**whole.state, whole.key: torch.zeros(1).expand(10**13)},
    "a quantised tensor": lambda whole: {
        **whole.state,
        whole.key: torch.quantize_per_tensor(whole.state[whole.key].float(), 0.1, 0, torch.qint8),
    },
    "code": lambda whole: {**whole.state, "code": Trap()},
    "code in a wrapper": lambda whole: {"state_dict": Trap()},
    "a module": lambda whole: torch.nn.Linear(2, 2),
    "an optimiser": lambda whole: {"state": {}, "param_groups": [{"lr": 0.1}]},
}


@pytest.mark.filterwarnings("ignore")  # torch warns of meta, sparse and quantised tensors
@pytest.mark.parametrize("made", OBJECTS.values(), ids=OBJECTS)
def test_other_objects_are_one_line_and_no_code_runs(whole, tmp_path, made):
    torch.save(made(whole), tmp_path / "other.pt")
    refused(whole, tmp_path / "other.pt")


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_in_a_plain_pickle_is_run(whole, tmp_path, protocol):
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps({"a": Trap()}, protocol=protocol))
    refused(whole, tmp_path / "trap.pkl")


WRAPPED: dict[str, Callable[[dict], object]] = {
    "model": lambda state: {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3},
    "state_dict": lambda state: {"state_dict": state},
    "module": lambda state: {"module": state},
    "module.": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}},
    "twice": lambda state: {"state_dict": {"model": state}},
    "parameters": lambda state: {
        key: torch.nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()
    },
    "half": lambda state: {
        key: value.half() if value.is_floating_point() else value for key, value in state.items()
    },
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_training_scripts_wrap_around_the_weights_is_taken_off(tmp_path, wrap):
    state = small_module().half().float().state_dict()
    torch.save(wrap(state), tmp_path / "tuned.pth")
    found = fill(tmp_path / "tuned.pth").state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("zipped", [True, False])
def test_any_flipped_bit_in_a_checkpoint_is_one_clear_line_or_harmless(tmp_path, zipped):
    rng = np.random.default_rng(0)
    file, damaged = tmp_path / "weights.pth", 0
    torch.save(small_module().state_dict(), file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    for _ in range(200):
        flipped = bytearray(content)
        for place in rng.integers(0, 900, 3):
            flipped[place] ^= 1 << rng.integers(8)
        file.write_bytes(flipped)
        try:
            checkpoints.read(file)
        except WeightsError as error:
            assert "\n" not in str(error)
            damaged += 1
    assert damaged > 100


# ------------------------------------------------------------- the configs in the embedded models' files


def config_changes(key: str, inner: str | None = None) -> dict[str, object]:
    values = {
        "null": None, "a text": "160", "a list": [1], "an object": {}, "negative": -1, "zero": 0,
        "a fraction": 1.5, "true": True, "huge": 10**12, "very huge": 10**400, "NaN": float("nan"),
    }  # fmt: skip
    return {f"{inner or ''} {key} is {name}": (inner, key, value) for name, value in values.items()}


CONFIGS = {
    "tiny sam": {**config_changes("side"), **config_changes("depth"), **config_changes("heads"),
    **config_changes("channels")},
    "embedded": {
        **config_changes("embed_dim"),
        **config_changes("layers", "vision_cfg"),
        **config_changes("width", "vision_cfg"),
        **config_changes("patch_size", "vision_cfg"),
        **config_changes("heads", "text_cfg"),
        **config_changes("vocab_size", "text_cfg"),
        **config_changes("context_length", "text_cfg"),
        "no vision": (None, "vision_cfg", None),
        "a text tower of the hub": ("text_cfg", "hf_model_name", "roberta-base"),
        "a tower of timm's": ("vision_cfg", "timm_model_name", "resnet18"),
        "an unknown key": ("vision_cfg", "colour", 1),
        "an unknown part": (None, "audio_cfg", {}),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name, change",
    [pytest.param(name, change, id=f"{name}: {title}") for name, table in CONFIGS.items() for title,
    change in table.items()],
)  # fmt: skip
def test_a_config_of_other_values_is_one_line(wholes, tmp_path, name, change, asked):
    whole = wholes[name]
    config = json.loads(whole.metadata["config"])
    inner, key, value = change
    (config[inner] if inner else config)[key] = value
    save_safe(tmp_path / "other.safetensors", whole.state, {"config": json.dumps(config)})
    refused(whole, tmp_path / "other.safetensors")
    assert asked == []


@pytest.mark.parametrize("name", ["tiny sam", "embedded"])
@pytest.mark.parametrize(
    "text", [None, "", "{", "null", "[]", "5", '"tiny"', "{}", "[" * 100_000, '{"side": 1e999}']
)
def test_a_missing_or_damaged_config_is_one_line(wholes, tmp_path, name, text):
    whole = wholes[name]
    save_safe(tmp_path / "other.safetensors", whole.state, {} if text is None else {"config": text})
    refused(whole, tmp_path / "other.safetensors")


ROWS = {
    "no ids": lambda ids: None,
    "ids as floats": lambda ids: ids.float(),
    "ids as booleans": lambda ids: ids > 3,
    "ids in a table": lambda ids: ids[None],
    "fewer ids than rows": lambda ids: ids[:-1],
    "an id twice": lambda ids: torch.cat([ids[:1], ids[:1], ids[2:]]),
    "an id below 0": lambda ids: torch.cat([ids[:1] * 0 - 1, ids[1:]]),
    "an id beyond the vocabulary": lambda ids: torch.cat([ids[:1] * 0 + 49408, ids[1:]]),
    "no id at all": lambda ids: ids[:0],
}


@pytest.mark.parametrize("change", ROWS.values(), ids=ROWS)
def test_token_ids_that_do_not_fit_their_rows_are_one_line(wholes, tmp_path, change):
    whole = wholes["embedded"]
    ids = change(whole.state["token_ids"])
    state = {key: value for key, value in whole.state.items() if key != "token_ids"}
    state |= {} if ids is None else {"token_ids": ids}
    save_safe(tmp_path / "other.safetensors", state, whole.metadata)
    refused(whole, tmp_path / "other.safetensors")


# --------------------------------------------------------------------------------- TorchScript archives


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "archive.pt"
    torch.jit.save(
        torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))), file
    )
    return file


def test_any_flipped_bit_in_an_archive_is_one_line_or_harmless(archive, tmp_path):
    rng, content, damaged = np.random.default_rng(0), archive.read_bytes(), 0
    wanted = set(checkpoints.read(archive).state)
    assert wanted == set(torch.jit.load(archive).state_dict()) and len(wanted) == 7
    for _ in range(200):
        flipped = bytearray(content)
        for place in rng.integers(0, len(content), 8):
            flipped[place] ^= 1 << rng.integers(8)
        (tmp_path / "flipped.pt").write_bytes(flipped)
        try:
            checkpoints.read(tmp_path / "flipped.pt")
        except WeightsError as error:
            assert "\n" not in str(error)
            damaged += 1
    assert damaged > 100


def test_no_code_in_an_archive_is_run(archive, tmp_path):
    import zipfile

    for name, pickled in (
        ("trap", pickle.dumps(Trap(), protocol=2)),
        ("builtins", b"cbuiltins\neval\n(X\x01\x00\x00\x001tR."),
        ("torch", b"ctorch.hub\nload\n(X\x01\x00\x00\x00atR."),
        ("attributes", b"c__torch__\nA\n)\x81}X\x08\x00\x00\x00__init__K\x05sb."),
    ):
        file = tmp_path / f"{name}.pt"
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(file, "w") as new:
            for member in old.namelist():
                new.writestr(member, pickled if member.endswith("/data.pkl") else old.read(member))
        with pytest.raises(WeightsError, match="expected") as caught:
            checkpoints.read(file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a"])
@pytest.mark.parametrize(
    "content, message",
    [
        (b"a: 1", "is a text file: not loaded"),
        (b"hello\nworld\n", "is a text file: not loaded"),
        (b"#!/bin/sh\nexport A=1\n", "is a text file: not loaded"),
        ("\u0434\u0435\u0440\u0435\u0432\u043e".encode() * 99, "is a text file: not loaded"),
        (b"version https" + b"://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS: run"),
    ],
    ids=["yaml", "words", "shell", "not ASCII", "Git LFS"],
)
def test_a_text_file_is_told_as_one(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"expected a checkpoint, .*{name} {message}"):
        checkpoints.read(tmp_path / name)


@pytest.mark.parametrize("content", [None, b"", b"hello\nworld\n"])
def test_a_name_with_line_breaks_is_told_on_one_line(tmp_path, content):
    file = tmp_path / "a\nb.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\\nb\.pt") as caught:
        checkpoints.read(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x80\x02.", b"\x80\x02a.", b"\x80\x02}", b"\x80\x02h\x09."])
def test_a_damaged_pickle_is_told_without_the_readers_own_words(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        checkpoints.read(tmp_path / "a.pt")
    assert "pop from" not in str(caught.value) and "\n" not in str(caught.value)
