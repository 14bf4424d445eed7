"""ovseg's own modules of SAM against segment-anything's: equal to the last bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from ovseg.evaluation.data.scenes import make_scene
from ovseg.segmenters import sam, tiny
from ovseg.segmenters.load import load_segmenter

SMALL = tiny.Shape(side=64, patch=16, width=32, depth=2, heads=2, channels=32)


def theirs(shape: tiny.Shape) -> Sam:
    """What segment-anything's classes make of a shape."""
    side, channels, grid = shape.side, shape.channels, (shape.side // shape.patch,) * 2
    encoder = ImageEncoderViT(
        side, shape.patch, embed_dim=shape.width, depth=shape.depth, num_heads=shape.heads, out_chans=channels
    )
    transformer = TwoWayTransformer(2, channels, num_heads=4, mlp_dim=4 * channels)
    decoder = MaskDecoder(transformer_dim=channels, transformer=transformer, iou_head_hidden_dim=2 * channels)
    return Sam(encoder, PromptEncoder(channels, grid, (side, side), 16), decoder).eval()


def prompts(side: int, low: int, batch: int) -> dict[str, dict[str, object]]:
    points = (torch.rand(batch, 3, 2) * side, torch.randint(0, 2, (batch, 3), dtype=torch.int))
    box, mask = torch.rand(batch, 4) * side, torch.randn(batch, 1, low, low)
    return {
        "points": {"points": points, "boxes": None, "masks": None},
        "box": {"points": None, "boxes": box, "masks": None},
        "mask": {"points": None, "boxes": None, "masks": mask},
        "all": {"points": points, "boxes": box, "masks": mask},
    }


@torch.no_grad()
def decoded(sam, features: torch.Tensor, prompt: dict[str, object], several: bool) -> list[torch.Tensor]:
    """Embeddings of the prompt, logits and IoUs."""
    sparse, dense = sam.prompt_encoder(**prompt)
    masks, scores = sam.mask_decoder(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=several,
    )
    return [sparse, dense, masks, scores]


@pytest.mark.parametrize("shape", [SMALL, None], ids=["small", "shipped"])
@torch.no_grad()
def test_keys_embeddings_and_masks_are_segment_anythings(shape):
    ours = load_segmenter("tiny").sam if shape is None else tiny.build(shape).eval()
    shape = shape or tiny.Shape(side=128, patch=8, width=128, depth=6, heads=4, channels=64)
    wanted = theirs(shape)
    assert list(ours.state_dict()) == list(wanted.state_dict())
    wanted.load_state_dict(ours.state_dict())
    pixels = torch.randn(1, 3, shape.side, shape.side)
    features = ours.image_encoder(pixels)
    assert torch.equal(features, wanted.image_encoder(pixels)) and features.std() > 0.01
    looked = 0
    for batch in (1, 3):
        for prompt in prompts(shape.side, 4 * shape.side // shape.patch, batch).values():
            for several in (True, False):
                pairs = zip(
                    decoded(ours, features, prompt, several), decoded(wanted, features, prompt, several)
                )
                assert all(torch.equal(one, two) for one, two in pairs)
                looked += 1
    assert looked == 16


def test_the_decoder_in_mobile_sams_size_is_segment_anythings():
    ours = sam.MaskDecoder(256, heads=8, hidden=2048, iou_hidden=256).eval()
    wanted = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048)).eval()
    assert list(ours.state_dict()) == list(wanted.state_dict())
    wanted.load_state_dict(ours.state_dict())
    with torch.no_grad():
        given = [torch.randn(1, 256, 4, 4), torch.randn(1, 256, 4, 4), torch.randn(2, 3, 256)]
        dense = torch.randn(2, 256, 4, 4)
        names = ("image_embeddings", "image_pe", "sparse_prompt_embeddings")
        pairs = zip(
            ours(*given, dense, True),
            wanted(**dict(zip(names, given)), dense_prompt_embeddings=dense, multimask_output=True),
        )
        assert all(torch.equal(one, two) for one, two in pairs)


def test_the_embedded_sam_gives_what_segment_anythings_predictor_gives():
    """Resizing, normalisation, padding, frames and enlarging too, on images of three shapes."""
    segmenter = load_segmenter("tiny")
    sam = theirs(tiny.Shape(side=128, patch=8, width=128, depth=6, heads=4, channels=64))
    sam.load_state_dict(segmenter.sam.state_dict())
    predictor = SamPredictor(sam)
    for shape in ((96, 128), (200, 90), (64, 64)):
        image = make_scene(3, shape).image
        predictor.set_image(image)
        points, box = np.array([[10.5, 20.0], [30.0, 5.0]]), np.array([4, 5, 40, 30])
        masks, scores, logits = predictor.predict(points, np.array([1, 0]), box)
        found = segmenter.decode(segmenter.encode(image), points, [1, 0], box)
        assert np.array_equal(found.logits, logits) and np.array_equal(found.scores, scores)
        assert np.array_equal(found.masks, masks) and 0 < masks.mean() < 1


@pytest.mark.parametrize("name", ["tiny", "grabcut"])
def test_the_default_segmenters_load_without_the_large_packages(name):
    heavy = ["torchvision", "segment_anything", "timm", "open_clip", "transformers"]
    heavy += ["torch"] if name == "grabcut" else []
    code = (
        "import sys, numpy as np, ovseg.segmenters.load as load\n"
        f"segmenter = load.load_segmenter({name!r})\n"
        "segmenter.decode(segmenter.encode(np.zeros((20, 30, 3), np.uint8)), [(5, 5)]).masks\n"
        f"sys.exit(bool(set({heavy}) & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_checked_without_torch_and_without_opencv():
    code = (
        "import sys\nfrom ovseg.segmenters.load import check_segmenter\n"
        "from ovseg.weights.known import check_model\n"
        "check_segmenter('hf:a/b'), check_model('ViT-B/16')\n"
        "sys.exit(bool({'torch', 'cv2', 'open_clip', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
