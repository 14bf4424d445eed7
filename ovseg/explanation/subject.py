"""What the explanations of one image share: its pixels, the texts' features, and one forward pass.

Gradients with respect to tensors inside the image tower are taken from this forward pass for every text, at the
cost of at most one backward pass for each text:

- ``gradients``: with respect to the traced blocks, as many texts in one vectorised backward pass as memory
  allows;
- ``tail_gradients``: with respect to a tensor near the tower's end. The rest of the tower is computed for a batch
  with one copy of the tensor for each text, and a single backward pass gives every text's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.attention import METHODS, qk
from ovseg.clip.attention import weights as attention_weights
from ovseg.clip.encoder import Trace, encode_image
from ovseg.clip.towers import BlockTower, CellTower, PoolingTower, Tower, tower_of
from ovseg.maps.similarity import to_grid
from ovseg.model import Model

AT_ONCE = 2**25
"""Most values of gradients in memory at a time, 128 MB in float32."""
CLIP = METHODS["clip"]


class Subject:
    """One image and K texts, whose cosines with the image are explained.

    Attributes:
        model: the frozen CLIP.
        pixels: (1, 3, H, W), normalised; H and W are multiples of the patch.
        text: (K, D) float32, L2-normalised.
        empty: (1, D), the feature of the empty text; None if no explanation needs it.
        surgery: the feature surgery of explanations that are similarities; None for each method's own.
        names: the K texts.
        file: the image's file; None if it was given as an array.
        blocks: how many of the last blocks ``trace`` holds; None for all.
        clip: CLIP's own method with the explanation's rule for positions.

    Example:
        >>> import ovseg
        >>> model = ovseg.load_model("tiny")
        >>> pixels = model.preprocess([ovseg.make_scene(11).image], (64, 64))
        >>> subject = Subject(model, pixels, model.encode_text(["stripes", "gravel"]), blocks=2)
        >>> tuple(subject.cosines.shape), len(subject.trace.attention), subject.grid
        ((2,), 2, (8, 8))
    """

    def __init__(
        self,
        model: Model,
        pixels: Tensor,
        text: Tensor,
        *,
        empty: Tensor | None = None,
        surgery: str | None = None,
        names: Sequence[str] = (),
        file: Path | None = None,
        blocks: int | None = 0,
        resize: str = CLIP.resize,
    ) -> None:
        self.model = model
        self.clip = replace(CLIP, resize=resize)
        self.pixels = pixels
        self.text = text
        self.empty = empty
        self.surgery = surgery
        self.names = tuple(names)
        self.file = file
        self.blocks = blocks

    @cached_property
    def tower(self) -> Tower:
        """The adapter of the image tower."""
        return tower_of(self.model.clip.visual)

    @cached_property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the token grid."""
        (height, width), patch = self.pixels.shape[2:], self.tower.patch_size
        return height // patch[0], width // patch[1]

    # ------------------------------------------------------------------------------ the one forward pass

    @cached_property
    def _passed(self) -> tuple[Trace, Tensor]:
        tower = self.tower
        every = len(tower.blocks) if isinstance(tower, BlockTower) else 0
        trace = Trace(blocks=every if self.blocks is None else min(self.blocks, every))
        with torch.enable_grad():
            if isinstance(tower, CellTower):  # has no attention: trace its last feature map
                cells = tower.cells(self.pixels.to(next(tower.visual.parameters()).dtype))
                trace.tokens.append(cells.detach().requires_grad_())
                return trace, tower.pooled(trace.tokens[-1]).float()
            tokens = encode_image(tower_visual(tower), self.pixels, self.clip, trace=trace)
        return trace, tokens.class_token

    @property
    def trace(self) -> Trace:
        """The last ``blocks`` blocks of the forward pass, in the autograd graph."""
        return self._passed[0]

    @property
    def feature(self) -> Tensor:
        """(D,), the image's feature, not normalised, in the autograd graph."""
        return self._passed[1][0]

    @cached_property
    def cosines(self) -> Tensor:
        """(K,): the cosine of the image's feature with each text."""
        return F.normalize(self.feature.detach(), dim=-1) @ self.text.T

    # ----------------------------------------------------------------------------------------- gradients

    def gradients(self, inputs: Sequence[Tensor], features: Tensor | None = None) -> Iterator[list[Tensor]]:
        """Compute ∂c_k/∂x for tensors x of the trace and the cosine c_k of text k, in groups of texts.

        Args:
            inputs: tensors of ``trace``, each (1, …).
            features: (D,) in the graph, in place of the image's feature.

        Yields:
            For each group of k texts, in order: a list parallel to ``inputs``, each (k, …) float32.
        """
        scores = F.normalize(self.feature if features is None else features, dim=-1) @ self.text.T  # (K,)
        step = max(1, AT_ONCE // sum(x.numel() for x in inputs))
        one_hot = torch.eye(len(scores), device=scores.device)
        for chosen in one_hot.split(step):
            found = torch.autograd.grad(
                scores, list(inputs), chosen, retain_graph=True, is_grads_batched=True
            )
            yield [gradient[:, 0].float() for gradient in found]

    def tail_gradients(self, x: Tensor, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute ∂c_k/∂x for a tensor x from which ``rest`` computes the image's feature.

        Args:
            x: (1, …), the input of the end of the tower.
            rest: the end of the tower, from (B, …) to features (B, D).

        Returns:
            (K, …) float32.
        """
        found = []
        for text in self.text.split(max(1, AT_ONCE // x.numel())):
            with torch.enable_grad():
                copies = x.detach().expand(len(text), *x.shape[1:]).clone().requires_grad_()
                score = (F.normalize(rest(copies).float(), dim=-1) * text).sum()
            found.append(torch.autograd.grad(score, copies)[0].float())
        return torch.cat(found)

    # ------------------------------------------------------------------------------- the end of the tower

    @property
    def last_map(self) -> Tensor:
        """(1, P+N, C): the last feature map, or the last block's output with its P leading tokens first."""
        last = self.trace.tokens[-1].detach()
        return last if isinstance(self.tower, BlockTower) else last.flatten(2).transpose(1, 2)

    @property
    def prefix(self) -> int:
        """P, the number of leading tokens of ``last_map`` that are not patches."""
        return self.tower.prefix if isinstance(self.tower, BlockTower) else 0

    def pooled(self, x: Tensor) -> Tensor:
        """Compute the image's feature (B, D) from ``last_map`` (B, P+N, C), as the tower does."""
        tower = self.tower
        if isinstance(tower, BlockTower):
            return tower.pooled(x[:, :1] if tower.reads_class_token else x)
        cells = x.transpose(1, 2).unflatten(-1, self.grid)
        if isinstance(tower, CellTower):
            return tower.pooled(cells)
        assert isinstance(tower, PoolingTower)
        mixed, grid = tower.pooling_input(cells, self.clip.resize)
        heads = tower.pooling_heads(mixed, grid, queries=False)
        return tower.project(attention_weights(qk(heads), heads.v) @ heads.v)[:, 0]

    def on_grid(self, values: Tensor) -> Tensor:
        """Reshape (K, N), one value for each place in row-major order, to (K, h, w)."""
        return to_grid(values.T[None], self.grid)[0]


def tower_visual(tower: Tower) -> torch.nn.Module:
    """The open_clip module behind an adapter."""
    visual: torch.nn.Module = tower.visual  # type: ignore[attr-defined]  # each adapter keeps it under this name
    return visual
