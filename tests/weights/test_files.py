"""Digests of files and of tensors in memory, and the check of devices."""

from __future__ import annotations

import os

import pytest
import torch

from ovseg.errors import UsageError, WeightsError
from ovseg.files.paths import sha256_of
from ovseg.weights import device, files
from ovseg.weights.device import check_device
from ovseg.weights.files import WeightsRecord, brief, file_digest, state_digest


def layers() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Embedding(1, 3))


def test_the_digest_changes_with_every_tensor_and_with_nothing_else():
    wanted = state_digest(layers())
    assert wanted == state_digest(layers()) == state_digest(layers().train()) and len(wanted) == 64
    seen = {wanted}
    for key, value in layers().state_dict().items():
        other = layers()
        state = other.state_dict()
        state[key].view(-1)[-1] += 1
        assert not torch.equal(state[key], value)
        seen.add(state_digest(other))
    assert len(seen) == 1 + len(layers().state_dict()) == 9
    assert state_digest(layers().bfloat16()) not in seen


def test_names_types_and_shapes_are_part_of_the_digest():
    def holder(**tensors: torch.Tensor) -> torch.nn.Module:
        made = torch.nn.Module()
        for name, tensor in tensors.items():
            made.register_buffer(name, tensor)
        return made

    zeros = torch.zeros(4)
    made = [
        holder(a=zeros), holder(b=zeros), holder(a=zeros.view(2, 2)), holder(a=zeros.int()),
        holder(a=zeros[:2], b=zeros[:2]),
        holder(a=zeros[:0]), holder(a=torch.tensor(0.0)), holder(),
    ]  # fmt: skip
    assert len({state_digest(one) for one in made}) == len(made)
    table = torch.arange(6.0).view(2, 3)
    assert state_digest(holder(a=table.T)) == state_digest(holder(a=table.T.contiguous()))


def test_a_files_digest_is_computed_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(files, "sha256_of", lambda file: calls.append(file) or sha256_of(file))
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    record = WeightsRecord(str(file), file)
    assert calls == [] and not record.is_random
    assert record.sha256 == file_digest(file) == record.describe()["sha256"] == sha256_of(file)
    assert len(calls) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert record.sha256 == sha256_of(file) and len(calls) == 2
    file.unlink()
    with pytest.raises(WeightsError, match="expected to read .*weights.pt: No such file"):
        _ = record.sha256


def test_a_device_is_one_of_this_machine(monkeypatch):
    assert check_device("cpu") == check_device("cpu:3") == torch.device("cpu")
    with pytest.raises(UsageError, match="fp16 needs a GPU, got cpu"):
        check_device("cpu", "fp16")
    if torch.cuda.is_available():
        assert check_device("cuda", "fp16").type == "cuda"
        return
    with pytest.raises(UsageError, match="expected device cuda:9, this machine offers cpu only"):
        check_device("cuda:9")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="expected device cuda:9, this machine offers cpu, cuda:0, cuda:1$"):
        check_device("cuda:9")
    monkeypatch.setattr(device, "_computes", lambda target: True)
    assert check_device("cuda:1", "fp16") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="expected device meta"):
        check_device("meta")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("short", "short"),
        ("two\n  lines", "two lines"),
        ("one two three four", "one two …"),
        ("a" * 50, "a" * 11 + "…"),
        ("", "ValueError"),
    ],
)
def test_a_long_message_is_cut_between_words(text, wanted):
    assert brief(ValueError(text), most=12) == wanted
