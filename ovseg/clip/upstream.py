"""open_clip's and timm's classes and files without their import.

Importing open_clip also imports timm, torchvision and transformers, which takes several times as long as all
that the embedded models do.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def is_a(thing: object, *names: str) -> bool:
    """Whether ``thing`` is an instance of a class with one of these full names.

    >>> from ovseg.clip.plain import Block
    >>> is_a(Block(8, 2), "torch.nn.modules.module.Module"), is_a(Block(8, 2), "timm.models.eva.EvaBlock")
    (True, False)
    """
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(thing).__mro__)


def is_exactly(thing: object, *names: str) -> bool:
    """Whether the class of ``thing`` itself has one of these full names: a subclass may compute otherwise."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}" in names


def open_clip_file(name: str) -> ModuleType:
    """A module of open_clip that imports nothing of its package, such as "tokenizer", read on its own."""
    package = find_spec("open_clip")
    if "open_clip" not in sys.modules and package is not None and package.origin is not None:
        spec = spec_from_file_location(f"{__name__}.{name}", Path(package.origin).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None  # a source file has both
        module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            return module
        except (ImportError, OSError):  # another open_clip, in which it does not stand alone
            pass
    return importlib.import_module(f"open_clip.{name}")
