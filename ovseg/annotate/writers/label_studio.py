"""Label Studio: tasks with predictions of brush regions."""

from __future__ import annotations

from ovseg.annotate.brush import encode_brush as encode_brush
