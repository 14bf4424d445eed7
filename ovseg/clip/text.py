"""Names to features: prompt ensembles on the untouched text tower, and their cache on disk.

The text transformer is causal, so the feature at the end token does not depend on the padding
behind it: prompts are sorted by length and each batch is cut to its longest.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor
from torch.nn import functional as F

from ovseg.errors import OvsegWarning, UsageError
from ovseg.paths import home

_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
_IMAGENET = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "paper": _IMAGENET + _SCENE,
    "imagenet": _IMAGENET,
    "plain": ("{}",),
}
TOKENS_PER_BATCH = 8192
REMEMBERED = 10_000  # ensembles kept in memory, 2 KB each for ViT-B


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The templates of a name ("paper", "imagenet", "plain"), or one's own with a ``{}`` each.

    Raises UsageError for an unknown name, no template, or one without exactly one ``{}``.
    """
    if isinstance(templates, str):
        if templates in TEMPLATES:
            return TEMPLATES[templates]
        if "{}" not in templates:
            known = ", ".join(TEMPLATES)
            raise UsageError(f"unknown templates {templates!r}: wanted one of {known}, or texts with {{}}")
        templates = [templates]
    wrong = [t for t in templates if t.count("{}") != 1]
    if wrong or not templates:
        raise UsageError(f"wanted templates with one {{}} each, got {wrong[0] if wrong else 'none'!r}")
    return tuple(templates)


class TextEncoder:
    """Prompt ensembles of one model's text tower; the tower is only read."""

    def __init__(self, clip: Any, tokenizer: Any, cache: TextCache | None = None) -> None:
        self.clip = clip
        self.tokenizer = tokenizer
        self.cache = cache
        self._fingerprint: str | None = None
        self._memory: dict[tuple[tuple[str, ...], str], Tensor] = {}

    def encode(self, names: Sequence[str], templates: str | Sequence[str] = "paper") -> Tensor:
        """(K, D) float32 on the CPU, L2-normalised: each prompt normalised, their mean normalised.

        Raises UsageError for no names, or a name whose prompts are longer than the model's context.
        """
        if not names:
            raise UsageError("wanted at least one name, got none")
        frames = resolve_templates(templates)
        if len(self._memory) > REMEMBERED:
            self._memory = {}
        memory = self._memory  # this call's own, should another thread start a new one meanwhile
        unknown = [name for name in dict.fromkeys(names) if (frames, name) not in memory]
        for name, feature in self._read_or_encode(unknown, frames).items():
            memory[frames, name] = feature
        return torch.stack([memory[frames, name] for name in names])

    def _read_or_encode(self, unique: Sequence[str], frames: tuple[str, ...]) -> dict[str, Tensor]:
        """Each name's ensemble from the cache, the missing ones in one go through the text tower."""
        keys = {name: self._key(name, frames) for name in unique} if self.cache else {}
        found: dict[str, Tensor] = {}
        if self.cache:
            for name in unique:
                stored = self.cache.read(keys[name])
                if stored is not None:
                    found[name] = torch.from_numpy(stored)
        missing = [name for name in unique if name not in found]
        if missing:
            for name, feature in zip(missing, self._ensembles(missing, frames), strict=True):
                found[name] = feature
                if self.cache:
                    self.cache.write(keys[name], feature.numpy())
            if self.cache:
                self.cache.trim()
        return found

    def _ensembles(self, names: Sequence[str], frames: tuple[str, ...]) -> Tensor:
        prompts = [frame.replace("{}", name) for name in names for frame in frames]
        distinct = list(dict.fromkeys(prompts))
        self._check_length(names, frames)
        features = dict(zip(distinct, self._prompts(distinct), strict=True))
        stacked = torch.stack([features[p] for p in prompts]).unflatten(0, (len(names), len(frames)))
        return F.normalize(stacked.mean(dim=1), dim=-1)

    def _check_length(self, names: Sequence[str], frames: tuple[str, ...]) -> None:
        """open_clip's tokenizer cuts silently; here a name that does not fit is an error."""
        context = int(self.tokenizer.context_length)
        longest = max(frames, key=lambda frame: len(self.tokenizer.encode(frame.replace("{}", ""))))
        for name in names:
            count = len(self.tokenizer.encode(longest.replace("{}", name))) + 2
            if count > context:
                short = name if len(name) <= 40 else name[:37] + "…"
                raise UsageError(
                    f"wanted a name of at most {context} tokens with its prompt, {short!r} takes {count}"
                )

    @torch.no_grad()
    def _prompts(self, prompts: Sequence[str]) -> Tensor:
        """(P, D) float32 on the CPU, L2-normalised, in the order given."""
        tokens = self.tokenizer(list(prompts))  # (P, L)
        encode, cut = _text_tower(self.clip)
        ends = tokens.argmax(dim=-1) + 1 if cut else torch.full((len(tokens),), tokens.shape[1])
        order = ends.argsort()
        features: Tensor | None = None
        start = 0
        while start < len(order):
            # Sorted by length, so the batch's longest prompt is its last: grow while it still fits.
            stop = start + 1
            while stop < len(order) and int(ends[order[stop]]) * (stop + 1 - start) <= TOKENS_PER_BATCH:
                stop += 1
            part = order[start:stop]
            batch = tokens[part][:, : int(ends[part[-1]])]
            out = F.normalize(encode(batch.to(_device(self.clip))).float(), dim=-1).cpu()
            if features is None:
                features = out.new_empty(len(prompts), out.shape[1])
            features[part] = out
            start = stop
        assert features is not None  # there is at least one prompt
        return features

    def _key(self, name: str, frames: tuple[str, ...]) -> str:
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.clip, self.tokenizer)
        return hashlib.sha256("\0".join([self._fingerprint, *frames, name]).encode()).hexdigest()


def _device(clip: Any) -> torch.device:
    return next(clip.parameters()).device


def _text_tower(clip: Any) -> tuple[Callable[[Tensor], Tensor], bool]:
    """How tokens become features, and whether padding may be cut: for causal towers read at the end token."""
    if not (isinstance(clip, CLIP) and clip.text_pool_type == "argmax" and clip.attn_mask is not None):
        return clip.encode_text, False
    tower: Any = clip

    def encode(tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
        x = x[torch.arange(len(x)), tokens.argmax(dim=-1)]  # the end token has the largest id
        return tower.ln_final(x) @ tower.text_projection

    return encode, True


def fingerprint(clip: Any, tokenizer: Any) -> str:
    """What text features depend on, as a hash: a sample of every text weight, and the tokenizer.

    Of each tensor 4096 values spread over it: hundredths of a second also for a large model, and
    towers that were trained differently differ there.
    """
    digest = hashlib.sha256()
    fields = (type(tokenizer).__name__, tokenizer.context_length, tokenizer.vocab_size)
    digest.update("\0".join(map(str, ("1", type(clip).__name__, *fields))).encode())
    with torch.no_grad():
        for key, value in clip.state_dict().items():
            if key.startswith("visual."):
                continue
            flat = value.detach().flatten()[:: max(1, value.numel() // 4096)].double().cpu()
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(flat.numpy().tobytes())
    return digest.hexdigest()


class TextCache:
    """Text features on disk, one small file each: safe for several processes, oldest out first.

    ``folder`` defaults to ``text`` in ovseg's home; ``limit`` in bytes. A file that cannot be read
    counts as absent; a disk that cannot be written warns once and costs only time.
    """

    def __init__(self, folder: Path | None = None, limit: int = 256 * 2**20) -> None:
        self.folder = Path(folder) if folder is not None else home() / "text"
        self.limit = limit
        self._warned = False

    def read(self, key: str) -> np.ndarray | None:
        path = self._path(key)
        try:
            feature = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # absent, or cut off by a full disk
            return None
        if feature.ndim != 1 or feature.dtype != np.float32 or not np.isfinite(feature).all():
            return None
        return np.asarray(feature)

    def write(self, key: str, feature: np.ndarray) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, feature)
                os.replace(partial, path)  # whole or not at all, whoever else is writing
            except OSError:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._warn(error)

    def trim(self) -> None:
        """Remove the files written longest ago until the folder is within its limit."""
        files = sorted(_stats(self.folder.glob("*/*.npy")))
        excess = sum(size for _, size, _ in files) - self.limit
        for _, size, path in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            message = f"text features are not kept: {self.folder} cannot be written ({error.strerror})"
            warnings.warn(message, OvsegWarning, stacklevel=4)


def _stats(paths: Iterable[Path]) -> Iterable[tuple[float, int, Path]]:
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # another process was faster
            continue
        yield stat.st_mtime, stat.st_size, path
