"""Segmenters' weights on disk: official files put in place by hand, and the hub's cache."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from typer.testing import CliRunner

import ovseg.segmenters.segment_anything as family
from ovseg import cli
from ovseg.errors import UsageError, WeightsError
from ovseg.segmenters.load import load_segmenter
from ovseg.weights import segmenters as weights

HERE = Path(__file__).parent
REPOSITORY = "someone/small-sam"


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "segmenters" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def official(home, monkeypatch) -> Path:
    """A small SAM lying in the weights folder as vit_b's official file, and its checksum known."""
    small_sam = module("test_segmenters").small_sam
    monkeypatch.setitem(family.sam_model_registry, "vit_b", small_sam)
    file = home / "weights" / "sam_vit_b_01ec64.pth"
    file.parent.mkdir(parents=True)
    torch.save(small_sam(seed=9).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    row = dataclasses.replace(weights.OFFICIAL["vit_b"], sha256=digest)
    monkeypatch.setitem(weights.OFFICIAL, "vit_b", row)
    return file


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    module("small_transformers").model("sam").save_pretrained(folder)
    return folder


@pytest.fixture
def cached(home, small_model, no_network) -> Path:
    """The hub's cache as huggingface_hub lays it out: a file lies in blobs/ under its sha256."""
    root = home / "weights" / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in small_model.iterdir():
        blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    return snapshot


def test_an_official_file_in_the_weights_folder_is_found_verified_and_loaded(official):
    wanted = torch.load(official, weights_only=True)
    for how in (load_segmenter("vit_b"), load_segmenter("vit_b", official)):
        assert all(torch.equal(value, wanted[key]) for key, value in how.sam.state_dict().items())
    assert weights.find("vit_b") == weights.path("vit_b") == official
    assert "as published" in weights.verify("vit_b")
    changed = bytearray(official.read_bytes())
    changed[len(changed) // 2] ^= 1
    official.write_bytes(changed)
    with pytest.raises(WeightsError, match=r"wanted sha256 .* got .*; the file was left as it is"):
        load_segmenter("vit_b")
    assert official.read_bytes() == changed


def test_a_missing_official_file_says_where_to_get_it_and_where_to_put_it(home):
    for name, source in [
        ("vit_h", "facebookresearch/segment-anything"),
        ("mobile", "ChaoningZhang/MobileSAM"),
    ]:
        file = weights.OFFICIAL[name].file
        for call in (load_segmenter, weights.pull):
            with pytest.raises(WeightsError, match=f"wanted {home}.*{file}, found none: put .*{source}$"):
                call(name)
        with pytest.raises(WeightsError, match="found none"):
            weights.verify(name)
        assert weights.find(name) is None


def test_the_known_files_are_whole_rows():
    assert list(weights.OFFICIAL) == ["vit_b", "vit_l", "vit_h", "mobile"]
    for name, row in weights.OFFICIAL.items():
        assert name == row.name and int(row.sha256, 16) and len(row.sha256) == 64
    assert len({row.sha256 for row in weights.OFFICIAL.values()}) == 4


def test_a_repository_in_the_cache_needs_no_network(cached):
    name = f"hf:{REPOSITORY}"
    assert weights.find(name) == weights.pull(name, offline=True) == cached
    assert cached.is_relative_to(weights.path(name))
    assert load_segmenter(name).name.startswith(name)
    assert "as published" in weights.verify(name)
    blob = (cached / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="left as it is"):
        weights.verify(name)


def test_a_repository_that_came_in_part_is_not_taken_for_whole(cached):
    (cached / "model.safetensors").unlink()
    assert weights.missing(cached) == "model.safetensors" and weights.find(f"hf:{REPOSITORY}") is None
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (cached / "model.safetensors.index.json").write_text(json.dumps(index))
    (cached / "model-1.safetensors").write_bytes(b"")
    assert weights.missing(cached) == "model-2.safetensors"
    (cached / "model-2.safetensors").write_bytes(b"")
    assert weights.missing(cached) is None
    (cached / "config.json").unlink()
    assert weights.missing(cached) == "config.json"


def test_a_repository_that_is_not_here_without_network_is_one_clear_line(no_network, home):
    with pytest.raises(
        WeightsError, match=r"wanted a/b from the Hugging Face hub, not in .* not to be had"
    ) as e:
        load_segmenter("hf:a/b")
    assert "\n" not in str(e.value) and str(home) in str(e.value)
    with pytest.raises(WeightsError, match=r"found none: run `ovseg models pull hf:a/b`"):
        load_segmenter("hf:a/b", offline=True)
    with pytest.raises(UsageError, match="a repository of the hub or an existing folder"):
        weights.path("hf:../a")


def test_a_download_that_is_cut_off_is_one_clear_line(home, monkeypatch):
    class ReadError(Exception):
        """The HTTP client's own, no OSError."""

    def cut(*_, local_files_only, **__):
        raise LocalEntryNotFoundError("not here") if local_files_only else ReadError("cut\noff")

    monkeypatch.setattr("huggingface_hub.snapshot_download", cut)
    with pytest.raises(WeightsError, match=r"wanted a/b from the .*not to be had \(cut off\)$"):
        weights.pull("hf:a/b")


def test_the_command_line_knows_them(official, cached):
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.app, ["models", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    listed = run("list")
    assert "sam_vit_b_01ec64.pth" in listed and "mobile_sam.pt" in listed and "facebook/sam2.1" in listed
    rows = {line.split()[0]: line.split()[-1] for line in listed.splitlines() if line.strip()}
    assert rows["vit_b"] == "yes" and rows["vit_h"] == "no" and rows["hf:facebook/sam-vit-base"] == "no"
    for command in ("path", "pull", "verify"):
        assert str(official) in run(command, "vit_b").replace("\n", "")
        assert str(cached) in run(command, f"hf:{REPOSITORY}").replace("\n", "")
    failed = CliRunner().invoke(cli.app, ["models", "pull", "vit_l"])
    assert failed.exit_code == 1 and "put sam_vit_l_0b3195.pth (1250 MB) there" in failed.output
