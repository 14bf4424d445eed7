"""Score several configs, under several methods if wanted, and print one table of mIoU in markdown.

python tools/compare.py configs/common/*.py
python tools/compare.py configs/paper/*voc21*.py configs/common/*voc21*.py --methods all --backbone tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ovseg.apps.cli.scripts import Assignments, Parser, reported


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("configs", nargs="+", help="config files")
    parser.add_argument("--methods", nargs="+", default=[], help="rows of the table of methods, or all")
    parser.add_argument("--backbone", help="open_clip's name, or tiny for the embedded model")
    parser.add_argument("--weights", help="open_clip's tag or a checkpoint")
    parser.add_argument("--work-dir", default="work_dirs", help="folder; results go to CONFIG/METHOD in it")
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    parser.add_argument(
        "--cfg-options", nargs="+", action=Assignments, help="fields of every config: model.logit_scale=40 …"
    )
    return parser.parse_intermixed_args()


@reported
def main() -> None:
    args = parse()
    from ovseg.errors import OvsegError, UsageError
    from ovseg.mmseg.evaluate import Run, compare, writable_folder
    from ovseg.mmseg.results import comparison

    if args.table is not None:
        if args.table.is_dir():
            raise UsageError(f"expected --table as a file, {args.table} is a folder")
        writable_folder("the folder of --table", args.table.parent)
    rows: dict[str, list[dict]] = {}
    for method, found in compare(
        args.configs,
        args.methods,
        options=args.cfg_options,
        backbone=args.backbone,
        weights=args.weights,
        run=Run(work_dir=args.work_dir),
    ):
        rows.setdefault(method, []).append(found)
    table = comparison(rows)
    print(table)
    if args.table is not None:
        try:
            args.table.write_text(table + "\n", encoding="utf-8")
        except OSError as error:
            raise OvsegError(f"expected to write {args.table}: {error.strerror}") from None


if __name__ == "__main__":
    main()
