"""The same run as a job of Ray Data: workers write the files of their groups, the driver the manifest.

A group whose worker is lost is done again on another; its files come out the same, so nothing is written
twice that differs. Rows reach the manifest in the order in which groups are finished; all files but the
manifest are those of a run in one process.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from ovseg.annotation.ahead import FileFacts, load_ahead
from ovseg.annotation.folder import RunFolder
from ovseg.annotation.formats.base import Writer
from ovseg.annotation.inputs import Job
from ovseg.annotation.manifest import Row
from ovseg.annotation.run import Outcome, finish, plan
from ovseg.annotation.step import GROUP, Finder, batches, find_batch
from ovseg.annotation.writing import Ledger, Progress, Sized, Stopped, make_row
from ovseg.errors import MissingPackageError, OvsegError, extra, one_line


def run_jobs_on_ray(
    jobs: Sequence[Job],
    folder: RunFolder,
    make_finder: Callable[[], Finder],
    writers: Sequence[Writer],
    *,
    workers: int = 2,
    threads: int = 2,
    group: int = GROUP,
    retry: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """``run_jobs`` on a Ray cluster, whose machines share the images' and the run's folders.

    Args:
        jobs: the images, sorted by their stems.
        folder: the run folder, opened with the settings of this run.
        make_finder: makes the finder on each worker; it travels by pickle.
        writers: the formats.
        workers: how many groups are done at once.
        threads: images that each worker decodes at once.
        group, retry, progress: as in ``run_jobs``.

    Raises:
        MissingPackageError: Ray is not installed.
        OvsegError: a result cannot be written, or Ray's job fails.
    """
    check_ray()
    import ray
    import ray.data

    todo, needed = plan(jobs, folder, group, retry)
    ledger = Ledger(folder, progress, len(jobs), len(jobs) - len(needed))
    if todo:
        if not ray.is_initialized():  # RAY_ADDRESS names a cluster; without it one is made on this machine
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the run tells its own progress
        items = [_item(part, needed) for part in todo]
        work = (make_finder, list(writers), str(folder.path), folder.key, threads)
        try:
            found = ray.data.from_items(items, override_num_blocks=len(items)).map(
                cast("Callable[[dict[str, object]], dict[str, object]]", GroupWorker),  # as Ray's types say
                fn_constructor_args=work,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
            )
            for item in found.iter_rows():
                for row in json.loads(str(item["rows"])):
                    ledger.add(row)
                if item["error"]:
                    raise OvsegError(str(item["error"]))
        except OvsegError:
            raise
        except Exception as error:
            raise OvsegError(f"Ray ended the job: {one_line(error)[:400]}") from None
    return finish(folder, writers, jobs, ledger.done)


def check_ray() -> None:
    """Raise MissingPackageError where Ray Data is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")):
        raise MissingPackageError(f'engine="ray" needs Ray Data: {extra("ray")}')


class GroupWorker:
    """What runs on a worker: one group of images after the other."""

    def __init__(
        self,
        make_finder: Callable[[], Finder],
        writers: Sequence[Writer],
        folder: str,
        key: str,
        threads: int,
    ) -> None:
        self.finder = make_finder()
        self.writers, self.folder, self.key, self.threads = writers, Path(folder), key, threads

    def __call__(self, item: dict[str, object]) -> dict[str, object]:
        """The rows of a group whose files are in place, and why it could not be written to its end."""
        jobs = [Job(Path(image), name, stem) for image, name, stem in json.loads(str(item["jobs"]))]
        sink = _Rows(self)
        loads = load_ahead(jobs, self.threads)
        try:
            for batch in batches(loads, len(jobs)):
                find_batch(batch, self.finder, set(json.loads(str(item["needed"]))), sink)
        except Stopped:
            pass
        finally:
            loads.close()  # type: ignore[attr-defined]  # it is a generator
        return {"rows": json.dumps(sink.rows), "error": sink.error}


class _Rows:
    """Writes results at once and keeps their rows for the driver."""

    def __init__(self, worker: GroupWorker) -> None:
        self.worker = worker
        self.rows: list[Row] = []
        self.error = ""

    def put(self, job: Job, facts: FileFacts, found: Sized | str) -> None:
        worker = self.worker
        try:
            self.rows.append(make_row(job, facts, found, worker.folder, worker.key, worker.writers))
        except OvsegError as error:
            self.error = one_line(error)
            raise Stopped from None


def _item(part: Sequence[Job], needed: set[str]) -> dict[str, str]:
    """A group as Ray's tables can hold it: texts, also where a file's name is no UTF-8."""
    return {
        "jobs": json.dumps([[str(job.image.absolute()), job.name, job.stem] for job in part]),
        "needed": json.dumps([job.stem for job in part if job.stem in needed]),
    }
