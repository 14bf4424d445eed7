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
import json
import logging
import re
import runpy
import shlex
import shutil
import sys
import threading
from importlib import import_module, resources
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ovseg
from ovseg.annotation.classes import parse_classes
from ovseg.apps.cli import app
from ovseg.evaluation.data.scenes import NAMES
from ovseg.options import AnnotateOptions
from ovseg.words.vocabulary import parse_vocabulary

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
CARDS = sorted((ROOT / "ovseg" / "weights" / "assets").glob("*.md"))
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")), *CARDS]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
KINDS = (
    ("python", ""),
    ("python", "needs-weights"),
    ("python", "needs-gpu"),
    ("python", "data"),
    ("python", "config"),
    ("python", "client"),
    ("pycon", ""),
    ("console", ""),
    ("sh", ""),
    ("sh", "needs-weights"),
    ("sh", "data"),
    ("sh", "steps"),
    ("sh", "serve"),
    ("sh", "page"),
    ("sh", "cvat"),
    ("txt", "vocabulary"),
    ("txt", "classes"),
    ("text", ""),
    ("xml", ""),
)


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


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """One home for all blocks, so that everyday words are encoded once. No weights are ever put there."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def photo(tmp_path, monkeypatch, shared_home):
    """A folder with photo.jpg, and mask.png of its size, as the current one."""
    monkeypatch.setenv("OVSEG_HOME", str(shared_home))
    shutil.copy(Path(str(resources.files("skimage"))) / "data" / "rocket.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    with Image.open("photo.jpg") as picture:
        mask = Image.new("L", picture.size)
    mask.paste(255, (mask.width // 3, 0, mask.width // 2, mask.height))
    mask.save("mask.png")
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
    taken = {
        "": ("ovseg", "python", "make", "pip"),
        "needs-weights": ("ovseg",),
        "steps": ("ovseg",),
        "serve": ("ovseg",),
        "page": ("ovseg",),
        "cvat": ("cvat-cli",),
        "data": ("python", "bash"),
    }
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
    with pytest.raises(ovseg.WeightsError, match="found none: `ovseg models pull"):
        exec(compile(block.body, str(block), "exec"), {})


@blocks("python", "needs-gpu")
def test_python_blocks_without_a_gpu_say_so(photo, offline, block):
    compiled = compile(block.body, str(block), "exec")
    if torch.cuda.is_available():
        with pytest.raises(ovseg.WeightsError, match="found none"):
            exec(compiled, {})
        return
    with pytest.raises(ovseg.UsageError, match="expected device cuda, this machine offers"):
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
def test_configs_score_a_folder(photo, block):
    from ovseg.mmseg.evaluate import Run, evaluate, load_config

    scene = ovseg.make_scene(11, (64, 96))
    Path("configs").symlink_to(ROOT / "configs")
    Path("own.py").write_text(block.body, encoding="utf-8")
    Path("words.txt").write_text("\n".join(NAMES), encoding="utf-8")
    for folder, ending, values in (("images", "jpg", scene.image), ("labels", "png", scene.labels)):
        Path("mydata", folder).mkdir(parents=True)
        Image.fromarray(values).save(Path("mydata", folder, f"one.{ending}"))
    less = {"test_dataloader.dataset.pipeline.2.size": (64, 96), "test_dataloader.num_workers": 0}
    config = load_config("own.py", {**less, "model.templates": "plain"}, backbone="tiny")
    found = evaluate(config, Run())
    assert found["dataset"]["images"] == 1 and found["mIoU"] > 0


@blocks("txt", "vocabulary")
def test_vocabularies_are_read(block):
    assert len(parse_vocabulary(block.body)) == len(block.body.splitlines())


@blocks("txt", "classes")
def test_class_lists_are_read(block):
    found = parse_classes(block.body)
    assert len(found.names) > 2 and found.negatives and found.thresholds


# ------------------------------------------------------------------------------------------- command lines


PAGES_OF_STEPS = sorted({block.page for block in BLOCKS if block.note == "steps"})


@pytest.mark.parametrize("page", PAGES_OF_STEPS, ids=lambda page: page.name)
def test_steps_of_a_page_run_one_after_the_other(photo, page):
    """Blocks "sh steps" in one folder, with the page's class list as classes.txt."""
    own = [block for block in BLOCKS if block.page == page]
    (listed,) = (block.body for block in own if block.note == "classes")
    Path("classes.txt").write_text(listed, encoding="utf-8")
    done = 0
    for block in own:
        if block.note == "steps":
            for line in block.body.splitlines():
                invoke(shlex.split(line)[1:], 0)
                done += 1
    assert done > 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cvat-cli has no release for Python 3.10")
def test_commands_of_cvat_run_one_after_the_other(photo, monkeypatch, tmp_path):
    """Blocks "sh cvat" against a stub of CVAT, with the page's class list; an agent ends when it has nothing
    to do."""
    from cvat_cli.__main__ import main

    from .annotation.cvat_server import CvatServer, lead_to_cvat

    lead_to_cvat(monkeypatch, tmp_path / "cache")
    own = [block for block in BLOCKS if block.note == "cvat"]
    (listed,) = (block.body for block in BLOCKS if (block.page, block.note) == (own[0].page, "classes"))
    Path("classes.txt").write_text(listed, encoding="utf-8")
    labels = parse_classes(listed).objects
    clicks = {"type": "interact", "frame": 0, "pos_points": [[320, 200]], "neg_points": [], "obj_bbox": []}
    with CvatServer({"photo.jpg": ovseg.load_image(photo)}, labels) as server:
        server.requests.append(("interactive", clicks))
        for line in (line for block in own for line in block.body.splitlines()):
            words = shlex.split(line)
            words[words.index("--server-host") + 1] = server.arguments[1]
            assert main(words[1:] + ["--burst"] * ("run-agent" in words)) == 0
    assert [method for method, _ in server.uploads] == ["PATCH", "PUT"] and server.shapes()
    assert [route for route, _ in server.results] == ["complete"] and not server.refused


@lines("", "ovseg")
def test_commands_run(photo, words):
    invoke(words[1:], 0)


@lines("serve", "ovseg")
def test_servers_start_and_answer(photo, monkeypatch, words):
    """Each on a free port and this machine's own address; it is asked once and then ended."""

    def once(app, opened, stop, seconds, verbose):
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, args=([opened],))
        thread.start()
        with urlopen(f"http://127.0.0.1:{opened.getsockname()[1]}/health", timeout=60) as answer:
            assert json.load(answer)["status"] == "UP"
        server.should_exit = True
        thread.join()

    monkeypatch.setattr(import_module("ovseg.apps.cli.serve"), "run_server", once)
    said = invoke([*words[1:], "--port", "0"], 0).stdout
    assert "serves on http://" in said


@blocks("python", "client")
def test_clients_get_answers(photo, capsys, block):
    pytest.importorskip("uvicorn")
    from ovseg.apps.serve.app import create_app
    from ovseg.apps.serve.core import Core

    from .annotation.serving import running

    options = AnnotateOptions(templates="plain", presence_threshold=0)
    core = Core(ovseg.load_model("tiny"), ovseg.load_segmenter("tiny"), options)
    with running(create_app(core, token="secret")) as port:
        code = block.body.replace("127.0.0.1:9090", f"127.0.0.1:{port}")
        names = {}
        exec(compile(code, str(block), "exec"), names)
        said = capsys.readouterr().out.splitlines()
        assert len(said) > 1 and {line.split()[0] for line in said[:-1]} <= {"rocket", "sky"}
        assert int(said[-1]) > 0
        with pytest.raises(ValueError, match="expected a word in the text_prompt"):
            names["ask"]("photo.jpg", text_prompt=",")
        with pytest.raises(ValueError, match="expected conf_threshold"):
            names["ask"]("photo.jpg", text_prompt="sky", conf_threshold=2)


@lines("page", "ovseg")
def test_pages_open(photo, monkeypatch, words):
    """Each on a free port; its photo and words are there, and then it is ended."""

    def once(address):
        with urlopen(address, timeout=60) as answer:
            assert "ov-picture" in answer.read().decode()

    monkeypatch.setattr(import_module("ovseg.apps.cli.page"), "wait", once)
    said = invoke([*words[1:], "--port", "0"], 0).stdout
    assert "the page is at http://127.0.0.1:" in said


@blocks("xml")
def test_labelling_interfaces_are_read(block):
    from ovseg.apps.serve.labelling import read_labelling

    found = read_labelling(block.body)
    assert found.kind == "BrushLabels" and found.key == "image" and len(found.labels) > 1


@lines("needs-weights", "ovseg")
def test_commands_without_their_weights_say_which(photo, asked, words):
    away = [] if {"verify", "path"} & set(words) else ["--offline"]
    said = " ".join(invoke([*words[1:], *away], 1).output.split())
    assert "found none: `ovseg models pull" in said
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
        assert f"\n{target}: .venv/" in (ROOT / "Makefile").read_text(encoding="utf-8")


@lines("", "pip")
def test_extras_exist(words):
    assert words[1] == "install"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        assert f"\n{extra} = [" in declared


class Parsed(BaseException):
    """Ends a tool as soon as its arguments are read."""


FEWER = {
    "tools/interactive.py": ["--scenes", "1", "--methods", "clip_surgery"],
    "tools/measure_embedded.py": ["--scenes", "1", "--methods", "clip_surgery"],
    "tools/benchmark.py": ["--parts", "surgery", "--rounds", "1"],
    "tools/benchmark_explain.py": [
        "--methods",
        "gradcam_cls",
        "--images",
        "1",
        "--texts",
        "2",
        "--rounds",
        "1",
    ],
    "tools/benchmark_masks.py": ["--segmenter", "tiny", "--texts", "1", "--side", "96", "--rounds", "1"],
}
"""Tools that take seconds on less. Training and the benchmark of MMSegmentation take longer: their arguments
are read, and tests/mmseg runs tools/test.py and tools/compare.py."""


@lines("", "python")
def test_tools_read_their_documented_arguments(monkeypatch, words):
    """``python tools/X …`` up to its own parser's answer; patterns of files lead to files."""
    arguments = [found for word in words[2:] for found in (sorted(glob.glob(word, root_dir=ROOT)) or [word])]
    for word in arguments:
        assert not word.startswith("configs/") or (ROOT / word).is_file(), f"no file {word}"

    def stopping(parse):
        def stop(parser, *given):
            parse(parser, *given)  # SystemExit where an argument is wrong
            raise Parsed

        return stop

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, stopping(getattr(argparse.ArgumentParser, name)))
    monkeypatch.setattr(sys, "argv", [words[1], *arguments])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / words[1]), run_name="__main__")


@pytest.mark.parametrize("tool", FEWER)
def test_tools_run_on_less(photo, monkeypatch, capsys, tool):
    assert any(tool in block.body for block in BLOCKS)
    monkeypatch.setattr(sys, "argv", [tool, *FEWER[tool]])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    level = logging.getLogger().level
    try:
        runpy.run_path(str(ROOT / tool), run_name="__main__")
    finally:
        logging.getLogger().setLevel(level)  # benchmarks silence warnings, in a process of their own
    assert capsys.readouterr().out.count("|") > 10
