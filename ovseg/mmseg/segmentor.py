"""ovseg's model as a segmentor of MMSegmentation.

test_step ─> ClipPreProcessor ─> predict ─┬─ cosine_maps: images of a size, or windows, in one batch
                                          └─ postprocess: each image at its size, bands, class per pixel
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.clip.attention import get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache, resolve_templates
from ovseg.errors import UsageError, WeightsError
from ovseg.figures import palette
from ovseg.maps.labels import label_map, merge_synonyms
from ovseg.maps.similarity import resize, to_grid
from ovseg.maps.tiling import windows
from ovseg.model import Model, check_synonyms, score_bands, split_background
from ovseg.vocabulary import Vocabulary, find_vocabulary

Images = Sequence[Tensor] | Tensor  # (3, H, W) each, normalised, of any sizes; a tensor holds one size
MODES = ("whole", "slide")


@MODELS.register_module()
class OpenVocabularySegmentor(BaseSegmentor):
    """A frozen CLIP, a method and class names; every field is one of ``ovseg.load`` or ``Model.segment``.

    ``vocabulary``: a data set's name, a file, "sky, tree" or a list of names. ``backbone`` and
    ``weights``: open_clip's name and tag or checkpoint; "tiny" is the embedded model. ``mode``:
    "whole" images, or "slide" with ``window`` and ``stride`` in pixels of the resized image;
    ``batch`` images of one size or windows go through the encoder at once. ``logit_scale``, ``background``
    (None, a probability, or words), ``synonyms``, ``templates`` and ``precision`` as in ``segment``
    and ``load``. ``seg_logits`` of a result are the logarithms of the classes' probabilities, (K, H, W)
    at the image's size; ``keep_logits=False`` leaves them out, for large photographs of many classes.

    Raises UsageError before any weights are read where a field is wrong; WeightsError.
    """

    align_corners = False

    def __init__(
        self,
        vocabulary: str | Sequence[str] | Vocabulary,
        data_preprocessor: Any,
        method: str = "clip_surgery",
        backbone: str = "tiny",
        weights: str | None = None,
        templates: str | Sequence[str] = "paper",
        precision: str = "fp32",
        mode: str | None = None,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        batch: int = 8,
        logit_scale: float = 50.0,
        background: float | str | Sequence[str] | None = None,
        synonyms: str = "probability",
        keep_logits: bool = True,
        cache: bool = True,
        offline: bool = False,
        pretrained: None = None,
        train_cfg: None = None,
        init_cfg: Any = None,
    ) -> None:
        if pretrained is not None or train_cfg is not None:  # mmseg.apis.init_model sets both to None
            raise UsageError("the segmentor is not trained: wanted weights, got pretrained or train_cfg")
        mode = mode or ("whole" if window is None else "slide")
        self._check_mode(mode, window, stride, batch)
        check_synonyms(synonyms)
        resolve_templates(templates)
        row = get_method(method)
        words, threshold = split_background(find_vocabulary(vocabulary), _plain(background))
        if isinstance(data_preprocessor, dict):  # from mmseg's registry, whatever the default scope is
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        device = "cuda" if precision == "fp16" else "cpu"  # otherwise the runner moves it
        loaded = load_clip(backbone, weights, device=device, precision=precision, offline=offline)
        self.core = Model(loaded, row, TextCache() if cache else None)
        self.clip = loaded.clip  # a submodule: .to() and state_dict() reach it
        self.window, self.stride = _sides(window), _sides(stride)
        if self.window is not None:
            self.core.check_window(self.window)
        self._check_normalisation()
        self.vocabulary, self.threshold, self._background = words, threshold, _plain(background)
        self.templates, self.precision, self.weights = templates, precision, weights
        self.mode, self.batch = mode, batch
        self.logit_scale, self.synonyms, self.keep_logits = float(logit_scale), synonyms, keep_logits
        self._cached = cache
        self._vocabulary_name = vocabulary if isinstance(vocabulary, str) else ", ".join(words.names)

    @staticmethod
    def _check_mode(mode: str, window: Any, stride: Any, batch: int) -> None:
        if mode not in MODES:
            raise UsageError(f"unknown mode {mode!r}: wanted one of {', '.join(MODES)}")
        if mode == "slide" and window is None:
            raise UsageError("mode 'slide' wanted a window, got none")
        if mode == "whole" and (window is not None or stride is not None):
            raise UsageError("mode 'whole' wanted no window and no stride: use mode 'slide'")
        sides = _sides(window)
        if sides is not None:
            windows(sides, sides, _sides(stride) or sides)  # raises for a stride beyond the window
        if batch < 1:
            raise UsageError(f"wanted a batch of at least one image or window, got {batch}")

    def _check_normalisation(self) -> None:
        loaded, got = self.core.loaded, self.data_preprocessor
        for field in ("mean", "std"):
            wanted, found = getattr(loaded, field), getattr(got, field).flatten().tolist()
            if not np.allclose(wanted, found, atol=1e-6):
                raise UsageError(
                    f"{loaded.name} wanted data_preprocessor.{field} {list(wanted)}, got {found}"
                )

    # ------------------------------------------------------------------------------ the contract

    @property
    def out_channels(self) -> int:
        """The number of classes."""
        return len(self.vocabulary)

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names and colours of the classes, for whoever draws."""
        return {"classes": self.vocabulary.names, "palette": palette(len(self.vocabulary)).tolist()}

    @dataset_meta.setter
    def dataset_meta(self, value: Any) -> None:
        """Nothing: MMSegInferencer would name our classes after Cityscapes where it loads no checkpoint."""

    def describe(self) -> dict[str, Any]:
        """What decides a prediction, as plain values for a results file."""
        core = self.core
        normalisation = {"mean": list(core.loaded.mean), "std": list(core.loaded.std), "order": "RGB"}
        return {
            "method": core.method.name,
            "backbone": core.loaded.name,
            "vocabulary": self._vocabulary_name,
            "texts": len(self.vocabulary.flat),
            "templates": self.templates if isinstance(self.templates, str) else list(self.templates),
            "precision": self.precision,
            "mode": self.mode,
            "window": self.window,
            "stride": self.stride,
            "batch": self.batch,
            "logit_scale": self.logit_scale,
            "background": self._background,
            "synonyms": self.synonyms,
            "normalisation": normalisation,
        }

    def set_vocabulary(self, names: str | Sequence[str] | Vocabulary) -> None:
        """Other class names for the next prediction, in any form that ``vocabulary`` takes."""
        self.vocabulary, self.threshold = split_background(find_vocabulary(names), self._background)
        self._vocabulary_name = names if isinstance(names, str) else ", ".join(self.vocabulary.names)

    def extract_feat(self, inputs: Images) -> list[Tensor]:
        """Projected patch tokens of every image on its grid, (D, h, w) each, not L2-normalised."""
        feats: list[Tensor] = []
        for image in inputs:
            size = tuple(image.shape[1:])
            target = self.core.input_size(size, size)
            tokens = self.core.encode_image(image[None] if target == size else resize(image[None], target))
            feats.append(to_grid(tokens.patches, tokens.grid)[0])
        return feats

    def encode_decode(self, inputs: Images, batch_data_samples: Any = None) -> Tensor | list[Tensor]:
        """scale x cosine of each class's best text at the inputs' size: (B, K, H, W), or a list of (1, K, H, W).

        A list where the images differ in size.
        """
        logits = []
        for image, maps in zip(inputs, self.cosine_maps(inputs), strict=True):
            merged = merge_synonyms(resize(maps[None], tuple(image.shape[1:])), self.vocabulary.owners)
            logits.append(self.logit_scale * merged)
        return torch.cat(logits) if len({part.shape for part in logits}) == 1 else logits

    def _forward(self, inputs: Images, data_samples: Any = None) -> Tensor | list[Tensor]:
        return self.encode_decode(inputs, data_samples)

    @torch.no_grad()
    def predict(
        self, inputs: Images, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Every image's ``pred_sem_seg`` (1, H, W) at its original size; void is 255 (65535 beyond 255 classes).

        Without ``data_samples`` at the inputs' size.
        """
        if data_samples is None:
            sizes = [tuple(image.shape[1:]) for image in inputs]
            data_samples = [SegDataSample(metainfo={"ori_shape": size}) for size in sizes]
        maps = self.cosine_maps(inputs)
        for image, cosines, sample in zip(inputs, maps, data_samples, strict=True):
            self._finish(cosines, tuple(image.shape[1:]), sample)
        return list(data_samples)

    def loss(self, inputs: Images, data_samples: Any = None) -> NoReturn:
        """Raises UsageError: nothing here is trained."""
        raise UsageError("the segmentor is frozen: wanted mode 'predict' or 'tensor', got 'loss'")

    def train_step(self, data: Any, optim_wrapper: Any) -> NoReturn:
        """Raises UsageError, before an optimizer is asked for anything."""
        self.loss([])

    def train(self, mode: bool = True) -> OpenVocabularySegmentor:
        """The segmentor stays in eval mode: a frozen model has no other."""
        return super().train(False)

    # ------------------------------------------------------------------------------------ the work

    def cosine_maps(self, inputs: Images) -> list[Tensor]:
        """Cosines with every text, (T, h, w) per image: on the token grid, with windows at its size."""
        text = self.core.encode_text(self.vocabulary.flat, self.templates)
        if self.window is not None:
            return self.core.window_maps(list(inputs), text, self.window, self.stride, self.batch)
        maps: list[Tensor | None] = [None] * len(inputs)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(inputs):
            size = (image.shape[1], image.shape[2])
            groups.setdefault(self.core.input_size(size, size), []).append(index)
        for target, members in groups.items():
            for start in range(0, len(members), self.batch):
                part = members[start : start + self.batch]
                fitting = [_fit(inputs[index], target) for index in part]
                for index, cosines in zip(part, self.core.cosine_maps(torch.stack(fitting), text)):
                    maps[index] = cosines
        return maps  # type: ignore[return-value]  # every index was in a group

    def _finish(self, maps: Tensor, input_size: tuple[int, int], sample: SegDataSample) -> None:
        """Cosines of one image to its prediction: padding off, flip undone, original size, classes."""
        meta = sample.metainfo
        left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
        if left or right or top or bottom:
            height, width = input_size
            maps = resize(maps[None], input_size)[0, :, top : height - bottom, left : width - right]
        if meta.get("flip"):
            maps = maps.flip(2 if meta["flip_direction"] == "horizontal" else 1)
        size = tuple(meta["ori_shape"][:2])
        labels, logits = [], []
        for band in score_bands(maps, size, self.vocabulary, self.logit_scale, self.synonyms):
            labels.append(label_map(band, self.threshold, self.vocabulary.background))
            if self.keep_logits:
                logits.append(band.clamp_min(torch.finfo(band.dtype).tiny).log_())
        data = torch.from_numpy(np.concatenate(labels)).long().to(maps.device)
        sample.set_data({"pred_sem_seg": PixelData(data=data[None])})
        if self.keep_logits:
            sample.set_data({"seg_logits": PixelData(data=torch.cat(logits, dim=1))})

    # ---------------------------------------------------------------------------------- checkpoints

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """A checkpoint given to init_model or MMSegInferencer: it fits whole, or it is an error.

        mmengine loads what happens to fit and only logs the rest. Texts are encoded anew afterwards.
        """
        wanted = {f"{prefix}{key}": value.shape for key, value in self.state_dict().items()}
        wrong = [key for key in wanted if key not in state_dict or state_dict[key].shape != wanted[key]]
        wrong += [key for key in state_dict if key not in wanted]
        if wrong:
            raise WeightsError(
                f"wanted a checkpoint of {self.core.loaded.name} with {len(wanted)} tensors, this one "
                f"does not fit in {len(wrong)}, first {wrong[0]}"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.core = Model(self.core.loaded, self.core.method, TextCache() if self._cached else None)


def _fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    return image if image.shape[1:] == size else resize(image[None], size)[0]


def _sides(size: Any) -> tuple[int, int] | None:
    """512, or (512, 256), which a config may hold as a list, as (height, width); None stays None."""
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise UsageError(f"wanted a window or stride as an int or (height, width), got {size!r}")
    return sides


def _plain(background: Any) -> Any:
    return tuple(background) if isinstance(background, (list, tuple)) else background
