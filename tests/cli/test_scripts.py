"""The scripts in tools/: their values, their errors, and that --help loads nothing heavy."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg.apps.cli.scripts import Assignments, Parser, parse_assignment, reported
from ovseg.errors import DataError, UsageError

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "mmseg",
    "mmengine",
    "mmcv",
    "cv2",
    "open_clip",
    "scipy",
    "pycocotools",
    "cityscapesscripts",
}
VALUES = [
    "1",
    "-2",
    "1.5",
    "1e-3",
    "nan_",
    "true",
    "False",
    "None",
    "none",
    "",
    "text",
    "1,2,3",
    "[1,2]",
    "(1,2)",
    "[(1,2),(3,4)]",
    "[a,b]",
    "[]",
    "()",
    "1,",
    "(64, 96)",
    "'quoted'",
    '"a, b"',
    "a=b",
    "[1,[2,(3,true)],None]",
    "configs/x.py",
    "(1)",
    "sky, tree",
]


@pytest.mark.parametrize("value", VALUES)
def test_values_are_those_of_mmengines_dictaction(value):
    config = pytest.importorskip("mmengine.config")
    texts = [f"model.field={value}", "other=1"]
    found = []
    for action in (Assignments, config.DictAction):
        parser = argparse.ArgumentParser()
        parser.add_argument("--cfg-options", nargs="+", action=action)
        found.append(parser.parse_args(["--cfg-options", *texts]).cfg_options)
    assert found[0] == found[1]
    assert type(found[0]["model.field"]) is type(found[1]["model.field"])


@pytest.mark.parametrize("value", ["dict(type=A,size=2)", "f(1,2)", "[f(1,2)]", "f[a,b],c", "(1,2)x"])
def test_a_comma_within_brackets_of_a_text_parts_nothing(value):
    wanted = {"[f(1,2)]": ["f(1,2)"], "f[a,b],c": ["f[a,b]", "c"]}.get(value, value)
    assert parse_assignment(f"field={value}") == ("field", wanted)


def test_brackets_within_each_other_have_a_limit():
    assert parse_assignment("a=" + "[" * 50 + "1" + "]" * 50)[1]
    with pytest.raises(UsageError, match="expected at most 50 brackets within each other"):
        parse_assignment("a=" + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize("text", ["model", "=3", "a=(1,2", "a=1),(2", "a=[1,2", ""])
def test_what_is_no_assignment_is_misuse(text, capsys):
    with pytest.raises(UsageError, match="expected"):
        parse_assignment(text)
    parser = Parser("what")
    parser.add_argument("--cfg-options", nargs="+", action=Assignments)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--cfg-options", text])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    "error, code, message",
    [
        (UsageError("expected a,\n got b"), 2, "error: expected a, got b"),
        (DataError("no label"), 1, "error: no label"),
        (KeyboardInterrupt(), 130, "stopped"),
        (
            RuntimeError("out of\nmemory"),
            1,
            "error: unexpected RuntimeError: out of memory (OVSEG_DEBUG=1 shows",
        ),
    ],
)
def test_every_error_is_one_line(error, code, message, capsys):
    @reported
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == code and said.startswith(message) and said.count("\n") == 1


@pytest.mark.parametrize("name", ["test", "compare", "convert_datasets", "photos_to_dataset"])
def test_help_loads_nothing_heavy(name):
    code = f"""
import runpy, sys
sys.argv = ["{name}.py", "--help"]
try:
    runpy.run_path({str(ROOT / "tools" / f"{name}.py")!r}, run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0, stop.code
loaded = {HEAVY!r} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def blocked(packages: set[str], code: str) -> subprocess.CompletedProcess:
    """Run code in a process where these packages are not installed."""
    prologue = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
    return subprocess.run(
        [sys.executable, "-c", prologue + code], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_converters_need_neither_torch_nor_mmsegmentation():
    packages = {"torch", "mmseg", "mmengine", "mmcv", "cityscapesscripts", "scipy", "open_clip"}
    code = "from ovseg.evaluation.data import cityscapes, coco, context, convert"
    done = blocked(packages, code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["mmseg", "mmengine", "mmcv", "cityscapesscripts"])
def test_evaluation_without_its_packages_says_what_to_install(package):
    code = """
try:
    import ovseg.mmseg
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = blocked({package}, code)
    assert done.stdout.startswith(f"MissingPackageError evaluation needs {package}")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["test", "compare"])
def test_tools_without_mmsegmentation_say_it_in_one_line(name):
    code = f"""
import runpy
sys.argv = ["{name}.py", "config.py"]
runpy.run_path("tools/{name}.py", run_name="__main__")
"""
    done = blocked({"mmseg"}, code)
    assert done.returncode == 2 and done.stderr.startswith("error: evaluation needs mmseg")
    assert done.stderr.count("\n") == 1
