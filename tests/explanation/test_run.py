"""explain() and compare(): one result type, one shared pass, misuse in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import ovseg
import ovseg.explanation.subject
from ovseg.clip.attention import METHODS, Term, method, remove_method
from ovseg.clip.loaded import LoadedClip
from ovseg.errors import DataError, ImageError, OvsegError, UnsupportedModelError, UsageError
from ovseg.explanation import (
    Explanation,
    Subject,
    add_explanation,
    compare,
    explain,
    explain_each,
    explanation,
    get_explanation,
    list_explanations,
    remove_explanation,
    saved_maps,
)
from ovseg.explanation.run import normalised
from ovseg.explanation.saved import read_maps
from ovseg.model import Model
from ovseg.options import ExplainOptions

NAMES = ["bricks", "waves", "red circle"]
PLAIN = {"templates": "plain", "size": (48, 64)}
GRADIENTS = sorted(set(list_explanations()) - set(METHODS))
QUICK = [name for name in GRADIENTS if not name.startswith("gscorecam")]  # which encodes many images


@pytest.fixture(scope="module")
def image():
    return ovseg.make_scene(7, (96, 128)).image


@pytest.mark.parametrize("name", list_explanations())
def test_every_explanation_gives_the_same_kind_of_map(model, image, name):
    found = explain(model, image, NAMES, name, **PLAIN)
    assert found.names == tuple(NAMES) and found.size == (96, 128)
    assert found.grid.shape == (3, 6, 8) and found.grid.dtype == np.float32
    assert np.isfinite(found.grid).all() and found["waves"].shape == (96, 128)
    if name != "gradcam":  # empty on a ViT with a class token
        assert found.array.min() == 0 and found.array.max() == 1
    if name in GRADIENTS and name != "gradcam":
        assert found.grid.min() == 0 and found.grid.max() == 1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("surgery", [None, "none", "label_set_code"])
def test_training_free_methods_are_the_models_own_similarity(model, image, name, surgery):
    own = surgery or ("empty" if name.startswith("clip_surgery") else "none")
    wanted = model.with_method(name).similarity(image, NAMES, surgery=own, **PLAIN)
    found = explain(model, image, NAMES, name, surgery=surgery, **PLAIN)
    np.testing.assert_allclose(found.grid, wanted.grid, atol=1e-6)


def test_rclip_is_1_minus_the_map_of_clip(model, image):
    reverse, raw = (explain(model, image, NAMES, name, **PLAIN) for name in ("rclip", "clip"))
    np.testing.assert_allclose(reverse.array, 1 - raw.array, atol=1e-5)


def test_comparing_gives_each_explanation_and_shares_one_pass_for_each_rule(model, image, monkeypatch):
    """The rules by which positions reach another grid, which are those of the explanations' own code."""
    calls = []
    encode = ovseg.explanation.subject.encode_image
    monkeypatch.setattr(
        "ovseg.explanation.subject.encode_image",
        lambda *a, **o: calls.append(o["trace"].blocks) or encode(*a, **o),
    )
    names = [name for name in QUICK if name != "rclip"]
    found = compare(model, image, NAMES, names, **PLAIN)
    rules = {get_explanation(name).resize for name in names if get_explanation(name).method is None}
    assert len(rules) > 1
    assert calls == [len(model.clip.visual.transformer.resblocks)] * len(rules)  # for the one that reads all
    assert list(found.maps) == names and found.cosines.shape == (3,)
    assert found.feature.shape == (128,)
    for name in names:
        alone = explain(model, image, NAMES, name, **PLAIN)
        np.testing.assert_allclose(found.maps[name].grid, alone.grid, atol=2e-5)
    scores = model.recognize(image, NAMES, surgery="none", **PLAIN).scores
    np.testing.assert_allclose(found.cosines, scores, atol=1e-5)


def test_only_the_blocks_that_are_read_are_traced(model, image, monkeypatch):
    kept = []
    init = Subject.__init__
    monkeypatch.setattr(
        Subject, "__init__", lambda self, *a, **o: (kept.append(self), init(self, *a, **o))[1]
    )
    explain(model, image, NAMES, "bimodal", **PLAIN)
    assert len(kept[0].trace.attention) == 1 and len(kept[0].trace.tokens) == 2
    assert kept[0].trace.tokens[0].is_leaf


@pytest.mark.parametrize("name", ["gradcam_cls", "gradcam_input", "bimodal_all", "legrad", "grad_eclip"])
def test_as_few_backward_passes_as_memory_allows_and_never_more_than_texts(models, name, monkeypatch):
    calls = []
    backward = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **o: calls.append(1) or backward(*a, **o))
    row = get_explanation(name)

    def run(limit):
        monkeypatch.setattr("ovseg.explanation.subject.AT_ONCE", limit)
        calls.clear()
        found = row.maps(models.subject(texts=5, blocks=row.blocks))
        return found, len(calls)

    together, few = run(2**25)
    single, many = run(1)
    depth = 2 if name == "legrad" else 1  # its score is another for each block
    assert few == depth and many == 5 * depth
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-6)


def test_one_text_is_one_row_of_several(model, image):
    for name in QUICK:
        if name == "gradcam_norm":  # it explains the softmax over the texts
            continue
        alone = explain(model, image, NAMES[1], name, **PLAIN)
        among = explain(model, image, NAMES, name, **PLAIN)
        np.testing.assert_allclose(alone["waves"], among["waves"], atol=1e-4)


def test_synonyms_take_the_largest_value(model, image):
    single = explain(model, image, ["bricks", "waves"], "clip", **PLAIN)
    found = explain(model, image, {"ground": ["bricks", "waves"]}, "clip", **PLAIN)
    np.testing.assert_allclose(found.grid[0], single.grid.max(axis=0), atol=1e-6)


def test_several_images_come_one_after_the_other(model, image, tmp_path):
    said = []
    images = [image, tmp_path / "missing.jpg", image[:64]]
    found = list(
        explain_each(model, iter(images), "waves", "bimodal", on_error=lambda *a: said.append(a), **PLAIN)
    )
    assert [one.size for one in found] == [(96, 128), (64, 128)]
    assert [index for index, _ in said] == [1] and isinstance(said[0][1], ImageError)
    with pytest.raises(ImageError):
        list(explain_each(model, images, "waves", "bimodal", **PLAIN))


@pytest.mark.parametrize("name", ["clip_surgery", "rclip"])
def test_several_images_are_what_each_of_them_is_alone(model, name):
    images = [ovseg.make_scene(seed, (48, 64)).image for seed in range(3)]
    found = list(explain_each(model, images, NAMES, name, **PLAIN))
    assert len(found) == 3
    for image, one in zip(images, found):
        wanted = explain(model, image, NAMES, name, **PLAIN)
        np.testing.assert_allclose(one.grid, wanted.grid, atol=1e-5)


def test_explanations_under_inference_mode_and_no_grad(model, image):
    wanted = explain(model, image, "waves", "bimodal", **PLAIN)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            found = explain(model, image, "waves", "bimodal", **PLAIN)
        np.testing.assert_allclose(found.grid, wanted.grid, atol=1e-6)


def test_the_model_is_left_as_it_was(model, image):
    before = {k: v.clone() for k, v in model.clip.state_dict().items()}
    compare(model, image, NAMES, QUICK, **PLAIN)
    assert all(torch.equal(v, model.clip.state_dict()[k]) for k, v in before.items())
    assert not any(p.requires_grad or p.grad is not None for p in model.clip.parameters())


def test_half_precision_points_to_the_same_places(model, image):
    half = ovseg.load_model("tiny", precision="bf16", cache=False)
    for name in ("bimodal", "legrad", "grad_eclip", "plrp", "gradcam_input"):
        one, other = (explain(m, image, "waves", name, **PLAIN).grid.ravel() for m in (model, half))
        assert np.corrcoef(one, other)[0, 1] > 0.95, name


# ----------------------------------------------------------------------------------- other towers


RESNET = {"gradcam", "gscorecam", "rclip", *METHODS}


@pytest.mark.parametrize("name", list_explanations())
def test_a_resnet_has_what_applies_to_it(models, name):
    model = models.small("resnet")
    row = get_explanation(name)
    if name in RESNET:
        row.check(model.clip.visual)
        subject = models.subject("resnet", blocks=row.blocks, empty=models.unit(1, 24))
        found = row.maps(subject)
        assert found.shape == (3, 4, 6) and found.isfinite().all() and found.amax() > found.amin()
    else:
        with pytest.raises(
            UnsupportedModelError, match=f"for the explanation '{name}', got open_clip ResNet"
        ):
            row.check(model.clip.visual)


def small_tower(family, models):
    import small_towers

    clip = torch.nn.Module()
    clip.visual, clip.logit_scale = small_towers.tower(family), torch.nn.Parameter(torch.tensor(2.0))
    clip.requires_grad_(False)
    return Model(LoadedClip(clip, None, family, (0.0,) * 3, (1.0,) * 3, 64), METHODS["clip"])


@pytest.mark.parametrize("family", ["clipa", "siglip", "mobileclip2-l", "eva02", "coca", "convnext", "pe"])
def test_other_towers_have_what_applies_to_them(models, family):
    """Class token: all; blocks alone: Grad-CAM and gScoreCAM; convolutions: the same."""
    model = small_tower(family, models)
    text = models.unit(2, 128 if family == "siglip" else 48)
    applied = set()
    for name in set(list_explanations()) - set(METHODS):
        row = get_explanation(name)
        try:
            row.check(model.clip.visual)
            found = row.maps(Subject(model, models.pixels(1, 3, 64, 128), text, blocks=row.blocks))
        except UnsupportedModelError as error:
            assert "\n" not in str(error) and f"the explanation '{name}', got" in str(error)
            continue
        assert found.shape[0] == 2 and found.isfinite().all()
        applied.add(name)
    everywhere = {"gradcam", "gscorecam", "rclip"}
    blocks = everywhere | {"gradcam_input", "gradcam_norm"}
    wanted = {
        "convnext": everywhere,
        "mobileclip2-l": set(list_explanations()) - set(METHODS),
        "eva02": set(list_explanations()) - set(METHODS) - {"plrp"},
    }
    assert applied == wanted.get(family, blocks)


def test_grad_cam_of_an_average_is_not_empty(models):
    for family in ("clipa", "convnext"):
        row = get_explanation("gradcam")
        subject = Subject(small_tower(family, models), models.pixels(1, 3, 64, 128), models.unit(2, 48))
        assert row.maps(subject).amax() > 0


# --------------------------------------------------------------------------------- the list, one's own


def test_training_free_methods_come_first():
    assert list_explanations()[: len(METHODS)] == list(METHODS)
    assert all(get_explanation(name).source for name in list_explanations())


def test_a_row_of_ones_own(model, image):
    @explanation("middle", source="a test")
    def middle(subject: Subject):
        found = torch.zeros(len(subject.text), *subject.grid)
        found[:, subject.grid[0] // 2] = 5
        return found

    try:
        assert "middle" in list_explanations() and callable(middle)
        found = explain(model, image, NAMES, "middle", **PLAIN)
        assert found.grid[0, 3].tolist() == 8 * [1] and found.grid.sum() == 24
        with pytest.raises(UsageError, match="'middle' is taken"):
            explanation("middle")(normalised)
        explanation("middle")(middle)  # the same function again, as in a notebook
    finally:
        remove_explanation("middle")
    assert "middle" not in list_explanations()


@pytest.mark.parametrize(
    "maps, said",
    [
        (
            lambda s: torch.zeros(2, 3, 3),
            r"expected \(3, h, w\) maps from the explanation 'bad', got \(2, 3, 3\)",
        ),
        (lambda s: torch.zeros(3, 3), r"got \(3, 3\)"),
        (lambda s: None, "got NoneType"),
        (lambda s: torch.full((3, 2, 2), float("nan")), "got NaN or infinity"),
    ],
)
def test_a_row_that_gives_something_else_is_told(model, image, maps, said):
    with pytest.raises(OvsegError, match=said):
        explain(model, image, NAMES, Explanation("bad", maps), **PLAIN)


@pytest.mark.parametrize(
    "row",
    [
        Explanation("a b", lambda s: s.text),
        Explanation("names", lambda s: s.text),
        Explanation("", lambda s: s.text),
        Explanation("fine", lambda s: s.text, needs="much"),
        Explanation("fine", lambda s: s.text, blocks=-1),
        Explanation("fine", lambda s: s.text, blocks=True),
        Explanation("gradcam", lambda s: s.text),
    ],
)
def test_wrong_rows_are_refused(row):
    with pytest.raises(UsageError) as caught:
        add_explanation(row)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda m, i: explain(m, i, "a", "grad-cam"),
            "unknown explanation 'grad-cam': expected one of clip, ",
        ),
        (lambda m, i: explain(m, i, "a", None), "unknown explanation None"),
        (lambda m, i: explain(m, i, ""), "at least one name"),
        (lambda m, i: explain(m, i, []), "at least one name"),
        (lambda m, i: explain(m, i, "a", surgery="all"), "unknown surgery 'all'"),
        (lambda m, i: explain(m, i, "a", surgery="label_set"), "at least two names, got one"),
        (lambda m, i: explain(m, i, "a", size=0), "expected size in 1"),
        (lambda m, i: explain(m, i, "a", resize="area"), "unknown resize"),
        (lambda m, i: explain(m, i, "a", templates="b"), "unknown templates"),
        (lambda m, i: explain(m, i, "a " * 90), "at most 77 tokens"),
        (lambda m, i: compare(m, i, "a", []), "at least one explanation, got none"),
        (lambda m, i: compare(m, i, "a", ["clip", "clip"]), "each explanation once, got clip, clip"),
        (lambda m, i: explain_each(m, [i], "a", on_error=3), "expected on_error as a function"),
    ],
)
def test_misuse_is_one_line(model, image, call, said):
    with pytest.raises(UsageError, match=said) as caught:
        call(model, image)
    assert "\n" not in str(caught.value)


def test_options_describe_themselves():
    assert ExplainOptions(size=[48, 64]).describe() == {
        "surgery": None, "size": [48, 64], "resize": "opencv", "templates": "paper"
    }  # fmt: skip


def test_flat_maps_become_0_and_small_ones_do_not():
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 3.0), 1e-12 * torch.arange(4.0).view(2, 2)])
    found = normalised(maps)
    assert not found[:2].any() and found[2].tolist() == [[0, pytest.approx(1 / 3)], [pytest.approx(2 / 3), 1]]


# ------------------------------------------------------------------------------------- saved maps


@pytest.fixture
def saved(tmp_path, image):
    """A folder with scene.png and its saved maps of two texts."""
    Image.fromarray(image).save(tmp_path / "scene.png")
    values = np.arange(24.0).reshape(2, 3, 4)
    np.savez(tmp_path / "scene.npz", names=["Waves", "bricks"], grid_values=values)
    return tmp_path


def test_saved_maps_are_found_by_name(model, saved):
    found = explain(model, saved / "scene.png", ["bricks", "waves"], saved_maps("eclip", saved), **PLAIN)
    assert found.grid.shape == (2, 3, 4) and found.size == (96, 128)
    np.testing.assert_allclose(found.grid[0], np.arange(12.0).reshape(3, 4) / 11, atol=1e-6)


def test_what_a_similarity_map_saves_can_be_read_back(model, saved):
    (saved / "maps").mkdir()
    first = explain(model, saved / "scene.png", NAMES, "bimodal", **PLAIN)
    first.save(saved / "maps" / "scene.npz")
    again = explain(model, saved / "scene.png", NAMES, saved_maps("mine", saved / "maps"), **PLAIN)
    np.testing.assert_allclose(again.grid, first.grid, atol=1e-6)


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "found no file"),
        (b"no zip", "cannot be read"),
        ({"names": ["waves"]}, "expected arrays names and grid_values"),
        ({"names": ["waves"], "grid_values": np.zeros((2, 3, 3))}, r"got \(1,\)"),
        ({"names": [3], "grid_values": np.zeros((1, 3, 3))}, "as text"),
        ({"names": ["waves"], "grid_values": np.full((1, 3, 3), np.nan)}, "finite numbers"),
        ({"names": ["waves"], "grid_values": np.array([[["a"]]])}, "finite numbers"),
        (
            {"names": ["sky"], "grid_values": np.zeros((1, 3, 3))},
            "expected a map of 'waves' in .*, it has sky",
        ),
        ({"names": np.array(["waves"], object), "grid_values": np.zeros((1, 3, 3))}, "cannot be read"),
    ],
)
def test_saved_maps_that_are_not_there_or_damaged(model, saved, content, said):
    file = saved / "scene.npz"
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(DataError, match=said) as caught:
        explain(model, saved / "scene.png", "waves", saved_maps("eclip", saved), **PLAIN)
    assert "\n" not in str(caught.value)


def test_saved_maps_want_a_folder_and_a_file(model, image, tmp_path):
    with pytest.raises(UsageError, match="found no folder"):
        saved_maps("eclip", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="expected the name of an explanation"):
        saved_maps("e clip", tmp_path)
    with pytest.raises(UsageError, match="expected an image from a file"):
        explain(model, image, "waves", saved_maps("eclip", tmp_path), **PLAIN)


def test_a_method_of_ones_own_is_an_explanation_too(model, image):
    @method("mine", residual=False, ffn=False)
    def mine(x):
        return [Term(x.k, x.k, x.scale)]

    try:
        assert "mine" in list_explanations() and "mine" in ovseg.list_methods()
        found = explain(model, image, NAMES, "mine", **PLAIN)
        wanted = model.with_method("mine").similarity(image, NAMES, surgery="none", **PLAIN)
        np.testing.assert_allclose(found.grid, wanted.grid, atol=1e-6)
        with pytest.raises(UsageError, match="an explanation that is no method"):
            remove_explanation("mine")
    finally:
        remove_method("mine")
    for name, message in (("clip", "a new name for a method, 'clip' is taken"), ("a b", "in letters")):
        with pytest.raises(UsageError, match=message):
            method(name)(mine)


def test_a_file_of_maps_that_unpacks_to_more_than_allowed_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, names=np.array(["cat"]), grid_values=np.zeros((1, 100, 100), np.float32))
    assert len(read_maps(path)[0]) == 1
    monkeypatch.setattr("ovseg.explanation.saved.MOST_BYTES", 30_000)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(DataError, match="expected at most 30,000 bytes of maps, .* unpacks to 40,"):
        read_maps(path)
