"""Prompt ensembles, batches cut to their longest prompt, and the cache."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP

from ovseg.clip import embedded
from ovseg.clip.text import TEMPLATES, TextCache, TextEncoder, fingerprint, resolve_templates
from ovseg.errors import OvsegWarning, UsageError

NAMES = ["tree", "traffic light", "", "дерево", "木", "a rather long name of a thing with many words in it"]


@pytest.fixture(scope="module")
def clip():
    return embedded.load()


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture
def counted(clip, monkeypatch):
    """Sizes (prompts, tokens) of every pass through the text tower."""
    passes = []
    forward = clip.transformer.forward

    def count(x, *args, **options):
        passes.append(tuple(x.shape[:2]))
        return forward(x, *args, **options)

    monkeypatch.setattr(clip.transformer, "forward", count)
    return passes


@pytest.mark.parametrize("templates", ["paper", "imagenet", "plain"])
def test_ensembles_equal_the_literal_ones_at_full_length(clip, tokenizer, reference, templates):
    got = TextEncoder(clip, tokenizer).encode(NAMES, templates)
    with torch.no_grad():
        wanted = reference.encode_names(clip, tokenizer, NAMES, TEMPLATES[templates])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(got.norm(dim=-1).numpy(), 1, atol=1e-5)


def test_towers_read_elsewhere_keep_their_padding(tokenizer, reference):
    """A tower that pools the last token would see other tokens if its padding were cut."""
    torch.manual_seed(0)
    text = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2, pool_type="last")
    vision = dict(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
    for kind in (CLIP, CustomTextCLIP):
        clip = kind(16, vision, text).eval()
        got = TextEncoder(clip, tokenizer).encode(["tree", "bus stop"], "plain")
        with torch.no_grad():
            wanted = reference.encode_names(clip, tokenizer, ["tree", "bus stop"], ["{}"])
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)


def test_batches_are_cut_and_repeats_are_encoded_once(clip, tokenizer, counted):
    TextEncoder(clip, tokenizer).encode(["tree", "tree", NAMES[-1]], ["{}"])
    assert sum(prompts for prompts, _ in counted) == 2
    assert max(tokens for _, tokens in counted) == len(tokenizer.encode(NAMES[-1])) + 2


def test_sizes_of_templates():
    assert {name: len(rows) for name, rows in TEMPLATES.items()} == {"paper": 85, "imagenet": 80, "plain": 1}
    assert TEMPLATES["paper"][-1] == "this is one {} in the scene."
    assert resolve_templates("a {}!") == ("a {}!",)


@pytest.mark.parametrize("wrong", ["papers", [], ["a photo"], ["{} and {}"]], ids=str)
def test_templates_without_one_place_are_misuse(wrong):
    with pytest.raises(UsageError, match="wanted"):
        resolve_templates(wrong)


def test_a_name_that_does_not_fit_is_misuse(clip, tokenizer):
    encoder = TextEncoder(clip, tokenizer)
    encoder.encode(["word " * 75], "plain")  # 75 and the two ends are 77
    with pytest.raises(UsageError, match="at most 77 tokens.*'word word.*…' takes 78"):
        encoder.encode(["word " * 76], "plain")
    with pytest.raises(UsageError, match="at least one name"):
        encoder.encode([])


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


def test_other_weights_and_tokenizers_have_other_keys(clip, tokenizer):
    own = fingerprint(clip, tokenizer)
    assert own == fingerprint(embedded.load(), tokenizer)
    changed = embedded.load()
    with torch.no_grad():
        changed.text_projection[0, 0] += 1e-3
    assert fingerprint(changed, tokenizer) != own
    assert fingerprint(clip, open_clip.get_tokenizer("ViT-B-32", context_length=64)) != own


@pytest.mark.parametrize("content", [b"", b"not an array", None], ids=["empty", "rubbish", "nan"])
def test_a_damaged_file_is_made_again(clip, tokenizer, tmp_path, content):
    encoder = TextEncoder(clip, tokenizer, TextCache(tmp_path))
    wanted = encoder.encode(["tree"])
    (file,) = tmp_path.rglob("*.npy")
    if content is None:
        np.save(file, np.full(128, np.nan, np.float32))
    else:
        file.write_bytes(content)
    assert torch.equal(TextEncoder(clip, tokenizer, TextCache(tmp_path)).encode(["tree"]), wanted)
    assert np.isfinite(np.load(file)).all()


def test_the_oldest_go_first_when_it_is_full(clip, tokenizer, tmp_path):
    cache = TextCache(tmp_path, limit=3 * 640)  # 128 floats and the header of one file are 640 bytes
    encoder = TextEncoder(clip, tokenizer, cache)
    for name in "abcde":
        encoder.encode([name], "plain")
    kept = [cache.read(encoder._key(name, ("{}",))) is not None for name in "abcde"]
    assert sum(kept) == 3 and kept[-1]


def test_a_folder_that_cannot_be_written_warns_once(clip, tokenizer, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    encoder = TextEncoder(clip, tokenizer, TextCache(blocked / "text"))
    with pytest.warns(OvsegWarning, match="text features are not kept"):
        encoder.encode(["tree", "sky"], "plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["sea"], "plain")


def test_several_processes_at_once(tmp_path):
    script = (
        "import ovseg, sys; from pathlib import Path; from ovseg.clip.text import *; "
        "import open_clip; from ovseg.clip import embedded; "
        "e = TextEncoder(embedded.load(), open_clip.get_tokenizer('ViT-B-32'), TextCache(Path(sys.argv[1]))); "
        "print(float(e.encode([f'thing {i}' for i in range(40)], 'plain').sum()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    results = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len({round(float(r), 4) for r in results}) == 1
    assert len(list(tmp_path.rglob("*.npy"))) == 40 and not list(tmp_path.rglob("*.partial"))
