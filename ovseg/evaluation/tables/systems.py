"""The systems that are compared: a method with a feature surgery, an explanation, or saved maps."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ovseg.clip.attention import METHODS, Method
from ovseg.clip.towers import BlockTower, Tower
from ovseg.errors import DataError, UnsupportedModelError, UsageError
from ovseg.explanation import get_explanation, list_explanations
from ovseg.files.paths import expand, sha256_of
from ovseg.options import SURGERIES, Plain

SAVED = (".npz", ".png")
"""Endings of saved maps and of label maps."""
DECIDING = ("blocks", "paths", "residual", "attention", "ffn", "resize", "class_token_weight", "whole")
"""The fields of a method, besides its form, that its maps depend on."""
OWN = {"clip_surgery": "label_set", "clip_surgery_normalised": "label_set"}
"""A method's default feature surgery over a label set; other methods use plain cosines."""


@dataclass(frozen=True)
class System:
    """One row of a table.

    Attributes:
        name: its name in tables.
        method: for maps that are similarities, the row of the table of methods.
        surgery: one of ``options.SURGERIES``.
        reverse: negate the map, as in RCLIP.
        explanation: instead of a method, the name of an explanation of ``ovseg.explanation``.
        saved: instead of a method, a folder of saved maps.
    """

    name: str
    method: Method | None = None
    surgery: str = "none"
    reverse: bool = False
    explanation: str | None = None
    saved: Path | None = None

    def describe(self) -> dict[str, Plain]:
        """What the system's maps depend on."""
        row: dict[str, Plain] | None = None
        if self.method is not None:
            row = {"form": self.method.form.__name__} | {one: getattr(self.method, one) for one in DECIDING}
        return {
            "method": row,
            "surgery": self.surgery,
            "reverse": self.reverse,
            "explanation": self.explanation,
            "positions": None if self.explanation is None else get_explanation(self.explanation).resize,
            "code": self._code_digest(),
            "saved": None if self.saved is None else self.saved.name,
            "files": None if self.saved is None else _folder_digest(self.saved),
        }

    def _code_digest(self) -> str | None:
        """SHA-256 of the source file of an explanation or a user-defined method.

        None for built-in methods, and for code without a file (from a console).
        """
        if self.explanation is not None:
            code: Callable[..., object] = get_explanation(self.explanation).maps
        elif self.method is not None and self.method.form.__module__ != CLIP.form.__module__:
            code = self.method.form
        else:
            return None
        try:
            file = inspect.getsourcefile(code)
            return None if file is None else sha256_of(Path(file))
        except (OSError, TypeError):
            return None


@functools.lru_cache
def _folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of the maps below a folder.

    Raises:
        DataError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for path in sorted(one for ending in SAVED for one in folder.rglob(f"*{ending}")):
        try:
            whole.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
        except OSError as error:
            raise DataError(f"expected to read {path}: {error.strerror}") from None
    return whole.hexdigest()


def parse_system(text: str) -> System:
    """Parse the name of a system.

    Args:
        text: a method ("clip", "gem"), which takes its own feature surgery; METHOD:SURGERY with a surgery or
            "none"; "rclip"; "architecture" and "feature", the two halves of CLIP Surgery; the name of an
            explanation of ``ovseg.explanation``; or NAME=FOLDER with a folder of saved maps.

    Raises:
        UsageError: the text is none of these.

    >>> parse_system("clip_surgery").surgery, parse_system("clip:empty").surgery, parse_system("gem").surgery
    ('label_set', 'empty', 'none')
    """
    name, equals, folder = text.partition("=")
    if equals:
        root = expand(folder)
        if not name or not root.is_dir():
            raise UsageError(f"expected NAME=FOLDER with a folder of saved maps, got {text!r}")
        return System(name, saved=root)
    if text in ABLATIONS:
        return ABLATIONS[text]
    method, colon, surgery = text.partition(":")
    if method in METHODS:
        if colon and surgery not in SURGERIES:
            raise UsageError(f"unknown surgery {surgery!r}: expected one of {', '.join(SURGERIES)}")
        chosen = surgery if colon else OWN.get(method, "none")
        return System(text, METHODS[method], chosen)
    known = list_systems()
    if text not in known:
        raise UsageError(f"unknown method {text!r}: expected one of {', '.join(known)}, or NAME=FOLDER")
    return System(text, explanation=text)


def parse_systems(texts: Iterable[str]) -> list[System]:
    """Parse each system. Raises UsageError, also if there is none or a name occurs twice."""
    found = [parse_system(text) for text in texts]
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not found or twice is not None:
        raise UsageError(
            "expected at least one method" if not found else f"expected {twice!r} once, got it twice"
        )
    return found


def list_systems() -> list[str]:
    """Every name that ``parse_system`` accepts, besides NAME=FOLDER."""
    return list(dict.fromkeys([*METHODS, *ABLATIONS, *explanations()]))


def explanations() -> list[str]:
    """The explanations that are not similarities."""
    return [name for name in list_explanations() if name not in METHODS and name != "rclip"]


CLIP, SURGERY = METHODS["clip"], METHODS["clip_surgery"]
ABLATIONS = {
    "rclip": System("rclip", CLIP, reverse=True),
    "architecture": System("architecture", SURGERY),
    "feature": System("feature", CLIP, "label_set"),
}
TABLE3 = (
    System("original", CLIP),
    ABLATIONS["architecture"],
    ABLATIONS["feature"],
    System("architecture and feature", SURGERY, "label_set"),
)
"""The rows of the paper's Table 3."""


def table4(tower: Tower) -> list[System]:
    """The rows of the paper's Table 4 for a tower: which blocks, how many paths, attention and FFN.

    The new path of the paper keeps the attention alone. "FFN" keeps the feed-forward networks alone, each
    reading the new path's own tokens. Raises UnsupportedModelError for a tower without blocks.
    """
    count = min(SURGERY.blocks, depth_of(tower))
    full = replace(SURGERY, blocks=count, ffn=True)
    rows = {
        "last block, attention and FFN": replace(full, blocks=1, paths=1),
        "last blocks, one path, attention and FFN": replace(full, paths=1),
        "last blocks, two paths, attention and FFN": full,
        "last blocks, two paths, FFN": replace(full, attention=False),
        "last blocks, two paths, attention": replace(full, ffn=False),
    }
    return [System(name, replace(row, name="ablation"), "label_set") for name, row in rows.items()]


def depths(tower: Tower, most: int = 10) -> list[System]:
    """CLIP Surgery from block d on, for d from 1 to ``most`` or to the last block of the tower."""
    count = depth_of(tower)
    return [
        System(f"d = {d}", replace(SURGERY, name="ablation", blocks=count - d + 1), "label_set")
        for d in range(1, min(most, count) + 1)
    ]


def depth_of(tower: Tower) -> int:
    """The number of a tower's blocks. Raises UnsupportedModelError if it has none."""
    if not isinstance(tower, BlockTower):
        raise UnsupportedModelError(
            f"expected a backbone of transformer blocks for this ablation, got {tower.family}"
        )
    return len(tower.blocks)
