"""ovseg's model as a segmentor of MMSegmentation.

test_step ─> ClipPreProcessor ─> predict ─┬─ engine.stream: images of a size, or windows, in one batch
                                          └─ engine.classify: each image at its own size, class for each pixel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.clip.attention import get_method
from ovseg.clip.models import load_clip
from ovseg.clip.text import TextCache, resolve_templates
from ovseg.errors import UsageError, described
from ovseg.maps.labels import merge_synonyms
from ovseg.maps.scores import Cropped, Flipped, Resized, ScoreMap, render
from ovseg.mmseg.transforms import ClipPreProcessor
from ovseg.model import Model
from ovseg.model.engine import classify, stream
from ovseg.options import LoadOptions, ModelOptions, Plain, SegmentOptions
from ovseg.options.checks import check_flag
from ovseg.options.fields import check_known
from ovseg.results.figures import palette
from ovseg.weights.checkpoints import fitted
from ovseg.words.vocabulary import Vocabulary, find_vocabulary

Images = Sequence[Tensor] | Tensor
"""(3, H, W) each, normalised, of any sizes; a tensor (B, 3, H, W) holds images of one size."""
LOADING = ("precision", "cache", "offline")
CHOICES = tuple(name for name in SegmentOptions.names() if name not in ("size", "resize"))
TRAINING = ("pretrained", "train_cfg", "init_cfg")
"""Fields that MMSegmentation sets; only None is accepted."""
FIELDS = (
    *("vocabulary", "data_preprocessor", "method", "backbone", "weights", "keep_logits"),
    *(*LOADING, *CHOICES, *TRAINING),
)
"""All fields of the segmentor."""
FLIPS = {"horizontal": (True, False), "vertical": (False, True), "diagonal": (True, True)}


@MODELS.register_module()
class OpenVocabularySegmentor(BaseSegmentor):
    """A frozen CLIP, a method and class names as a segmentor.

    Every field is checked before any weights are read. The pipeline resizes the image, so ``size`` and
    ``resize`` are fields of the transform ClipResize and not of this class.

    Args:
        vocabulary: a data set's name, a file, "sky, tree", a list of names, or a vocabulary.
        data_preprocessor: ClipPreProcessor, with the model's mean and std or with neither.
        method: a name of the table of methods.
        backbone: "small" or "tiny" for an embedded model, or a name of open_clip's.
        weights: a tag, a file or "random"; None for the embedded model.
        keep_logits: also return ``seg_logits``, the logarithms of the classes' probabilities, (K, H, W) at
            the image's size. False for large photographs with many classes.
        choices: the other fields of ``LoadOptions`` and ``SegmentOptions``; a ``window`` makes sliding
            windows in pixels of the resized image. ``FIELDS`` lists them. MMSegmentation's own pretrained,
            train_cfg and init_cfg have to be None.

    Raises:
        UsageError: a field is wrong.
        WeightsError: the weights are unavailable or do not match.
    """

    align_corners = False

    def __init__(
        self,
        vocabulary: str | Sequence[str] | Vocabulary,
        data_preprocessor: Mapping[str, object] | torch.nn.Module,
        method: str = ModelOptions.method,
        backbone: str = ModelOptions.model,
        weights: str | None = None,
        keep_logits: bool = True,
        **choices: Any,
    ) -> None:
        if any(choices.pop(name, None) is not None for name in TRAINING):  # a test would ignore them
            raise UsageError(f"the segmentor is not trained: expected weights, got {' or '.join(TRAINING)}")
        check_known(choices, (*LOADING, *CHOICES), "field of the segmentor")
        check_flag("keep_logits", keep_logits)
        loading = LoadOptions.make(None, {name: choices.pop(name) for name in LOADING if name in choices})
        options = SegmentOptions.make(None, choices)
        resolve_templates(options.templates)
        row = get_method(method)
        find_vocabulary(vocabulary).check_background(options.background)
        if not isinstance(data_preprocessor, torch.nn.Module):
            # From mmseg's registry, whatever the default scope is.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor)
        loaded = load_clip(
            backbone,
            weights,
            device="cuda" if loading.precision == "fp16" else "cpu",  # otherwise the runner moves it
            precision=loading.precision,
            offline=loading.offline,
            method=row,
        )
        self.core = Model(loaded, row, TextCache() if loading.cache else None)
        self.clip = loaded.clip  # a submodule: .to() and state_dict() reach it
        self.core.check_window(options)
        self._check_normalisation()
        self.options, self.loading, self.weights, self.keep_logits = options, loading, weights, keep_logits
        self.set_vocabulary(vocabulary)

    def _check_normalisation(self) -> None:
        loaded, got = self.core.loaded, self.data_preprocessor
        if isinstance(got, ClipPreProcessor) and not got.is_set:
            got.set(loaded.mean, loaded.std)
        for field in ("mean", "std"):
            wanted, found = torch.tensor(getattr(loaded, field)), getattr(got, field).flatten().cpu()
            if not torch.allclose(wanted, found, atol=1e-6):
                raise UsageError(
                    f"{loaded.name} needs data_preprocessor.{field} {wanted.tolist()}, got {found.tolist()}"
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

    def describe(self) -> dict[str, Plain]:
        """What decides a prediction, as plain values for a results file."""
        loaded, options = self.core.loaded, self.options.describe()
        return {
            **self.core.method.describe(),
            "backbone": loaded.name,
            "vocabulary": self._vocabulary_name,
            "texts": len(self.vocabulary.flat),
            "precision": self.loading.precision,
            **{name: options[name] for name in CHOICES},
            "normalisation": {"mean": list(loaded.mean), "std": list(loaded.std), "order": "RGB"},
        }

    def set_vocabulary(self, names: str | Sequence[str] | Vocabulary) -> None:
        """Other class names for the next prediction, in any form that ``vocabulary`` takes."""
        self._given = names
        self.vocabulary = self.core.vocabulary(find_vocabulary(names), self.options)
        self._vocabulary_name = names if isinstance(names, str) else ", ".join(self.vocabulary.names)

    def extract_feat(self, inputs: Images) -> list[Tensor]:
        """Projected patch tokens of every image on its grid, (D, h, w) each, not L2-normalised."""
        images = ((None, image) for image in inputs)
        whole = SegmentOptions(batch=self.options.batch)
        core = self.core
        rule = core.method.whole
        found = stream(
            core.encode_image, core.patch_size, images, lambda tokens: tokens.patches, whole, whole=rule
        )
        return [render(dense.scores, dense.scores.size) for dense in found]

    def encode_decode(self, inputs: Images, batch_data_samples: object = None) -> Tensor | list[Tensor]:
        """logit_scale times the cosine of each class's best text, at the inputs' size.

        Returns:
            (B, K, H, W); a list of (1, K, H, W) where the images differ in size.
        """
        logits = []
        for image, scores in zip(inputs, self._scores(inputs), strict=True):
            maps = render(scores, (image.shape[1], image.shape[2]))
            logits.append(self.options.logit_scale * merge_synonyms(maps, self.vocabulary.owners)[None])
        return torch.cat(logits) if len({part.shape for part in logits}) == 1 else logits

    def _forward(self, inputs: Images, data_samples: object = None) -> Tensor | list[Tensor]:
        return self.encode_decode(inputs, data_samples)

    @torch.no_grad()
    def predict(
        self, inputs: Images, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """The class of each pixel of every image at its original size.

        Args:
            inputs: normalised images of any sizes.
            data_samples: where predictions go, with ``ori_shape`` and what the pipeline did to the image
                (padding, flips). None: predictions have the inputs' size.

        Returns:
            The samples with ``pred_sem_seg`` (1, H, W) int64, where void is 255 (65535 beyond 255 classes),
            and ``seg_logits`` unless ``keep_logits`` is off.
        """
        if data_samples is None:
            sizes = [tuple(image.shape[1:]) for image in inputs]
            data_samples = [SegDataSample(metainfo={"ori_shape": size}) for size in sizes]
        for image, scores, sample in zip(inputs, self._scores(inputs), data_samples, strict=True):
            self._finish(scores, (image.shape[1], image.shape[2]), sample)
        return list(data_samples)

    def loss(self, inputs: Images, data_samples: Any = None) -> NoReturn:
        """Raise UsageError: the segmentor cannot be trained."""
        raise UsageError("the segmentor is frozen: expected mode 'predict' or 'tensor', got 'loss'")

    def train_step(self, data: Any, optim_wrapper: Any) -> NoReturn:
        """Raise UsageError before an optimizer is used."""
        self.loss([])

    def train(self, mode: bool = True) -> OpenVocabularySegmentor:
        """Stay in eval mode: the model is frozen."""
        return super().train(False)

    # ------------------------------------------------------------------------------------ the work

    def _scores(self, inputs: Images) -> list[ScoreMap]:
        """Cosines with every text, for each image: on its token grid or on those of its windows."""
        core, options = self.core, self.options
        score = core.cosine_scores(core.encode_text(self.vocabulary.flat, options.templates))
        images = ((None, image) for image in inputs)
        edges, whole = options.edges is not None, core.method.whole
        found = stream(core.encode_image, core.patch_size, images, score, options, edges, whole)
        return [dense.enlarged(whole) for dense in found]

    def _finish(self, scores: ScoreMap, input_size: tuple[int, int], sample: SegDataSample) -> None:
        """Turn one image's cosines into its prediction: remove padding, undo flips, resize, classify."""
        meta = sample.metainfo
        left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0)))
        if left or right or top or bottom:
            height, width = input_size
            scores = Cropped(Resized(scores, input_size), (top, left, height - bottom, width - right))
        if meta.get("flip"):
            direction = meta.get("flip_direction", "horizontal")
            if direction not in FLIPS:
                raise UsageError(
                    f"unknown flip_direction {described(direction)}: expected one of {', '.join(FLIPS)}"
                )
            scores = Flipped(scores, *FLIPS[direction])
        height, width = meta["ori_shape"][:2]
        labels, kept = classify(scores, (height, width), self.vocabulary, self.options, self.keep_logits)
        sample.set_data({"pred_sem_seg": PixelData(data=labels[None].long())})
        if kept is not None:
            logits = kept.clamp_min(torch.finfo(kept.dtype).tiny).log_()
            sample.set_data({"seg_logits": PixelData(data=logits)})

    # ---------------------------------------------------------------------------------- checkpoints

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Load a checkpoint of init_model or MMSegInferencer, which has to match completely.

        mmengine would load matching tensors, log the others, cast integers and accept NaN. The checks are those of
        all weights files. Text features are computed anew.
        """
        wanted = {f"{prefix}{key}": value for key, value in self.state_dict().items()}
        fitted(wanted, state_dict, self.core.loaded.name, "the checkpoint")
        super()._load_from_state_dict(state_dict, prefix, *rest)
        loaded = replace(self.core.loaded, tuned=True)
        self.core = Model(loaded, self.core.method, TextCache() if self.loading.cache else None)
        self.set_vocabulary(self._given)
