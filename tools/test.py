"""Score a config's data set: mIoU and a results file.

python tools/test.py configs/paper/clip-surgery_vit-b16_voc21-512x512.py
python tools/test.py CONFIG --method sclip --backbone ViT-L-14-quickgelu --weights openai
python tools/test.py CONFIG weights.pt --cfg-options model.precision=bf16 test_dataloader.batch_size=4
"""

from __future__ import annotations

import argparse
import os
import sys

from ovseg.apps.cli.scripts import Assignments, Parser, reported


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", nargs="?", help="weights of the backbone, the same as --weights")
    parser.add_argument("--method", help="a row of the table of methods instead of the config's")
    parser.add_argument("--backbone", help="open_clip's name, or tiny for the embedded model")
    parser.add_argument("--weights", help="open_clip's tag or a checkpoint")
    parser.add_argument("--work-dir", help="folder for logs and results; default: work_dirs/NAME_OF_CONFIG")
    parser.add_argument("--out", help="folder for the predictions as PNG")
    parser.add_argument("--show", action="store_true", help="show each painted image in a window")
    parser.add_argument("--show-dir", help="folder for painted images")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds a shown image stays")
    parser.add_argument(
        "--cfg-options", nargs="+", action=Assignments, help="fields of the config: model.logit_scale=40 …"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--tta", action="store_true", help="average the views of the config's tta_pipeline")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by the launcher")
    args = parser.parse_intermixed_args()  # the checkpoint may also come after flags
    if args.weights is not None and args.checkpoint is not None:
        parser.error("expected the checkpoint once, got --weights and " + args.checkpoint)
    return args


@reported
def main() -> None:
    args = parse()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    from ovseg.mmseg.evaluate import Run, evaluate, load_config

    weights = args.checkpoint if args.weights is None else args.weights
    flags = (args.cfg_options, args.method, args.backbone, weights)
    run = Run(args.work_dir, args.out, args.show, args.show_dir, args.wait_time, args.tta, args.launcher)
    found = evaluate(load_config(args.config, *flags), run)
    if "file" in found:  # the first process
        turned = found["dataset"]["turned by EXIF at the same size"]
        if turned:
            print(
                f"warning: EXIF turns {turned} images at the same size; their labels are taken as upright",
                file=sys.stderr,
            )
        if not found["weights"].get("sha256"):
            print("warning: the weights are random", file=sys.stderr)
        score = "no score" if found["mIoU"] is None else f"mIoU {found['mIoU']:.2f}"
        images, of = found["dataset"]["images"], found["dataset"]["images in the data set"]
        print(f"{score} over {images if images == of else f'{images} of {of}'} images: {found['file']}")


if __name__ == "__main__":
    main()
