"""The house's own rules: what may import what, and that looking at ovseg costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ovseg
from ovseg.evaluation.data.scenes import NAMES, make_scene

ROOT = Path(ovseg.__file__).parent
# Rooms from the top down; a room may import from lower rows only, or from its own room.
FLOORS = [
    {"apps", "mmseg"},
    {"annotation", "evaluation"},
    {"masks", "explanation"},
    {"model", "segmenters"},
    {"clip", "maps", "metrics"},
    {"results", "weights", "words"},
    {"options", "files"},
    {"errors"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
STRANGERS = {"maps.labels", "maps.points", "maps.recognition", "metrics", "results.figures"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ovseg":
            names = [node.module] if node.module != "ovseg" else [f"ovseg.{a.name}" for a in node.names]
            if node.module in ("ovseg.maps", "ovseg.clip"):
                names = [f"{node.module}.{a.name}" for a in node.names]
            found |= set(names)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("ovseg.")}
    return found


def test_rooms_import_only_from_below():
    looked = 0
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts in (("__init__",), ("__main__",)):
            continue
        for name in imports(path):
            other = name.split(".")[1]
            assert other == parts[0] or FLOOR[other] > FLOOR[parts[0]], (
                f"{path.relative_to(ROOT)} imports {name}, which is not below it"
            )
            own, met = (
                {one for one in STRANGERS if f"{module}.".startswith(f"ovseg.{one}.")}
                for module in (".".join(("ovseg", *parts)), name)
            )
            assert not own or not met - own, f"{path.relative_to(ROOT)} knows {name}"
            looked += 1
    assert looked > 40


def modules_of(path: Path) -> tuple[str, set[str]]:
    """A file's module name, and every module that it imports, absolutely or relatively."""
    parts = ("ovseg", *path.relative_to(ROOT).with_suffix("").parts)
    package = parts[:-1]  # of an __init__ the folder itself
    name = ".".join(package if parts[-1] == "__init__" else parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return name, found


def test_no_file_leads_back_to_itself():
    """Imports form no circle, within a folder neither; those for type checking count as well."""
    read = dict(modules_of(path) for path in ROOT.rglob("*.py"))
    del read["ovseg"]  # the package's list of public names, which nothing imports from
    graph = {name: {one for one in found if one in read and one != name} for name, found in read.items()}
    for name, found in graph.items():  # a package's __init__ collects its own files
        if any(other.startswith(f"{name}.") for other in read):
            continue
        found -= {other for other in found if name.startswith(f"{other}.")}
    assert len(graph) > 100 and sum(map(len, graph.values())) > 300
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_a_circle_would_be_found(tmp_path, monkeypatch):
    for name, text in {
        "a": "from ovseg.room import b",
        "b": "from . import c",
        "c": "from .a import x",
    }.items():
        (tmp_path / "room").mkdir(exist_ok=True)
        (tmp_path / "room" / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    read = dict(modules_of(path) for path in tmp_path.rglob("*.py"))
    graph = {name: {one for one in found if one in read} for name, found in read.items()}
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph).static_order())


def test_the_house_has_few_rooms_and_short_files():
    assert len(FLOORS) <= 8
    rooms = {
        path.name for path in ROOT.iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    assert {room.removesuffix(".py") for room in rooms} == set(FLOOR) and len(rooms) <= 17
    functions = 0
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 300, path
        for one in ast.walk(ast.parse(text)):
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions += 1
                spoken = ast.get_docstring(one, clean=False)
                lines = one.end_lineno - one.lineno + 1 - (spoken.count("\n") + 1 if spoken else 0)
                assert lines <= 40, f"{path}: {one.name} has {lines} lines"
    assert functions > 1000


def test_only_their_own_rooms_know_the_large_packages():
    looked = 0
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0]
        text = path.read_text(encoding="utf-8")
        for package, owner in (
            ("mmseg", "mmseg"),
            ("mmengine", "mmseg"),
            ("segment_anything", "segmenters"),
            ("transformers", "segmenters"),
            ("starlette", "apps"),
        ):
            if room != owner:
                assert f"import {package}" not in text and f"from {package}" not in text, path
            looked += 1
    assert looked > 60


@pytest.mark.parametrize(
    "code", ["import ovseg", "import ovseg.apps.cli", "from ovseg.words.vocabulary import list_vocabularies"]
)
def test_torch_is_not_loaded_before_it_is_needed(code):
    heavy = {"torch", "open_clip", "cv2", "matplotlib"}
    check = f"{code}; import sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_public_names_are_there():
    for name in ovseg.__all__:
        assert getattr(ovseg, name) is not None
    assert set(ovseg.__all__) <= set(dir(ovseg))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ovseg.nothing


def test_no_file_names_an_address_of_weights_or_a_registry():
    for path in [*ROOT.rglob("*.py"), *ROOT.parent.glob("*.toml"), *ROOT.parent.glob("Makefile")]:
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text, path
        # Where SAM's and MobileSAM's authors publish their files; open_clip and the hub know all others.
        assert "https://" not in text or path == ROOT / "weights" / "known.py", path


def test_scenes_are_the_same_for_a_seed_and_say_what_they_show():
    first, again, other = make_scene(3), make_scene(3), make_scene(4)
    assert (first.image == again.image).all() and (first.labels == again.labels).all()
    assert (first.image != other.image).any()
    for seed in range(30):
        scene = make_scene(seed, (64, 96))
        assert scene.image.shape == (64, 96, 3) and scene.labels.max() < len(NAMES)
        assert all(name in scene.caption for name in scene.present)
