"""What a run needs besides model and data: views averaged, several processes, progress."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from ovseg.maps.labels import label_map


@MODELS.register_module()
class AveragedViews(BaseTTAModel):
    """--tta: the mean of the classes' probabilities over all views of an image, then the segmentor's rule."""

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        merged = []
        for views in data_samples_list:
            scores = torch.stack([view.seg_logits.data.exp() for view in views]).mean(dim=0)
            threshold = self.module.options.background_threshold
            labels = label_map(scores, threshold, self.module.vocabulary.background)
            sample = views[0]
            sample.set_data({"pred_sem_seg": PixelData(data=labels[None])})
            sample.set_data({"seg_logits": PixelData(data=scores.log_())})
            merged.append(sample)
        return merged


@MODEL_WRAPPERS.register_module()
class EachAlone(nn.Module):
    """The wrapper under a launcher: every process holds the whole frozen model, and none exchanges anything.

    torch's own wrapper refuses a model without gradients.
    """

    module: Any

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def test_step(self, data: Any) -> list[SegDataSample]:
        return self.module.test_step(data)


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar on standard error while images are segmented, in the first process only.

    The bar hides the terminal's cursor. ``close`` shows it again: ``evaluate`` calls it however a run ends,
    and a run by mmengine alone is covered when the interpreter exits.
    """

    bar: Progress | None = None

    def before_test(self, runner: Any) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=runner.rank != 0,
        )
        atexit.register(self.close)
        self.bar.start()
        self.done = 0
        self.task = self.bar.add_task("images", total=len(runner.test_dataloader.dataset))

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        self.done += len(outputs or ()) * runner.world_size
        total = len(runner.test_dataloader.dataset)  # the sampler pads the last share of some process
        if self.bar is not None:
            self.bar.update(self.task, completed=min(self.done, total))

    def after_test(self, runner: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stop the bar and show the cursor; nothing where there is no bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
            atexit.unregister(self.close)


@contextmanager
def progress_of(runner: Any) -> Iterator[None]:
    """Stop the runner's progress bars however the block ends, so that what is printed next can be read."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()
