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

from ovseg.metrics.faithful import area_under as area_under
from ovseg.metrics.faithful import perturbation_curve as perturbation_curve
from ovseg.metrics.faithful import rank_correlation as rank_correlation
from ovseg.metrics.inside import ForegroundScore as ForegroundScore
from ovseg.metrics.inside import affinity as affinity
from ovseg.metrics.inside import foreground_share as foreground_share
from ovseg.metrics.inside import redundancy as redundancy
from ovseg.metrics.maps import THRESHOLDS_PER as THRESHOLDS_PER
from ovseg.metrics.maps import MapSample as MapSample
from ovseg.metrics.maps import MeanPerClass as MeanPerClass
from ovseg.metrics.maps import PerLabelScore as PerLabelScore
from ovseg.metrics.maps import default_thresholds as default_thresholds
from ovseg.metrics.maps import iou_at_thresholds as iou_at_thresholds
from ovseg.metrics.maps import score_contrast as score_contrast
from ovseg.metrics.maps import score_map as score_map
from ovseg.metrics.multilabel import MultiLabelScore as MultiLabelScore
from ovseg.metrics.multilabel import average_precision as average_precision
from ovseg.metrics.segmentation import VOID as VOID
from ovseg.metrics.segmentation import SegmentationScore as SegmentationScore
from ovseg.metrics.segmentation import check_labels as check_labels
from ovseg.metrics.segmentation import confusion as confusion
from ovseg.metrics.segmentation import iou_per_class as iou_per_class
from ovseg.metrics.segmentation import mask_iou as mask_iou
from ovseg.metrics.segmentation import mean_iou as mean_iou
from ovseg.metrics.segmentation import point_accuracy as point_accuracy
from ovseg.metrics.segmentation import pointing_game as pointing_game
