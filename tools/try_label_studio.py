"""Whether a real Label Studio shows the masks of ovseg serve.

    python tools/try_label_studio.py
    python tools/try_label_studio.py --photos PHOTOS --words "person, dog" --segmenter vit_b

Installs Label Studio from PyPI in an environment of its own (1 GB, minutes), starts it and ovseg serve on
free ports, makes a project with the labelling interface of docs/serve.md, imports three photographs of
scikit-image and a scene in the three ways there are (uploaded, a file of its own disk, a data URI),
connects the backend and asks for predictions through Label Studio's API. What comes back is decoded and
compared with ovseg's own masks. With Chromium the labelling page is used, and kept as a PNG. The exit code
is 0 where all of it held. Without --work, nothing of this is left but the PNG.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
from pathlib import Path

from ovseg.apps.cli.scripts import Parser, reported
from ovseg.errors import UsageError
from ovseg.files.find import find_images

WORDS = "coffee cup, table, cat, sky, red star"
PHOTOS = ("coffee.png", "chelsea.png", "rocket.jpg")
"""Photographs that scikit-image ships."""


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for environment, data and logs, which is kept; default: a temporary one",
    )
    parser.add_argument(
        "--photos", type=Path, help=f"a folder of photographs; default: {', '.join(PHOTOS)} of scikit-image"
    )
    parser.add_argument("--most", type=int, default=4, help="photographs at most (4)")
    parser.add_argument("--words", default=WORDS, help=f"labels of the project ({WORDS})")
    parser.add_argument("--model", default="small", help="as for ovseg serve (small)")
    parser.add_argument("--weights", help="as for ovseg serve")
    parser.add_argument("--segmenter", default="grabcut", help="as for ovseg serve (grabcut)")
    parser.add_argument(
        "--chromium", default=shutil.which("chromium"), help="without it the page is not seen"
    )
    parser.add_argument("--out", type=Path, default=Path("label_studio.png"), help="the picture of the page")
    return parser.parse_args()


@reported
def main() -> None:
    args = parse()
    photos = find_photos(args.photos)[: args.most]
    work = args.work or Path(tempfile.mkdtemp(prefix="ovseg-label-studio-"))
    from label_studio.own import Own
    from label_studio.trial import Trial, run

    arguments = ["--model", args.model, "--segmenter", args.segmenter]
    if args.weights is not None:
        arguments += ["--weights", args.weights]
    words = [word.strip() for word in args.words.split(",")]
    own = Own(args.model, args.weights, args.segmenter)
    trial = Trial(work.absolute(), words, photos, arguments, own, args.chromium, args.out.absolute())
    try:
        rows = run(trial)
    finally:
        if args.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print("| asked | what came | held |\n|---|---|---|")
    for row in rows:
        print(f"| {row.asked} | {row.came} | {'yes' if row.held else 'no'} |")
    if not all(row.held for row in rows):
        raise SystemExit(1)


def find_photos(folder: Path | None) -> list[Path]:
    """The photographs of a folder, or those of scikit-image. Raises UsageError where there are none."""
    if folder is not None:
        return find_images([folder])[0]
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise UsageError("expected photos as a folder, or scikit-image for its own: pip install scikit-image")
    return [Path(found.origin).parent / "data" / name for name in PHOTOS]


if __name__ == "__main__":
    main()
