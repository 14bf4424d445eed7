"""Evaluation needs ovseg.mmseg imported before any test imports mmseg: it stands in for mmcv's operators."""

from __future__ import annotations

import ovseg.mmseg  # noqa: F401
