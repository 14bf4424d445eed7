"""Where hostile calls are made: a folder of their own, small models, a picture, and results to ask."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from segment_anything import sam_model_registry

import ovseg
import ovseg.apps.cli
import ovseg.masks
import ovseg.model.load
import ovseg.segmenters.load
from ovseg.evaluation.data.scenes import make_scene
from ovseg.segmenters import sam, tiny
from ovseg.segmenters.sam_modules import Sam

NAMES = ("sky", "tree", "stripes", "red circle", "gravel", "cow", "background")
"""Words whose texts are encoded once; other words cost an encoding each."""


SAM = tiny.Shape(side=64, patch=16, width=16, depth=1, heads=2, channels=16)


def small_sam(checkpoint: object = None) -> Sam:
    return tiny.build(SAM)


class Place:
    """A context in which calls are made; on leaving it the process is as it was before.

    The current directory, the home and the home of ovseg are in its folder. A command line that loads a
    model a second time is given the first one; ``load_model`` and ``load_segmenter`` of the place always
    load. SAM's "vit_b" and MobileSAM are small ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.here = self.folder / "here"
        self._undo = ExitStack()
        self.load_model = ovseg.load_model
        self.load_segmenter = ovseg.load_segmenter

    def __enter__(self) -> Place:
        for name in ("here", "home", "given"):
            (self.folder / name).mkdir(parents=True)
        with suppress(ImportError):  # its first import changes the filters of warnings
            import_module("supervision")
        home = self.folder / "home"
        values = {"HOME": str(home), "OVSEG_HOME": str(home / "ovseg"), "HF_HUB_OFFLINE": "1"}
        self._undo.enter_context(patch.dict(os.environ, values))
        self._undo.callback(os.chdir, os.getcwd())
        os.chdir(self.here)
        once = patch.object
        self._undo.enter_context(once(ovseg.model.load, "load_model", cache(self.load_model)))
        self._undo.enter_context(once(ovseg.segmenters.load, "load_segmenter", cache(self.load_segmenter)))
        self._undo.enter_context(patch.dict(sam_model_registry, vit_b=small_sam))
        self._undo.enter_context(once(sam, "build_mobile", small_sam))
        self._files()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _files(self) -> None:
        picture = Image.fromarray(self.image)
        picture.save("picture.png")
        picture.save("photo.jpg")
        content = Path("picture.png").read_bytes()
        Path("cut.png").write_bytes(content[: len(content) // 2])
        Path("empty.jpg").write_bytes(b"")
        Path("text.jpg").write_text("a text")
        Path("names.txt").write_text("sky\ntree\n")
        Path("folder.jpg").mkdir()
        Path("many").mkdir()
        picture.save("many/a.png")
        Path("many/b.png").write_bytes(content[:60])
        os.symlink("gone.png", "gone-link.png")
        os.mkfifo("pipe.jpg")

    @cached_property
    def image(self) -> np.ndarray:
        return make_scene(3, (40, 56)).image

    @cached_property
    def model(self) -> ovseg.Model:
        return self.load_model()

    @cached_property
    def segmenters(self) -> tuple[ovseg.segmenters.base.Segmenter, ...]:
        return tuple(self.load_segmenter(name) for name in ("grabcut", "tiny"))

    @cached_property
    def finders(self) -> tuple[ovseg.TextToMask, ...]:
        return tuple(
            ovseg.TextToMask(self.model, one, templates="plain", size=32, presence_threshold=0)
            for one in self.segmenters
        )

    @cached_property
    def results(self) -> tuple[object, ...]:
        """One of each kind of result, and two that hold nothing or next to nothing."""
        options = {"size": 32, "templates": "plain"}
        ask = self.model
        one = np.zeros((1, 1, 3), np.uint8)
        return (
            ask.segment(self.image, "sky, tree", **options),
            ask.segment(one, "sky, tree", probabilities=True, background_threshold=0.99, **options),
            ask.similarity(self.image, "sky, tree", **options),
            ask.recognize(self.image, "sky, tree", **options),
            self.finders[0].predict(self.image, "stripes"),
            ovseg.TextToMask(ask, self.segmenters[0], templates="plain", presence_threshold=1).predict(
                self.image, "stripes"
            ),
        )
