"""What README and docs say of ovseg against the code: links, flags, variables, lists, pictures, citation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import ovseg
from ovseg.apps.cli import app
from ovseg.evaluation.tables.protocol import Protocol, RunOptions

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
CARDS = sorted((ROOT / "ovseg/weights/assets").glob("*.md"))
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")), *CARDS]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
PROSE = {page: re.sub(r"^```.*?^```", "", text, flags=re.M | re.S) for page, text in TEXT.items()}


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
        if hasattr(command, "list_commands"):
            waiting += [command.get_command(None, name) for name in command.list_commands(None)]
        found |= {flag for option in command.params for flag in [*option.opts, *option.secondary_opts]}
    for script in [*(ROOT / "tools").glob("*.py"), ROOT / "ovseg/evaluation/tables/protocol.py"]:
        found |= set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text(encoding="utf-8")))
    for options in (Protocol, RunOptions):
        found |= {f"--{name.replace('_', '-')}" for name in options.names()}
    found.add("--output")  # labelme's
    for text in TEXT.values():  # of cvat-cli, which tests/test_docs.py runs with them
        for block in re.findall(r"^```sh cvat\n(.*?)^```", text, re.M | re.S):
            found |= set(re.findall(r"(?<![\w-])--[a-z][\w-]*", block))
    return found


def test_flags_that_pages_name_exist(flags):
    named = {
        flag for text in PROSE.values() for code in re.findall(r"`([^`]+)`", text)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }  # fmt: skip
    assert len(named) > 15
    assert sorted(named - flags) == []


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
    """The names of the extras, and the lowest version of Python."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    lowest = re.search(r'^requires-python = ">=([\d.]+)"', text, re.M)[1]
    return set(re.findall(r"^(\w+) = \[", extras, re.M)), lowest


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
    known, lowest = project()
    assert extras == known
    assert rows["Python"].startswith(f"{lowest} and later")


def test_pages_list_all_methods_and_vocabularies():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT[ROOT / "docs/methods.md"], re.M)
    assert [*rows, "clip_surgery_normalised"] == ovseg.list_methods()
    protocols = TEXT[ROOT / "docs/protocols.md"]
    peers = [name for name in ovseg.list_vocabularies() if re.search("_(sclip|clearclip|proxyclip)$", name)]
    assert len(peers) > 8
    assert not [name for name in peers if f"`{name}`" not in protocols]
    for folder in ("paper", "sclip", "naclip", "clearclip", "common", "photos"):
        assert f"`configs/{folder}`" in TEXT[ROOT / "docs/evaluation.md"]


def test_the_page_on_explanations_lists_all_of_them():
    from ovseg.explanation import get_explanation

    rows = re.findall(r"^\| (`.+?`) \| .+ \| .+ \| .+ \|$", TEXT[ROOT / "docs/explain.md"], re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    own = {
        name
        for name in ovseg.list_explanations()
        if str(get_explanation(name).maps.__module__).startswith("ovseg.")
    }
    assert named == own and len(own) > 20


def test_no_page_names_an_address_of_weights_or_a_registry():
    assert len(TEXT) > 5
    for text in TEXT.values():
        assert not re.search(r"https?://(?!localhost|127\.0\.0\.1)|index-url|pypi\.|huggingface\.co", text)


def test_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ovseg.__version__}\n" in text
    assert "Pattern Recognition" in text and '"111409"' in text


SCREENSHOTS = {
    "label_studio.png": "python tools/try_label_studio.py",
    "page.png": "python tools/picture_of_page.py",
}
"""Pictures of programs in docs/images, and the command that made each; a page names it."""


def test_pictures_are_those_of_the_demo(tmp_path):
    """docs/images holds what ``make pictures`` writes and screenshots; every page shows only these."""
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = [Path(line.split(": ")[0]) for line in done.stdout.splitlines()]
    committed = sorted((ROOT / "docs/images").iterdir())
    assert sorted([*(path.name for path in written), *SCREENSHOTS]) == [path.name for path in committed]
    for command in SCREENSHOTS.values():
        assert any(command in text for text in TEXT.values())
    for path in (path for path in committed if path.name not in SCREENSHOTS):
        shown, made = ovseg.load_image(path).astype(int), ovseg.load_image(tmp_path / path.name).astype(int)
        assert shown.shape == made.shape, f"{path.name}: run make pictures"
        assert np.abs(shown - made).mean() < 2, f"{path.name}: run make pictures"
    named = {
        Path(name).name for text in PROSE.values() for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    }
    assert named == {path.name for path in committed}


def test_contributing_names_every_room():
    rooms = {
        path.stem
        for path in (ROOT / "ovseg").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    named = set(re.findall(r"\w+", TEXT[CONTRIBUTING].split("```text\n")[1].split("```")[0]))
    assert not rooms - {"__init__"} - named
