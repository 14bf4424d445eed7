"""Which of open_clip's architectures ovseg reads, by family, as the tables of docs/models.md.

    python tools/list_models.py            prints the tables
    python tools/list_models.py --write    puts them into docs/models.md

Every image tower is built from its config without memory for weights. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import open_clip

from ovseg.clip.attention import METHODS
from ovseg.clip.build import check_tower
from ovseg.clip.towers import CellTower
from ovseg.errors import UnsupportedModelError

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- tools/list_models.py writes from here -->", "<!-- to here -->"
# What people call the models of a family.
KNOWN_AS = {
    "open_clip ViT, class token": "CLIP, OpenCLIP, MetaCLIP, DFN and others; CoCa without attention pooling",
    "open_clip ViT, average": "CLIPA",
    "open_clip ViT, attention pooling": "CoCa",
    "open_clip ResNet, attention pooling": "CLIP's ResNets",
    "timm ViT, attention pooling": "SigLIP, SigLIP 2",
    "timm ViT, class token": "MobileCLIP-B, MobileCLIP2-B and -L",
    "timm ViT, average": "ViTamin",
    "timm Eva, class token": "EVA-CLIP",
    "timm Eva, attention pooling": "PE-Core",
    "timm ConvNeXt, average over cells": "OpenCLIP's ConvNeXts",
    "timm FastVit, average over cells": "MobileCLIP-S, MobileCLIP2-S",
}


class Support(NamedTuple):
    """What ovseg says to an architecture.

    Attributes:
        family: of its image tower, or None where it is not read.
        methods: how many of the methods it takes.
        line: why it is not read, or "".
    """

    family: str | None
    methods: int
    line: str


def supported() -> dict[str, Support]:
    """Every architecture that open_clip ships, by name; others may have been registered in this process."""
    shipped = {file.stem for file in (Path(open_clip.__file__).parent / "model_configs").glob("*.json")}
    known: dict[str, Support] = {}  # many architectures differ in their text tower only
    found = {}
    for name in filter(shipped.__contains__, open_clip.list_models()):
        config = open_clip.get_model_config(name)
        key = json.dumps([config["vision_cfg"], config["embed_dim"]], sort_keys=True)
        if key not in known:
            known[key] = _support(config, name)
        found[name] = known[key]
    return found


def _support(config: dict[str, object], name: str) -> Support:
    try:
        tower = check_tower(config, name)
    except UnsupportedModelError as error:
        return Support(None, 0, str(error))
    return Support(tower.family, 2 if isinstance(tower, CellTower) else len(METHODS), "")


def tables() -> str:
    """The tables in Markdown: families with their architectures, then what is not read and why."""
    found = supported()
    families: dict[str, list[str]] = defaultdict(list)
    for name, support in found.items():
        if support.family is not None:
            families[support.family].append(name)
    read = sum(map(len, families.values()))
    tags = {name: len(open_clip.list_pretrained_tags_by_model(name)) for name in found}
    loadable = sum(tags[name] for names in families.values() for name in names)
    lines = [
        f"open_clip {open_clip.__version__}: {read} of {len(found)} architectures are read, and with them "
        f"{loadable} of {sum(tags.values())} published weights.",
        "",
        "| Image tower | Known as | Architectures | Weights | Methods |",
        "|---|---|---|---|---|",
    ]
    for family, names in sorted(families.items(), key=lambda item: -len(item[1])):
        methods = "all" if found[names[0]].methods == len(METHODS) else "`clip`, `maskclip`"
        weights = sum(tags[name] for name in names)
        lines.append(f"| {family} | {KNOWN_AS[family]} | {len(names)} | {weights} | {methods} |")
    for family, names in sorted(families.items(), key=lambda item: -len(item[1])):
        lines += ["", f"**{family}**: " + ", ".join(f"`{name}`" for name in sorted(names, key=str.lower))]
    lines += ["", "| Not read | What ovseg says |", "|---|---|"]
    lines += [f"| `{name}` | {support.line} |" for name, support in found.items() if support.line]
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The page with what stands between its two marks replaced by the tables."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/models.md")
    if parser.parse_args().write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
