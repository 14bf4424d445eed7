"""tools/explain.py, tools/multilabel.py and tools/ablation.py: what they write, killed runs, misuse."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg.errors import UsageError
from ovseg.evaluation.tables import ablation, paper
from ovseg.evaluation.tables.maps import MapScore, map_values
from ovseg.evaluation.tables.protocol import FIXED, WITH_METHODS, parse_backbone
from ovseg.evaluation.tables.publish import COMPARING, PAPERS, _own_device
from ovseg.evaluation.tables.recognition import parse_files, published
from ovseg.evaluation.tables.report import Cell, Report
from ovseg.evaluation.tables.rows import World
from ovseg.evaluation.tables.systems import _folder_digest, parse_system
from ovseg.explanation import remove_explanation
from ovseg.model import Model

ROOT = Path(__file__).parents[2]
SMALL = ["--data", "scenes=3", "--size", "64", "--templates", "plain", "--group", "2"]


@pytest.fixture
def tool(tmp_path, monkeypatch, capsys):
    """Run a tool in this process: (exit code, standard output, standard error)."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        try:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def encodings(monkeypatch):
    """Batches that went through the image encoder, by method."""
    calls = []
    original = Model.encode_image

    def counted(self, pixels, **options):
        calls.append((self.method.name, len(pixels)))
        return original(self, pixels, **options)

    monkeypatch.setattr(Model, "encode_image", counted)
    return calls


def test_every_experiment_writes_its_table_record_and_picture(tool, tmp_path):
    names = ["table1", "table4", "depth", "table5", "figure4", "figure5", "figure6", "randomisation"]
    code, out, err = tool("explain.py", *names, "--out", tmp_path, *SMALL)
    assert (code, err) == (0, "")
    for name in names:
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert record["records"] and record["figures"] and record["run"]["protocol"]["size"] == 64
        assert (tmp_path / f"{name}.md").read_text().strip() in out
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        "depth.png", "figure4-tiny.png", "figure5-tiny-3-scenes.png", "figure6.png", "randomisation.png",
    }  # fmt: skip
    for path in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(path)).std() > 10
    first = json.loads((tmp_path / "table1.json").read_text())["records"][1]
    assert first["method"] == "clip_surgery" and first["texts"]["names"] and first["mSC"] > 0
    assert set(first["mIoU by threshold"]) == {"dataset", "class", "image"}


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tool, tmp_path, monkeypatch, encodings):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["table1", "figure6", *SMALL]
    assert tool("explain.py", *words, "--out", whole)[0] == 0
    all_of_them = len(encodings)
    original = Model.encode_image
    encodings.clear()

    def stopping(self, pixels, **options):
        if len(encodings) == 3:
            raise KeyboardInterrupt
        return original(self, pixels, **options)

    monkeypatch.setattr(Model, "encode_image", stopping)
    assert tool("explain.py", *words, "--out", cut)[0] == 130
    rows = next((cut / "rows").glob("*.jsonl"))
    rows.write_bytes(rows.read_bytes()[:-7])  # a kill in the middle of a line
    monkeypatch.setattr(Model, "encode_image", original)
    encodings.clear()
    assert tool("explain.py", *words, "--out", cut)[0] == 0
    assert 0 < len(encodings) < all_of_them
    assert content(cut) == content(whole)
    encodings.clear()
    assert tool("explain.py", *words, "--out", cut)[0] == 0
    assert encodings == [] and content(cut) == content(whole)


def test_another_method_measures_that_method_alone(tool, tmp_path, encodings):
    tool("explain.py", "table1", "--methods", "clip", "--out", tmp_path, *SMALL)
    encodings.clear()
    code, out, _ = tool("explain.py", "table1", "--methods", "clip", "gem", "--out", tmp_path, *SMALL)
    assert code == 0 and set(encodings) == {("gem", 2), ("gem", 1)}
    assert "| tiny | clip |" in out and "| tiny | gem |" in out


def photographs(folder):
    """Three pictures with masks; the second is cut off in its middle."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"images/{name}.jpg")
        Image.fromarray(rng.integers(0, 2, (64, 64), dtype=np.uint8)).save(folder / f"masks/{name}.png")
    broken = folder / "images" / "b.jpg"
    broken.write_bytes(broken.read_bytes()[:1500])
    (folder / "classes.txt").write_text("sky\ngravel\n")
    (folder / "val.txt").write_text("a\nb\nc\n")
    return folder


def test_an_unreadable_picture_is_said_and_counted(tool, tmp_path):
    data = photographs(tmp_path / "photos")
    words = ["--data", f"photos={data}", *SMALL[2:], "--backbones", "tiny", "--out", tmp_path / "out"]
    code, out, err = tool("explain.py", "table1", *words)
    assert code == 1 and "| tiny | clip_surgery |" in out
    assert "skipped: clip: b: expected a whole image" in err and "Traceback" not in err
    (one, *_) = json.loads((tmp_path / "out" / "table1.json").read_text())["records"]
    assert (one["images"], one["skipped"]) == (2, 1) and "b.jpg" in one["skipped images"][0]
    code, out, err = tool("multilabel.py", *words)
    assert (
        code == 1 and json.loads((tmp_path / "out" / "table6.json").read_text())["records"][0]["images"] == 2
    )


@pytest.mark.parametrize(
    "name, words, message",
    [
        ("explain.py", ["table9"], "invalid choice"),
        ("explain.py", [], "required"),
        ("explain.py", ["table1", "--methods", "vibes"], "unknown method 'vibes'"),
        ("explain.py", ["table1", "--data", "voc2012=/no/such/folder"], "expected the folder of voc2012"),
        ("explain.py", ["table1", "--data", "nus_wide=."], "expected a data set with masks"),
        ("explain.py", ["table4", "--methods", "clip"], "--methods needs one of table1"),
        ("multilabel.py", ["--files-only"], "--files-only needs --scores"),
        ("explain.py", ["table1", "--size", "wide"], "expected size as 512 or 384x512"),
        ("multilabel.py", ["--limit", "0"], "expected limit in 1..2147483647, got 0"),
        ("explain.py", ["table1", "--backbones", "tiny="], "expected a backbone as NAME"),
        ("explain.py", ["table1", "--backbones", "vibes", "--offline"], "vibes"),
        ("explain.py", ["table1", "--vocabulary", "voc20"], "expected a vocabulary with every class"),
        ("explain.py", ["table1", "--vocabulary", "/no/file"], "unknown vocabulary"),
        ("multilabel.py", ["--scores", "mkt"], "expected NAME=FILE"),
        ("multilabel.py", ["--scores", "mkt=/no/file.npz"], "does not exist"),
        ("multilabel.py", ["--score-scale", "0"], "expected score-scale"),
        ("multilabel.py", ["--methods", "vibes"], "invalid choice"),
        ("ablation.py", ["table1"], "invalid choice"),
        ("ablation.py", ["table3", "--segmenter", "vibes"], "vibes"),
        ("ablation.py", ["table3", "--segmentation-size", "0"], "expected size"),
    ],
)
def test_misuse_is_one_line_and_code_2(tool, tmp_path, monkeypatch, name, words, message):
    if "--data" not in words:
        words = [*words, "--data", "scenes=1"]
    code, _, err = tool(name, *words, "--out", tmp_path / "out")
    assert code == 2 and message in err, err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_two_sets_of_one_title_are_no_single_column(tool, tmp_path):
    for folder in ("a", "b"):
        photographs(tmp_path / folder / "photos")
    words = [
        "--data",
        *(f"photos={tmp_path / folder / 'photos'}" for folder in "ab"),
        "--out",
        tmp_path / "o",
    ]
    for name, experiment in (("explain.py", ["table1"]), ("multilabel.py", [])):
        code, _, err = tool(name, *experiment, *words)
        assert code == 2 and "expected data sets with a title each, got 'photos val' twice" in err


@pytest.mark.parametrize(
    "change", ["labels of another size", "no picture", "a missing file", "a class is missing"]
)
def test_odd_files_are_one_line_before_any_weights_are_read(tool, tmp_path, monkeypatch, change):
    def load(*words, **options):
        raise AssertionError("weights were read")

    monkeypatch.setattr("ovseg.evaluation.tables.run.load_clip", load)
    data = photographs(tmp_path / "photos")
    mask = data / "masks" / "c.png"
    if change == "labels of another size":
        Image.new("L", (5, 5)).save(mask)
    elif change == "no picture":
        mask.write_text("no picture")
    elif change == "a missing file":
        mask.unlink()
    (tmp_path / "names.txt").write_text("sky\n")
    words = ["--vocabulary", tmp_path / "names.txt"] if change == "a class is missing" else []
    code, _, err = tool("explain.py", "table1", "--data", f"photos={data}", "--out", tmp_path / "out", *words)
    wanted = (2, "it lacks gravel") if words else (1, "c.png")
    assert code == wanted[0] and wanted[1] in err and err.startswith("error: ") and err.count("\n") == 1


def test_table_6_with_a_file_of_scores(tool, tmp_path):
    rng = np.random.default_rng(0)
    from ovseg.evaluation.data.scenes import NAMES

    np.savez(tmp_path / "mkt.npz", scores=rng.random((3, 42)), images=list("012"), names=list(NAMES))
    given = ["--scores", f"MKT={tmp_path / 'mkt.npz'}", "--out", tmp_path, *SMALL]
    code, out, err = tool("multilabel.py", *given)
    assert (code, err) == (0, "") and "|  | MKT |" in out and "|  | MKT + surgery |" in out
    code, out, _ = tool("multilabel.py", "--files-only", *given)
    assert code == 0 and "tiny" not in out
    with pytest.raises(UsageError, match="each name once"):
        parse_files([f"a={tmp_path / 'mkt.npz'}"] * 2)


def test_table_3_over_four_tasks(tool, tmp_path):
    code, _, err = tool(
        "ablation.py", "table3", "--segmenter", "tiny", "--segmentation-size", "64", "--out", tmp_path, *SMALL
    )
    assert (code, err) == (0, "")
    figures = json.loads((tmp_path / "table3.json").read_text())["figures"]
    table = {(one["row"][1], one["column"].partition("scenes ")[2]): one["value"] for one in figures}
    assert len(table) == 4 * 6
    for one, other in (("original", "architecture"), ("feature", "architecture and feature")):
        assert table[one, "multi-label mAP"] == table[other, "multi-label mAP"]
    for one, other in (("original", "feature"), ("architecture", "architecture and feature")):
        assert table[one, "semantic mIoU"] == table[other, "semantic mIoU"]
    assert table["architecture", "mSC"] > table["original", "mSC"]


# ------------------------------------------------------------------------------ the paper's figures


def test_the_papers_figures_stand_beside_ours():
    report = Report("t", "T", corner=("a", "b"), notes=["A note."])
    known = paper.map_scores("ViT-B-16-quickgelu", "clip_surgery", "voc2012")
    report.add(("ViT-B-16-quickgelu", "clip_surgery"), map_values(MapScore(), "dataset"), known)
    assert [str(cell) for cell in report.cells] == ["– (55.78)", "– (41.64)"]
    text = report.markdown()
    assert text.endswith("In brackets: the paper's figure.\n\nA note.")
    assert str(Cell(("x",), "y", 1.0)) == "1.00" and str(Cell(("x",), "y", None)) == "–"


def test_the_papers_tables_are_whole():
    """Figures named in the paper's text, and means that follow from its tables."""
    backbones = ("RN50", "RN101", "ViT-B-32", "ViT-B-16", "ViT-L-14")
    for kind, gains in zip(paper.SETS, ((34.96, 59.36), (35.95, 65.21), (24.67, 47.72), (22.11, 55.40))):
        for measure, gain in zip(("mIoU", "mSC"), gains, strict=True):
            surgery, clip = (
                [paper.map_scores(name, method, kind)[measure] for name in backbones]
                for method in ("clip_surgery", "clip")
            )
            found = np.subtract(surgery, clip)
            assert np.mean(found) == pytest.approx(gain, abs=0.011)  # the table's last row
    gain = paper.TABLE3["feature"]["multi-label mAP"] - paper.TABLE3["original"]["multi-label mAP"]
    assert gain == pytest.approx(5.52)
    rows = list(paper.TABLE4.values())
    assert rows[2] - rows[1] == pytest.approx(40.03)
    plain, surgery = (published("ViT-B-16", name, "nus_wide") for name in ("clip", "clip_surgery"))
    assert surgery - plain == pytest.approx(11.61)
    assert published("", "TaI-DPT + surgery", "nus_wide") == 48.55
    assert published("RN50", "clip", "voc2012") is None
    assert ablation.published("ViT-B-16-quickgelu", "original", "pascal_context")["mSC"] == -16.73
    assert paper.map_scores("tiny", "clip", "voc2012") == {}
    assert ablation.published("tiny", "original", "pascal_context") == {}


def test_names_of_backbones():
    assert parse_backbone("tiny").weights is None and str(parse_backbone("RN50=openai")) == "RN50=openai"
    for text in ("", "=openai", "RN50="):
        with pytest.raises(UsageError, match="expected a backbone"):
            parse_backbone(text)


OWN = """
import torch
from ovseg.explanation import explanation

@explanation("mine", source="nobody")
def mine(subject):
    height, width = subject.grid
    return torch.linspace({start}, 1, width).expand(len(subject.text), height, width)
"""


def test_a_method_of_ones_own_is_one_more_row(tool, tmp_path):
    file = tmp_path / "mine.py"
    words = ["table1", "--register", file, "--methods", "mine", "--out", tmp_path / "out", *SMALL]
    tables = []
    for start in (0, 2):  # what it computes changes, and so do its rows
        file.write_text(OWN.format(start=start))
        code, out, err = tool("explain.py", *words)
        remove_explanation("mine")
        assert (code, err) == (0, "") and "| tiny | mine |" in out
        tables.append(out)
    assert tables[0] != tables[1]
    file.write_text("1 / 0")
    for path, message in (
        (file, "it raises division by zero"),
        (tmp_path / "none.py", "expected a Python file"),
    ):
        code, _, err = tool("explain.py", "table1", "--register", path, *SMALL)
        assert code == 2 and message in err and err.count("\n") == 1


def test_saved_maps_that_change_are_measured_again(tmp_path):
    digests = []
    for value in (0, 0, 1):
        np.savez(tmp_path / "0.npz", grid_values=np.full((1, 2, 2), value), names=["sky"])
        _folder_digest.cache_clear()
        digests.append(parse_system(f"eclip={tmp_path}").describe()["files"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "size, device, wanted", [(2, "cuda", "cuda:1"), (1, "cuda", "cuda"), (2, "cpu", "cpu")]
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, size, device, wanted):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _own_device(device, World(0, size)) == wanted


def test_each_data_set_has_an_embedded_model_that_knows_it(tool, tmp_path, monkeypatch):
    """Photographs go to "small", and to "tiny" as well where rows need blocks; a named backbone stands."""
    asked = []

    def load(name, *words, **options):
        asked.append(name)
        raise UsageError("no more is wanted")

    monkeypatch.setattr("ovseg.evaluation.tables.run.load_clip", load)
    photos = ["--data", f"photos={photographs(tmp_path / 'photos')}", "--out", tmp_path / "out"]
    scenes = ["--data", "scenes=1", "--out", tmp_path / "out"]
    for words in (
        ["explain.py", "table1", *photos],
        ["multilabel.py", *photos],
        ["ablation.py", "table3", *scenes],
        ["explain.py", "table1", *photos, "--backbones", "RN50=openai"],
    ):
        assert tool(*words)[0] == 2
    assert asked == ["small", "small", "tiny", "RN50"]


def test_the_names_that_tools_know_are_those_of_the_experiments():
    assert tuple(COMPARING) == WITH_METHODS and tuple(PAPERS) == FIXED


def test_arguments_are_read_without_a_model():
    code = "import ovseg.evaluation.tables.protocol, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_folder_that_cannot_be_made_is_one_line_before_anything_is_loaded(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ovseg.evaluation.tables.run.load_clip", lambda *words, **options: pytest.fail("loaded")
    )
    (tmp_path / "file").write_text("")
    for name, words in (("explain.py", ["table1"]), ("multilabel.py", []), ("ablation.py", ["table3"])):
        code, _, err = tool(name, *words, "--data", "scenes=1", "--out", tmp_path / "file")
        assert code == 2 and "expected a folder for results" in err and err.count("\n") == 1
