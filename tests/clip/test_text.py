"""Prompt ensembles: their values, batches cut to their longest prompt, lengths, progress, memory."""

from __future__ import annotations

import threading

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP

from ovseg.clip import embedded, text
from ovseg.clip.text import TEMPLATES, resolve_templates
from ovseg.clip.text_tower import text_tower
from ovseg.errors import UsageError, WeightsError

NAMES = ["tree", "traffic light", "", "дерево", "木", "a rather long name of a thing with many words in it"]
VISION = dict(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
TEXT = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)


@pytest.fixture(scope="module")
def clip():
    return embedded.load("tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture
def counted(clip, monkeypatch):
    """Sizes (prompts, tokens) of every pass through the text tower."""
    passes = []
    forward = clip.transformer.forward

    def count(x, *args, **options):
        passes.append(tuple(x.shape[:2]))
        return forward(x, *args, **options)

    monkeypatch.setattr(clip.transformer, "forward", count)
    return passes


@pytest.mark.parametrize("templates", ["paper", "imagenet", "plain"])
def test_ensembles_equal_the_literal_ones_at_full_length(encoder, clip, tokenizer, reference, templates):
    got = encoder(clip, tokenizer).encode(NAMES, templates)
    with torch.no_grad():
        wanted = reference.encode_names(clip, tokenizer, NAMES, TEMPLATES[templates])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(got.norm(dim=-1).numpy(), 1, atol=1e-5)


CUT = {"pool_type": "argmax"}, {"pool_type": "eos", "eos_id": 49407}, {"proj_bias": True}
FULL = {"pool_type": "last"}, {"no_causal_mask": True}, {"pool_type": "first"}, {"embed_cls": True}
# The last is for CustomTextCLIP only: open_clip's CLIP has no class token among its texts.


@pytest.mark.parametrize(
    "kind, settings",
    [
        (kind, one)
        for kind in (CLIP, CustomTextCLIP)
        for one in (*CUT, *FULL)
        if one is not FULL[-1] or kind is not CLIP
    ],
    ids=str,
)
def test_every_kind_of_tower_gives_what_its_own_encoding_gives(encoder, tokenizer, reference, kind, settings):
    """Padding is cut where it cannot change the feature, and only there."""
    torch.manual_seed(0)
    clip = kind(16, VISION, TEXT | settings).eval()
    tokens = tokenizer(["tree", "bus stop"])
    assert (int(text_tower(clip).ends(tokens).max()) < 77) == (settings in CUT)
    got = encoder(clip, tokenizer).encode(["tree", "bus stop"], "plain")
    with torch.no_grad():
        wanted = reference.encode_names(clip, tokenizer, ["tree", "bus stop"], ["{}"])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)


def test_a_tower_without_projection_is_read_too(encoder, tokenizer):
    clip = CustomTextCLIP(32, VISION, TEXT | {"proj_type": "none"}).eval()
    assert encoder(clip, tokenizer).encode(["tree"], "plain").shape == (1, 32)


def test_batches_are_cut_and_repeats_are_encoded_once(encoder, clip, tokenizer, counted):
    encoder(clip, tokenizer).encode(["tree", "tree", NAMES[-1]], ["{}"])
    assert sum(prompts for prompts, _ in counted) == 2
    assert max(tokens for _, tokens in counted) == len(tokenizer.encode(NAMES[-1])) + 2


def test_sizes_of_templates():
    assert {name: len(rows) for name, rows in TEMPLATES.items()} == {"paper": 85, "imagenet": 80, "plain": 1}
    assert TEMPLATES["paper"][-1] == "this is one {} in the scene."
    assert resolve_templates("a {}!") == ("a {}!",)


@pytest.mark.parametrize(
    "wrong",
    [
        "papers",
        "",
        [],
        ["a photo"],
        ["{} and {}"],
        None,
        5,
        b"{}",
        ["{}", 5],
        [None],
        {"a {}"},
        np.zeros(2),
        ["\udce9{}"],
    ],
    ids=repr,
)
def test_templates_without_one_place_are_misuse(wrong):
    with pytest.raises(UsageError, match="expected") as caught:
        resolve_templates(wrong)
    assert "\n" not in str(caught.value)


def test_templates_may_come_from_a_generator():
    assert resolve_templates(frame for frame in ("a {}", "the {}")) == ("a {}", "the {}")


def test_a_name_that_does_not_fit_is_misuse(encoder, clip, tokenizer):
    made = encoder(clip, tokenizer)
    made.encode(["word " * 75], "plain")  # 75 and the two ends are 77
    with pytest.raises(UsageError, match="at most 77 tokens.*'word word.*…' takes 78"):
        made.encode(["word " * 76], "plain")
    with pytest.raises(UsageError, match="takes 81"):  # the longest template decides, wherever it stands
        made.encode(["word " * 73], ["{}", "a large {} on top of a", "{}."])
    with pytest.raises(UsageError, match="takes more than 153"):
        made.encode(["tree", "word " * 10_000], "plain")


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "at least one name"),
        ("sky", "names as a list, got str 'sky'"),
        (None, "names as a list, got NoneType"),
        (5, "names as a list, got int"),
        ([None], "each name as a text, got NoneType"),
        (["sky", 5], "each name as a text, got int 5"),
        ([b"sky"], "each name as a text, got bytes"),
        ([np.zeros((3, 3))], "each name as a text, got ndarray"),
        ([["sky"]], "each name as a text, got list"),
        ({"sky"}, "in an order"),
        (["caf\udce9"], "in Unicode"),
    ],
    ids=repr,
)
def test_what_are_no_names_is_misuse_in_one_line(encoder, clip, tokenizer, names, message):
    with pytest.raises(UsageError, match=message) as caught:
        encoder(clip, tokenizer).encode(names)
    assert "\n" not in str(caught.value)


def test_progress_counts_the_prompts_that_are_encoded(encoder, clip, tokenizer, monkeypatch):
    monkeypatch.setattr(text, "TOKENS_PER_BATCH", 64)
    monkeypatch.setattr(text, "PROMPTS_AT_ONCE", 9)
    calls = []
    made = encoder(clip, tokenizer)
    made.encode(
        ["tree", "sky", "a red car"], ["{}", "a {}", "the {}", "{} here"], lambda *now: calls.append(now)
    )
    assert calls[0] == (0, 12) and calls[-1] == (12, 12) and calls == sorted(calls) and len(calls) >= 3
    calls.clear()
    made.encode(["tree", "sea"], ["{}", "a {}", "the {}", "{} here"], lambda *now: calls.append(now))
    assert calls[-1] == (4, 4)  # the tree is known
    calls.clear()
    made.encode(["tree", "sea"], ["{}", "a {}", "the {}", "{} here"], lambda *now: calls.append(now))
    assert calls == []


def test_the_number_of_names_does_not_change_what_is_held_at_once(encoder, clip, tokenizer, monkeypatch):
    wanted = encoder(clip, tokenizer).encode([f"thing {i}" for i in range(30)], "imagenet")
    monkeypatch.setattr(text, "PROMPTS_AT_ONCE", 200)
    sizes = []

    class Counted:
        context_length = tokenizer.context_length

        def __call__(self, texts, context_length=None):
            sizes.append(len(texts))
            return tokenizer(texts, context_length)

    got = encoder(clip, Counted()).encode([f"thing {i}" for i in range(30)], "imagenet")
    assert max(sizes) <= 200 and sum(sizes) > 30 * 80
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)


def test_the_callers_autocast_gradients_and_inference_mode_do_not_reach_the_features(
    encoder, clip, tokenizer
):
    wanted = encoder(clip, tokenizer).encode(["tree", "sky"])
    made = encoder(clip, tokenizer)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        made.encode(["tree", "sky"])
    got = made.encode(["tree", "sky"])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)
    (
        torch.ones(2, requires_grad=True) @ got
    ).sum().backward()  # an inference tensor could not be saved for it
    got[:] = 0  # the caller's own
    assert torch.equal(made.encode(["tree", "sky"]), wanted)


def test_weights_that_are_not_finite_are_an_error(encoder, tokenizer):
    clip = embedded.load("tiny")
    with torch.no_grad():
        clip.text_projection[0, 0] = float("nan")
    with pytest.raises(WeightsError, match="finite text features"):
        encoder(clip, tokenizer).encode(["tree"])


def test_several_threads_get_what_one_gets(encoder, clip, tokenizer):
    names = [f"thing {i}" for i in range(20)]
    wanted = encoder(clip, tokenizer).encode(names, "plain")
    made, found = encoder(clip, tokenizer), {}

    def work(number):
        found[number] = made.encode(names[number:] + names[:number], "plain").roll(number, 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for features in found.values():
        np.testing.assert_allclose(features.numpy(), wanted.numpy(), atol=1e-6)


# ------------------------------------------------------------------ tokenizers and towers of the hub


@pytest.fixture(scope="module")
def hub_tokenizer(tmp_path_factory):
    """Makes open_clip's HFTokenizer around a small tokenizer of words, without a network."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    def make(kind, **settings):
        words = ["<s>", "<pad>", "</s>", "<unk>", "word", "tree", "sky", "a", "photo", "of", "red", "car"]
        if kind == "siglip":  # no start token, and padding that looks like the end token
            words, special, single = words[2:] + words[:2], {"pad_token": "</s>"}, "$A </s>"
        else:
            special, single = {"bos_token": "<s>", "pad_token": "<pad>", "cls_token": "<s>"}, "<s> $A </s>"
        ids = {word: number for number, word in enumerate(words)}
        inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        marks = [(word, ids[word]) for word in ("<s>", "</s>")]
        inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
        folder = tmp_path_factory.mktemp("tokenizer")
        fast = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", **special)
        fast.save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(str(folder), context_length=16, **settings)

    return make


@pytest.mark.parametrize(
    "kind, settings, most",
    [
        ("roberta", {}, 14),
        ("siglip", {"clean": "canonicalize"}, 15),
        ("roberta", {"tokenizer_mode": "clips"}, 13),
    ],
    ids=["roberta", "siglip", "clips"],
)
def test_a_tokenizer_of_the_hub_counts_its_tokens(encoder, hub_tokenizer, kind, settings, most):
    tokenizer = hub_tokenizer(kind, **settings)
    assert not hasattr(tokenizer, "encode") and not hasattr(tokenizer, "vocab_size")
    torch.manual_seed(0)
    clip = CustomTextCLIP(16, VISION, TEXT | {"context_length": 16, "pool_type": "last"}).eval()
    made = encoder(clip, tokenizer)
    assert made.encode(["tree", "", "word " * most, "unheard"], "plain").shape == (4, 16)
    for count in (most + 1, most + 2, most + 20, 1000):
        with pytest.raises(UsageError, match="at most 16 tokens with its prompt, 'word word.*' takes"):
            made.encode(["tree", "word " * count], "plain")
    with pytest.raises(UsageError, match="at most 16 tokens"):
        made.encode(["word " * (most - 2)], ["{}", "a photo of {}"])


@pytest.mark.parametrize("pooler", ["mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler"])
def test_a_text_encoder_of_the_hub_is_read_without_its_padding(encoder, hub_tokenizer, reference, pooler):
    from open_clip.hf_model import HFTextEncoder
    from transformers import RobertaConfig

    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    config = RobertaConfig(vocab_size=12, max_position_embeddings=20, pad_token_id=1, **sizes)
    clip = CustomTextCLIP(8, VISION, TEXT)
    clip.text = HFTextEncoder("", 8, config=config, pooler_type=pooler, proj_type="mlp")
    clip.eval()
    tokenizer, names, lengths = hub_tokenizer("roberta"), ["tree", "red car", "sky " * 9], []
    clip.text.transformer.register_forward_pre_hook(
        lambda module, args, options: lengths.append(options["input_ids"].shape[1]), with_kwargs=True
    )
    got = encoder(clip, tokenizer).encode(names, ["a {}", "{}"])
    assert max(lengths) == 12  # nine words, one of the template, and the two ends
    with torch.no_grad():
        wanted = reference.encode_names(clip, tokenizer, names, ["a {}", "{}"])
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_tokens_follow_the_tower_to_its_device(encoder, tokenizer, monkeypatch, kind):
    """On the meta device, which takes part in no computation: only the way back needs a stand-in."""
    clip = kind(16, VISION, TEXT).to("meta")
    back, got = [], []
    embedding = clip.token_embedding if kind is CLIP else clip.text.token_embedding
    embedding.register_forward_pre_hook(lambda module, inputs: got.append(inputs[0].device.type))

    def cpu(tensor):
        if tensor.device.type == "meta":
            back.append(tensor.shape)
            return torch.ones(tensor.shape)
        return tensor

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    features = encoder(clip, tokenizer).encode(["tree", "sky"], "imagenet")
    assert features.shape == (2, 16) and features.device.type == "cpu"
    assert set(got) == {"meta"} and len(back) == len(got)  # features come back batch by batch, nothing else
