"""The engines of a run: this process, or a job of Ray Data.

On Ray, workers write the files of their groups, and the driver writes the manifest. A group whose worker is lost
is repeated on another worker and gives the same files. The manifest's rows are in the order in which groups finish;
all other files are identical to those of a local run.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias, cast

from ovseg.annotation.records import Record
from ovseg.annotation.run.images import ImageFile, Row
from ovseg.annotation.run.plan import Plan
from ovseg.annotation.run.work import Work
from ovseg.errors import MissingPackageError, OvsegError, extra, one_line

WAITING = 16
"""Most results that wait for the writer; then the finder waits."""
Add: TypeAlias = "Callable[[Row], None]"
"""Called with each row once its files are written."""


def run_local(work: Work, plan: Plan, add: Add) -> None:
    """Find in this thread and write in another, in order.

    Raises:
        OvsegError: a result cannot be written; later results are not written either.
    """
    stopped = False

    def write(row: Row, record: Record | None) -> None:
        nonlocal stopped
        if stopped:  # the next call finds it again
            return
        try:
            add(work.write(row, record))
        except BaseException:
            stopped = True
            raise

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "write") as pool:
        for row, record in work.find(plan.groups, plan.needed):
            if len(waiting) >= WAITING:
                waiting.popleft().result()
            waiting.append(pool.submit(write, row, record))
        for one in waiting:
            one.result()


def check_ray() -> None:
    """Raise MissingPackageError if Ray Data is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")):
        raise MissingPackageError(f'engine="ray" needs Ray Data: {extra("ray")}')


def run_on_ray(work: Work, plan: Plan, add: Add, workers: int) -> None:
    """Run on a Ray cluster whose machines share the folders of the images and of the run.

    RAY_ADDRESS names the cluster; without it, one is started on this machine.

    Raises:
        OvsegError: a result cannot be written, or Ray's job fails.
    """
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the run reports its own progress
    items = [_item(group, plan.needed) for group in plan.groups]
    try:
        found = ray.data.from_items(items, override_num_blocks=len(items)).map(
            cast("Callable[[dict[str, object]], dict[str, object]]", GroupWorker),  # as Ray's types say
            fn_constructor_args=(work,),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        )
        for item in found.iter_rows():
            for row in json.loads(str(item["rows"])):
                add(row)
            if item["error"]:
                raise OvsegError(str(item["error"]))
    except OvsegError:
        raise
    except Exception as error:
        raise OvsegError(f"Ray ended the job: {one_line(error)[:400]}") from None


class GroupWorker:
    """A Ray actor, which processes one group of images after another."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, item: dict[str, object]) -> dict[str, object]:
        """Process a group; returns the rows of written images, and the error that stopped it, or ""."""
        images = [ImageFile(Path(path), name, stem) for path, name, stem in json.loads(str(item["images"]))]
        rows: list[Row] = []
        error = ""
        try:
            for row, record in self.work.find([images], set(json.loads(str(item["needed"])))):
                rows.append(self.work.write(row, record))
        except OvsegError as failure:
            error = one_line(failure)
        return {"rows": json.dumps(rows), "error": error}


def _item(group: Sequence[ImageFile], needed: frozenset[str]) -> dict[str, str]:
    """A group as JSON texts for Ray's tables, which cannot hold file names that are not UTF-8."""
    return {
        "images": json.dumps([[str(image.path), image.name, image.stem] for image in group]),
        "needed": json.dumps([image.stem for image in group if image.stem in needed]),
    }
