"""Texts to features."""
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
_IMAGENET = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "paper": _IMAGENET + _SCENE,
    "imagenet": _IMAGENET,
    "plain": ("{}",),
}
