"""Where weights come from, one class a kind: an address, the hub, a file put in place by hand, the package.

Each answers the same questions: where the weights lie or would, whether they are there, how to get them, and
which checksums their files should have.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ovseg.errors import UsageError, WeightsError
from ovseg.files.paths import home
from ovseg.weights import hub, table
from ovseg.weights.digest import file_digest
from ovseg.weights.download import Progress, download
from ovseg.weights.files import check_file
from ovseg.weights.known import Known


def folder() -> Path:
    """Where weights lie that are not in the hub's cache."""
    return home() / "weights"


class Source(ABC):
    """One set of weights; ``name`` is what the command line calls it, e.g. "ViT-B-16 openai"."""

    name: str

    @abstractmethod
    def path(self) -> Path:
        """Where the weights lie, or would."""

    @abstractmethod
    def find(self) -> Path | None:
        """The file or folder if it is on disk, without the network."""

    @abstractmethod
    def fetch(self, progress: Progress | None = None) -> Path:
        """The file or folder, from wherever it comes. Raises WeightsError."""

    @abstractmethod
    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        """Each file with its SHA-256 or the first digits of it, None where none is known."""

    def how(self) -> str:
        """What to do where the weights are missing."""
        return f"run `ovseg models pull {self.name}`"


@dataclass(frozen=True)
class Address(Source):
    """A file that open_clip knows the address of."""

    model: str
    tag: str
    url: str

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.model} {self.tag}"

    def path(self) -> Path:
        return folder() / f"{self.model}.{self.tag}{Path(self.url).suffix}"

    def find(self) -> Path | None:
        return self.path() if self.path().is_file() else None

    def fetch(self, progress: Progress | None = None) -> Path:
        download(self.url, self.path(), self.sha256, progress)
        return self.path()

    @property
    def sha256(self) -> str | None:
        """OpenAI's addresses hold the whole checksum, open_clip's own end with its first eight digits."""
        whole = re.search(r"/([0-9a-f]{64})/", self.url) or re.search(r"-([0-9a-f]{8})\.pt$", self.url)
        return whole.group(1) if whole else None

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        return [(found, self.sha256)]


@dataclass(frozen=True)
class HubFile(Source):
    """A checkpoint in a repository of the hub, as open_clip writes it: "org/name/file" or "org/name/"."""

    name: str
    identifier: str

    @property
    def _parts(self) -> tuple[str, tuple[str, ...]]:
        repository, _, file = self.identifier.rpartition("/")
        return repository, ((file,) if file else hub.CLIP_WEIGHTS)

    def path(self) -> Path:
        return hub.cached(self._parts[0])

    def find(self) -> Path | None:
        return hub.find_file(*self._parts)

    def fetch(self, progress: Progress | None = None) -> Path:
        return hub.fetch_file(*self._parts)

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        return [(found, hub.checksum(found))]


@dataclass(frozen=True)
class HubClip(Source):
    """A repository in open_clip's form: its config and its weights. What is found is their folder."""

    name: str
    repository: str

    def path(self) -> Path:
        return hub.cached(self.repository)

    def find(self) -> Path | None:
        config = hub.find_file(self.repository, (hub.CLIP_CONFIG,))
        weights = hub.find_file(self.repository, hub.CLIP_WEIGHTS)
        return config.parent if config and weights else None

    def fetch(self, progress: Progress | None = None) -> Path:
        config = hub.fetch_file(self.repository, (hub.CLIP_CONFIG,))
        hub.fetch_file(self.repository, hub.CLIP_WEIGHTS)
        return config.parent

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        files = [found / name for name in hub.CLIP_WEIGHTS if (found / name).is_file()]
        return [(file, hub.checksum(file)) for file in files]


@dataclass(frozen=True)
class HubFolder(Source):
    """A repository in transformers' form: a segmenter, or with ``text`` the parts of a text tower."""

    name: str
    repository: str
    text: bool = False

    def path(self) -> Path:
        return hub.cached(self.repository)

    def find(self) -> Path | None:
        found = hub.snapshot(self.repository)
        return found if found is not None and self._gap(found) is None else None

    def fetch(self, progress: Progress | None = None) -> Path:
        found = hub.fetch_folder(self.repository, hub.TEXT_FILES if self.text else hub.SEGMENTER_FILES)
        if gap := self._gap(found):
            raise WeightsError(f"expected {self.repository} of the hub with {gap}, it has none")
        return found

    def _gap(self, found: Path) -> str | None:
        if self.text:
            return None if hub.has_tokenizer(found) else "a tokenizer"
        return hub.missing_parts(found)

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        return [(file, hub.checksum(file)) for file in sorted(found.glob("*.safetensors"))]

    def how(self) -> str:
        if self.text:
            return f"load the model once without offline, which fetches {self.repository}"
        return super().how()


@dataclass(frozen=True)
class ByHand(Source):
    """A file that its users put into the weights folder; it is compared with its checksum when it is used."""

    row: Known

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.row.name

    def path(self) -> Path:
        return folder() / str(self.row.file)

    def find(self) -> Path | None:
        return self.path() if self.path().is_file() else None

    def fetch(self, progress: Progress | None = None) -> Path:
        raise WeightsError(f"expected {self.path()}, found none: {self.how()}")

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        return [(found, self.row.sha256)]

    def how(self) -> str:
        row = self.row
        return f"put {row.file} ({row.megabytes} MB) there, linked in the README of {row.source}"


@dataclass(frozen=True)
class Asset(Source):
    """A file of the installed package."""

    row: Known

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.row.name

    def path(self) -> Path:
        return Path(str(resources.files("ovseg.weights") / "assets" / str(self.row.file)))

    def find(self) -> Path | None:
        return self.path() if self.path().is_file() else None

    def fetch(self, progress: Progress | None = None) -> Path:
        raise WeightsError(f"expected the embedded model at {self.path()}, found no file: {self.how()}")

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        return [(found, self.row.sha256)]

    def how(self) -> str:
        return "reinstall ovseg"


@dataclass(frozen=True)
class Folder(Source):
    """A folder of the user's own."""

    name: str
    place: Path

    def path(self) -> Path:
        return self.place

    def find(self) -> Path | None:
        return self.place if self.place.is_dir() else None

    def fetch(self, progress: Progress | None = None) -> Path:
        raise WeightsError(f"expected a folder with a model, {self.place} is none")

    def checksums(self, found: Path) -> list[tuple[Path, str | None]]:
        endings = (".safetensors", ".bin", ".pth", ".pt")
        return [(file, None) for file in sorted(found.iterdir()) if file.suffix in endings]

    def how(self) -> str:
        return "put it there"


def open_clip_source(model: str, tag: str) -> Source:
    """The source of open_clip's weights. Raises UsageError for an unknown model or tag."""
    found = table.entry(model, tag)
    model, tag = table.clean(model, tag)
    if found.get("url"):
        return Address(model, tag, str(found["url"]))
    if not found.get("hf_hub"):
        raise UsageError(f"expected weights with an address, open_clip has none for {model} {tag}")
    return HubFile(f"{model} {tag}", str(found["hf_hub"]))


def compare(file: Path, wanted: str | None) -> str:
    """One line on a file and its checksum. Raises WeightsError where they differ; the file stays."""
    check_file(file, "weights")
    got = file_digest(file)
    if wanted is None:
        return f"{file}: no checksum is published, sha256 is {got}"
    if not got.startswith(wanted):
        raise WeightsError(f"expected sha256 {wanted} for {file}, got {got}; the file was left as it is")
    return f"{file}: sha256 {got}, as published"
