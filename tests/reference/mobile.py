"""Golden outputs of MobileSAM's own code on 256 px, for tests/segmenters/test_mobile.py.

Made once with the package mobilesam-mirror 1.0.0 (the authors' modules unchanged; not a dependency):
    python tests/reference/mobile.py tests/data/mobile_sam.npz
"""

from __future__ import annotations

import sys
import zlib

import numpy as np
import torch

SIDE = 256
POINTS, LABELS = np.array([[50.0, 60.0], [200.0, 100.0]]), np.array([1, 0])
BOX = np.array([20.0, 10.0, 150.0, 120.0])


def image() -> np.ndarray:
    return np.random.RandomState(3).randint(0, 256, (150, 220, 3)).astype(np.uint8)


def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight made from its official name alone; RandomState's streams are frozen by numpy."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if len(shape) > 1:
        values *= 1.2 / max(1, int(np.prod(shape[1:]))) ** 0.5
    elif name.endswith("running_var") or (name.endswith("weight") and ("bn" in name or "norm" in name)):
        values = 1 + 0.2 * np.tanh(values)
    else:
        values *= 0.02
    return torch.tensor(values, dtype=torch.float32)


def main(out: str) -> None:
    from mobile_sam import SamPredictor
    from mobile_sam.build_sam import build_sam_vit_t
    from mobile_sam.modeling import PromptEncoder, Sam, TinyViT

    options = {"window_sizes": [7, 7, 14, 7], "drop_path_rate": 0.0, "layer_lr_decay": 0.8}
    encoder = TinyViT(SIDE, 3, 1000, [64, 128, 160, 320], [2, 2, 6, 2], [2, 4, 5, 10], **options)
    official = build_sam_vit_t()
    shapes = {name: tuple(value.shape) for name, value in official.state_dict().items()}
    grid = SIDE // 16

    def forward(pixels):  # their forward writes the grid of 1024 px as a number
        found = encoder.patch_embed(pixels)
        for layer in encoder.layers:
            found = layer(found)
        return encoder.neck(found.view(len(found), grid, grid, -1).permute(0, 3, 1, 2))

    encoder.forward = forward
    sam = Sam(encoder, PromptEncoder(256, (grid, grid), (SIDE, SIDE), 16), official.mask_decoder)
    sam.load_state_dict({name: tensor(name, shape) for name, shape in shapes.items()}, strict=True)
    predictor = SamPredictor(sam.eval())
    predictor.set_image(image())
    found = {"features": predictor.features[0, ::16].numpy()}
    for key, prompt in {
        "points": {"point_coords": POINTS, "point_labels": LABELS},
        "box": {"box": BOX},
    }.items():
        masks, scores, logits = predictor.predict(**prompt)
        found |= {f"{key}_masks": np.packbits(masks), f"{key}_scores": scores, f"{key}_logits": logits}
    np.savez_compressed(
        out, names=list(shapes), shapes=[" ".join(map(str, s)) for s in shapes.values()], **found
    )


if __name__ == "__main__":
    main(sys.argv[1])
