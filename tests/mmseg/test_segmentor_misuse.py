"""What the segmentor refuses, in one line each, and the checkpoints it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg
from ovseg.clip import embedded
from ovseg.errors import UsageError, WeightsError
from ovseg.evaluation.data.scenes import NAMES

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def build(vocabulary=NAMES, mean=MEAN, **fields):
    preprocessor = {"type": "ClipPreProcessor", "mean": mean, "std": STD}
    settings = {"vocabulary": vocabulary, "data_preprocessor": preprocessor, "templates": "plain"}
    settings = {"backbone": "tiny", **settings, **fields}
    return MODELS.build({"type": "OpenVocabularySegmentor", **settings})


def labels(segmentor):
    """Of one scene, (64, 64)."""
    image = ovseg.make_scene(0, (64, 64)).image
    sample = SegDataSample(metainfo={"ori_shape": (64, 64)})
    inputs = [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)]
    found = segmentor.test_step({"inputs": inputs, "data_samples": [sample]})
    return found[0].pred_sem_seg.data[0].numpy()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"method": "surgery"}, "unknown method 'surgery': expected one of clip, maskclip"),
        ({"vocabulary": "voc22"}, "unknown vocabulary 'voc22': expected a file or one of ade20k"),
        ({"vocabulary": []}, "at least one name"),
        ({"backbone": "ViT-B-17"}, "unknown model 'ViT-B-17'"),
        ({"weights": "openai"}, "for the embedded model, got 'openai'"),
        ({"windwo": 64}, "unknown field of the segmentor 'windwo': did you mean 'window'?"),
        ({"size": 64}, "unknown field of the segmentor 'size'"),
        ({"window": 4}, r"multiples of the patch \(8, 8\), got 4"),
        ({"window": "64"}, "expected window as an integer"),
        ({"background": 2.0}, "expected background as words, got 2.0"),
        ({"vocabulary": "voc21", "background": "sky, wall"}, "background class already"),
        ({"templates": "photo"}, "unknown templates 'photo'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"pretrained": "x.pth"}, "expected weights, got pretrained"),
        ({"init_cfg": {"type": "Pretrained", "checkpoint": "x.pth"}}, "expected weights, got .* or init_cfg"),
        ({"cache": 5}, "expected cache as True or False, got 5"),
        ({"keep_logits": "no"}, "expected keep_logits as True or False, got 'no'"),
        ({"weights": ""}, "expected weights as a text, got ''"),
    ],
)
def test_wrong_fields_are_misuse_in_one_line(fields, message):
    with pytest.raises(UsageError, match=message) as caught:
        build(**{"vocabulary": "sky, tree", **fields})
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_another_normalisation_than_the_backbones_is_misuse():
    with pytest.raises(UsageError, match=r"tiny needs data_preprocessor.mean .* got \[0.5, 0.5, 0.5\]"):
        build(mean=(0.5, 0.5, 0.5))


def checkpoint(path, segmentor):
    torch.save({"state_dict": segmentor.state_dict(), "meta": {}}, path)
    return str(path)


def test_a_checkpoint_of_mmengine_fits_whole_and_texts_follow(tmp_path):
    segmentor, other = build(), build(cache=False)
    before = labels(segmentor)
    text = segmentor.core.encode_text(["sky"], "plain")
    with torch.no_grad():
        for parameter in other.clip.parameters():
            parameter.mul_(1.3)
    load_checkpoint(segmentor, checkpoint(tmp_path / "x.pth", other), map_location="cpu")
    wanted = labels(other)
    np.testing.assert_array_equal(labels(segmentor), wanted)
    assert (wanted != before).any()
    assert (segmentor.core.encode_text(["sky"], "plain") - text).abs().max() > 1e-3


def spoilt(value):
    """A change of one tensor: its first number becomes ``value``."""

    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


IMAGE, TEXT = "clip.visual.proj", "clip.token_embedding.weight"
CHANGES = [
    (lambda tensor: tensor.int(), "expected type float32, got int32 of {}"),
    (lambda tensor: tensor.bool(), "expected type float32, got bool of {}"),
    (lambda tensor: tensor.to(torch.complex64), "expected type float32, got complex64 of {}"),
    (lambda tensor: tensor.to_sparse(), "expected a dense tensor, got sparse_coo of {}"),
    (lambda tensor: tensor[:1], "size mismatch: .* of {}"),
    (spoilt(float("nan")), "is damaged: 1 of .* values of {} are NaN or infinite"),
    (spoilt(-float("inf")), "is damaged: 1 of .* values of {} are NaN or infinite"),
    (lambda tensor: tensor.double() * 1e300, "values of {} are NaN or infinite"),
]


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    "name, change, message",
    [(name, *one) for one in CHANGES for name in (IMAGE, TEXT)]
    + [(IMAGE, lambda tensor: tensor.tolist(), "expected a tensor, got list of {}")],
)
def test_one_wrong_tensor_of_a_checkpoint_is_one_line(change, message, name, tmp_path):
    segmentor = build("sky, tree")
    state = dict(segmentor.state_dict())
    before = {key: value.clone() for key, value in state.items()}
    torch.save({"state_dict": {**state, name: change(state[name])}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message.format(name)) as caught:
        load_checkpoint(segmentor, str(tmp_path / "x.pth"), map_location="cpu")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in segmentor.state_dict().items())


def test_a_checkpoint_of_other_names_is_one_line(tmp_path):
    segmentor = build("sky, tree")
    torch.save({"state_dict": {"backbone.weight": torch.zeros(3)}, "meta": {}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"of tiny, the checkpoint does not fit: Missing key 'clip\."):
        load_checkpoint(segmentor, str(tmp_path / "x.pth"), map_location="cpu")
    torch.save({**segmentor.state_dict(), "more": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="Unexpected key 'more'"):
        load_checkpoint(segmentor, str(tmp_path / "x.pth"), map_location="cpu")


def test_a_checkpoint_in_half_precision_is_converted(tmp_path):
    segmentor = build("sky, tree")
    torch.save({key: value.half() for key, value in segmentor.state_dict().items()}, tmp_path / "x.pth")
    load_checkpoint(segmentor, str(tmp_path / "x.pth"), map_location="cpu")
    assert segmentor.clip.visual.proj.dtype == torch.float32


def test_weights_may_be_a_file_of_the_embedded_kind(tmp_path):
    copied = tmp_path / "mine.safetensors"
    copied.write_bytes(embedded.asset_path("tiny").read_bytes())
    assert build("sky, tree", weights=str(copied)).core.loaded.file == copied
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(WeightsError, match="broken.safetensors is a text file: not loaded"):
        build("sky, tree", weights=str(tmp_path / "broken.safetensors"))
