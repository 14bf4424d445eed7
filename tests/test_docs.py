"""README, docs and model cards: every block of code is run or checked by a function here; none is left out.

CONTRIBUTING.md lists the kinds of blocks and what happens to each. Commands work on a photograph that
scikit-image ships. Blocks marked "data" need benchmarks: tests/mmseg/test_page.py runs them on generated
trees.
"""

from __future__ import annotations

import argparse
import doctest
import functools
import glob
import os
import re
import runpy
import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer
from typer.testing import CliRunner

import ovseg
from ovseg.cli import app
from ovseg.vocabulary import parse_vocabulary

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
CARDS = sorted((ROOT / "ovseg" / "assets").glob("*.md"))
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")), *CARDS]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
KINDS = (
    ("python", ""),
    ("python", "needs-weights"),
    ("python", "needs-gpu"),
    ("python", "data"),
    ("python", "config"),
    ("pycon", ""),
    ("console", ""),
    ("sh", ""),
    ("sh", "needs-weights"),
    ("sh", "data"),
    ("txt", "vocabulary"),
    ("text", ""),
)
PROSE = {page: re.sub(r"^```.*?^```", "", text, flags=re.M | re.S) for page, text in TEXT.items()}


class Block(NamedTuple):
    """A block of code of a page: the words after its backticks, and what stands between them."""

    page: Path
    kind: str
    note: str
    body: str

    def __str__(self):
        return f"{self.page.name}: {self.body.splitlines()[-1]}"[:90]


def _blocks():
    for page, text in TEXT.items():
        for kind, note, body in re.findall(r"^```(\w*)[ ]?([^\n]*)\n(.*?)^```$", text, re.M | re.S):
            yield Block(page, kind, note, body)


BLOCKS = list(_blocks())


def blocks(kind, note=""):
    """The blocks of one kind as parameters; a kind that no page has is a mistake here."""
    found = [block for block in BLOCKS if (block.kind, block.note) == (kind, note)]
    assert found, f"no block {kind} {note}"
    return pytest.mark.parametrize("block", found, ids=str)


def lines(note, program):
    """The lines of sh blocks that begin with ``program``, without comments, as parameters."""
    found = []
    for block in BLOCKS:
        if (block.kind, block.note) == ("sh", note):
            for line in block.body.splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == program:
                    found.append(pytest.param(words, id=f"{block.page.name}: {' '.join(words)}"[:110]))
    assert found, f"no line {program} in sh {note}"
    return pytest.mark.parametrize("words", found)


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A folder with photo.jpg as the current one; no model asks the network."""
    shutil.copy(Path(str(resources.files("skimage"))) / "data" / "rocket.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photo.jpg"


@pytest.fixture
def offline(monkeypatch, asked):
    """``load_model`` and ``load_segmenter`` with offline=True; nothing is looked up."""
    for name in ("load_model", "load_segmenter"):
        monkeypatch.setattr(ovseg, name, functools.partial(getattr(ovseg, name), offline=True), raising=False)
    yield
    assert not asked


def invoke(words, code):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, f"{words}: exit code {done.exit_code}\n{done.output}"
    return done


# ------------------------------------------------------------------------------------- no block is left out


def test_every_block_is_of_a_kind_that_a_test_here_takes():
    fences = sum(line.startswith("```") for text in TEXT.values() for line in text.splitlines())
    assert fences == 2 * len(BLOCKS), "a block that is not closed, or one within another"
    strays = [str(block) for block in BLOCKS if (block.kind, block.note) not in KINDS]
    assert not strays
    assert {(block.kind, block.note) for block in BLOCKS} == set(KINDS)


def test_every_line_of_a_shell_block_has_a_test_that_takes_its_program():
    taken = {"": ("ovseg", "python", "make", "pip"), "needs-weights": ("ovseg",), "data": ("python", "bash")}
    for block in BLOCKS:
        if block.kind == "sh":
            for line in block.body.splitlines():
                words = shlex.split(line, comments=True)
                assert not words or words[0] in taken[block.note], f"nobody runs {line!r}"


def test_blocks_with_data_stand_where_their_test_looks():
    where = {block.page for block in BLOCKS if block.note == "data"}
    assert where <= {README, *(ROOT / "docs").glob("*.md")}


# ------------------------------------------------------------------------------------------------- Python


@blocks("python")
def test_python_blocks_run(photo, block):
    exec(compile(block.body, str(block), "exec"), {})


@blocks("python", "needs-weights")
def test_python_blocks_without_their_weights_say_which(photo, offline, block):
    with pytest.raises(ovseg.WeightsError, match=r"found none: (run `ovseg models pull|put .+ there)"):
        exec(compile(block.body, str(block), "exec"), {})


@blocks("python", "needs-gpu")
def test_python_blocks_without_a_gpu_say_so(photo, offline, block):
    compiled = compile(block.body, str(block), "exec")
    if torch.cuda.is_available():
        with pytest.raises(ovseg.WeightsError, match="found none"):
            exec(compiled, {})
        return
    with pytest.raises(ovseg.UsageError, match="wanted device cuda, this machine offers"):
        exec(compiled, {})


@blocks("pycon")
def test_outputs_in_pycon_blocks_are_true(photo, block):
    test = doctest.DocTestParser().get_doctest(block.body, {}, str(block), str(block.page), 0)
    assert test.examples
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@blocks("python", "config")
def test_configs_load(photo, block):
    from ovseg.mmseg.checks import check_config
    from ovseg.mmseg.evaluate import check_fields, load_config

    Path("configs").symlink_to(ROOT / "configs")
    Path("own.py").write_text(block.body, encoding="utf-8")
    config = load_config("own.py")
    check_config(config, "own.py")
    check_fields(config.model)


@blocks("txt", "vocabulary")
def test_vocabularies_are_read(block):
    assert len(parse_vocabulary(block.body)) == len(block.body.splitlines())


# ------------------------------------------------------------------------------------------- command lines


@lines("", "ovseg")
def test_commands_run(photo, words):
    invoke(words[1:], 0)


@lines("needs-weights", "ovseg")
def test_commands_without_their_weights_say_which(photo, asked, words):
    away = [] if {"verify", "path"} & set(words) else ["--offline"]
    said = " ".join(invoke([*words[1:], *away], 1).output.split())
    assert "found none: run `ovseg models pull" in said or re.search("found none: put .+ there", said)
    assert not asked


@blocks("console")
def test_outputs_of_commands_are_true(photo, block):
    command, *expected = block.body.splitlines()
    assert command.startswith("$ ovseg ")
    said = invoke(shlex.split(command[2:])[1:], 0).stdout.splitlines()
    number = r"\d+\.\d+"
    assert [re.sub(number, "N", line) for line in said] == [re.sub(number, "N", line) for line in expected]
    wanted, got = ([float(n) for n in re.findall(number, "\n".join(text))] for text in (expected, said))
    assert got == pytest.approx(wanted, abs=0.05)


@lines("", "make")
def test_make_has_its_targets(words):
    for target in words[1:]:
        assert f"\n{target}: $(READY)" in (ROOT / "Makefile").read_text(encoding="utf-8")


@lines("", "pip")
def test_extras_exist(words):
    assert words[1] == "install"
    assert set(re.findall(r"\[(\w+)\]", " ".join(words))) <= project()[0]


class Parsed(BaseException):
    """Ends a tool as soon as its arguments are read."""


FEWER = {
    "tools/interactive.py": ["--scenes", "1", "--methods", "clip_surgery"],
    "tools/measure_embedded.py": ["--scenes", "1", "--methods", "clip_surgery"],
    "tools/benchmark.py": ["--parts", "surgery", "labels", "--scenes", "1", "--rounds", "1"],
    "tools/benchmark_masks.py": ["--segmenter", "tiny", "--texts", "1", "--side", "96", "--rounds", "1"],
}
"""Tools that take seconds on less; the pictures of their commands are not here. Training and benchmarks of
MMSegmentation take longer: their arguments are read."""


@lines("", "python")
def test_tools_read_their_documented_arguments(monkeypatch, words):
    read(monkeypatch, words)


def read(monkeypatch, words):
    """The arguments of ``python tools/X …`` as the tool's own parser reads them; and the parser."""
    arguments = [found for word in words[2:] for found in (sorted(glob.glob(word, root_dir=ROOT)) or [word])]
    for word in arguments:
        assert not word.startswith("configs/") or (ROOT / word).is_file(), f"no file {word}"
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *given):
        raise Parsed(parser, parse(parser, *given))

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", stop)
        patched.setattr(sys, "argv", [words[1], *arguments])
        patched.syspath_prepend(str(ROOT / "tools"))
        with pytest.raises(Parsed) as caught:
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    return caught.value.args


@pytest.mark.parametrize("tool", FEWER)
def test_tools_run_on_less(photo, monkeypatch, capsys, tool):
    assert any(tool in block.body for block in BLOCKS)
    monkeypatch.setattr(sys, "argv", [tool, *FEWER[tool]])
    runpy.run_path(str(ROOT / tool), run_name="__main__")
    assert capsys.readouterr().out.count("|") > 10


# ---------------------------------------------------------------------------------------- what pages name


def test_links_lead_somewhere():
    links = 0
    for page, text in PROSE.items():
        for target, part in re.findall(r"\]\(([^)#:\s]*)#?([^)\s]*)\)", text):
            other = (page.parent / target).resolve() if target else page
            assert other.exists(), f"{page.name} links to {target}"
            links += 1
            if part:
                titles = re.findall(r"^#+ (.+)$", TEXT[other], re.M)
                slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
                assert part in slugs, f"{page.name} links to {target}#{part}"
    assert links > 30


@pytest.fixture(scope="module")
def flags():
    """Every flag of ovseg's commands, and of the tools."""
    found = {"--help"}
    waiting = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {flag for option in command.params for flag in [*option.opts, *option.secondary_opts]}
    for script in (ROOT / "tools").glob("*.py"):
        found |= set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text(encoding="utf-8")))
    return found


def test_flags_that_pages_name_exist(flags):
    named = {
        flag for text in PROSE.values() for code in re.findall(r"`([^`]+)`", text)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }  # fmt: skip
    assert len(named) > 15
    assert not named - flags


def test_environment_variables_that_pages_name_are_read():
    sources = [
        *(ROOT / "ovseg").rglob("*.py"),
        *(ROOT / "configs").rglob("*.py"),
        ROOT / "tools/dist_test.sh",
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = {name for text in PROSE.values() for name in re.findall(r"\bOVSEG_[A-Z_]+\b", text)}
    assert {"OVSEG_HOME", "OVSEG_MAX_PIXELS", "OVSEG_DATA"} <= named
    assert not [name for name in named if name not in code]


def project():
    """The names of the extras, and the minor versions of Python 3 that are supported."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    versions = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.M)
    return set(re.findall(r"^(\w+) = \[", extras, re.M)), range(int(versions[1]), int(versions[2]))


def test_readme_lists_what_there_is():
    """Methods, segmenters, protocols, extras and Python versions of README's table, against the code."""
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", TEXT[README], re.M))
    code = {title: re.findall(r"`([^`]+)`", row) for title, row in rows.items()}
    assert set(code["Methods"]) == set(ovseg.list_methods())
    names = {name.removesuffix("…") for name in code["Segmenters"]}
    assert names == set(ovseg.list_segmenters())
    folders = {f"configs/{path.name}" for path in (ROOT / "configs").iterdir() if path.is_dir()}
    assert set(code["Protocols"]) == folders - {"configs/_base_", "configs/photos"}
    extras = {name for title in rows for name in re.findall(r"\.\[(\w+)\]", title)}
    known, versions = project()
    assert extras == known
    assert rows["Python"] == ", ".join(f"3.{minor}" for minor in versions)


def test_pages_list_all_methods_and_vocabularies():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT[ROOT / "docs/methods.md"], re.M)
    assert [*rows, "clip_surgery_normalised"] == ovseg.list_methods()
    protocols = TEXT[ROOT / "docs/protocols.md"]
    peers = [name for name in ovseg.list_vocabularies() if re.search("_(sclip|clearclip|proxyclip)$", name)]
    assert len(peers) > 8
    assert not [name for name in peers if f"`{name}`" not in protocols]
    for folder in ("paper", "sclip", "naclip", "clearclip", "common", "photos"):
        assert f"`configs/{folder}`" in TEXT[ROOT / "docs/evaluation.md"]


def test_no_page_names_an_address_of_weights_or_a_registry():
    for text in TEXT.values():
        assert not re.search(r"https?://|index-url|pypi\.|huggingface\.co", text)


def test_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ovseg.__version__}\n" in text
    assert "Pattern Recognition" in text and '"111409"' in text


def test_pictures_are_those_of_the_demo(tmp_path):
    """docs/images holds what ``make pictures`` writes, and every page shows only these."""
    import numpy as np

    written = [Path(line) for line in invoke(["demo", "--out", str(tmp_path)], 0).stdout.split()]
    committed = sorted((ROOT / "docs/images").iterdir())
    assert sorted(path.name for path in written) == [path.name for path in committed]
    for path in committed:
        shown, made = ovseg.load_image(path).astype(int), ovseg.load_image(tmp_path / path.name).astype(int)
        assert shown.shape == made.shape, f"{path.name}: run make pictures"
        assert np.abs(shown - made).mean() < 2, f"{path.name}: run make pictures"
    named = {
        Path(name).name for text in PROSE.values() for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    }
    assert named == {path.name for path in committed}
    assert os.listdir(tmp_path)
