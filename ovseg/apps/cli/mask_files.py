"""The files of ``ovseg mask``: masks, and one JSON an image that remembers every text it was asked for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovseg.apps.cli.records import beside, slug
from ovseg.apps.cli.shared import note
from ovseg.files.paths import sha256_of, shown
from ovseg.files.write import locked, write_json, write_mask

if TYPE_CHECKING:
    from ovseg.masks import TextMasks

Content: TypeAlias = "dict[str, object]"


def write_masks(target: Path, found: TextMasks) -> list[str]:
    """Write the masks of one text as TARGET.TEXT.1.png ...; the files' names."""
    paths = [
        beside(target, f".{slug([found.text])}.{number}.png") for number in range(1, len(found.masks) + 1)
    ]
    for path, mask in zip(paths, found.masks, strict=True):
        write_mask(path, mask)
    return [path.name for path in paths]


@dataclass(frozen=True)
class Image:
    """The image that masks are of: its file and (height, width)."""

    file: Path
    size: tuple[int, int]


def remember(target: Path, image: Image, entries: Sequence[Content], run: Content) -> None:
    """Write TARGET.masks.json: these texts, and those of earlier runs on the same image.

    A text that was asked for before is replaced, and of its files those that are not written again are
    removed. Where the file at hand is of an image with other content, that image's texts and files go.

    Args:
        target: the results' path without an ending.
        image: the image.
        entries: for each text its "text", its "masks" with a "file" each, and whatever else is to be kept.
        run: what is the same for all of them.
    """
    path = beside(target, ".masks.json")
    digest = sha256_of(image.file)
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:8]
    with locked(path.with_name(".lock")):
        earlier = read_earlier(path)
        same = earlier.get("sha256") == digest
        if earlier and not same:
            note(f"note: {shown(path)} was of an image with other content: its masks are replaced")
        asked = {entry["text"] for entry in entries}
        kept = [entry for entry in _texts(earlier) if same and entry["text"] not in asked]
        texts = [*kept, *({**entry, "run": key} for entry in entries)]
        runs = {**_runs(earlier), key: run}
        used = {entry.get("run") for entry in texts}
        content = {
            "image": os.path.abspath(image.file),
            "sha256": digest,
            "size": list(image.size),
            "outputs": _files(texts),
            "texts": texts,
            "runs": {name: one for name, one in runs.items() if name in used},
        }
        write_json(path, content)
        _remove(target, set(_files(_texts(earlier))) - set(_files(texts)))


def read_earlier(path: Path) -> Content:
    """What an earlier run wrote; empty where there is nothing, or something else than it writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _texts(content: Content) -> list[Content]:
    found = content.get("texts")
    listed = found if isinstance(found, list) else []
    return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("text"), str)]


def _runs(content: Content) -> Content:
    found = content.get("runs")
    return found if isinstance(found, dict) else {}


def _files(texts: Sequence[Mapping[str, object]]) -> list[str]:
    files: list[str] = []
    for entry in texts:
        masks = entry.get("masks")
        for mask in masks if isinstance(masks, list) else []:
            if isinstance(mask, dict) and isinstance(mask.get("file"), str):
                files.append(mask["file"])
    return files


def _remove(target: Path, names: set[str]) -> None:
    """Remove files beside ``target`` that are called as its masks are; a JSON may say anything."""
    for name in names:
        if os.path.basename(name) == name and name.startswith(f"{target.name}.") and name.endswith(".png"):
            with suppress(OSError, ValueError):
                target.with_name(name).unlink()
