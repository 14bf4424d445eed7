"""Evaluation with MMSegmentation: importing this registers everything its configs name.

    config ─> OpenVocabularySegmentor (segmentor) ─┐
    data/ ──> data sets, loaders, ClipResize ──────┴─ evaluate ─> score per class, results.json

segmentor   ovseg's model as a segmentor
transforms  how images and labels are read, resized and normalised
datasets    data sets that MMSegmentation lacks, any folder among them
metrics     mIoU in whole numbers; Cityscapes' own files and score
outputs     predictions as painted pictures, and the names of files
runtime     views averaged, several processes, progress
config      a config read, its fields and their types checked
checks      data set, pipeline and metrics checked before any weights are read
files       the files of a data set
evaluate    one config to one score; several configs to a table
results     the results file
compat      what MMSegmentation imports and this machine lacks
"""

from ovseg.mmseg.compat import check_installed, fill_in, import_operators

fill_in()
check_installed()
import_operators()  # before the first import of mmseg

from ovseg.mmseg import datasets, metrics, outputs, runtime, segmentor, transforms  # noqa: E402
from ovseg.mmseg.segmentor import OpenVocabularySegmentor  # noqa: E402

__all__ = ["OpenVocabularySegmentor", "datasets", "metrics", "outputs", "runtime", "segmentor", "transforms"]
