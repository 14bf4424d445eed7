"""Towers that average over cells: ConvNeXt and FastViT."""

from __future__ import annotations

import pytest
import torch
from small_towers import CELLS, close, pixels, tower

from ovseg.clip.attention import METHODS
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.towers import check_method, tower_of
from ovseg.errors import UnsupportedModelError


@pytest.mark.parametrize("name", ["clip", "maskclip"])
@pytest.mark.parametrize("family", CELLS)
def test_cells_and_feature_are_the_towers_own(family: str, name: str) -> None:
    visual = tower(family)
    height, width = (2 * side for side in tower_of(visual).patch_size)
    x = pixels(2, 3, height, width)
    found = encode_image(visual, x, METHODS[name])
    assert found.grid == (2, 2)
    close(found.class_token, visual(x))
    cells = visual.trunk.forward_features(x)
    wanted = [
        visual.head(visual.trunk.forward_head(cells[:, :, i : i + 1, j : j + 1]))
        for i in range(2)
        for j in range(2)
    ]
    close(found.patches, torch.stack(wanted, dim=1))
    alone = encode_image(visual, x, METHODS[name], patches=False)
    close(alone.class_token, found.class_token)
    assert alone.patches.shape == (2, 0, 48)


def test_the_mean_of_fastvits_cells_is_its_feature() -> None:
    found = encode_image(tower("fastvit"), pixels(1, 3, 96, 64), METHODS["clip"])
    assert found.grid == (3, 2)
    close(found.patches.mean(dim=1), found.class_token)


@pytest.mark.parametrize("family", CELLS)
def test_a_batch_is_its_images_and_leaves_no_trace(family: str) -> None:
    visual = tower(family)
    before = {k: v.clone() for k, v in visual.state_dict().items()}
    side = tower_of(visual).patch_size[0]
    x = pixels(2, 3, side, 3 * side)
    together = encode_image(visual, x, METHODS["clip"])
    assert together.grid == (1, 3)
    for index in range(2):
        alone = encode_image(visual, x[index : index + 1], METHODS["clip"])
        close(together.patches[index], alone.patches[0])
        close(together.class_token[index], alone.class_token[0])
    assert all(torch.equal(before[k], v) for k, v in visual.state_dict().items())


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"clip", "maskclip"}))
@pytest.mark.parametrize("family", ["convnext", "fastvit"])
def test_methods_that_replace_attention_say_that_there_is_none(family: str, name: str) -> None:
    said = f"expected method 'clip' or 'maskclip' for a .* has no attention to replace, got '{name}'"
    with pytest.raises(UnsupportedModelError, match=said):
        check_method(tower(family), METHODS[name])
    with pytest.raises(UnsupportedModelError, match=said):
        encode_image(tower(family), torch.zeros(1, 3, 64, 64), METHODS[name])


def test_there_is_no_attention_to_trace() -> None:
    with pytest.raises(UnsupportedModelError, match="attention to trace, got a ConvNeXt"):
        encode_image(tower("convnext"), torch.zeros(1, 3, 64, 64), METHODS["clip"], trace=Trace())


def test_a_cell_is_the_total_stride() -> None:
    assert [tower_of(tower(family)).patch_size[0] for family in CELLS] == [32, 32, 32, 64]
