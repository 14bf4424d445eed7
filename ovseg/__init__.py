"""Words into image regions with a frozen CLIP and no training.

    import ovseg
    model = ovseg.load_model()
    labels = model.segment("photo.jpg", "sky, tree, building")

The public names are imported when they are first used: ``import ovseg`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovseg import metrics as metrics
    from ovseg import options as options
    from ovseg.annotation.run.annotate import annotate as annotate
    from ovseg.clip.attention import list_methods as list_methods
    from ovseg.clip.models import list_models as list_models
    from ovseg.errors import DataError as DataError
    from ovseg.errors import ImageError as ImageError
    from ovseg.errors import MissingPackageError as MissingPackageError
    from ovseg.errors import OvsegError as OvsegError
    from ovseg.errors import UnsupportedModelError as UnsupportedModelError
    from ovseg.errors import UsageError as UsageError
    from ovseg.errors import WeightsError as WeightsError
    from ovseg.evaluation.data.scenes import make_scene as make_scene
    from ovseg.explanation import compare as compare
    from ovseg.explanation import explain as explain
    from ovseg.explanation import explain_each as explain_each
    from ovseg.explanation import explain_tokens as explain_tokens
    from ovseg.explanation.registry import list_explanations as list_explanations
    from ovseg.files.pictures import ImageLike as ImageLike
    from ovseg.files.pictures import load_image as load_image
    from ovseg.masks import Session as Session
    from ovseg.masks import TextMasks as TextMasks
    from ovseg.masks import TextToMask as TextToMask
    from ovseg.model import Model as Model
    from ovseg.model import load_model as load_model
    from ovseg.results import LabelMap as LabelMap
    from ovseg.results import Recognition as Recognition
    from ovseg.results import SimilarityMap as SimilarityMap
    from ovseg.results import figures as figures
    from ovseg.results.base import ImageTokens as ImageTokens
    from ovseg.results.base import PointPrompts as PointPrompts
    from ovseg.segmenters.base import Segmenter as Segmenter
    from ovseg.segmenters.load import list_segmenters as list_segmenters
    from ovseg.segmenters.load import load_segmenter as load_segmenter
    from ovseg.words.vocabulary import Vocabulary as Vocabulary
    from ovseg.words.vocabulary import list_vocabularies as list_vocabularies
    from ovseg.words.vocabulary import load_vocabulary as load_vocabulary

__version__ = "0.1.0"
_ROOMS = {
    "metrics": "",
    "options": "",
    "figures": "results",
    "annotate": "annotation.run.annotate",
    "compare": "explanation",
    "explain": "explanation",
    "explain_each": "explanation",
    "explain_tokens": "explanation",
    "list_explanations": "explanation",
    "DataError": "errors",
    "ImageError": "errors",
    "MissingPackageError": "errors",
    "OvsegError": "errors",
    "UnsupportedModelError": "errors",
    "UsageError": "errors",
    "WeightsError": "errors",
    "ImageLike": "files.pictures",
    "load_image": "files.pictures",
    "make_scene": "evaluation.data.scenes",
    "Model": "model",
    "load_model": "model",
    "list_methods": "clip.attention",
    "list_models": "clip.models",
    "LabelMap": "results",
    "Recognition": "results",
    "SimilarityMap": "results",
    "ImageTokens": "results.base",
    "PointPrompts": "results.base",
    "Segmenter": "segmenters.base",
    "list_segmenters": "segmenters.load",
    "load_segmenter": "segmenters.load",
    "Session": "masks",
    "TextMasks": "masks",
    "TextToMask": "masks",
    "Vocabulary": "words.vocabulary",
    "list_vocabularies": "words.vocabulary",
    "load_vocabulary": "words.vocabulary",
}
"""Where each public name is; a test holds it equal to the imports above."""
__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'ovseg' has no attribute {name!r}")
    room = _ROOMS[name]
    if not room:
        return import_module(f"ovseg.{name}")
    found: object = getattr(import_module(f"ovseg.{room}"), name, None)
    return import_module(f"ovseg.{room}.{name}") if found is None else found


def __dir__() -> list[str]:
    return sorted(__all__)
