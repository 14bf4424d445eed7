"""Makes ``small.py`` importable as ``small_towers``, whichever folder pytest is started from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("small_towers", Path(__file__).with_name("small.py"))
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["small_towers"] = _module
_spec.loader.exec_module(_module)
