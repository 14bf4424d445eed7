"""One file a format: each turns records of images into the files that its tool reads."""

from __future__ import annotations

from ovseg.annotate.writers.base import Records, Target, Writer
from ovseg.annotate.writers.coco import Coco, CocoPanoptic
from ovseg.annotate.writers.cvat import Cvat
from ovseg.annotate.writers.label_studio import LabelStudio
from ovseg.annotate.writers.labelme import LabelMe
from ovseg.annotate.writers.labels import Cityscapes, Mmseg
from ovseg.annotate.writers.voc import Voc
from ovseg.annotate.writers.yolo import Yolo

WRITERS: dict[str, type[Writer]] = {
    writer.name: writer
    for writer in (Coco, CocoPanoptic, Yolo, LabelMe, LabelStudio, Cvat, Voc, Mmseg, Cityscapes)
}
"""The writer of each format."""

__all__ = ["WRITERS", "Records", "Target", "Writer"]
