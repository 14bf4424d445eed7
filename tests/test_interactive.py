"""tools/interactive.py on scenes: each figure against a way of its own to it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ovseg
from ovseg.segmenters.grabcut import GrabCut


@pytest.fixture(scope="module")
def tool(import_tool):
    return import_tool("interactive")


@pytest.fixture(scope="module")
def scores(tool, model):
    """{method: scores} over two scenes."""
    samples, sam = tool.scenes(2), GrabCut()
    return {m: tool.measure(model.with_method(m), sam, samples, {}) for m in ("clip", "clip_surgery")}


def test_scores_are_those_of_the_answers(tool, model, scores):
    scores = scores["clip_surgery"]
    assert set(scores) == {"paper's points, right", "our points, right", "map", *tool.WAYS}
    t2m = ovseg.TextToMask(model, GrabCut(), point_rule="paper", prompt_with="points", presence_threshold=0)
    overlap, right = {}, {}
    for sample in tool.scenes(2):
        for name, truth in sample.masks.items():
            found = t2m.predict(sample.image, name)
            union = found.union
            overlap.setdefault(name, []).append((union & truth).sum() / (union | truth).sum())
            if len(found):
                (points,) = found.points
                hits = [truth[int(y), int(x)] == bool(k) for (x, y), k in zip(points.xy, points.labels)]
                right.setdefault(name, []).append(np.mean(hits))
    assert scores["paper's points"] == pytest.approx(100 * np.mean([np.mean(v) for v in overlap.values()]))
    assert scores["paper's points, right"] == pytest.approx(
        100 * np.mean([np.mean(v) for v in right.values()])
    )


def test_surgery_is_what_makes_points_right(scores):
    """The paper's Fig. 10 on scenes: original maps point beside the object."""
    original, surgery = scores["clip"], scores["clip_surgery"]
    for which in ("paper's points, right", "our points, right", "map", "our points and map"):
        assert original[which] + 20 < surgery[which]


def test_our_points_and_map_are_ahead_of_the_papers_points(scores):
    """docs/results.md has it for every set of photographs."""
    assert scores["clip_surgery"]["our points and map"] > scores["clip_surgery"]["paper's points"] + 5


def test_presence_is_counted_over_all_names(tool, model, monkeypatch):
    samples = tool.scenes(3)
    scores = tool.presence(model, GrabCut(), samples, {})
    assert scores["present"] > 60 and scores["absent"] > 30
    # an always-yes would have 100 and 0, an always-no 0 and 100
    assert scores["present"] + scores["absent"] > 110
    assert scores["at best"] >= (scores["present"] + scores["absent"]) / 2
    monkeypatch.setattr("ovseg.maps.recognition.BORDER", scores["best border"] - 1e-6)
    moved = tool.presence(model, GrabCut(), samples, {})
    assert (moved["present"] + moved["absent"]) / 2 == pytest.approx(scores["at best"])


def test_it_prints_tables_and_draws_charts(tool, tmp_path, capsys, monkeypatch):
    words = ["interactive.py", "--scenes", "1", "--methods", "clip_surgery", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*words, "--segmenter", "grabcut"])
    tool.main()
    printed = capsys.readouterr().out
    assert printed.count("| clip_surgery |") == 2 and "segmenter grabcut" in printed
    written = json.loads((tmp_path / "interactive.json").read_text())
    assert set(written) == {"1 scenes"} and (tmp_path / "1_scenes.png").stat().st_size > 1000
    monkeypatch.setattr("sys.argv", ["interactive.py", "--photos", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        tool.main()
    assert caught.value.code == 2 and "does not exist" in capsys.readouterr().err
