"""The text side of a model: its weights and modules, and whether anything of them has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ovseg.clip.text_settings import settings

WORDS = 64
"""Numbers of 8 bytes that are added up together in the checksum of the weights."""


class State(NamedTuple):
    """What text features are computed with: equal states give equal features.

    Attributes:
        configuration: the ``repr`` of each text module's path, class and settings.
        hooks: each text module with forward hooks, and the numbers of those hooks, which are never reused.
        tensors: each text weight's name, type, shape, address and count of changes.
        checksum: of every byte of the weights, which sees changes through ``tensor.data`` and NumPy too.
    """

    configuration: str = ""
    hooks: tuple[tuple[str, tuple[int, ...]], ...] = ()
    tensors: tuple[tuple[str, str, int, int], ...] = ()
    checksum: int = 0


def text_state(clip: nn.Module) -> State:
    """The state of a model's text side now.

    Every byte of the weights is read once and added up: 10 to 20 ms on one core for the 250 MB of ViT-B.
    """
    tensors = list(text_tensors(clip))
    return State(
        repr(configuration(clip)),
        hooks(clip),
        tuple(
            (
                name,
                f"{tensor.dtype} {tuple(tensor.shape)}",
                tensor.data_ptr(),
                0 if tensor.is_inference() else tensor._version,
            )
            for name, tensor in tensors
        ),
        _checksum([tensor for _, tensor in tensors]),
    )


def is_text(name: str) -> bool:
    """Whether a weight or module of a CLIP model belongs to the text side: whatever is not the image tower.

    >>> is_text("token_embedding.weight"), is_text("visual.conv1.weight")
    (True, False)
    """
    return name != "visual" and not name.startswith("visual.")


def text_tensors(clip: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for named in (clip.named_parameters(), clip.named_buffers()):  # buffers that are not stored count too
        yield from ((name, tensor) for name, tensor in named if is_text(name))


def text_modules(clip: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in clip.named_modules() if is_text(name))


def configuration(clip: nn.Module) -> object:
    """Each text module's path, class and settings, as JSON can hold them."""
    seen: dict[int, object] = {}
    return [[name, settings(module, seen)] for name, module in text_modules(clip)]


def hooks(clip: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The text modules with forward hooks, which may change a feature, and the numbers of those hooks.

    Hooks of the whole model are left out: its forward pass is not what encodes a text.
    """
    found = (
        (name, (*module._forward_pre_hooks, *module._forward_hooks)) for name, module in text_modules(clip)
    )
    return tuple((name, numbers) for name, numbers in found if name and numbers)


def _checksum(tensors: list[Tensor]) -> int:
    """Of the bytes of all tensors in their order; those on the device "meta" have none."""
    sums: defaultdict[torch.device, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        if not tensor.is_meta:
            sums[tensor.device] += _sums(tensor)
    return hash(tuple(torch.cat(listed).cpu().numpy().tobytes() for listed in sums.values()))


def _sums(tensor: Tensor) -> list[Tensor]:
    """Sums (N,) int64 of ``WORDS`` words each, where a tensor's bytes are such words; else its bytes (N,)."""
    flat = tensor.detach().contiguous().reshape(-1)
    row = 8 * WORDS // flat.element_size()
    whole = len(flat) // row * row
    parts = [flat[whole:].view(torch.uint8).long()]
    if whole:
        head = flat[:whole]
        if head.storage_offset() * head.element_size() % 8:
            head = head.clone()
        parts.append(head.view(torch.int64).reshape(-1, WORDS).sum(1))
    return parts
