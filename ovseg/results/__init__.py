"""What the model gives back: similarity maps, label maps and scores, each with its names.

Results behave like read-only mappings from a name to what was found for it: ``len``, iteration over the
names, ``name in result`` and ``result[name]``. Their arrays cannot be written to; two results are equal where
names and arrays are. They save themselves and show themselves in a notebook.
"""

from ovseg.results.base import bounds as bounds
from ovseg.results.base import void_value as void_value
from ovseg.results.coco import Mask as Mask
from ovseg.results.coco import coco_annotation as coco_annotation
from ovseg.results.labels import LabelMap as LabelMap
from ovseg.results.similarity import MAX_VALUES as MAX_VALUES
from ovseg.results.similarity import Recognition as Recognition
from ovseg.results.similarity import SimilarityMap as SimilarityMap
