"""Scores of label maps, similarity maps, attention, points and masks: functions of arrays, and accumulators.

    segmentation   confusion matrix, IoU of each class, mean IoU of a data set; accuracy of point prompts, the
                   pointing game, IoU of two masks
    maps           contrast (mSC) and IoU of similarity maps against the mask of a label; means over the samples
                   of a class and then over the classes
    inside         share of attention on the foreground (mFSR), affinity of modules, redundancy of maps
    multilabel     mean average precision of scores for several labels at once
    faithful       deletion and insertion, rank correlation after random weights

An accumulator holds the state of a score over many images. ``update`` adds one image, ``merge`` adds what
another accumulator (of another process, say) has counted, and ``compute`` gives the score of everything so
far.
"""

from ovseg.metrics.faithful import area_under, perturbation_curve, rank_correlation
from ovseg.metrics.inside import ForegroundScore, affinity, foreground_share, redundancy
from ovseg.metrics.maps import (
    THRESHOLDS_PER,
    MapSample,
    MeanPerClass,
    PerLabelScore,
    default_thresholds,
    iou_at_thresholds,
    score_contrast,
    score_map,
)
from ovseg.metrics.multilabel import MultiLabelScore, average_precision
from ovseg.metrics.segmentation import (
    VOID,
    SegmentationScore,
    check_labels,
    confusion,
    iou_per_class,
    mask_iou,
    mean_iou,
    point_accuracy,
    pointing_game,
)

__all__ = [
    "THRESHOLDS_PER",
    "VOID",
    "ForegroundScore",
    "MapSample",
    "MeanPerClass",
    "MultiLabelScore",
    "PerLabelScore",
    "SegmentationScore",
    "affinity",
    "area_under",
    "average_precision",
    "check_labels",
    "confusion",
    "default_thresholds",
    "foreground_share",
    "iou_at_thresholds",
    "iou_per_class",
    "mask_iou",
    "mean_iou",
    "perturbation_curve",
    "point_accuracy",
    "pointing_game",
    "rank_correlation",
    "redundancy",
    "score_contrast",
    "score_map",
]
