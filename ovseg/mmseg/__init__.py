"""Evaluation with MMSegmentation: importing this registers everything its configs name.

config ─> OpenVocabularySegmentor (segmentor) ─┐
data/ ──> data sets, ClipResize (datasets) ────┴─ evaluate ─> score per class, results.json
"""

from ovseg.mmseg.compat import import_operators

import_operators()  # before the first import of mmseg

from ovseg.mmseg import cityscapes, datasets, folder, preprocess, runtime, scores, segmentor  # noqa: E402
from ovseg.mmseg.segmentor import OpenVocabularySegmentor  # noqa: E402

__all__ = [
    "OpenVocabularySegmentor",
    "cityscapes",
    "datasets",
    "folder",
    "preprocess",
    "runtime",
    "scores",
    "segmentor",
]
