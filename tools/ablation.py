"""The paper's ablations: Table 3 over four tasks, Table 4, and the first block d of the new path.

    python tools/ablation.py table3 table4 depth --data pascal_context=data/VOCdevkit/VOC2010 \\
        --backbones ViT-B-16-quickgelu=openai --segmenter vit_h --segmenter-weights sam_vit_h_4b8939.pth
    python tools/ablation.py table3 --data scenes=50 --segmenter tiny --segmentation-size 128

Results and exit codes are as in tools/explain.py.
"""

from __future__ import annotations

import argparse
import sys

from ovseg.apps.cli.scripts import Parser, reported

EXPERIMENTS = ("table3", "table4", "depth")


def parse() -> argparse.Namespace:
    from ovseg.evaluation.tables.protocol import add_arguments

    parser = Parser(__doc__)
    listed = ", ".join(EXPERIMENTS)
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS, metavar="EXPERIMENT", help=listed)
    parser.add_argument("--segmenter", help="for Table 3's interactive column: tiny, grabcut, vit_h …")
    parser.add_argument("--segmenter-weights")
    parser.add_argument(
        "--segmentation-size", type=int, default=512, help="Table 3's label maps: the input, a square"
    )
    add_arguments(parser)
    return parser.parse_intermixed_args()


@reported
def main() -> None:
    args = parse()
    from ovseg.apps.cli.loop import bars
    from ovseg.evaluation.data.registry import parse_sources
    from ovseg.evaluation.tables.ablation import table3
    from ovseg.evaluation.tables.publish import publish, run_experiment, run_of

    run = run_of(args, bars)
    sets = run.open(parse_sources(args.data))
    segmenter = None
    if args.segmenter:
        from ovseg.segmenters.load import load_segmenter

        segmenter = load_segmenter(args.segmenter, weights=args.segmenter_weights, device=args.device)

    def make(name):
        if name == "table3":
            return table3(run, sets, segmenter, args.segmentation_size)
        return run_experiment(name, run, sets, None)

    names = dict.fromkeys(args.experiments)
    sys.exit(publish([lambda name=name: make(name) for name in names], run))


if __name__ == "__main__":
    main()
