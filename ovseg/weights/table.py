"""open_clip's table of pretrained weights, read without importing open_clip and, with it, torch.

The table stands in the source file open_clip/pretrained.py as nested calls of ``dict`` and of functions named
after defaults (``_pcfg(url=…)``). Here the file is parsed, never executed; only constants given by keyword
are kept. A test compares the result with open_clip's own functions, entry by entry. Where a later open_clip
keeps its table in another form, open_clip itself is imported and asked.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ovseg.errors import UsageError, described

Entry = dict[str, object]
"""What open_clip knows of one set of weights; here ``url``, ``hf_hub`` and, where given, ``quick_gelu``."""


def clean(model: str, tag: str) -> tuple[str, str]:
    """Model and tag as open_clip spells them.

    >>> clean("ViT-B/16", "LAION2B-s34b-b88k")
    ('ViT-B-16', 'laion2b_s34b_b88k')
    """
    return model.replace("/", "-"), tag.lower().replace("-", "_")


def entry(model: str, tag: str) -> Entry:
    """The entry of one set of weights.

    Raises:
        UsageError: open_clip has no such model or no such tag for it.
    """
    model, tag = clean(model, tag)
    known = tags(model)
    if not known and not _has_config(model):
        raise UsageError(f"unknown model {described(model)}: expected a name that `ovseg list models` shows")
    if tag not in known:
        choices = f"a file or one of {', '.join(known)}" if known else "a file, as open_clip lists no weights"
        raise UsageError(f"unknown weights {described(tag)} for {model}: expected {choices}")
    return known[tag]


def tags(model: str) -> dict[str, Entry]:
    """The entries of a model by tag; empty where open_clip has no weights for this name."""
    model, _ = clean(model, "")
    found = _parsed().get(model)
    if found is not None or _parsed():
        return found or {}
    import open_clip  # another form of the table than the one that is read here

    return {tag: dict(open_clip.get_pretrained_cfg(model, tag)) for tag in _own_tags(open_clip, model)}


def _has_config(model: str) -> bool:
    """Whether open_clip can build a model of this name: by a file of its own, or one that was added."""
    spec = find_spec("open_clip")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if any(f"{model}.json" in _names(Path(folder) / "model_configs") for folder in folders):
        return True
    loaded = sys.modules.get("open_clip")
    return loaded is not None and model in loaded.list_models()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _own_tags(module: object, model: str) -> list[str]:
    return list(module.list_pretrained_tags_by_model(model))  # type: ignore[attr-defined]


@cache
def _parsed() -> dict[str, dict[str, Entry]]:
    """{model: {tag: entry}} from the source file; empty where it has another form."""
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        return {}
    file = Path(next(iter(spec.submodule_search_locations))) / "pretrained.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return {}
    named: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            named[node.targets[0].id] = _value(node.value, named)
    table: dict[str, dict[str, Entry]] = {}
    models = named.get("_PRETRAINED")
    for model, found in models.items() if isinstance(models, dict) else ():
        if isinstance(found, dict):
            table[model] = {tag: one for tag, one in found.items() if isinstance(one, dict)}
    for model, rows in list(table.items()):  # open_clip derives these names in a loop at the end of its file
        quick = {tag: one for tag, one in rows.items() if one.get("quick_gelu")}
        if quick:
            table[f"{model}-quickgelu"] = quick
    return table


def _value(node: ast.expr, named: dict[str, object]) -> object:
    """A literal, a name given before, or a call's keywords as a dict; None for everything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return named.get(node.id)
    if isinstance(node, ast.Call):
        return {item.arg: _value(item.value, named) for item in node.keywords if item.arg}
    if isinstance(node, ast.Dict):
        return {
            key.value: _value(value, named)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    return None
