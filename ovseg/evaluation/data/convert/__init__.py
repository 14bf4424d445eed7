"""Label maps in MMSegmentation's layout, where its own converters lack something.

    cityscapes  labelTrainIds from labelIds
    coco        COCO-Stuff of one split, COCO-Object from instances or from COCO-Stuff's maps
    context     PASCAL Context without the detail API, from .mat files or trainval_merged.json
    photos      a folder of photographs with masks, for FolderDataset

A file that is there already is left as it is, so an interrupted conversion goes on where it stopped.
"""

from ovseg.evaluation.data.convert.cityscapes import convert_cityscapes
from ovseg.evaluation.data.convert.coco import convert_coco_object, convert_coco_stuff
from ovseg.evaluation.data.convert.context import convert_context_json, convert_context_mat
from ovseg.evaluation.data.convert.photos import arrange_photos
from ovseg.evaluation.data.convert.write import Converted

__all__ = [
    "Converted",
    "arrange_photos",
    "convert_cityscapes",
    "convert_coco_object",
    "convert_coco_stuff",
    "convert_context_json",
    "convert_context_mat",
]
