"""Evaluation with MMSegmentation: importing this registers everything its configs name.

config ─> OpenVocabularySegmentor (segmentor) ─┐
data/ ──> data sets, loaders, ClipResize ──────┴─ evaluate ─> score per class, results.json
"""

from ovseg.mmseg.compat import check_installed, import_operators

check_installed()
import_operators()  # before the first import of mmseg

from ovseg.mmseg import (  # noqa: E402
    cityscapes,
    datasets,
    folder,
    loading,
    paint,
    preprocess,
    runtime,
    scores,
    segmentor,
)
from ovseg.mmseg.segmentor import OpenVocabularySegmentor  # noqa: E402

__all__ = [
    "OpenVocabularySegmentor",
    "cityscapes",
    "datasets",
    "folder",
    "loading",
    "paint",
    "preprocess",
    "runtime",
    "scores",
    "segmentor",
]
