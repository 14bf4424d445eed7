"""One file a format: each turns records of images into the files that its tool reads."""

from __future__ import annotations

from ovseg.annotation.writers.base import Records, Target, Writer
from ovseg.annotation.writers.coco import Coco, CocoPanoptic
from ovseg.annotation.writers.cvat import Cvat
from ovseg.annotation.writers.label_studio import LabelStudio
from ovseg.annotation.writers.labelme import LabelMe
from ovseg.annotation.writers.labels import Cityscapes, Mmseg
from ovseg.annotation.writers.voc import Voc
from ovseg.annotation.writers.yolo import Yolo

WRITERS: dict[str, type[Writer]] = {
    writer.name: writer
    for writer in (Coco, CocoPanoptic, Yolo, LabelMe, LabelStudio, Cvat, Voc, Mmseg, Cityscapes)
}
"""The writer of each format."""

__all__ = ["WRITERS", "Records", "Target", "Writer"]
