"""The tensors of a TorchScript archive, read without torch.jit: no code of the archive is compiled or run.

OpenAI published CLIP's weights as such archives. An archive is a zip file: ``data.pkl`` describes a tree of
modules, whose tensors refer to raw numbers in ``data/0``, ``data/1`` …, and ``code/`` holds source text. Here
``data.pkl`` is unpickled with nothing but tensors, containers and empty holders in place of the modules. Of
the source text only the lists of parameters and buffers are read, so that the result is the state dictionary
that torch.jit would give.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DEEPEST = 64  # modules within modules; also ends a tree that holds itself
_FIELDS = re.compile(r"^class (\w+)\(Module\):\n((?:  __\w+__ = \[.*\]\n)*)", re.MULTILINE)


def is_archive(file: Path) -> bool:
    """Whether ``file`` is a zip file with source text in it. A plain checkpoint of torch.save has none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(
                "/code/" in member or member.endswith("constants.pkl") for member in archive.namelist()
            )
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def read_archive(file: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name, as ``torch.jit.load(file).state_dict()`` has them.

    Raises whatever the damage leads to; ``checkpoints.read`` makes one kind of error of it.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        root = next(
            name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)
        )
        with archive.open(f"{root}data.pkl") as stream:
            tree = _Unpickler(stream, archive, root).load()
        if not isinstance(tree, _Module):
            raise ValueError("its data is no module")
        found: dict[str, Tensor] = {}
        _collect(tree, "", _listed(archive, f"{root}code/"), found, 0)
        return found


@dataclass
class _Module:
    """One module of the archive: its class's name and its attributes."""

    kind: str
    state: dict[str, object] = field(default_factory=dict)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module with a state of its own")
        self.state = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: object, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)  # type: ignore[arg-type]  # a zip member is a readable stream
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> object:
        """Nothing but this table is ever called, so no code of the file's choice can run."""
        if module == "__torch__" or module.startswith("__torch__."):
            return type("_Made", (_Module,), {"__new__": _maker(f"{module}.{name}")})
        if module == "torch" and name in _DTYPES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        # Functions are new ones each time: a pickle may set attributes of what it is given.
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda *arguments: _rebuild(*arguments)
        if module == "torch.jit._pickle":  # lists of numbers and tensors, which are no weights
            return lambda *_: None
        raise pickle.UnpicklingError(f"the global {module}.{name}"[:100])

    def persistent_load(self, reference: object) -> Tensor:
        parts = reference if isinstance(reference, tuple) else ()
        if len(parts) != 5 or parts[0] != "storage" or not re.fullmatch(r"\w+", str(parts[2])):
            raise pickle.UnpicklingError("an unknown kind of storage")
        dtype_name, key, count = str(parts[1]), str(parts[2]), int(parts[4])
        if key not in self._storages:
            dtype = _DTYPES[dtype_name]
            member = self._archive.getinfo(f"{self._root}data/{key}")
            size = count * dtype.itemsize
            if member.file_size != size or member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"expected {size} bytes of numbers, {member.filename} has {member.file_size}"
                )
            content = bytearray(self._archive.read(member))
            self._storages[key] = (
                torch.frombuffer(content, dtype=dtype) if count else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _maker(kind: str) -> Callable[..., _Module]:
    def make(cls: type[_Module], *_: object) -> _Module:
        made: _Module = object.__new__(cls)
        made.kind, made.state = kind, {}
        return made

    return make


def _rebuild(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)  # raises where it would leave the storage


def _listed(archive: zipfile.ZipFile, code: str) -> dict[str, set[str]]:
    """{class: names of its parameters and buffers} for the classes whose source lists both."""
    found: dict[str, set[str]] = {}
    for member in archive.namelist():
        if not (member.startswith(code) and member.endswith(".py")):
            continue
        module = member.removeprefix(code).removesuffix(".py").replace("/", ".")
        for match in _FIELDS.finditer(archive.read(member).decode("utf-8", "replace")):
            if "__buffers__" in match[2]:
                found[f"{module}.{match[1]}"] = set(re.findall(r'"([^"]+)"', match[2]))
    return found


def _collect(
    module: _Module, prefix: str, listed: dict[str, set[str]], into: dict[str, Tensor], depth: int
) -> None:
    if depth > _DEEPEST:
        raise ValueError("its modules are nested too deeply")
    names = listed.get(module.kind)
    for name, value in module.state.items():
        if isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", listed, into, depth + 1)
        elif isinstance(value, Tensor) and (names is None or name in names):
            into[f"{prefix}{name}"] = value
