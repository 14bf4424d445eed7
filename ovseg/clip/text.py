"""Encode names as prompt ensembles with the unchanged text tower, cached in memory and on disk.

Each name fills every template; each prompt's feature is normalised, their mean is normalised. Prompts are
sorted by length, and each batch is cut to its longest prompt.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.clip.plain import open_clip_file
from ovseg.clip.text_cache import TextCache as TextCache
from ovseg.clip.text_tower import check_lengths, text_device, text_tower
from ovseg.errors import UsageError, WeightsError, short_repr
from ovseg.options import InputOptions
from ovseg.words.names import in_order, is_unicode

if TYPE_CHECKING:
    from ovseg.clip.loaded import LoadedClip

_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
_IMAGENET = tuple(
    template("{}") for template in open_clip_file("zero_shot_metadata").OPENAI_IMAGENET_TEMPLATES
)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "paper": _IMAGENET + _SCENE,
    "imagenet": _IMAGENET,
    "plain": ("{}",),
}
TOKENS_PER_BATCH = 8192
PROMPTS_AT_ONCE = 16_384
"""Prompts that are tokenized and sorted together; bounds the memory for any number of names."""
REMEMBERED = 10_000
"""Features cached in memory, 2 KB each for ViT-B."""
Progress: TypeAlias = "Callable[[int, int], None]"
"""Called with the number of encoded prompts and the total of this call."""
_LOCK = threading.RLock()  # the hub's tokenizers are not thread-safe


def resolve_templates(templates: str | Iterable[str]) -> tuple[str, ...]:
    """Look up prompt templates by name, or check the caller's own.

    Args:
        templates: "paper" (85), "imagenet" (80), "plain" (the name alone), one template, or several. Each
            template has exactly one ``{}``, where the name goes.

    Raises:
        UsageError: an unknown name, no template, one that is not text or lacks exactly one ``{}``.

    >>> len(resolve_templates("paper")), resolve_templates("a photo of {}")
    (85, ('a photo of {}',))
    """
    if isinstance(templates, str):
        if templates in TEMPLATES:
            return TEMPLATES[templates]
        if "{}" not in templates:
            known = ", ".join(TEMPLATES)
            raise UsageError(
                f"unknown templates {short_repr(templates)}: expected one of {known}, or texts with {{}}"
            )
        templates = [templates]
    found = tuple(_check_text("template", template) for template in in_order("templates", templates))
    for template in found:
        if template.count("{}") != 1:
            raise UsageError(f"expected templates with one {{}} each, got {short_repr(template)}")
    if not found:
        raise UsageError("expected templates with one {} each, got none")
    return found


class TextEncoder:
    """Prompt ensembles of one model's text tower, which is only read. May be used by several threads.

    Known features cost a look-up. After loading other weights into a model, make a new encoder.

    Args:
        loaded: the model.
        cache: on disk, or None. It is not used for a model without a ``text_key``.
    """

    def __init__(self, loaded: LoadedClip, cache: TextCache | None = None) -> None:
        self.loaded = loaded
        self.cache = cache
        self._known: dict[tuple[str, ...], dict[str, Tensor]] = {}  # by templates, by name

    def encode(
        self,
        names: Sequence[str],
        templates: str | Iterable[str] = InputOptions.templates,
        progress: Progress | None = None,
    ) -> Tensor:
        """The feature of each name's prompt ensemble.

        Args:
            names: K names; "" is allowed.
            templates: see ``resolve_templates``.
            progress: called with (prompts done, prompts in all), first with 0, then after each batch. Known
                names are not counted; where all are known, it is not called.

        Returns:
            (K, D) float32 on the CPU, each row L2-normalised.

        Raises:
            UsageError: no names, one that is not text, or one with a prompt longer than the model's context.
            WeightsError: the text tower gives values that are not finite.

        >>> from ovseg.clip.models import load_clip
        >>> encoder = TextEncoder(load_clip("tiny"))
        >>> encoder.encode(["tree", "sky"], "plain").shape
        torch.Size([2, 128])
        """
        listed = [_check_text("name", name) for name in in_order("names", names)]
        if not listed:
            raise UsageError("expected at least one name, got none")
        frames = resolve_templates(templates)
        known = self._known.setdefault(frames, {})
        if any(name not in known for name in listed):
            with _LOCK:
                self._complete(known, list(dict.fromkeys(listed)), frames, progress)
        return torch.stack([known[name] for name in listed])

    def _complete(
        self, known: dict[str, Tensor], names: list[str], frames: tuple[str, ...], progress: Progress | None
    ) -> None:
        """Add the features of ``names`` to ``known``, from the cache or from the text tower."""
        if sum(map(len, self._known.values())) > REMEMBERED:  # calls in progress hold their own ``known``
            self._known = {frames: known} if len(known) <= REMEMBERED else {}
        cache = self.cache if self.cache and self.loaded.text_key else None
        missing = [name for name in names if name not in known]
        keys = {name: feature_key(self.loaded.text_key, frames, name) for name in missing} if cache else {}
        for name, key in keys.items():
            if cache and (stored := cache.read(key)) is not None:
                known[name] = torch.from_numpy(stored)
        missing = [name for name in missing if name not in known]
        for encoded in self._encode_all(missing, frames, progress):
            for name, feature in encoded.items():
                known[name] = feature
                if cache:  # at once: an interrupted call keeps what it encoded
                    cache.write(keys[name], feature.numpy())
        if cache and missing:
            cache.trim()

    def _encode_all(
        self, names: list[str], frames: tuple[str, ...], progress: Progress | None
    ) -> Iterator[dict[str, Tensor]]:
        """Yield {name: feature (D,)} for some names at a time, as soon as they are encoded."""
        if not names:
            return
        check_lengths(self.loaded.tokenizer, names, frames)
        total = len(names) * len(frames)
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        report(0)
        step = max(1, PROMPTS_AT_ONCE // len(frames))
        for start in range(0, len(names), step):
            part = names[start : start + step]
            yield dict(zip(part, self._ensembles(part, frames, report), strict=True))

    def _ensembles(self, names: list[str], frames: tuple[str, ...], report: Callable[[int], None]) -> Tensor:
        """(K, D) float32 on the CPU, L2-normalised."""
        prompts = [frame.replace("{}", name) for name in names for frame in frames]
        tokens = self.loaded.tokenizer(prompts)  # (P, L)
        owners = torch.arange(len(names)).repeat_interleave(len(frames))  # (P,)
        tower, device = text_tower(self.loaded.clip), text_device(self.loaded.clip)
        ends = tower.ends(tokens)
        sums: Tensor | None = None
        with _plain_arithmetic(device):
            for part in _batches(ends):
                batch = tokens[part][:, : max(1, int(ends[part[-1]]))].to(device)
                features = F.normalize(tower.encode(batch).float(), dim=-1).cpu()  # (B, D)
                if sums is None:
                    sums = features.new_zeros(len(names), features.shape[1])
                sums.index_add_(0, owners[part], features)
                report(len(part))
            assert sums is not None  # there is at least one prompt
            if not sums.isfinite().all():
                raise WeightsError("expected finite text features, the text tower gives NaN or infinity")
            return F.normalize(sums / len(frames), dim=-1)


def feature_key(text_key: str | None, templates: Sequence[str], name: str) -> str:
    """The key of a feature on disk: SHA-256 of JSON, in which different inputs never look alike.

    >>> feature_key("", ["a {}"], "b") == feature_key("", ["a {}", "b"], "")
    False
    """
    return hashlib.sha256(json.dumps([text_key, list(templates), name]).encode()).hexdigest()


def _batches(ends: Tensor) -> Iterator[Tensor]:
    """Indices of prompts, sorted by length, in batches of at most ``TOKENS_PER_BATCH`` tokens."""
    order = ends.argsort()
    lengths = ends[order].tolist()
    start = 0
    while start < len(order):
        # A batch's longest prompt is its last: it grows while it still fits.
        stop = start + 1
        while stop < len(order) and lengths[stop] * (stop + 1 - start) <= TOKENS_PER_BATCH:
            stop += 1
        yield order[start:stop]
        start = stop


@contextmanager
def _plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Turn off gradients, inference mode and autocast: cached features outlive the caller's contexts."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.amp.is_autocast_available(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


def _check_text(what: str, value: object) -> str:
    """``value`` if it is Unicode text; "" is allowed. Raises UsageError."""
    if not isinstance(value, str):
        raise UsageError(f"expected each {what} as a text, got {type(value).__name__} {short_repr(value)}")
    if not is_unicode(value):
        raise UsageError(
            f"expected each {what} in Unicode, got bytes that are not UTF-8: {short_repr(value)}"
        )
    return str.__str__(value)
