"""The store: official files put in place by hand, the hub's cache, and names of every family."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import segment_anything
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

from ovseg.apps import cli
from ovseg.errors import UsageError, WeightsError
from ovseg.segmenters.load import load_segmenter
from ovseg.weights import known, network, store
from ovseg.weights.known import OFFICIAL

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
    small_sam = module("test_loading").small_sam
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", small_sam)
    file = home / "weights" / "sam_vit_b_01ec64.pth"
    file.parent.mkdir(parents=True)
    torch.save(small_sam(seed=9).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    row = dataclasses.replace(OFFICIAL["vit_b"], sha256=digest)
    monkeypatch.setitem(OFFICIAL, "vit_b", row)
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
    assert store.source("vit_b").find() == store.source("vit_b").path() == official
    assert "as published" in store.source("vit_b").verify()
    changed = bytearray(official.read_bytes())
    changed[len(changed) // 2] ^= 1
    official.write_bytes(changed)
    with pytest.raises(WeightsError, match=r"expected sha256 .* got .*; the file was left as it is"):
        load_segmenter("vit_b")
    assert official.read_bytes() == changed


def test_the_known_files_are_whole_rows():
    assert list(OFFICIAL) == ["vit_b", "vit_l", "vit_h", "mobile"]
    assert all(name == row.name and len(row.sha256) == 64 for name, row in OFFICIAL.items())
    assert len({int(row.sha256, 16) for row in OFFICIAL.values()}) == 4
    places = {store.source(name).path().name for name in OFFICIAL}
    assert places >= {"sam_vit_b_01ec64.pth", "mobile_sam.pt"} and len(places) == 4


def test_sams_file_is_downloaded_from_its_address(official, monkeypatch, home):
    content = official.read_bytes()
    served = home / "served" / "sam_vit_b_01ec64.pth"
    served.parent.mkdir()
    official.rename(served)
    row = dataclasses.replace(OFFICIAL["vit_b"], address=served.as_uri())
    monkeypatch.setitem(OFFICIAL, "vit_b", row)
    result = CliRunner().invoke(cli.app, ["models", "pull", "vit_b"])
    assert result.exit_code == 0 and official.read_bytes() == content, result.output
    assert load_segmenter("vit_b", offline=True).name.startswith("vit_b ")


def test_a_repository_in_the_cache_needs_no_network(cached, asked):
    name = f"hf:{REPOSITORY}"
    assert store.source(name).find() == store.source(name).pull(offline=True) == cached
    assert cached.is_relative_to(store.source(name).path())
    assert load_segmenter(name, offline=True).name.startswith(name)
    with pytest.raises(WeightsError, match="found none: `ovseg models pull hf:a/b` fetches it"):
        load_segmenter("hf:a/b", offline=True)
    assert asked == []
    assert "as published" in store.source(name).verify()
    blob = (cached / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="left as it is"):
        store.source(name).verify()


def test_a_repository_that_came_in_part_is_not_taken_for_whole(cached):
    (cached / "model.safetensors").unlink()
    assert (
        network.missing_part(cached) == "model.safetensors"
        and store.source(f"hf:{REPOSITORY}").find() is None
    )
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (cached / "model.safetensors.index.json").write_text(json.dumps(index))
    (cached / "model-1.safetensors").write_bytes(b"")
    assert network.missing_part(cached) == "model-2.safetensors"
    (cached / "model-2.safetensors").write_bytes(b"")
    assert network.missing_part(cached) is None
    (cached / "config.json").unlink()
    assert network.missing_part(cached) == "config.json"


def test_a_repository_that_is_not_here_without_network_is_one_clear_line(no_network, home):
    with pytest.raises(
        WeightsError, match=r"expected hf:a/b at .*, not to be had from the Hugging Face hub"
    ) as e:
        load_segmenter("hf:a/b")
    assert "\n" not in str(e.value) and str(home) in str(e.value)
    with pytest.raises(
        WeightsError, match="found none: `ovseg models pull hf:a/b` fetches it .* its name is hf:FOLDER$"
    ):
        load_segmenter("hf:a/b", offline=True)
    with pytest.raises(UsageError, match="a repository of the hub or an existing folder"):
        store.source("hf:../a").path()


def test_a_download_that_is_cut_off_is_one_clear_line(home, monkeypatch):
    class ReadError(Exception):
        """The HTTP client's own, no OSError."""

    def cut(*_, **__):
        raise ReadError("cut\noff")

    monkeypatch.setattr("huggingface_hub.snapshot_download", cut)
    with pytest.raises(
        WeightsError, match=r"expected hf:a/b at .*not to be had .* \(cut off\): `ovseg models pull"
    ):
        store.pull("hf:a/b")


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
    failed = CliRunner().invoke(cli.app, ["models", "pull", "vit_l", "--offline"])
    assert failed.exit_code == 1 and "1250 MB" in failed.output


def test_names_of_every_family_have_their_kind():
    assert store.source("tiny").find().name == "tiny_clip.safetensors"
    assert store.embedded("segmenter", "small").find().name == "small_segmenter.safetensors"
    assert store.source("hf-hub:org/name").path().name == "models--org--name"
    assert store.source("ViT-B-32", "laion2b_s34b_b79k").path().parent.name == "hub"
    for row in known.ASSETS:  # what is shipped is what the table says
        assert "as published" in store.embedded(row.family, row.name).verify()
    for name, tag, message in (
        ("vit_b", "openai", "expected no tag for vit_b, which has one set of weights, got 'openai'"),
        ("RN50", "x", "unknown weights 'x' for RN50: expected a file or one of openai"),
        (
            "nothing",
            "openai",
            "unknown model 'nothing', expected 'small', 'tiny' or a name of open_clip's",
        ),
        ("RN50", None, "expected a tag of open_clip's with RN50"),
        ("hf-hub:", None, "expected hf-hub: and a repository"),
        ("local-dir:", None, "expected a folder after local-dir:"),
        ("hf:a\0b", None, "expected hf: and a repository"),
    ):
        with pytest.raises(UsageError, match=message):
            store.source(name, tag).path()


def test_the_papers_backbones_have_published_checksums():
    paper = known.CLIP[:5]
    assert {row.tag for row in paper} == {"openai"}
    assert all(len(store.source(row.name, row.tag).sha256) == 64 for row in paper)
    assert all(known.entry(row.name, row.tag) for row in known.CLIP)


def test_open_clips_table_is_read_as_open_clip_reads_it():
    looked = 0
    for model, tag in open_clip.list_pretrained():
        wanted, found = open_clip.get_pretrained_cfg(model, tag), known.entry(model, tag)
        assert (found.get("url", ""), found.get("hf_hub", "")) == (wanted["url"], wanted["hf_hub"])
        assert bool(found.get("quick_gelu")) == bool(wanted.get("quick_gelu"))
        looked += 1
    assert looked > 100
    assert {model: list(known.tags(model)) for model, _ in open_clip.list_pretrained()} == {
        model: open_clip.list_pretrained_tags_by_model(model) for model, _ in open_clip.list_pretrained()
    }


def test_a_table_of_another_form_is_asked_for_from_open_clip_itself(monkeypatch):
    monkeypatch.setattr(known, "_parsed", dict)
    assert known.entry("RN50", "openai")["url"] == open_clip.get_pretrained_cfg("RN50", "openai")["url"]
    with pytest.raises(UsageError, match="unknown weights 'x' for RN50"):
        known.entry("RN50", "x")


@pytest.mark.parametrize("arguments", [["path", "RN50"], ["list"]])
def test_the_store_works_without_torch(arguments):
    code = (
        "import sys; from ovseg.apps.cli import app; sys.argv = ['ovseg', 'models', *sys.argv[1:]]\n"
        "try: app()\nexcept SystemExit as end: assert not end.code\n"
        "sys.exit(bool({'torch', 'open_clip', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == 0


INDEX = {
    "no JSON": "{",
    "empty": "",
    "a list": "[]",
    "no weight_map": "{}",
    "a map that is none": '{"weight_map": 5}',
    "an empty map": '{"weight_map": {}}',
    "numbers": '{"weight_map": {"a": 1}}',
    "another folder": '{"weight_map": {"a": "../model.safetensors"}}',
    "another format": '{"weight_map": {"a": "model.bin"}}',
    "latin-1": b'{"weight_map": {"\xe9": "a.safetensors"}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", INDEX.values(), ids=INDEX)
def test_a_damaged_index_of_a_sharded_model_is_one_line(small_model, tmp_path, content):
    folder = shutil.copytree(small_model, tmp_path / "sharded")
    (folder / network.INDEX).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WeightsError, match="expected .*index") as caught:
        load_segmenter(f"hf:{folder}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_sharded_model_is_loaded_whole(small_model, tmp_path):
    folder = tmp_path / "sharded"
    small = module("small_transformers").model("sam")
    small.save_pretrained(folder, max_shard_size="30KB")
    assert len(network.shards(folder)) > 1
    loaded = load_segmenter(f"hf:{folder}").model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in small.state_dict().items())


def test_pull_of_the_command_line_says_one_line_for_what_cannot_be(home, monkeypatch):
    for arguments in (
        ["pull", "ViT-B-16", "nothing"],
        ["pull", "local-dir:/no/such/folder"],
        ["pull", "ViT-B-16", "--offline"],
        ["verify", "RN50"],
        ["verify", f"local-dir:{HERE}"],
        ["pull", "tiny", "openai"],
        ["pull", "nothing"],
    ):
        done = CliRunner().invoke(cli.app, ["models", *arguments])
        assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit), done.output
        assert done.output.startswith(("error: expected", "error: unknown")), done.output


@pytest.mark.parametrize("name", ["x", "ViT-B-16:openai", "../ViT-B-16", "a\0b", "ViT-B-17"])
def test_a_model_that_nobody_knows_is_said_before_its_tag(name):
    with pytest.raises(
        UsageError, match="unknown model .*, expected 'small', 'tiny' or a name of open_clip's"
    ):
        store.source(name, "openai").path()


def test_a_model_without_published_weights_is_known():
    with pytest.raises(UsageError, match="unknown weights 'openai' for ViT-H-16: expected a file"):
        store.source("ViT-H-16", "openai").path()
