"""Whether a real Label Studio shows the masks of ovseg serve.

    python tools/try_label_studio.py
    python tools/try_label_studio.py --photos ../shared/photos --words "person, dog" --segmenter vit_b

Installs Label Studio from PyPI in an environment below --work (1 GB, minutes), starts it and ovseg serve on
free ports, makes a project, imports pictures in the three ways there are (uploaded, a file of its own disk,
a data URI), connects the backend and asks for predictions through Label Studio's API. What comes back is
decoded and compared with ovseg's own masks. With Chromium the labelling page is seen, and kept as a PNG.
The exit code is 0 where all of it held. --work is deleted at the end, unless --keep is given.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from ovseg.cli.scripts import Parser, reported
from ovseg.errors import UsageError

WORDS = "purple triangle, red star, blue circle, stripes, bricks, waves"


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--work", type=Path, help="folder for the environment and the data; default: a temporary one"
    )
    parser.add_argument("--photos", type=Path, help="a folder of photographs to try besides the scenes")
    parser.add_argument("--most", type=int, default=4, help="photographs at most (4)")
    parser.add_argument("--words", default=WORDS, help=f"labels of the project ({WORDS})")
    parser.add_argument("--segmenter", default="tiny", help="as for ovseg serve (tiny)")
    parser.add_argument("--model", default="tiny", help="as for ovseg serve (tiny, which knows the scenes)")
    parser.add_argument("--weights", help="as for ovseg serve")
    parser.add_argument(
        "--chromium", default=shutil.which("chromium"), help="the browser; without one the page is not seen"
    )
    parser.add_argument("--out", type=Path, default=Path("label_studio.png"), help="the picture of the page")
    parser.add_argument("--keep", action="store_true", help="leave --work as it is at the end")
    return parser.parse_args()


@reported
def main() -> None:
    args = parse()
    if args.photos is not None and not args.photos.is_dir():
        raise UsageError(f"wanted photos as a folder, got {args.photos}")
    work = args.work or Path(tempfile.mkdtemp(prefix="ovseg-label-studio-"))
    from label_studio.own import Own
    from label_studio.trial import Trial, run

    arguments = ["--model", args.model, "--segmenter", args.segmenter]
    if args.weights is not None:
        arguments += ["--weights", args.weights]
    trial = Trial(
        work.absolute(),
        [word.strip() for word in args.words.split(",")],
        args.photos,
        args.most,
        arguments,
        Own(args.model, args.weights, args.segmenter),
        args.chromium,
        args.out.absolute(),
    )
    try:
        rows = run(trial)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    print("| asked | what came | held |\n|---|---|---|")
    for row in rows:
        print(f"| {row.asked} | {row.came} | {'yes' if row.held else 'no'} |")
    if not all(row.held for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
