"""One class: a frozen CLIP with one method, and the engine that streams images through it."""

from ovseg.model.load import load_model
from ovseg.model.model import Model

__all__ = ["Model", "load_model"]
