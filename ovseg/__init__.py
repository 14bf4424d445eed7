"""Words into image regions with a frozen CLIP and no training.

    import ovseg
    model = ovseg.load_model()
    labels = model.segment("photo.jpg", "sky, tree, building")

The public names are imported when they are first used: ``import ovseg`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from ovseg.explanation.registry import list_explanations as list_explanations
    from ovseg.files.pictures import ImageLike as ImageLike
    from ovseg.files.pictures import load_image as load_image
    from ovseg.masks import TextMasks as TextMasks
    from ovseg.masks import TextToMask as TextToMask
    from ovseg.model.model import Model as Model
    from ovseg.model.model import load_model as load_model
    from ovseg.results import LabelMap as LabelMap
    from ovseg.results import Recognition as Recognition
    from ovseg.results import SimilarityMap as SimilarityMap
    from ovseg.results.types import ImageTokens as ImageTokens
    from ovseg.results.types import PointPrompts as PointPrompts
    from ovseg.segmenters.load import list_segmenters as list_segmenters
    from ovseg.segmenters.load import load_segmenter as load_segmenter
    from ovseg.words.vocabulary import Vocabulary as Vocabulary
    from ovseg.words.vocabulary import list_vocabularies as list_vocabularies
    from ovseg.words.vocabulary import load_vocabulary as load_vocabulary

__version__ = "0.1.0"
_WHERE = {
    "DataError": "errors",
    "ImageError": "errors",
    "MissingPackageError": "errors",
    "OvsegError": "errors",
    "UnsupportedModelError": "errors",
    "UsageError": "errors",
    "WeightsError": "errors",
    "ImageLike": "files.pictures",
    "load_image": "files.pictures",
    "Model": "model.model",
    "load_model": "model.model",
    "load_segmenter": "segmenters.load",
    "make_scene": "evaluation.data.scenes",
    "TextMasks": "masks",
    "TextToMask": "masks",
    "ImageTokens": "results.types",
    "LabelMap": "results",
    "PointPrompts": "results.types",
    "Recognition": "results",
    "SimilarityMap": "results",
    "Vocabulary": "words.vocabulary",
    "list_explanations": "explanation",
    "list_methods": "clip.attention",
    "list_models": "clip.models",
    "list_segmenters": "segmenters.load",
    "list_vocabularies": "words.vocabulary",
    "load_vocabulary": "words.vocabulary",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name == "explain":  # a room whose main function has its name: ovseg.explain.explain(...)
        return import_module("ovseg.explanation")
    if name not in _WHERE:
        raise AttributeError(f"module 'ovseg' has no attribute {name!r}")
    return getattr(import_module(f"ovseg.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
