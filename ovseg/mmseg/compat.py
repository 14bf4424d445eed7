"""Stand-ins for what MMSegmentation imports and may be missing: mmcv's compiled operators, parts of Python.

mmseg imports ``mmcv.ops``, which ``mmcv-lite`` lacks, although no operator is used here. The import then runs
with a stand-in for ``mmcv._ext``, which is removed afterwards, because mmengine later checks for the real one.
With compiled mmcv nothing changes.

mmengine 0.10.7 and mmcv call ``pkgutil.find_loader``, which Python 3.14 removed, and import distutils, which
3.12 removed and setuptools may bring back. Both are provided if missing.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

from ovseg.errors import MissingPackageError, OvsegError, extra

_EXTENSION = "mmcv._ext"
_PACKAGES = ("mmengine", "mmcv", "mmseg", "cityscapesscripts")


class _Absent(ModuleType):
    """A module whose attributes are functions that raise an error naming the missing operator."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **options: Any) -> NoReturn:
            raise OvsegError(f"expected mmcv's compiled operator {name!r}, mmcv-lite has none: install mmcv")

        return missing


def fill_in() -> None:
    """Provide the parts of older Python versions that mmengine and mmcv use."""
    if not hasattr(pkgutil, "find_loader"):
        vars(pkgutil)["find_loader"] = _find_loader
    try:
        import_module("distutils.errors")
    except ImportError:  # mmengine asks for one error class, to catch it
        package, errors = ModuleType("distutils"), ModuleType("distutils.errors")
        vars(errors)["DistutilsPlatformError"] = type("DistutilsPlatformError", (Exception,), {})
        vars(package)["errors"] = errors
        sys.modules |= {"distutils": package, "distutils.errors": errors}


def _find_loader(name: str) -> object:
    """The loader of a module or None, as ``pkgutil.find_loader`` returned it."""
    spec = find_spec(name)
    return None if spec is None else spec.loader


def check_installed() -> None:
    """Raise MissingPackageError if MMSegmentation or a package it needs is not installed."""
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingPackageError(f"evaluation needs {package}: {extra('eval')} ({error})") from None


def import_operators() -> bool:
    """Import ``mmcv.ops``, with the stand-in if mmcv is not compiled; return whether it was needed."""
    if "mmcv.ops" in sys.modules or find_spec(_EXTENSION) is not None:
        return False
    sys.modules[_EXTENSION] = _Absent(_EXTENSION)
    try:
        import_module("mmcv.ops")
    finally:
        del sys.modules[_EXTENSION]
        vars(sys.modules["mmcv"]).pop("_ext", None)
    return True
