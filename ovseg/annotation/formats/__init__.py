"""One file a format: each turns records of images into the files that its tool reads."""

from __future__ import annotations

from ovseg.annotation.formats.base import Records, Target, Writer
from ovseg.annotation.formats.coco import Coco, CocoPanoptic
from ovseg.annotation.formats.cvat import Cvat
from ovseg.annotation.formats.label_studio import LabelStudio
from ovseg.annotation.formats.labelme import LabelMe
from ovseg.annotation.formats.labels import Cityscapes, Mmseg
from ovseg.annotation.formats.voc import Voc
from ovseg.annotation.formats.yolo import Yolo

WRITERS: dict[str, type[Writer]] = {
    writer.name: writer
    for writer in (Coco, CocoPanoptic, Yolo, LabelMe, LabelStudio, Cvat, Voc, Mmseg, Cityscapes)
}
"""The writer of each format."""

__all__ = ["WRITERS", "Records", "Target", "Writer"]
