"""The two ways to carry out a run: in this process, or as a job of Ray Data.

On Ray, workers write the files of their groups and the driver the manifest. A group whose worker is lost is
done again on another; its files come out the same, so nothing is written twice that differs. Rows reach the
manifest in the order in which groups are finished; all files but the manifest are those of a local run.
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
"""Results that wait to be written before the finder waits for the writer."""
Add: TypeAlias = "Callable[[Row], None]"
"""Takes each row whose files are in place."""


def run_local(work: Work, plan: Plan, add: Add) -> None:
    """Find in this thread, write in another one, in order.

    Raises:
        OvsegError: a result cannot be written; none after it is.
    """
    stopped = False

    def write(row: Row, record: Record | None) -> None:
        nonlocal stopped
        if stopped:  # what is found meanwhile is done again by the next call
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
    """Raise MissingPackageError where Ray Data is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")):
        raise MissingPackageError(f'engine="ray" needs Ray Data: {extra("ray")}')


def run_on_ray(work: Work, plan: Plan, add: Add, workers: int) -> None:
    """The same on a Ray cluster, whose machines share the images' and the run's folders.

    RAY_ADDRESS names the cluster; without it, one is made on this machine.

    Raises:
        MissingPackageError: Ray is not installed.
        OvsegError: a result cannot be written, or Ray's job fails.
    """
    check_ray()
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the run tells its own progress
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
    """What runs on a worker: one group of images after the other."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, item: dict[str, object]) -> dict[str, object]:
        """The rows of a group whose files are in place, and why it could not be written to its end."""
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
    """A group as Ray's tables can hold it: texts, also where a file's name is no UTF-8."""
    return {
        "images": json.dumps([[str(image.path), image.name, image.stem] for image in group]),
        "needed": json.dumps([image.stem for image in group if image.stem in needed]),
    }
