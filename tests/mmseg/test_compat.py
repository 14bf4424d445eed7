"""mmcv without its compiled operators: a stand-in only while mmcv.ops is imported."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys

import pytest
from mmseg.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

from ovseg.errors import OvsegError
from ovseg.mmseg import compat


def test_mmseg_is_there_and_no_stand_in_is_left_behind():
    import mmseg.models  # noqa: F401  # imports mmcv.ops

    assert "mmcv._ext" not in sys.modules and importlib.util.find_spec("mmcv._ext") is None
    assert not hasattr(importlib.import_module("mmcv"), "_ext")


def test_an_operator_that_is_called_says_which_is_missing():
    import torch
    from mmcv.ops import point_sample, sigmoid_focal_loss  # noqa: F401

    with pytest.raises(OvsegError, match="operator 'sigmoid_focal_loss_forward', mmcv-lite has none"):
        sigmoid_focal_loss(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), 2.0, 0.25, None, "none")


def test_a_compiled_mmcv_is_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(compat, "find_spec", lambda name: asked.append(name) or object())
    monkeypatch.setattr(compat, "import_module", lambda name: pytest.fail(f"imported {name}"))
    monkeypatch.delitem(sys.modules, "mmcv.ops")
    assert compat.import_operators() is False
    assert asked == ["mmcv._ext"] and "mmcv._ext" not in sys.modules


def test_a_failing_import_leaves_no_stand_in(monkeypatch):
    def fail(name):
        assert "mmcv._ext" in sys.modules
        raise ImportError(name)

    monkeypatch.setattr(compat, "import_module", fail)
    monkeypatch.delitem(sys.modules, "mmcv.ops")
    with pytest.raises(ImportError):
        compat.import_operators()
    assert "mmcv._ext" not in sys.modules


def test_what_newer_pythons_lack_is_put_in_place(monkeypatch):
    """Python 3.14 has neither pkgutil.find_loader nor distutils, and mmengine calls both."""
    from mmengine.utils.dl_utils import collect_env
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    monkeypatch.setitem(sys.modules, "distutils", None)  # cannot be imported
    monkeypatch.delitem(sys.modules, "distutils.errors", raising=False)
    monkeypatch.setattr(pkgutil, "find_loader", None, raising=False)
    monkeypatch.delattr(pkgutil, "find_loader")
    with pytest.raises(AttributeError, match="find_loader"):
        mmcv_full_available()
    with pytest.raises(ImportError, match="distutils"):
        collect_env()
    compat.fill_in()
    assert mmcv_full_available() is False and pkgutil.find_loader("mmcv") is not None
    assert "PyTorch" in collect_env()


def test_importing_registers_everything():
    importlib.import_module("ovseg.mmseg")
    names = {
        MODELS: ["OpenVocabularySegmentor", "ClipPreProcessor", "AveragedViews"],
        DATASETS: ["VOC20Dataset", "COCOObjectDataset"],
        TRANSFORMS: ["ClipResize"],
        METRICS: ["ExactIoUMetric"],
        HOOKS: ["ProgressHook"],
    }
    found = [registry.get(name).__module__ for registry, listed in names.items() for name in listed]
    assert len(found) == 8 and all(module.startswith("ovseg.mmseg.") for module in found)
