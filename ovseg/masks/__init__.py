"""Texts or clicks to masks: CLIP's map → point prompts → a promptable segmenter."""

from ovseg.masks.predictor import TextToMask
from ovseg.masks.results import Candidates, TextMasks
from ovseg.masks.session import Session

__all__ = ["Candidates", "Session", "TextMasks", "TextToMask"]
