"""Small models for the explanations: the golden ones, and random ones of every family."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import SimpleTokenizer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ovseg.clip.attention import METHODS
from ovseg.clip.loaded import LoadedClip
from ovseg.explanation import Subject
from ovseg.model import Model

ARRAYS = np.load(Path(__file__).parents[1] / "data" / "explain.npz")
TEXT = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
LRP = "ViT_orig_LRP/"


def frozen(clip: nn.Module, size: int = 64) -> Model:
    """A model with no tokenizer of its own: its texts are given as features."""
    clip = clip.eval().requires_grad_(False)
    return Model(LoadedClip(clip, SimpleTokenizer(), "small", (0.0,) * 3, (1.0,) * 3, size), METHODS["clip"])


def unit(*shape: int, seed: int = 0) -> Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(found, dim=-1)


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def golden() -> Subject:
    """The public code's CLIP, image and two texts."""
    vision = {"layers": 4, "width": 128, "head_width": 64, "patch_size": 16, "image_size": 64}
    clip = CLIP(64, vision, TEXT, quick_gelu=True)
    visual = {k: v for k, v in clip.state_dict().items() if k.startswith("visual.")}
    stored = {name: torch.from_numpy(ARRAYS[f"vit/w/{name}"]) for name in visual}
    clip.load_state_dict({**clip.state_dict(), **stored})
    clip.logit_scale.data = torch.from_numpy(ARRAYS["vit/w/logit_scale"])
    text = torch.from_numpy(ARRAYS["vit/text_features"])
    return Subject(frozen(clip), torch.from_numpy(ARRAYS["vit/image"]), text, blocks=None)


def golden_timm() -> Subject:
    """The public code's timm-like classifier; its five classes are the texts."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    trunk = VisionTransformer(64, 16, num_classes=5, embed_dim=64, depth=3, num_heads=4, norm_layer=norm)
    trunk.norm.eps = 1e-5
    names = [name.removeprefix(f"{LRP}w/") for name in ARRAYS.files if name.startswith(f"{LRP}w/")]
    trunk.load_state_dict({name: torch.from_numpy(ARRAYS[f"{LRP}w/{name}"]) for name in names})
    visual = TimmModel("vit_tiny_patch16_224", 5, image_size=64, pool="token", proj=None)
    visual.trunk, visual.head = trunk, nn.Sequential()
    clip: Any = nn.Module()
    clip.visual, clip.logit_scale = visual, nn.Parameter(torch.zeros(()))
    return Subject(frozen(clip), torch.from_numpy(ARRAYS[f"{LRP}image"]), torch.eye(5), blocks=None)


VISIONS: dict[str, dict[str, Any]] = {
    "vit": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "resnet": {"layers": (1, 1, 1, 1), "width": 8, "head_width": 64, "image_size": 64},
}


@cache
def small(family: str) -> Model:
    """A two-block ViT or a small ResNet with random weights that matter everywhere."""
    torch.manual_seed(3)
    clip = CLIP(24, VISIONS[family], TEXT)
    for parameter in clip.visual.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.data += 0.3 * torch.randn_like(parameter)
    for module in clip.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    return frozen(clip)


def larger() -> Model:
    """A ViT of three blocks for 336 pixels, with random weights and texts of one token."""
    torch.manual_seed(11)
    vision = {"layers": 3, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 336}
    clip = CLIP(24, vision, {**TEXT, "context_length": 77, "vocab_size": 49408})
    for parameter in clip.visual.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return frozen(clip, 336)


def subject(
    family: str = "vit", texts: int = 3, shape: tuple[int, int] = (32, 48), **options: Any
) -> Subject:
    """An image that is not square, and random texts."""
    if family == "resnet":
        shape = (shape[0] * 4, shape[1] * 4)
    options = {"blocks": None, **options}
    return Subject(small(family), pixels(1, 3, *shape), unit(texts, 24), **options)
