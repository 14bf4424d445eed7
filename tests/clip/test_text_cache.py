"""Text features on disk: what their key depends on, and entries that are damaged, foreign or in the way."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from ovseg.clip import embedded, text_key
from ovseg.clip.text import TextCache, TextEncoder
from ovseg.clip.text_key import feature_key, fingerprint, head_key, weight_digest
from ovseg.errors import OvsegWarning

NAMES = ["tree", "traffic light", "", "дерево", "木"]
VISION = dict(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
TEXT = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)
KEY = "ab" * 32


@pytest.fixture(scope="module")
def clip():
    return embedded.load("tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


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


def test_a_warm_cache_needs_no_pass(clip, tokenizer, counted, tmp_path):
    first = TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(NAMES)
    cold = len(counted)
    again = TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(NAMES[::-1])
    assert cold > 0 and len(counted) == cold
    assert torch.equal(first, again.flip(0))
    TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(
        ["tree"], "plain"
    )  # other templates: another key
    TextEncoder(clip, tokenizer).encode(["tree"])  # switched off
    assert len(counted) == cold + 2


# ------------------------------------------------------------------------------------------ the key


def small(seed=0, quick_gelu=False, **settings):
    torch.manual_seed(seed)
    return CLIP(16, VISION, TEXT | settings, quick_gelu=quick_gelu).eval()


def test_equal_models_share_a_fingerprint(tokenizer):
    assert fingerprint(small(), tokenizer) == fingerprint(small(), open_clip.get_tokenizer("ViT-B-32"))


def test_quick_gelu_and_gelu_with_equal_weights_share_nothing(tokenizer, tmp_path):
    plain, quick = small(), small(quick_gelu=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), quick.parameters(), strict=True))
    first = TextEncoder(plain, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
    second = TextEncoder(quick, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
    assert torch.equal(second, TextEncoder(quick, tokenizer).encode(["tree"], "plain"))
    assert not torch.equal(first, second)


def test_one_tuned_token_row_is_noticed(tokenizer, tmp_path):
    row = tokenizer(["tree"])[0, 1]
    for clip in (embedded.load("tiny"), embedded.load("tiny")):
        got = TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
        assert torch.equal(got, TextEncoder(clip, tokenizer).encode(["tree"], "plain"))
        with torch.no_grad():
            clip.token_embedding.weight[row, 5] += 1  # in place, after the model was fingerprinted
        tuned = TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
        assert torch.equal(tuned, TextEncoder(clip, tokenizer).encode(["tree"], "plain"))
        assert not torch.allclose(tuned, got, atol=1e-3)


def test_every_single_weight_and_buffer_of_the_text_side_counts(tokenizer):
    looked = 0
    base = weight_digest(small())
    for name, _ in [*small().named_parameters(), *small().named_buffers()]:
        clip = small()
        tensor = dict([*clip.named_parameters(), *clip.named_buffers()])[name]
        with torch.no_grad():
            tensor.view(-1)[-1] += 1e-3 if tensor.isfinite().all() else 5
        assert (weight_digest(clip) == base) == name.startswith("visual."), name
        looked += 1
    assert looked > 40


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 4},
        {"pool_type": "eos"},
        {"pool_type": "last"},
        {"no_causal_mask": True},
        {"norm_kwargs": {"eps": 1e-3}},
        {"act_kwargs": {"approximate": "tanh"}},
        {"layers": 3},
        {"width": 64},
        {"context_length": 64},
        {"eos_id": 3, "pool_type": "eos"},
    ],
    ids=str,
)
def test_every_setting_of_the_text_tower_counts(tokenizer, settings):
    plain = small(pool_type="eos") if "eos_id" in settings else small()
    assert fingerprint(small(**settings), tokenizer) != fingerprint(plain, tokenizer)


def test_a_changed_module_is_noticed_in_the_same_model(tokenizer):
    clip = small()
    before = fingerprint(clip, tokenizer)
    clip.transformer.resblocks[1].mlp.gelu = nn.ReLU()
    assert fingerprint(clip, tokenizer) != before


def test_the_image_tower_does_not_count(tokenizer):
    clip = small()
    before = fingerprint(clip, tokenizer)
    clip.visual = nn.Identity()
    assert fingerprint(clip, tokenizer) == before


def test_a_tokenizers_class_and_settings_count_and_its_use_does_not(clip, tokenizer):
    own = fingerprint(clip, tokenizer)
    tokenizer(["a word that was never seen before: zyxwvut"])  # the tokenizer keeps it
    assert fingerprint(clip, tokenizer) == own

    class Other(type(tokenizer)):
        pass

    others = [
        Other(),
        open_clip.SimpleTokenizer(clean="canonicalize"),
        open_clip.SimpleTokenizer(context_length=64),
        open_clip.SimpleTokenizer(additional_special_tokens=["<here>"]),
    ]
    found = {fingerprint(clip, other) for other in others}
    assert len(found) == len(others) and own not in found


def test_tokenizers_that_read_a_name_or_template_in_another_way_have_other_keys(clip, tokenizer):
    assert feature_key("head", "tree", [1, 2]) != feature_key("head", "tree", [1, 3])

    class Swapped(type(tokenizer)):
        swap = False

        def encode(self, text):
            return super().encode(text.replace("photo", "picture") if Swapped.swap else text)

    other = Swapped()
    before = head_key(clip, other, ["a photo of {}"])
    Swapped.swap = True
    assert head_key(clip, other, ["a photo of {}"]) != before


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
def test_names_and_templates_with_a_nul_have_their_own_entries(clip, tokenizer, tmp_path, first, second):
    keys = {
        feature_key(head_key(clip, tokenizer, frames), name, tokenizer([name])[0].tolist())
        for frames, name in (first, second)
    }
    assert len(keys) == 2
    cache = TextCache(tmp_path)
    for frames, name in (first, second):
        TextEncoder(clip, tokenizer, cache).encode([name], frames)
    assert len(list(tmp_path.rglob("*.feature"))) == 2


def test_the_version_of_the_packages_and_of_the_key_count(clip, tokenizer, monkeypatch):
    own = fingerprint(clip, tokenizer)
    with monkeypatch.context() as patch:
        patch.setattr(open_clip, "__version__", "0.0")
        assert fingerprint(clip, tokenizer) != own
    monkeypatch.setattr(text_key, "VERSION", 1)
    assert fingerprint(clip, tokenizer) != own


def test_weights_are_hashed_once_a_model_and_state(clip, tokenizer, tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(text_key, "bytes_digest", lambda tensor: hashed.append(tensor) or "0")
    model = small()
    for _ in range(3):
        TextEncoder(model, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
    assert len(hashed) == len({id(tensor) for tensor in hashed})
    TextEncoder(small(), tokenizer).encode(["tree"])
    count = len(hashed)
    with torch.no_grad():
        model.ln_final.weight.mul_(2)
    TextEncoder(model, tokenizer, TextCache(tmp_path)).encode(["tree"], "plain")
    assert len(hashed) == 2 * count  # lazily: without a cache nothing is hashed


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


def test_an_entry_of_another_key_or_length_counts_as_absent(tmp_path, unit):
    cache = TextCache(tmp_path)
    cache.write(KEY, unit)
    other = "ab" + "cd" * 31
    os.rename(cache._path(KEY), cache._path(other))
    assert cache.read(other) is None
    cache.write(KEY, unit)
    assert cache.read(KEY, 128) is not None and cache.read(KEY, 64) is None


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
def test_whatever_lies_in_an_entrys_place_neither_hangs_nor_raises(clip, tokenizer, tmp_path, name):
    wanted = TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"])
    (file,) = tmp_path.rglob("*.feature")
    file.unlink()
    IN_THE_WAY[name](file)
    assert torch.equal(TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"]), wanted)
    if name != "folder":
        assert file.is_file() and not file.is_symlink() and file.stat().st_size == 53 + 512


def test_what_is_no_unit_vector_is_not_kept(tmp_path, unit):
    cache = TextCache(tmp_path)
    for wrong in (unit * 0, unit * 2, unit * np.nan, unit.astype(np.float64), unit[None], unit[:0]):
        cache.write(KEY, wrong)
        assert cache.read(KEY) is None


def test_entries_of_earlier_versions_are_not_read_and_go_first(clip, tokenizer, tmp_path):
    old = tmp_path / "ab" / f"{KEY}.npy"
    mine = tmp_path / "ab" / "mine.txt"
    old.parent.mkdir(parents=True)
    np.save(old, np.full(128, 128**-0.5, np.float32))
    mine.write_text("not an entry")
    left = tmp_path / "ab" / ".ovseg-12-34"  # by a process that was killed
    left.write_bytes(bytes(100))
    for path in (old, mine, left):
        os.utime(path, (1, 1))
    cache = TextCache(tmp_path, limit=600)
    assert cache.read(KEY) is None
    TextEncoder(clip, tokenizer, cache).encode(["tree"])
    assert (
        not old.exists()
        and not left.exists()
        and mine.exists()
        and len(list(tmp_path.rglob("*.feature"))) == 1
    )


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
def test_a_folder_that_cannot_be_written_warns_once(clip, tokenizer, tmp_path, monkeypatch, full):
    blocked = tmp_path / "file"
    if full:

        def no_space(*args, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", no_space)
    else:
        blocked.write_text("in the way")
    encoder = TextEncoder(clip, tokenizer, TextCache(blocked / "text"))
    with pytest.warns(OvsegWarning, match="text features are not kept") as caught:
        encoder.encode(["tree", "sky"], "plain")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["sea"], "plain")
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
        "import open_clip; from ovseg.clip import embedded; "
        "t = open_clip.get_tokenizer('ViT-B-32'); "
        "e = TextEncoder(embedded.load('tiny'), t, TextCache(Path(sys.argv[1]))); "
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


def test_keys_are_the_same_in_every_process(clip, tokenizer):
    """Neither addresses, nor the order of sets and dicts, nor the tokenizer's use reach the key."""
    script = (
        "import open_clip; from ovseg.clip import embedded; from ovseg.clip.text_key import fingerprint; "
        "print(fingerprint(embedded.load('tiny'), open_clip.get_tokenizer('ViT-B-32')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint(clip, tokenizer)
