"""Words or clicks to masks: CLIP's map → point prompts → a promptable segmenter."""

from ovseg.masks.predictor import TextToMask
from ovseg.masks.session import Session
from ovseg.results.masks import Candidates, TextMasks

__all__ = ["Candidates", "Session", "TextMasks", "TextToMask"]
