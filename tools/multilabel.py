"""Table 6: multi-label recognition by mAP, for CLIP, feature surgery, and files of other models' scores.

    python tools/multilabel.py --data nus_wide=data/NUS-WIDE --backbones ViT-B-16-quickgelu=openai
    python tools/multilabel.py --data nus_wide=data/NUS-WIDE --scores TaI-DPT=tai_dpt.npz MKT=mkt.csv
    python tools/multilabel.py --data scenes=200 --methods clip cosine clip_surgery

A file of scores is an .npz with scores (N, K), images (N) and names (K), or a .csv whose first line is
"image" and the names. Each file is two rows: as it is, and with feature surgery on top. Results and exit
codes are as in tools/explain.py.
"""

from __future__ import annotations

import argparse
import sys

from ovseg.apps.cli.scripts import Parser, reported


def parse() -> argparse.Namespace:
    from ovseg.evaluation.tables.protocol import RULES, TABLE6, add_arguments

    parser = Parser(__doc__)
    listed = ", ".join(RULES)
    parser.add_argument("--methods", nargs="+", choices=RULES, default=TABLE6, metavar="METHOD", help=listed)
    parser.add_argument("--scores", nargs="+", default=[], metavar="NAME=FILE", help="other models' scores")
    parser.add_argument(
        "--score-scale", type=float, default=1.0, help="files' scores are divided by it before surgery"
    )
    parser.add_argument("--files-only", action="store_true", help="no backbone: the files alone")
    add_arguments(parser)
    parser.set_defaults(experiments=["table6"])
    args = parser.parse_args()
    if args.files_only and not args.scores:
        parser.error("--files-only needs --scores NAME=FILE with it")
    return args


@reported
def main() -> None:
    args = parse()
    from ovseg.apps.cli.loop import bars
    from ovseg.evaluation.data.registry import parse_sources
    from ovseg.evaluation.tables.publish import publish, run_of
    from ovseg.evaluation.tables.recognition import parse_files, table6
    from ovseg.options.checks import check_number

    scale = check_number("score-scale", args.score_scale, 0, float("inf"), above=True)
    files = parse_files(args.scores)
    run = run_of(args, bars)
    if args.files_only:
        run.backbones = []
    sets = run.open_tags(parse_sources(args.data))
    sys.exit(publish([lambda: table6(run, sets, args.methods, files, scale)], run))


if __name__ == "__main__":
    main()
