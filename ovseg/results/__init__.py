"""What the model gives back: similarity maps, label maps and scores, each with its names.

Results behave like read-only mappings from a name to what was found for it: ``len``, iteration over the
names, ``name in result`` and ``result[name]``. Their arrays cannot be written to; two results are equal where
names and arrays are. They save themselves and show themselves in a notebook.
"""

from ovseg.results.base import bounds, void_value
from ovseg.results.coco import Mask, coco_annotation
from ovseg.results.labels import LabelMap
from ovseg.results.similarity import MAX_VALUES, Recognition, SimilarityMap

__all__ = [
    "MAX_VALUES",
    "LabelMap",
    "Mask",
    "Recognition",
    "SimilarityMap",
    "bounds",
    "coco_annotation",
    "void_value",
]
