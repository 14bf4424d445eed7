"""GrabCut (Rother et al., 2004) as a segmenter: no weights, no GPU, the default.

The image is reduced. Colours at the points start the two colour models of object and background, and graph
cuts find the border. Three candidates differ in how much an unlabelled pixel is judged by its colour, and how
much by its distance to a point.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg.errors import UsageError
from ovseg.files.paths import shown
from ovseg.options import DeviceOptions
from ovseg.options.checks import check_integer
from ovseg.segmenters.base import Embedding, MaskSet, Segmenter
from ovseg.segmenters.prompts import CheckedPrompt

SIDE = 192
"""Long side in pixels of the reduced image."""
ROUNDS = 2
"""Graph cuts in sequence; each uses the colour models that the cut before it gave."""
_SEED = 20260101
_TRUST = (0.15, 0.5, 1.5)  # weight of distance in units of the image's diagonal, against colour in Lab / 100
_SURE = 4.0  # a logit below -_SURE is taken as certain background


class GrabCut(Segmenter[NDArray[np.uint8]]):
    """GrabCut as a segmenter; deterministic, as the random start of the colour models is fixed at every cut.

    Args:
        side: long side in pixels of the reduced image.
        rounds: graph cuts in sequence.

    Raises:
        UsageError: an argument is no integer, or out of range.
    """

    accepts_mask_prompt = True
    predicts_iou = False

    def __init__(self, side: int = SIDE, rounds: int = ROUNDS) -> None:
        super().__init__()
        side, rounds = check_integer("side", side, 8, 4096), check_integer("rounds", rounds, 1, 100)
        self.name = "grabcut" if (side, rounds) == (SIDE, ROUNDS) else f"grabcut {side} {rounds}"
        self.side = side
        self.rounds = rounds

    def _encode(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scale = min(1.0, self.side / max(image.shape[:2]))
        size = tuple(max(8, round(length * scale)) for length in (image.shape[1], image.shape[0]))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.ascontiguousarray(cv2.resize(image, size, interpolation=how), np.uint8)

    def _prior(
        self, embedding: Embedding[NDArray[np.uint8]], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        height, width = embedding.features.shape[:2]
        return np.asarray(cv2.resize((values - 0.5) * 6, (width, height)))

    def _decode(self, embedding: Embedding[NDArray[np.uint8]], prompt: CheckedPrompt) -> MaskSet:
        image = embedding.features
        height, width = image.shape[:2]
        scale = np.array([width / embedding.size[1], height / embedding.size[0]], np.float32)
        sure = _certain(prompt, scale, (height, width))
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) / 100
        if prompt.mask is not None:
            logits = cv2.resize(prompt.mask, (width, height))
            sure = np.where((sure < 0) & (logits < -_SURE), 0, sure)
            starts = [logits > 0, logits > -1, logits > 1]
        elif (prompt.labels == 1).any():
            starts = [_nearer(lab, sure, trust) for trust in _TRUST]
        else:
            inside = sure < 0  # a box alone: everything in it, and two smaller boxes
            starts = [inside, _shrunk(inside, 0.75), _shrunk(inside, 0.5)]
        with ThreadPoolExecutor(len(starts)) as pool:  # OpenCV has one random seed for each thread
            cuts = list(pool.map(lambda start: self._cut(image, start, sure), starts))
        distances = np.stack([_signed_distance(cut) for cut in cuts]).astype(np.float32)
        scores = np.array([_contrast(lab, cut) for cut in cuts], np.float32)
        return MaskSet(distances, scores, embedding.size, _enlarge)

    def _cut(
        self, image: NDArray[np.uint8], start: NDArray[np.bool_], sure: NDArray[np.int8]
    ) -> NDArray[np.bool_]:
        """(h, w) bool from a first guess and the certain pixels (1 object, 0 background, -1 open)."""
        state = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        state[sure == 1], state[sure == 0] = cv2.GC_FGD, cv2.GC_BGD
        inside = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
        if min(inside.sum(), inside.size - inside.sum()) < 8:  # too few pixels for a colour model
            return inside
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(_SEED)
        bgr = np.ascontiguousarray(image[..., ::-1])
        cv2.grabCut(bgr, state, (0, 0, 1, 1), *models, self.rounds, cv2.GC_INIT_WITH_MASK)
        return (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)


def load(name: str, weights: str | Path | None, options: DeviceOptions) -> GrabCut:
    """GrabCut, which has no weights and computes on the CPU. Raises UsageError where weights are given."""
    if weights is not None:
        raise UsageError(f"{name} has no weights: expected none, got {shown(str(weights))}")
    return GrabCut()


def _enlarge(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.empty((len(logits), *size), bool)
    for one, mask in zip(logits, out, strict=True):
        np.greater(cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), 0, out=mask)
    return out


def _certain(prompt: CheckedPrompt, scale: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) int8: 1 and 0 in a disk around the points, 0 outside the box, -1 where nothing is known."""
    sure = np.full(size, -1, np.int8)
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box * np.tile(scale, 2)
        outside = np.ones(size, bool)
        outside[int(y0) : max(int(y0) + 1, round(y1)), int(x0) : max(int(x0) + 1, round(x1))] = False
        sure[outside] = 0
    radius = max(1, round(max(size) / 100))
    order = np.argsort(prompt.labels, kind="stable")  # foreground last: it wins where disks meet
    for (x, y), label in zip(prompt.points[order] * scale, prompt.labels[order], strict=True):
        centre = (min(int(x), size[1] - 1), min(int(y), size[0] - 1))
        cv2.circle(sure, centre, radius, int(label), -1)
    return sure


def _nearer(lab: np.ndarray, sure: np.ndarray, trust: float) -> np.ndarray:
    """(h, w) bool: nearer to a foreground disk than to any pixel known as background, in colour and place.

    Where no background is known, the border of the image is taken as background.
    """
    height, width = sure.shape
    if not (sure == 0).any():
        sure = sure.copy()
        border = np.ones_like(sure, bool)
        border[1:-1, 1:-1] = False
        sure[border & (sure < 0)] = 0
    y, x = np.mgrid[:height, :width].astype(np.float32)
    place = np.stack([x, y], axis=-1) * (trust * 4 / np.hypot(height, width))
    features = np.concatenate([lab, place], axis=-1)
    distance = [_nearest(features, sure == label) for label in (1, 0)]
    return distance[0] < distance[1]


def _nearest(features: np.ndarray, seeds: np.ndarray, most: int = 48) -> np.ndarray:
    """(h, w) squared distance to the nearest of at most ``most`` evenly picked seeds."""
    chosen = features[seeds]
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(int)]
    best = np.full(features.shape[:2], np.inf, np.float32)
    for seed in chosen:
        best = np.minimum(best, ((features - seed) ** 2).sum(-1))
    return best


def _shrunk(inside: np.ndarray, share: float) -> np.ndarray:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    out = np.zeros_like(inside)
    if len(rows):
        y, x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
        h, w = len(rows) * share / 2, len(columns) * share / 2
        out[
            round(y - h) : max(round(y + h), round(y - h) + 1),
            round(x - w) : max(round(x + w), round(x - w) + 1),
        ] = True
    return out & inside


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """(h, w) float32: pixels to the border, positive inside, ±8 at most."""
    inner = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    outer = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(inner - outer, -8, 8) - np.where(mask, 0.5, -0.5).astype(np.float32)


def _contrast(lab: np.ndarray, mask: np.ndarray) -> float:
    """0..1: how much more the colour changes across the mask's border than within a ring around it."""
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(mask.astype(np.uint8), kernel) - cv2.erode(mask.astype(np.uint8), kernel)
    if not edge.any():
        return 0.0
    ring = (cv2.dilate(edge, np.ones((15, 15), np.uint8)) > 0) & (edge == 0)
    gradient = sum(np.abs(cv2.Sobel(lab, cv2.CV_32F, dx, 1 - dx)).sum(-1) for dx in (0, 1))
    across = float(gradient[edge > 0].mean())
    around = float(gradient[ring].mean()) if ring.any() else 0.0
    return across / (across + around) if across + around > 0 else 0.0
