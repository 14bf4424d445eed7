"""Texts or clicks to masks: CLIP's map → point prompts → a promptable segmenter."""

from ovseg.text_to_mask.predictor import TextToMask
from ovseg.text_to_mask.results import Candidates, TextMasks
from ovseg.text_to_mask.session import Session

__all__ = ["Candidates", "Session", "TextMasks", "TextToMask"]
