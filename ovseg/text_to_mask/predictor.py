"""Words (or clicks) to masks: CLIP Surgery's map → point prompts → a promptable segmenter.

image ─┬─ CLIP, once ── map of each text ── presence? ── prompt sets ─┐
       └─ segmenter's encoder, once ──────────────────────────────────┴─ decode ─ choose ─ refine ─> TextMasks
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ovseg.cache import ContentCache
from ovseg.errors import UsageError
from ovseg.io.images import ImageLike, load_image
from ovseg.maps.points import (
    RULES,
    component_points,
    enlarge,
    fine_map,
    no_points,
    normalise,
    paper_points,
    paper_points_of_several,
)
from ovseg.maps.presence import DISTRACTORS, log_odds, presence
from ovseg.maps.similarity import empty_text_surgery, place_features
from ovseg.metrics import mask_iou
from ovseg.model import Model
from ovseg.segmenters.base import MaskSet, Segmenter
from ovseg.segmenters.load import load_segmenter
from ovseg.text_to_mask.results import Ask, Candidates, Look, TextMasks, join, no_masks, split
from ovseg.text_to_mask.session import Session
from ovseg.text_to_mask.shapes import bounds, centred, expected_iou, inside, objects, tidy

SELECTIONS = ("score", "agreement", "both")
PROMPTS = ("points", "map", "box")


@dataclass(frozen=True)
class _Answer:
    mask: np.ndarray
    score: float
    candidates: Candidates


class TextToMask:
    """A model and a segmenter; see ``predict`` and ``session``. Nothing changes after construction.

    ``rule``: "components" (ours: few points per connected component, a mask an object) or "paper";
    ``threshold`` on the min-max map, None for the rule's own. ``prompt_with``: what the segmenter gets
    besides points: "points" nothing, "map" the component as a first mask, "box" its bounds in place
    of points; None is "map" where the segmenter was made for it, and "points" otherwise. ``select_by``
    among candidates by the segmenter's "score", by "agreement" with the map, or "both"; None is
    "score" where the segmenter learned to judge its masks. ``refine``: once more with the chosen
    logits. ``clean``: specks and holes under this share of the mask go. ``presence_threshold``: presence
    below it gives no mask; 0 always answers. ``distractors``: words that a text has to hold its own
    against, for presence and, under our rule, at every place of the map.

    Raises UsageError for an unknown option.
    """

    def __init__(
        self,
        model: Model,
        sam: Segmenter | None = None,
        *,
        rule: str = "components",
        threshold: float | None = None,
        halve: bool = False,
        prompt_with: str | None = None,
        select_by: str | None = None,
        refine: bool = False,
        clean: float = 0.02,
        presence_threshold: float = 0.5,
        distractors: Sequence[str] = DISTRACTORS,
        size: Any = None,
        templates: str | Sequence[str] = "paper",
    ) -> None:
        self.sam = sam if sam is not None else load_segmenter()
        prompt_with = (
            prompt_with if prompt_with is not None else ("map" if self.sam.accepts_mask_prompt else "points")
        )
        select_by = (
            select_by if select_by is not None else ("score" if self.sam.predicts_iou else "agreement")
        )
        for what, value, allowed in (
            ("rule", rule, RULES),
            ("prompt_with", prompt_with, PROMPTS),
            ("select_by", select_by, SELECTIONS),
        ):
            if value not in allowed:
                raise UsageError(f"unknown {what} {value!r}: wanted one of {', '.join(allowed)}")
        for name, number in (
            ("threshold", threshold),
            ("clean", clean),
            ("presence_threshold", presence_threshold),
        ):
            if number is not None and not 0 <= number <= 1:
                raise UsageError(f"wanted {name} in 0..1, got {number}")
        self.model = model
        self.rule = rule
        self.threshold = threshold if threshold is not None else (0.8 if rule == "paper" else 0.6)
        self.halve = halve
        self.prompt_with, self.select_by, self.refine, self.clean = prompt_with, select_by, refine, clean
        self.presence_threshold = presence_threshold
        self.distractors = tuple(distractors)
        self.size, self.templates = size, templates
        self._scale = float(model.clip.logit_scale.exp())
        self._looks: ContentCache[Look] = ContentCache()

    @overload
    def predict(self, image: ImageLike, text: str) -> TextMasks: ...
    @overload
    def predict(self, image: ImageLike, text: list[str] | tuple[str, ...]) -> list[TextMasks]: ...

    def predict(self, image: ImageLike, text: Any) -> Any:
        """Masks of "bench", or of each of ["person", "bench"]; "person+bench" is one combined target.

        However many texts, the image goes through CLIP and through the segmenter's encoder once.

        Raises UsageError for an empty or overlong text, ImageError for an image that cannot be read.
        """
        several = not isinstance(text, str)
        if not hasattr(text, "__iter__"):
            raise UsageError(f"wanted a text or a list of texts, got {type(text).__name__}")
        texts: list[str] = list(text) if several else [text]
        if not texts:
            raise UsageError("wanted at least one text, got none")
        parts, features = self.check(texts)
        look = self.look(load_image(image))
        found = []
        for one, names in zip(texts, parts, strict=True):
            maps, present = self.maps(look, names, features)
            asks, reason = self.asks(look, maps, present)
            found.append(self.answer(look, asks, no_masks(one, look.size, present, maps, reason)))
        return found if several else found[0]

    def check(self, texts: Sequence[str]) -> tuple[list[tuple[str, ...]], dict[str, torch.Tensor]]:
        """Each text's parts, and the features of them all. Raises UsageError for an empty or overlong one."""
        parts = [split(one) for one in texts]
        return parts, self.features([part for one in parts for part in one])

    def session(self, image: ImageLike) -> Session:
        """An image to talk about: texts, clicks, a box; each answer costs the decoder only."""
        return Session(self, load_image(image))

    # ------------------------------------------------------------------------------------ the image

    def look(self, image: np.ndarray) -> Look:
        """An (H, W, 3) uint8 RGB image through both encoders; the same pixels go through once."""
        return self._looks.get(image, self._look)

    @torch.no_grad()
    def _look(self, image: np.ndarray) -> Look:
        image = image.copy()  # it is kept, and the caller may fill the array with the next picture
        pixels = self.model.preprocess([image], self.model.input_size(image.shape[:2], self.size))
        return Look(image, self.model.encode_image(pixels), self.sam.encode(image))

    def features(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Unit features (D,) of the texts, the distractors and the empty string."""
        wanted = list(dict.fromkeys([*names, *self.distractors]))
        rows = self.model.encode_text([*wanted, ""], self.templates)
        return dict(zip([*wanted, ""], rows, strict=True))

    @torch.no_grad()
    def maps(
        self, look: Look, names: Sequence[str], features: dict[str, torch.Tensor]
    ) -> tuple[np.ndarray, dict[str, float]]:
        """The maps (K, h, w) that points are taken from, and the presence of each name.

        By empty-string surgery; under our rule as log odds against the distractors, so that a place
        which another word fits better is no place for a point.
        """
        asked = {_plain(name) for name in names}  # "Sky" is no rival of "sky": to CLIP they are one text
        rivals = [name for name in self.distractors if _plain(name) not in asked]
        text = torch.stack([features[name] for name in [*names, *rivals]])
        empty = features[""][None]
        scores = empty_text_surgery(
            place_features(look.tokens, self.model.method.class_token_weight), text, empty
        )[0]  # (N, K + R)
        whole = (F.normalize(look.tokens.class_token, dim=-1) @ (text - empty).T)[0].cpu().numpy()
        places, count = scores.cpu().numpy(), len(names)
        own, others = places[:, :count], places[:, count:]
        rows = own.T
        if self.rule == "components":
            rows = np.stack([log_odds(row, others, self._scale) for row in rows])
        return rows.reshape(count, *look.tokens.grid), {
            name: presence(own[:, k], float(whole[k]), others, whole[count:], self._scale)
            for k, name in enumerate(names)
        }

    # ------------------------------------------------------------------------------------ the answer

    def asks(self, look: Look, maps: np.ndarray, present: dict[str, float]) -> tuple[list[Ask], str | None]:
        there = [k for k, share in enumerate(present.values()) if share >= self.presence_threshold]
        absent = ", ".join(
            f"{name!r} (presence {share:.2f}, wanted {self.presence_threshold:g})"
            for name, share in present.items()
            if share < self.presence_threshold
        )
        reason = f"not in this picture: {absent}" if absent else None
        if not there:
            return [], reason
        units = [unit for unit in (normalise(maps[k]) for k in there) if unit is not None]
        if not units:
            return [], "the map is the same everywhere: nothing stands out"
        if self.rule == "paper":
            several = len(units) > 1
            prompts = (
                paper_points_of_several(np.stack(units), look.size, self.threshold, self.halve)
                if several
                else paper_points(units[0], look.size, self.threshold, self.halve)
            )
            if not (prompts.labels == 1).any():
                return [], "no place stands out enough for a point"
            return [Ask(prompts, enlarge(np.max(units, axis=0), look.size))], reason
        asks: list[Ask] = []
        for index, unit in enumerate(units):
            others = [other for k, other in enumerate(units) if k != index]
            avoid = np.max(others, axis=0) if others else None
            whole = fine_map(unit, look.size)
            for prompts, own in component_points(unit, look.size, self.threshold, avoid=avoid):
                asks.append(Ask(prompts, own, whole=whole))
        return asks, reason

    def answer(self, look: Look, asks: Sequence[Ask], empty: TextMasks) -> TextMasks:
        kept: list[_Answer] = []
        for _, group in itertools.groupby(asks, key=lambda ask: id(ask.whole)):  # one map's, in a row
            for one in self._objects(look, list(group)):
                # Two prompt sets on one object give the same mask twice; the stronger component came first.
                if one.mask.any() and not any(mask_iou(one.mask, other.mask) > 0.8 for other in kept):
                    kept.append(one)
        if not kept:
            return replace(empty, reason=empty.reason or "the segmenter found no region at these points")
        return replace(
            empty,
            masks=np.stack([one.mask for one in kept]),
            scores=np.array([one.score for one in kept], np.float32),
            candidates=tuple(one.candidates for one in kept),
        )

    def _objects(self, look: Look, asks: list[Ask]) -> list[_Answer]:
        """An object per prompt set of one map, or what all of them give together.

        A map often falls apart on one object. So the sets are also tried as one. That answer stands
        if it has most of the several objects in it and is closer to the map than they are. Either
        way, points that a mask does not connect are on different objects.
        """
        several = [self._decode(look, ask) for ask in asks]
        whole = join(asks)
        if whole is None or whole.region is None:
            return several
        one = self._decode(look, whole)
        union = np.any([each.mask for each in several], axis=0)
        covers = 2 * (one.mask & union).sum() >= union.sum()
        closer = expected_iou(one.mask, whole.region) > expected_iou(union, whole.region)
        answers = [one] if covers and closer else several
        places = whole.prompts.positives  # not the clicks, which add to an object
        return [replace(each, mask=mask) for each in answers for mask in objects(each.mask, places)]

    def _decode(self, look: Look, ask: Ask) -> _Answer:
        prompts, box, mask = ask.prompts, ask.box, None
        if ask.region is not None and self.prompt_with == "map":
            mask = self.sam.prior(look.embedding, centred(ask.region, self.threshold))
        elif ask.region is not None and self.prompt_with == "box":
            box = box or bounds(inside(ask.region, self.threshold), look.size)
            prompts = no_points()
        prompts = ask.with_clicks(prompts)
        points, labels = prompts.xy, prompts.labels
        found = self.sam.decode(look.embedding, points, labels, box, mask)
        chosen, agreement = self._choose(found, ask.region)
        if self.refine:
            found = self.sam.decode(look.embedding, points, labels, box, found.logits[chosen])
            chosen, agreement = self._choose(found, ask.region)
        return _Answer(
            tidy(found.masks[chosen], self.clean, ask.clicks),
            float(found.scores[chosen]),
            Candidates(prompts, box, found.logits, found.scores, agreement, chosen),
        )

    def _choose(self, found: MaskSet, region: np.ndarray | None) -> tuple[int, np.ndarray]:
        if region is None:
            return int(found.scores.argmax()), np.ones(len(found.scores), np.float32)
        size = (region.shape[1], region.shape[0])
        small = [
            cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) for mask in found.masks
        ]
        wanted = inside(region, self.threshold)
        agreement = np.array([mask_iou(one > 0, wanted) for one in small], np.float32)
        rank = {"score": found.scores, "agreement": agreement, "both": found.scores + agreement}[
            self.select_by
        ]
        return int(rank.argmax()), agreement


def _plain(name: str) -> str:
    """As CLIP's tokenizers read it: lower case, single spaces."""
    return " ".join(name.split()).lower()
