"""Evaluation with MMSegmentation: importing this package registers everything that configs name.

    config ─> OpenVocabularySegmentor (segmentor) ─┐
    data/ ──> data sets, loaders, ClipResize ──────┴─ evaluate ─> score per class, results.json

segmentor   ovseg's model as a segmentor
transforms  how images and labels are read, resized and normalised
datasets    data sets that MMSegmentation lacks, any folder among them
metrics     mIoU in whole numbers; Cityscapes' own files and score
outputs     predictions as painted pictures, and the names of files
runtime     views averaged, several processes, progress
config      reads a config and checks its fields and their types
checks      checks data set, pipeline and metrics before any weights are read
files       checks the files of a data set
evaluate    runs one config to a score, or several to a table
results     the results file
compat      stand-ins for missing modules that MMSegmentation imports
"""

from ovseg.mmseg.compat import check_installed, fill_in, import_operators

fill_in()
check_installed()
import_operators()  # before the first import of mmseg

from ovseg.mmseg import datasets, metrics, outputs, runtime, segmentor, transforms  # noqa: E402
from ovseg.mmseg.segmentor import OpenVocabularySegmentor  # noqa: E402

__all__ = ["OpenVocabularySegmentor", "datasets", "metrics", "outputs", "runtime", "segmentor", "transforms"]
