"""A run over many images: read ahead, find in groups, write behind, and go on where it stopped.

jobs ─ load_ahead (threads) ─> groups ─ finder (CLIP in batches, segmenter) ─> Writing (a thread):
record, files of each format, then the manifest's row

Images are taken in groups of fixed places in the sorted list. A group of which any image is missing goes
through CLIP as a whole, because the last bits of CLIP's features depend on the size of the batch: so the
files are the same to the byte however often a run was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ovseg.annotation.ahead import load_ahead, look_at
from ovseg.annotation.folder import RunFolder, counted
from ovseg.annotation.formats.base import Writer, write_text
from ovseg.annotation.inputs import Job
from ovseg.annotation.records import read_record
from ovseg.annotation.step import GROUP, Finder, batches, find_batch
from ovseg.annotation.writing import Ledger, Progress, Stopped, Writing
from ovseg.files.paths import sha256_of
from ovseg.files.write import write_json


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        done: images that this call finished.
        before: images that were finished before.
        failed: name and reason of each image that has no result.
        masks: masks of each class, over all finished images.
        empty: finished images without any mask.
        formats: the folder of each format.
    """

    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    formats: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, object]:
        """The summary as JSON can hold it; it does not depend on how often a run was stopped."""
        return {
            "images": self.done + self.before + len(self.failed),
            "annotated": self.done + self.before,
            "without masks": self.empty,
            "masks": self.masks,
            "failed": [{"image": name, "reason": reason} for name, reason in self.failed.items()],
            "formats": self.formats,
        }

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        count = self.done + self.before
        out = [f"{count} of {count + len(self.failed)} images annotated, {self.empty} of them without masks"]
        out += [f"{number} {name}" for name, number in sorted(self.masks.items(), key=lambda one: -one[1])]
        out += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        return [*out, f"formats: {', '.join(self.formats)}"]


def run_jobs(
    jobs: Sequence[Job],
    folder: RunFolder,
    finder: Finder,
    writers: Sequence[Writer],
    *,
    threads: int = 2,
    group: int = GROUP,
    retry: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Annotate images into a run folder, those that are missing there.

    Args:
        jobs: the images, sorted by their stems.
        folder: the run folder, opened with the settings of this run.
        finder: turns pictures into regions.
        writers: the formats.
        threads: how many images are decoded at once.
        group: images in one group; the same in every run into a folder, or bytes may differ.
        retry: try images again that failed before, also where their files have not changed.
        progress: called after each image.

    Returns:
        What was done and what failed. Everything finished is on the disk whatever happens meanwhile.

    Raises:
        OvsegError: a result cannot be written. The same call goes on where this one stopped.
    """
    todo, needed = plan(jobs, folder, group, retry)
    ledger = Ledger(folder, progress, len(jobs), len(jobs) - len(needed))
    state = Writing(ledger, writers)
    loads = load_ahead((job for part in todo for job in part), threads)
    try:
        for part in todo:
            for batch in batches(loads, len(part)):
                find_batch(batch, finder, needed, state)
    except Stopped:
        pass  # check() says below what stopped the writer
    finally:
        loads.close()  # type: ignore[attr-defined]  # it is a generator
        state.close()
    state.check()
    return finish(folder, writers, jobs, ledger.done)


def plan(jobs: Sequence[Job], folder: RunFolder, group: int, retry: bool) -> tuple[list[list[Job]], set[str]]:
    """The groups that have work, each with all its images that can be read; and the stems that are missing.

    Args:
        jobs: the images, sorted by their stems.
        folder: the run folder.
        group: images in one group.
        retry: try images again that failed before.
    """
    needed = {job.stem for job in jobs if _is_needed(job, folder, retry)}
    known = {stem for stem, row in folder.manifest.rows.items() if "error" not in row}
    groups = [jobs[start : start + group] for start in range(0, len(jobs), group)]
    todo = [
        [job for job in part if job.stem in needed or job.stem in known]
        for part in groups
        if any(job.stem in needed for job in part)
    ]
    return todo, needed


def _is_needed(job: Job, folder: RunFolder, retry: bool) -> bool:
    """Whether an image has no result, or its file is another one than the result was made of."""
    row = folder.manifest.rows.get(job.stem)
    if row is None:
        return True
    facts = look_at(job)
    same = (row.get("bytes"), row.get("mtime")) == (facts.bytes, facts.mtime)
    if "error" in row:
        return retry or not same
    try:
        if folder.record_path(job.stem).stat().st_size != row.get("record"):
            return True
    except OSError:
        return True
    if same or facts.bytes is None:  # an image that has gone keeps its result
        return False
    if facts.bytes != row.get("bytes"):
        return True
    try:
        if sha256_of(job.image) != row.get("sha256"):
            return True
    except OSError:
        return False
    folder.manifest.append({**row, "mtime": facts.mtime})  # touched, and the same
    return False


def _write_missing(folder: RunFolder, writers: Sequence[Writer]) -> None:
    """Write the files of formats that finished images do not have yet, from their records."""
    names = list(folder.info.names)
    for stem, row in sorted(folder.manifest.rows.items()):
        if "error" in row:
            continue
        has = row.get("formats")
        known = [str(key) for key in has] if isinstance(has, list) else []
        settings = folder.info.runs.get(str(row.get("run")), {}).get("settings")
        classes = settings.get("classes") if isinstance(settings, dict) else None
        same = row.get("classes", classes.get("names") if isinstance(classes, dict) else None) == names
        missing = [writer for writer in writers if writer.key not in known or not same]
        if not missing:
            continue
        record = read_record(folder.record_path(stem))
        for writer in missing:
            writer.write(record)
        kept = known if same else []  # numbers of classes have changed: other formats are written when asked
        keys = list(dict.fromkeys([*kept, *(writer.key for writer in missing)]))
        folder.manifest.append({**row, "formats": keys, **({} if same else {"classes": names})})


def finish(folder: RunFolder, writers: Sequence[Writer], jobs: Sequence[Job], done: int) -> Outcome:
    """Write what formats still lack, the files that are of all images, and the summary.

    Args:
        folder: the run folder, with a row for every image.
        writers: the formats.
        jobs: the images that were asked for.
        done: how many this call finished.
    """
    _write_missing(folder, writers)
    for writer in writers:
        writer.finish(folder.records)
    rows = dict(sorted(folder.manifest.rows.items()))
    good = [row for row in rows.values() if "error" not in row]
    asked = {job.stem for job in jobs}  # an image that failed once and is no longer asked for is no failure
    outcome = Outcome(
        done,
        len(good) - done,
        {
            str(row["name"]): str(row["error"])
            for stem, row in rows.items()
            if "error" in row and stem in asked
        },
        counted(good),
        sum(not row.get("masks") for row in good),
        {writer.name: writer.name for writer in writers},
    )
    write_json(folder.path / "summary.json", outcome.describe())
    write_text(folder.path / "summary.txt", (f"{line}\n" for line in outcome.lines()))
    return outcome
