"""SAM, SAM-HQ, SAM 2 and EdgeTAM through Hugging Face's transformers: "hf:" and a folder or repository.

transformers' processors prepare images and prompts of one call together; here an image is prepared
and encoded once, and a prompt is put into the model's frame beside it. SAM and SAM-HQ pad an image
to a square, SAM 2 and EdgeTAM stretch it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import functional as F

from ovseg.errors import ImageError, UsageError, WeightsError
from ovseg.segmenters.base import Embedding, MaskSet, Prompt, Segmenter, framed
from ovseg.weights import segmenters as weights


@dataclass(frozen=True)
class _Family:
    model: str
    processor: str
    pads: bool


_PADS = "SamImageProcessor", True
_STRETCHES = "Sam2ImageProcessor", False
FAMILIES = {
    "sam": _Family("SamModel", *_PADS),
    "sam_hq": _Family("SamHQModel", *_PADS),
    "sam2": _Family("Sam2Model", *_STRETCHES),
    "sam2_video": _Family("Sam2Model", *_STRETCHES),  # as the hub's checkpoints of SAM 2 call themselves
    "edgetam": _Family("EdgeTamModel", *_STRETCHES),
    "edgetam_video": _Family("EdgeTamModel", *_STRETCHES),
}
"""``model_type`` of a config.json to transformers' classes. What only tracks in videos is not loaded."""


@dataclass(frozen=True)
class _Features:
    image: dict[str, Any]  # what the model's forward takes instead of pixels
    input_size: tuple[int, int]  # (height, width) of the image in the square input, without padding


class HuggingFace(Segmenter):
    """One model of transformers with its image processor; ``name`` keys its embeddings."""

    def __init__(self, model: Any, processor: Any, pads: bool, name: str, device: str = "cpu") -> None:
        super().__init__()
        self.name = name
        self.model = model.to(device).eval()
        self.processor = processor
        self.pads = pads
        prompts = model.config.prompt_encoder_config
        self.side = int(prompts.image_size)
        self.low_side = 4 * self.side // int(prompts.patch_size)

    def prior(self, embedding: Embedding, values: np.ndarray) -> np.ndarray:
        height, width = embedding.features.input_size
        share = self.low_side / self.side
        return framed(values, (height * share, width * share), self.low_side)

    def _input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        if not self.pads:
            return self.side, self.side
        scale = self.side / max(size)
        height, width = (int(length * scale + 0.5) for length in size)
        return height, width

    @torch.no_grad()
    def _encode(self, image: np.ndarray) -> _Features:
        size = (image.shape[0], image.shape[1])
        if min(self._input_size(size)) < 1:
            raise ImageError(
                f"wanted sides within 1:{2 * self.side} for SAM, got {size[1]} x {size[0]} pixels"
            )
        square = {"height": self.side, "width": self.side}
        options = {"size": {"longest_edge": self.side}, "pad_size": square} if self.pads else {"size": square}
        prepared = self.processor(image, input_data_format="channels_last", return_tensors="pt", **options)
        found = self.model.get_image_embeddings(prepared["pixel_values"].to(self.model.device))
        if isinstance(found, tuple):  # SAM-HQ's decoder also looks at the first block with global attention
            features = {"image_embeddings": found[0], "intermediate_embeddings": list(found[1][:1])}
        else:
            features = {"image_embeddings": found}
        return _Features(features, self._input_size(size))

    @torch.no_grad()
    def _decode(self, embedding: Embedding, prompt: Prompt) -> MaskSet:
        size, input_size, device = embedding.size, embedding.features.input_size, self.model.device
        scale = np.array([input_size[1] / size[1], input_size[0] / size[0]])  # of (x, y)
        given: dict[str, torch.Tensor] = {}
        if len(prompt.points):
            given["input_points"] = torch.tensor(prompt.points * scale, dtype=torch.float)[None, None]
            given["input_labels"] = torch.tensor(prompt.labels, dtype=torch.long)[None, None]
        if prompt.box is not None:
            given["input_boxes"] = torch.tensor(prompt.box * np.tile(scale, 2), dtype=torch.float)[None, None]
        if prompt.mask is not None:
            low = torch.tensor(prompt.mask, dtype=torch.float)[None, None]
            wanted = (self.low_side, self.low_side)
            given["input_masks"] = (
                low if low.shape[2:] == wanted else F.interpolate(low, wanted, mode="bilinear")
            )
        given = {key: value.to(device) for key, value in given.items()}
        found = self.model(**embedding.features.image, **given, multimask_output=True)
        logits = found.pred_masks[:, 0].float()  # (1, M, h, w)
        full = logits
        if self.pads:
            full = F.interpolate(full, (self.side, self.side), mode="bilinear")
            full = full[..., : input_size[0], : input_size[1]]
        full = F.interpolate(full, size, mode="bilinear")
        scores = found.iou_scores[0, 0].float().cpu().numpy()
        return MaskSet((full[0] > 0).cpu().numpy(), scores, logits[0].cpu().numpy())


# ------------------------------------------------------------------------------------------- loading


def load(name: str, checkpoint: str | Path | None, device: str = "cpu", offline: bool = False) -> HuggingFace:
    """ "hf:FOLDER", as ``save_pretrained`` writes it, or "hf:REPOSITORY" of the hub.

    ``weights``: None for the weights that lie there, "random" for untrained ones of its config.

    Raises UsageError for another checkpoint; WeightsError where the model is missing, of another
    family, damaged, or its weights do not fit its config, every tensor and none left over.
    """
    if checkpoint not in (None, "random"):
        raise UsageError(f"{name} has its own weights: wanted no checkpoint or 'random', got {checkpoint}")
    folder = weights.local_folder(name) or weights.pull(name, offline=offline)
    family = FAMILIES.get(kind := _kind(folder))
    if family is None:
        raise WeightsError(f"wanted a model of {', '.join(FAMILIES)} in {folder}, got {kind!r}")
    builder = getattr(transformers, family.model)
    with _quiet():
        if checkpoint == "random":
            config = builder.config_class.from_pretrained(folder, local_files_only=True)
            model, title = builder(config), f"{name} random"
        else:
            model, title = _filled(builder, folder, kind), f"{name} {_state_of(folder)}"
        processor = _processor(folder, family)
    return HuggingFace(model, processor, family.pads, title, device)


def _kind(folder: Path) -> str:
    file = folder / "config.json"
    if not file.is_file():
        raise WeightsError(f"wanted config.json in {folder}, found none")
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError):
        raise WeightsError(f"wanted a config.json with a model_type, {file} is none") from None


def _filled(builder: Any, folder: Path, kind: str) -> Any:
    if gap := weights.missing(folder):
        raise WeightsError(f"wanted {gap} in {folder}, found none")
    try:
        model, report = builder.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # safetensors' own error type and half a dozen more; all mean the file
        raise WeightsError(f"wanted weights of {kind}, {folder} does not fit: {_brief(error)}") from None
    for problem in ("mismatched_keys", "missing_keys", "unexpected_keys"):
        if found := sorted(map(str, report[problem])):
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise WeightsError(
                f"wanted weights of {kind}, {folder} does not fit: "
                f"{problem.replace('_', ' ')} {', '.join(found[:3])}{more}"
            )
    return model


def _processor(folder: Path, family: _Family) -> Any:
    """The one saved beside the model, for its mean and deviation, or the family's own."""
    kept = [folder / name for name in ("preprocessor_config.json", "processor_config.json")]
    builder = getattr(transformers, family.processor)
    if not any(file.is_file() for file in kept):
        return builder()
    try:
        return builder.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise WeightsError(f"wanted an image processor in {folder}: {_brief(error)}") from None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _state_of(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    stats = [file.stat() for file in files]
    return f"{folder.resolve()} " + " ".join(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' reports and bars are for developers; what matters of them is raised instead."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
