"""The metrics of a run: checked before its first image, and how many images reached them."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from ovseg.errors import UsageError
from ovseg.mmseg.fields import check_known, metrics_of
from ovseg.mmseg.scores import ExactIoUMetric, check_void
from ovseg.options.checks import check_choice, check_flag, check_number, check_text, check_words

SCORES = ("mIoU", "mDice", "mFscore")
"""What mmseg's IoUMetric computes."""


def check_metrics(config: Config, classes: int) -> None:
    """Build each metric of ``config.test_evaluator`` and check its fields.

    mmseg's metrics take unknown fields, and look at the values of others only after the last image.

    Raises:
        UsageError: a field is unknown or its value is wrong, two metrics give scores of the same name, or
            mmseg's own IoUMetric is to write files.
    """
    prefixes: list[str | None] = []
    for settings in metrics_of(config):
        found = METRICS.get(settings["type"]) if isinstance(settings["type"], str) else settings["type"]
        if inspect.isclass(found):
            check_known(f"the metric {found.__name__}", settings, _known(found))
        with _unlogged():  # the runner builds them again and says the same
            made = METRICS.build(settings)
        if isinstance(made, IoUMetric):
            _check_values(made, classes)
            prefixes.append(made.prefix)
    if len(set(prefixes)) < len(prefixes):
        raise UsageError(f"expected a prefix of its own for each metric of IoU, got {prefixes}")


def _known(metric: type[BaseMetric]) -> list[str]:
    """The fields that a metric names itself or passes on to the classes that it is made of."""
    found: dict[str, None] = {}
    for base in inspect.getmro(metric):
        if base is object or "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        found |= {p.name: None for p in list(parameters)[1:] if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(found)


def _check_values(made: IoUMetric, classes: int) -> None:
    for name in check_words("iou_metrics", made.metrics):
        check_choice("iou_metrics", name, SCORES)
    check_number("beta", made.beta, 0, math.inf, above=True)
    if made.nan_to_num is not None:
        check_number("nan_to_num", made.nan_to_num, -math.inf, math.inf)
    check_flag("format_only", made.format_only)
    if made.prefix is not None:
        check_text("prefix", made.prefix)
    check_choice("collect_device", made.collect_device, ("cpu", "gpu"))
    check_void(made.ignore_index, classes)
    if (
        not isinstance(made, ExactIoUMetric) and made.output_dir is not None
    ):  # images of one name in two folders would become one file
        raise UsageError(
            f"expected ExactIoUMetric for predictions as files, got {type(made).__name__}, which writes all "
            "images into one folder"
        )


@contextmanager
def _unlogged() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class ImageCount(BaseMetric):
    """Counts the images that reach the metrics in all processes, without those that pad a process's share.

    A data loader may leave out images without a word: the last batch, or all after a number of batches.

    Attributes:
        images: how many there were; 0 before ``evaluate``.
    """

    images = 0

    def process(self, data_batch: object, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results.extend(1 for _ in data_samples)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        self.images = len(results)
        return {}
