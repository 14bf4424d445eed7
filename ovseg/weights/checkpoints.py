"""Read the tensors of a checkpoint and load them into a model, for every family.

Files of torch.save (zip or older), TorchScript archives and safetensors are recognised by content, not by
suffix. No code of a file runs. Any problem with a file is a ``WeightsError`` of one line.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ovseg.errors import OvsegError, WeightsError, short_repr
from ovseg.weights.files import brief, check_file
from ovseg.weights.torchscript import is_archive, read_archive

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training scripts keep the weights, in the order in which they are looked for."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
_SHOWN = 2


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file.

    Attributes:
        file: where it was read from.
        state: tensors on the CPU by name, without wrappers and prefixes.
        metadata: a safetensors file's texts; empty for other files.
        scripted: whether the file is a TorchScript archive.
    """

    file: Path
    state: State
    metadata: Mapping[str, str] = field(default_factory=dict)
    scripted: bool = False


def read(file: Path, what: str = "a checkpoint") -> Checkpoint:
    """Read the tensors of a file without running its code.

    Args:
        file: of torch.save, torch.jit.save or safetensors.
        what: the expected content, for messages.

    Returns:
        The tensors. Wrappers such as ``{"state_dict": …}`` and the prefix "module." are removed.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or holds anything but named tensors.
    """
    check_file(file, what)
    metadata: dict[str, str] = {}
    scripted = False
    found: object
    try:
        if _is_safetensors(file):
            with safe_open(file, framework="pt") as opened:
                metadata = {str(key): str(value) for key, value in (opened.metadata() or {}).items()}
                found = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no dict
        elif scripted := is_archive(file):
            found = read_archive(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except OvsegError:
        raise
    except pickle.UnpicklingError as error:
        raise _unpicklable(file, error) from None
    except (LookupError, EOFError, AttributeError, TypeError):  # a damaged pickle, with meaningless messages
        raise WeightsError(f"expected {what}, {file} cannot be read: it is damaged") from None
    except Exception as error:  # on damage the readers may raise anything
        raise WeightsError(f"expected {what}, {file} cannot be read: {brief(error)}") from None
    return Checkpoint(file, unwrap(found, file), metadata, scripted)


def _unpicklable(file: Path, error: Exception) -> WeightsError:
    text = str(error)
    if "Weights only" in text or "global " in text:
        reason = "holds code or other objects, or is no checkpoint"
    else:
        reason = f"cannot be read ({brief(error, 120)})"
    return WeightsError(f"expected tensors only, {file} {reason}: not loaded")


def _is_safetensors(file: Path) -> bool:
    """Whether the file begins with the length of a JSON header and that header's brace, or has the suffix."""
    with file.open("rb") as stream:
        head = stream.read(9)
    return file.suffix == ".safetensors" or (
        head[8:] == b"{" and 0 < int.from_bytes(head[:8], "little") < 100_000_000
    )


def unwrap(found: object, file: Path) -> State:
    """The state dictionary in what a training script saved. Raises WeightsError where there is none."""
    for _ in range(4):  # {"state_dict": {"model": …}} and the like; none is nested deeper
        inner = _wrapped(found)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping) or not found:
        got = "an empty dictionary" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise WeightsError(f"expected a dictionary of tensors, {file} holds something else: {got}")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"expected a dictionary of tensors by name, {file} holds something else: "
                f"{type(value).__name__} under {short_repr(key)}"
            )
    state: State = {key: value.detach() for key, value in found.items()}
    for prefix in PREFIXES * 2:  # either may stand before the other
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def config_of(checkpoint: Checkpoint, what: str) -> dict[str, object]:
    """The JSON object under "config" in a safetensors file's metadata. Raises WeightsError for none."""
    text, problem = checkpoint.metadata.get("config"), f"{checkpoint.file} does not fit"
    if text is None:
        raise WeightsError(f"expected weights of {what}, {problem}: no config in its metadata")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"expected weights of {what}, {problem}: its config is no JSON ({brief(error)})"
        ) from None
    if not isinstance(found, dict):
        raise WeightsError(f"expected weights of {what}, {problem}: its config is a {type(found).__name__}")
    return found


def _wrapped(found: object) -> object | None:
    """What one of ``WRAPPERS`` holds, or None."""
    if not isinstance(found, Mapping):
        return None
    inner = (found.get(key) for key in WRAPPERS)
    return next((one for one in inner if isinstance(one, Mapping)), None)


# ------------------------------------------------------------------------------------- into a model


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str, file: Path) -> None:
    """Copy ``state`` into ``module``: every tensor of the model, without missing or surplus names.

    Args:
        module: the model; its own types and device stay.
        state: tensors by the model's names. Half precision is converted to the model's type.
        what: the model's name, for the message.
        file: where the tensors come from, for the message.

    Raises:
        WeightsError: names or shapes differ, a type is of another kind, or a value is NaN or infinite.
    """
    module.load_state_dict(fitted(module.state_dict(), state, what, file), strict=True)


def fitted(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str, file: Path | str) -> State:
    """``state`` in the types of ``wanted``, a model's state dictionary, which may be on the meta device.

    Raises WeightsError as ``fill`` does.
    """
    problem = mismatch(wanted, state)
    if problem:
        raise WeightsError(f"expected weights of {what}, {file} does not fit: {problem}")
    return {key: finite(key, state[key].to(tensor.dtype), what, file) for key, tensor in wanted.items()}


def mismatch(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """The first difference in names, shapes or types from the model, in one line; None where all fit."""
    if missing := [key for key in wanted if key not in state]:
        return f"Missing key {_some(missing)}"
    if more := [key for key in state if key not in wanted]:
        return f"Unexpected key {_some(more)}"
    for key, tensor in wanted.items():
        problem = _other_kind(state[key], tensor)
        if problem:
            return f"{problem} of {key}"
    return None


def _other_kind(value: object, wanted: Tensor) -> str | None:
    if not isinstance(value, Tensor):
        return f"expected a tensor, got {type(value).__name__}"
    if value.layout != torch.strided or value.is_quantized:
        return f"expected a dense tensor, got {str(value.layout).removeprefix('torch.')}"
    if value.is_meta:
        return "expected numbers, got a tensor without any (device meta)"
    if value.shape != wanted.shape:
        return f"size mismatch: expected {tuple(wanted.shape)}, got {tuple(value.shape)}"
    if value.dtype.is_floating_point != wanted.dtype.is_floating_point or value.dtype.is_complex:
        names = (str(dtype).removeprefix("torch.") for dtype in (wanted.dtype, value.dtype))
        return "expected type {}, got {}".format(*names)
    return None


def finite(key: str, value: Tensor, what: str, file: Path | str) -> Tensor:
    """``value`` if none of its numbers is NaN or infinite. Raises WeightsError."""
    # NaN and infinity reach the sum, which is several times as fast; but finite values may overflow it too.
    suspect = value.is_floating_point() and not math.isfinite(float(value.sum()))
    if suspect and not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise WeightsError(
            f"expected weights of {what}, {file} is damaged: {count} of {value.numel()} values of {key} "
            "are NaN or infinite"
        )
    return value


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(short_repr(name) for name in found[:_SHOWN]) + more
