"""SAM, SAM-HQ, SAM 2 and EdgeTAM through Hugging Face's transformers: "hf:" and a folder or repository.

transformers' processors prepare images and prompts of one call together; here an image is prepared
and encoded once, and prompts are mapped to the model's input separately. SAM and SAM-HQ pad an image
to a square, SAM 2 and EdgeTAM stretch it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel

from ovseg.errors import OvsegError, UsageError, WeightsError
from ovseg.files.paths import shown
from ovseg.options import DeviceOptions
from ovseg.options.checks import MAX_SIDE
from ovseg.segmenters.base import Embedding, MaskSet
from ovseg.segmenters.prompts import CheckedPrompt
from ovseg.segmenters.sam import SquareFeatures, SquareSegmenter
from ovseg.weights import checkpoints, network, store
from ovseg.weights.checkpoints import State
from ovseg.weights.files import RANDOM, brief, file_state, read_json


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
"""``model_type`` of a config.json to transformers' classes. Modules for tracking in videos are not loaded."""


class HuggingFace(SquareSegmenter):
    """One model of transformers with its image processor; ``name`` keys its embeddings."""

    def __init__(self, model: Any, processor: Any, pads: bool, name: str, device: str = "cpu") -> None:
        prompts = model.config.prompt_encoder_config
        side = int(prompts.image_size)
        super().__init__(name, device, side, 4 * side // int(prompts.patch_size), pads)
        self.model = model.to(device).eval()
        self.processor = processor

    @torch.no_grad()
    def _encode(self, image: NDArray[np.uint8]) -> SquareFeatures:
        input_size = self._input_size(image)
        square = {"height": self.side, "width": self.side}
        options = {"size": {"longest_edge": self.side}, "pad_size": square} if self.pads else {"size": square}
        image = image.copy()  # torch, within the processor, warns of arrays that are read-only
        prepared = self.processor(image, input_data_format="channels_last", return_tensors="pt", **options)
        found = self.model.get_image_embeddings(prepared["pixel_values"].to(self.device))
        if isinstance(found, tuple):  # SAM-HQ's decoder also looks at the first block with global attention
            features = {"image_embeddings": found[0], "intermediate_embeddings": list(found[1][:1])}
        else:
            features = {"image_embeddings": found}
        return SquareFeatures(features, input_size)

    @torch.no_grad()
    def _decode(self, embedding: Embedding[SquareFeatures], prompt: CheckedPrompt) -> MaskSet:
        size, input_size, device = embedding.size, embedding.features.input_size, self.device
        scale = np.array([input_size[1] / size[1], input_size[0] / size[0]])  # of (x, y)
        given: dict[str, torch.Tensor] = {}
        if len(prompt.points):
            given["input_points"] = torch.tensor(prompt.points * scale, dtype=torch.float)[None, None]
            given["input_labels"] = torch.tensor(prompt.labels, dtype=torch.long)[None, None]
        if prompt.box is not None:
            given["input_boxes"] = torch.tensor(prompt.box * np.tile(scale, 2), dtype=torch.float)[None, None]
        if prompt.mask is not None:
            given["input_masks"] = self._mask_input(prompt.mask)[None]
        given = {key: value.to(device) for key, value in given.items()}
        found = self.model(**embedding.features.image, **given, multimask_output=True)
        logits = found.pred_masks[:, 0].float()  # (1, M, h, w)
        scores = found.iou_scores[0, 0].float().cpu().numpy()
        return MaskSet(logits[0].cpu().numpy(), scores, size, partial(self._enlarge, input_size))


# ------------------------------------------------------------------------------------------- loading


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> HuggingFace:
    """A segmenter of transformers'. See ``load_segmenter``.

    Args:
        name: "hf:FOLDER", as ``save_pretrained`` writes it, or "hf:REPOSITORY" of the hub.
        weights: None for the weights that lie there, "random" for untrained ones of its config.
        options: where it computes, and whether the hub may be asked.

    Raises:
        UsageError: ``weights`` is something else.
        WeightsError: the model is missing, of another family, damaged, or its weights do not fit its config,
            every tensor and none left over.
    """
    if weights not in (None, RANDOM):
        got = shown(str(weights))
        raise UsageError(f"{name} has its own weights: expected no weights or 'random', got {got}")
    folder = store.pull(name, offline=options.offline)
    kind = _kind(folder)
    family = FAMILIES.get(kind)
    if family is None:
        raise WeightsError(f"expected a model of {', '.join(FAMILIES)} in {folder}, got {kind!r}")
    builder = getattr(transformers, family.model)
    with _quiet():
        processor = _processor(folder, family)
        files = [] if weights == RANDOM else network.weight_files(folder)
        try:
            config = builder.config_class.from_pretrained(folder, local_files_only=True)
            _check_sides(config, folder)
            model = builder(config) if weights == RANDOM else _filled(builder, config, files, kind, folder)
            title = f"{name} random" if weights == RANDOM else f"{name} {file_state(files)}"
            return HuggingFace(model, processor, family.pads, title, options.device)
        except OvsegError:
            raise
        except Exception as error:  # a config's values may make transformers raise anything
            raise WeightsError(f"expected weights of {kind}, {folder} does not fit: {brief(error)}") from None


def _check_sides(config: PretrainedConfig, folder: Path) -> None:
    """Raise WeightsError unless the square input is a whole number of patches."""
    prompts = config.prompt_encoder_config
    side, patch = prompts.image_size, prompts.patch_size
    whole = isinstance(side, int) and isinstance(patch, int) and 0 < patch <= side <= MAX_SIDE
    if not whole or side % patch:
        raise WeightsError(
            f"expected an image_size of whole patches in {folder}, got {side!r:.40} and "
            f"patch_size {patch!r:.40}"
        )
    for key, wanted in (("image_size", side), ("patch_size", patch)):  # where the encoder has them too
        found = getattr(config.vision_config, key, wanted)
        if isinstance(found, int) and found != wanted:
            raise WeightsError(f"expected one {key} in {folder}, got {found} and {wanted}")


def _check_normalisation(processor: BaseImageProcessor, folder: Path) -> None:
    """Raise WeightsError unless mean and standard deviation are three numbers each."""
    for key in ("image_mean", "image_std"):
        found = getattr(processor, key)
        numbers = [value for value in found if isinstance(value, (int, float)) and math.isfinite(value)]
        if len(found) != 3 or len(numbers) != 3 or (key == "image_std" and min(numbers) <= 0):
            raise WeightsError(f"expected {key} as three numbers in {folder}, got {found!r:.60}")


def _kind(folder: Path) -> str:
    found = read_json(folder / "config.json", "config.json")
    if not isinstance(found.get("model_type"), str):
        raise WeightsError(
            f"expected a config.json with a model_type in {folder}, got {str(found.get('model_type'))[:60]!r}"
        )
    return str(found["model_type"])


def _filled(
    builder: type[PreTrainedModel], config: PretrainedConfig, files: list[Path], kind: str, folder: Path
) -> PreTrainedModel:
    """The model of ``config`` with every tensor of ``files``, renamed by transformers, none left over."""
    state: State = {}
    for file in files:
        state.update(checkpoints.read(file, f"weights of {kind}").state)
    _check_values(state, kind, folder)
    loaded: Any = builder.from_pretrained(  # declared as the model alone
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
    )
    model: PreTrainedModel
    model, report = loaded
    for problem in ("mismatched_keys", "missing_keys", "unexpected_keys"):
        if found := sorted(map(str, report[problem])):
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise WeightsError(
                f"expected weights of {kind}, {folder} does not fit: "
                f"{problem.replace('_', ' ')} {', '.join(found[:3])}{more}"
            )
    return model


def _check_values(state: State, kind: str, folder: Path) -> None:
    """Reject integers, NaN and infinity, which transformers would convert or load silently."""
    for key, value in state.items():
        if not value.is_floating_point() and not key.endswith("num_batches_tracked"):
            got = str(value.dtype).removeprefix("torch.")
            raise WeightsError(
                f"expected weights of {kind}, {folder} does not fit: expected floats, got {got} of {key}"
            )
        checkpoints.finite(key, value.float() if value.is_floating_point() else value, kind, folder)


def _processor(folder: Path, family: _Family) -> Any:
    """The processor saved beside the model, for its mean and deviation, or the family's default."""
    kept = [folder / name for name in ("preprocessor_config.json", "processor_config.json")]
    builder = getattr(transformers, family.processor)
    if not any(file.is_file() for file in kept):
        return builder()
    try:
        made = builder.from_pretrained(folder, local_files_only=True)
        _check_normalisation(made, folder)
        return made
    except OvsegError:
        raise
    except Exception as error:
        raise WeightsError(f"expected an image processor in {folder}: {brief(error)}") from None


_quieting = Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' logs and progress bars; problems are raised instead.

    The settings are global to the process: one thread at a time changes and restores them.
    """
    logging = transformers.utils.logging
    with _quieting:
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
