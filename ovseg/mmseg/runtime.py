"""Runtime parts besides model and data: averaging of views, several processes, progress, quiet logging."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed, nn

from ovseg.errors import UsageError, described, one_line
from ovseg.maps.labels import label_map

LAUNCHERS = {
    "none": (),
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
    "mpi": ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}
"""MMSegmentation's launchers, and the environment variables that each sets."""
NO_NUMBERS = ("MASTER_ADDR", "SLURM_NODELIST")


@MODELS.register_module()
class AveragedViews(BaseTTAModel):
    """--tta: averages class probabilities over the views of an image, then labels as the segmentor does."""

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
    """The model wrapper under a launcher: each process holds the whole frozen model, without communication.

    torch's own wrapper rejects a model without gradients.
    """

    module: Any

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def test_step(self, data: Any) -> list[SegDataSample]:
        return self.module.test_step(data)


@HOOKS.register_module()
class ProgressHook(Hook):
    """A progress bar on standard error, in the first process only.

    The bar hides the terminal's cursor and ``close`` restores it: ``evaluate`` always calls it, and runs by
    mmengine alone call it when the interpreter exits.
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
        total = len(runner.test_dataloader.dataset)  # the sampler may pad a process's share
        if self.bar is not None:
            self.bar.update(self.task, completed=min(self.done, total))

    def after_test(self, runner: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stop the bar, if there is one, and show the cursor."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
            atexit.unregister(self.close)


class QuietRunner(Runner):
    """mmengine's runner; its description, some 250 lines, goes to the log file only."""

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **more: Any) -> Any:
        logger = super().build_logger(log_level, log_file, **more)
        shown = (one for one in logger.handlers if not isinstance(one, logging.FileHandler))
        self._levels = {handler: handler.level for handler in shown}
        for handler, level in self._levels.items():
            handler.setLevel(max(level, logging.WARNING))
        return logger

    def test(self) -> dict[str, float]:
        """Run the test; from here on the log is also shown."""
        for handler, level in self._levels.items():
            handler.setLevel(level)
        return dict(super().test())


@contextmanager
def progress_of(runner: Any) -> Iterator[None]:
    """Stop the runner's progress bars when the block ends, so that later output is readable."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()


def connect(launcher: str) -> None:
    """Connect the processes of a launcher if mmengine would not.

    Raises:
        UsageError: an unknown launcher, or one of its environment variables is missing or not a number.
    """
    if launcher not in LAUNCHERS:
        raise UsageError(f"unknown launcher {described(launcher)}: expected one of {', '.join(LAUNCHERS)}")
    for name in LAUNCHERS[launcher]:
        value = os.environ.get(name)
        if value is None:
            raise UsageError(
                f"launcher {launcher} needs the environment variable {name}, which is not set: "
                f"start the processes with {'tools/dist_test.sh' if launcher == 'pytorch' else launcher}"
            )
        if name not in NO_NUMBERS and not value.isdigit():
            raise UsageError(f"launcher {launcher} needs a number in {name}, got {described(value)}")
    if launcher == "pytorch" and not torch.cuda.is_available() and not distributed.is_initialized():
        try:
            distributed.init_process_group("gloo")  # mmengine's own way needs a GPU
        except Exception as error:  # a port in use, an invalid address
            raise UsageError(f"the launcher's environment cannot be used: {one_line(error)}") from None
