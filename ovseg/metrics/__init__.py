"""Scores of label maps, similarity maps, points and masks: functions of arrays, and accumulators over them.

    segmentation  confusion matrix, IoU of each class, mean IoU of a data set
    maps          contrast (mSC) and IoU of similarity maps against the mask of a label
    points        accuracy of point prompts, IoU of two masks, means over samples and then over classes

An accumulator holds the state of a score over many images. ``update`` adds one image, ``merge`` adds what
another accumulator (of another process, say) has counted, and ``compute`` gives the score of everything so
far.
"""

from ovseg.metrics.maps import PerLabelScore, score_contrast
from ovseg.metrics.points import MeanPerClass, mask_iou, point_accuracy
from ovseg.metrics.segmentation import (
    VOID,
    SegmentationScore,
    check_labels,
    confusion,
    iou_per_class,
    mean_iou,
)

__all__ = [
    "VOID",
    "MeanPerClass",
    "PerLabelScore",
    "SegmentationScore",
    "check_labels",
    "confusion",
    "iou_per_class",
    "mask_iou",
    "mean_iou",
    "point_accuracy",
    "score_contrast",
]
