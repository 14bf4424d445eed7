"""Text features on disk: what their key depends on, and entries that are damaged, foreign or in the way."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import timeit
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from ovseg.clip import embedded
from ovseg.clip.build import build_tokenizer, text_identity
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache, TextEncoder, feature_key
from ovseg.errors import OvsegWarning
from ovseg.weights.files import WeightsRecord

NAMES = ["tree", "traffic light", "", "дерево", "木"]
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    "text_cfg": {"width": 32, "heads": 2, "layers": 2},
}
KEY = "ab" * 32


@pytest.fixture(scope="module")
def clip():
    return embedded.load("tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture(scope="module")
def small_models(tmp_path_factory, add_model_configs):
    """Models of open_clip's with the same weights, each of which gives other features."""
    folder = tmp_path_factory.mktemp("configs")
    for name, more, text in (
        ("ovseg-text", {}, {}),
        ("ovseg-heads", {}, {"heads": 4}),
        ("ovseg-gelu", {"quick_gelu": True}, {}),
        ("ovseg-clean", {}, {"tokenizer_kwargs": {"clean": "canonicalize"}}),
    ):
        config = {**CONFIG, **more, "text_cfg": {**CONFIG["text_cfg"], **text}}
        (folder / f"{name}.json").write_text(json.dumps(config))
    add_model_configs(folder)


@pytest.fixture
def counted(clip, monkeypatch):
    """Sizes (prompts, tokens) of every pass through the text tower."""
    passes = []
    forward = clip.transformer.forward

    @functools.wraps(forward)
    def count(x, *args, **options):
        passes.append(tuple(x.shape[:2]))
        return forward(x, *args, **options)

    monkeypatch.setattr(clip.transformer, "forward", count)
    return passes


@pytest.fixture
def unit():
    values = np.random.default_rng(0).normal(size=128).astype(np.float32)
    return values / np.linalg.norm(values)


def test_a_warm_cache_needs_no_pass(encoder, clip, tokenizer, counted, tmp_path):
    first = encoder(clip, tokenizer, TextCache(tmp_path)).encode(NAMES)
    cold = len(counted)
    again = encoder(clip, tokenizer, TextCache(tmp_path)).encode(NAMES[::-1])
    assert cold > 0 and len(counted) == cold
    assert torch.equal(first, again.flip(0))
    encoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")  # other templates: another key
    encoder(clip, tokenizer).encode(["tree"])  # switched off
    assert len(counted) == cold + 2


# ------------------------------------------------------------------------------------------ the key


def text_keys(*models):
    found = [one.text_key for one in models]
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in found)
    return found


def test_the_key_is_the_files_the_configs_and_the_tokenizers(tmp_path, small_models):
    torch.manual_seed(0)
    file = tmp_path / "a.pt"
    torch.save(open_clip.create_model("ovseg-text").state_dict(), file)
    copied = tmp_path / "b.pt"
    shutil.copy(file, copied)
    plain = load_clip("ovseg-text", file)
    keys = text_keys(
        plain,
        load_clip("tiny"),
        load_clip("small"),
        load_clip("ovseg-heads", file),  # another number of heads, which the weights do not tell
        load_clip("ovseg-gelu", file),  # another activation
        load_clip("ovseg-clean", file),  # another tokenizer
        load_clip("ovseg-text", "random"),
        load_clip("ovseg-text", "random"),
        replace(plain, tuned=True),
        replace(plain, weights=WeightsRecord("x", embedded.asset_path("tiny"))),
    )
    assert len(set(keys)) == len(keys)
    assert text_keys(load_clip("ovseg-text", copied)) == keys[:1]
    assert text_keys(load_clip("tiny", precision="bf16")) == keys[1:2]  # its texts are in fp32
    assert replace(plain, text=None).text_key is None


def test_weights_that_were_loaded_over_the_files_count():
    loaded = replace(load_clip("tiny"), tuned=True)
    other = replace(load_clip("tiny"), tuned=True)
    with torch.no_grad():
        other.clip.token_embedding.weight[2677, 5] += 1
    first, second = text_keys(loaded, other)
    assert first != second


def test_the_version_of_the_tokenizers_package_counts(monkeypatch):
    own = load_clip("tiny").text_key
    monkeypatch.setattr("ovseg.clip.models.version", lambda package: "0.0")
    assert load_clip("tiny").text_key != own


def test_a_tokenizers_files_count(tmp_path, monkeypatch):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    def identity(folder, words):
        folder.mkdir()
        Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1, **words}, unk_token="[UNK]")).save(
            str(folder / "tokenizer.json")
        )
        (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]"}'
        )
        config = {"text_cfg": {"hf_tokenizer_name": "no/where", "context_length": 4}}
        tokenizer = build_tokenizer(config, "small", offline=True, folder=folder)
        return text_identity(config, nn.Identity(), tokenizer)

    first, second, third = (
        identity(tmp_path / name, words)
        for name, words in (("a", {"sky": 2}), ("b", {"sky": 2}), ("c", {"sea": 2}))
    )
    assert first == second != third


@pytest.mark.parametrize(
    "first, second",
    [
        ((["a {}", "b {}"], "c"), (["a {}"], "b {}\0c")),
        ((["a {}\0b"], "c"), (["a {}"], "b\0c")),
        ((["{}"], "c\0"), (["{}"], "c")),
        ((["{}"], "\0c"), (["{}\0"], "c")),
    ],
    ids=repr,
)
def test_names_and_templates_with_a_nul_have_their_own_keys(first, second):
    assert feature_key("model", *first) != feature_key("model", *second)
    assert feature_key("model", *first) != feature_key("other", *first)


def test_nothing_is_written_for_a_model_that_nobody_describes(clip, tokenizer, encoder, tmp_path):
    encoder(clip, tokenizer, TextCache(tmp_path), text=None).encode(["tree"], "plain")
    assert not list(tmp_path.rglob("*.feature"))


def test_known_texts_read_no_weight_and_open_no_file(tmp_path, monkeypatch):
    """Not only fast: nothing of the model and of the disk is looked at for the second call."""
    loaded = load_clip("tiny")
    made = TextEncoder(loaded, TextCache(tmp_path))
    first = made.encode(NAMES)

    def used(*_, **__):
        pytest.fail("a known text was worked on")

    for place in ("os.open", "builtins.open", "os.stat", "hashlib.sha256"):
        monkeypatch.setattr(place, used)
    monkeypatch.setattr(nn.Module, "__call__", used)
    monkeypatch.setattr(nn.Module, "named_parameters", used)
    monkeypatch.setattr(nn.Module, "state_dict", used)
    second = made.encode(NAMES[::-1])
    monkeypatch.undo()
    assert torch.equal(second.flip(0), first)


def test_known_texts_take_under_half_a_millisecond():
    made = TextEncoder(load_clip("tiny"))
    names = [f"thing {number}" for number in range(20)]
    made.encode(names, "plain")
    assert min(timeit.repeat(lambda: made.encode(names, "plain"), number=1, repeat=50)) < 0.5e-3


def test_weights_are_hashed_once_and_only_for_a_cache(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr("ovseg.clip.loaded.state_digest", lambda clip: hashed.append(clip) or "0")
    loaded = load_clip("tiny", "random")
    TextEncoder(replace(loaded, text=None)).encode(["tree"], "plain")
    assert not hashed
    for names in (["tree"], ["sky"], ["tree", "sea"]):
        TextEncoder(loaded, TextCache(tmp_path)).encode(names, "plain")
    assert hashed == [loaded.clip]


# -------------------------------------------------------------------------------------- the entries


def damaged(content: bytes) -> dict[str, bytes]:
    start, values = content[:53], np.frombuffer(content[53:], np.float32)
    flipped = bytearray(content)
    flipped[-1] ^= 1

    def signed(array):
        return content[:21] + hashlib.sha256(KEY.encode() + array.tobytes()).digest() + array.tobytes()

    return {
        "empty": b"",
        "header only": start,
        "cut off": content[:-4],
        "cut within a value": content[:-3],
        "longer": content + b"\0\0\0\0",
        "one bit": bytes(flipped),
        "rubbish": os.urandom(len(content)),
        "numpy's": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (999999999,)}\n",
        "an archive": b"PK\x03\x04" + content,
        "nan": signed(np.full(128, np.nan, np.float32)),
        "zeros": signed(np.zeros(128, np.float32)),
        "half as long": signed(values * 0.5),
        "infinite": signed(np.full(128, np.inf, np.float32)),
    }


@pytest.mark.parametrize("name", damaged(bytes(53 + 512)))
def test_a_damaged_entry_is_made_again(clip, tokenizer, tmp_path, unit, name):
    cache = TextCache(tmp_path)
    cache.write(KEY, unit)
    (file,) = tmp_path.rglob("*.feature")
    assert np.array_equal(cache.read(KEY), unit)
    file.write_bytes(damaged(file.read_bytes())[name])
    assert cache.read(KEY) is None
    cache.write(KEY, unit)
    assert np.array_equal(cache.read(KEY), unit)


def test_an_entry_of_another_key_counts_as_absent(tmp_path, unit):
    cache = TextCache(tmp_path)
    cache.write(KEY, unit)
    other = "ab" + "cd" * 31
    os.rename(cache._path(KEY), cache._path(other))
    assert cache.read(other) is None


def fifo(path):
    os.mkfifo(path)


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)


IN_THE_WAY = {
    "rubbish": lambda path: path.write_bytes(b"not an entry"),
    "pipe": fifo,
    "huge": huge,
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dead link": lambda path: path.symlink_to("nothing"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
@pytest.mark.filterwarnings("ignore:text features are not kept")
def test_whatever_lies_in_an_entrys_place_neither_hangs_nor_raises(encoder, clip, tokenizer, tmp_path, name):
    wanted = encoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"])
    (file,) = tmp_path.rglob("*.feature")
    file.unlink()
    IN_THE_WAY[name](file)
    assert torch.equal(encoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"]), wanted)
    if name != "folder":
        assert file.is_file() and not file.is_symlink() and file.stat().st_size == 53 + 512


def test_what_is_no_unit_vector_is_not_kept(tmp_path, unit):
    cache = TextCache(tmp_path)
    for wrong in (unit * 0, unit * 2, unit * np.nan, unit.astype(np.float64), unit[None], unit[:0]):
        cache.write(KEY, wrong)
        assert cache.read(KEY) is None


def test_what_a_killed_process_left_goes_first_and_other_files_stay(encoder, clip, tokenizer, tmp_path):
    mine = tmp_path / "ab" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("not an entry")
    left = tmp_path / "ab" / ".ovseg-12-34"
    left.write_bytes(bytes(100))
    for path in (mine, left):
        os.utime(path, (1, 1))
    encoder(clip, tokenizer, TextCache(tmp_path, limit=600)).encode(["tree"])
    assert not left.exists() and mine.exists() and len(list(tmp_path.rglob("*.feature"))) == 1


def test_the_oldest_go_first_when_it_is_full(tmp_path, unit):
    cache = TextCache(tmp_path, limit=3 * (53 + 512))
    keys = [f"{number:064x}" for number in range(5)]
    for number, key in enumerate(keys):
        cache.write(key, unit)
        os.utime(cache._path(key), (number, number))
        cache.trim()
    assert [cache.read(key) is not None for key in keys] == [False, False, True, True, True]


def test_the_folder_is_measured_once_and_then_after_a_share_of_the_limit(tmp_path, unit, monkeypatch):
    from ovseg.clip import text_cache

    measured = []
    monkeypatch.setattr(text_cache, "_entries", lambda folder: measured.append(folder) or [])
    cache = TextCache(tmp_path, limit=64 * 10 * 565)
    for number in range(25):
        cache.write(f"{number:064x}", unit)
        cache.trim()
    assert len(measured) == 3


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_that_cannot_be_written_warns_once(encoder, clip, tokenizer, tmp_path, monkeypatch, full):
    blocked = tmp_path / "file"
    if full:

        def no_space(*args, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", no_space)
    else:
        blocked.write_text("in the way")
    made = encoder(clip, tokenizer, TextCache(blocked / "text"))
    with pytest.warns(OvsegWarning, match="text features are not kept") as caught:
        made.encode(["tree", "sky"], "plain")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.encode(["sea"], "plain")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != blocked]


def test_a_folder_that_may_not_be_changed_is_not_trimmed(tmp_path, unit, monkeypatch):
    cache = TextCache(tmp_path, limit=1)
    cache.write(KEY, unit)

    def refuse(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    cache.trim()
    assert cache.read(KEY) is not None


def test_several_processes_at_once(tmp_path):
    script = (
        "import sys; from pathlib import Path; from ovseg.clip.text import *; "
        "from ovseg.clip.models import load_clip; "
        "e = TextEncoder(load_clip('tiny'), TextCache(Path(sys.argv[1]))); "
        "print(float(e.encode([f'thing {i}' for i in range(40)], 'plain').sum()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    results = [run.communicate(timeout=600)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len({round(float(r), 4) for r in results}) == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 40 and all(path.suffix == ".feature" for path in files)
    assert load_clip("tiny").text_key  # the same in every process, or there would be 120
