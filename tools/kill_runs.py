"""Runs of ovseg annotate that are killed and started again, compared file by file with an undisturbed run.

    python tools/kill_runs.py                             # 2,000 pictures of mixed sizes, five kills
    python tools/kill_runs.py --engine local --engine ray # the same also as a job of Ray Data
    python tools/kill_runs.py --images 100 --kills 2 -- --model small --format voc
    python tools/kill_runs.py --images 150 --kills 8 --late 4   # four more in the last stage

What stands after "--" is added to the command ``ovseg annotate``. SIGKILL comes at random moments between the
first finished picture and the last, with --late also while the files of the whole data set are written, and
the command is given again each time. All files are compared byte by
byte, links by where they lead, but ".lock", which is empty. On Ray the lines of manifest.jsonl stand in the
order in which groups were finished, and are compared sorted. Resident memory is that of the process, on Ray
that of the process that was started and of Ray's workers together.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import machine
from benchmark_annotate import make_photos

WORDS = "red circle, blue square, green star, purple triangle, stripes, gravel, waves, bricks"
COMMAND = (sys.executable, "-m", "ovseg.apps.cli", "annotate")
OPTIONS = (
    "--model",
    "tiny",
    "--segmenter",
    "tiny",
    "--templates",
    "plain",
    "--format",
    "coco,coco-panoptic,yolo,label-studio",
)
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the images after which resident memory is told."""
LAST = 0.1
"""Kills in the last stage come up to so many seconds after its first file was begun."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watched:
    """What was seen of one process: seconds, exit code, and memory in MB by the number of rows."""

    seconds: float = 0.0
    code: int | None = None
    memory: list[tuple[int, float]] = field(default_factory=list)

    def after(self, rows: int) -> float:
        """Resident memory when so many rows, or the next measured number, were there."""
        return next((megabytes for count, megabytes in self.memory if count >= rows), self.memory[-1][1])


def rows_of(out: Path) -> int:
    """The number of finished images of a run folder."""
    try:
        return (out / "manifest.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def family(pid: int) -> set[int]:
    """A process and all processes that it started, directly or through others."""
    parents = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found


def resident(pids: set[int]) -> float:
    """Resident memory of some processes in MB; of Ray's own only its workers count."""
    total = 0
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid == min(pids) or name.startswith(b"ray::MapWorker"):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total / 1e6


def is_last(out: Path, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process writes a file of the whole data set: such lie in the folders of the formats."""
    return next(out.glob(f"*/.ovseg-{process.pid}-*"), None) is not None


def watch(command: list[str], out: Path, kill_at: int | None, delay: float, log: Path) -> Watched:
    """Run a command to its end, or kill it ``delay`` seconds after the run folder has ``kill_at`` rows.

    With ``kill_at`` 0, the delay starts with the last stage.
    """
    seen, start, said, before = Watched(), time.monotonic(), 0.0, rows_of(out)
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        while process.poll() is None:
            rows = rows_of(out)
            if is_last(out, process) if kill_at == 0 else kill_at is not None and rows >= kill_at:
                time.sleep(delay)
                process.kill()
                process.wait()
                break
            if rows > before and time.monotonic() - said > 0.5:  # it works
                said = time.monotonic()
                seen.memory.append((rows, resident(family(process.pid))))
            time.sleep(0.02 if kill_at else 0.002)
    seen.seconds, seen.code = time.monotonic() - start, process.returncode
    return seen


def tree(folder: Path, sort_manifest: bool) -> dict[str, str]:
    """The digest of every file of a run folder but its lock; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == ".lock" or (path.is_dir() and not path.is_symlink()):
            continue
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        if sort_manifest and path.name == "manifest.jsonl":
            content = b"".join(sorted(content.splitlines(keepends=True)))
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def killed_run(
    command: list[str], out: Path, images: int, kills: int, late: int, rng: random.Random, log: Path
) -> Watched:
    """Start a run, kill it ``kills`` times and ``late`` times in its last stage, and let it finish."""
    places = sorted(rng.sample(range(1, max(images - 8, kills + 1)), kills))
    total = Watched()
    for place in [*places, *[0] * late, None]:
        at = max(place, rows_of(out) + 1) if place else place
        seen = watch(command, out, at, rng.random() * (0.5 if place else LAST), log)
        total.seconds, total.code = total.seconds + seen.seconds, seen.code
        total.memory += seen.memory
        if at is not None:
            if seen.code != -9:
                raise SystemExit(
                    f"expected to kill at {at} rows, it ended before with {seen.code}: see {log}"
                )
            stage = "" if at else ", in the last stage"
            print(
                f"  killed with {rows_of(out)} of {images} rows after {seen.seconds:.0f} s{stage}", flush=True
            )
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=128, help="the longest side of the pictures in pixels")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--late", type=int, default=0, help="further kills in the last stage")
    parser.add_argument("--engine", action="append", choices=("local", "ray"), help="may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there; must be new")
    parser.add_argument("more", nargs="*", help="further options of ovseg annotate, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = args.folder or Path(place, "runs")
        (folder / "photos").mkdir(parents=True)
        make_photos(folder / "photos", args.images, args.side)
        (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
        log = folder / "log.txt"
        base = [*COMMAND, str(folder / "photos"), "--classes", WORDS, *OPTIONS, *args.more]
        print(f"{machine()}; {args.images} pictures up to {args.side} px", flush=True)
        whole = watch([*base, "--out", str(folder / "whole")], folder / "whole", None, 0, log)
        tell("undisturbed", whole, args.images)
        failed = 0
        for engine in args.engine or ["local"]:
            out, rng = folder / engine, random.Random(args.seed)
            command = [*base, "--out", str(out), "--engine", engine]
            last = killed_run(command, out, args.images, args.kills, args.late, rng, log)
            tell(f"{engine}, killed {args.kills + args.late} times", last, args.images)
            one, other = (tree(each, engine == "ray") for each in (folder / "whole", out))
            differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
            failed += len(differ)
            print(f"  {len(one)} files, {len(differ)} differ {', '.join(differ[:5])}", flush=True)
    raise SystemExit(1 if failed else 0)


def tell(what: str, seen: Watched, images: int) -> None:
    """One line: seconds, and resident memory as the run goes on."""
    if seen.code != 1:  # the broken picture is a failure of one image
        raise SystemExit(f"expected exit code 1, got {seen.code}")
    parts = [f"{seen.after(round(share * images)):.0f} MB at {share:.0%}" for share in SHARES]
    print(f"{what}: {seen.seconds:.0f} s, resident {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
