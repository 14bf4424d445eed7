"""Where weights come from, one class a kind: an address, the hub, or a place on this disk.

Each gives the weights' place, whether they are on disk, how to fetch them, and the checksums of their files.
Messages about missing weights are written only here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from ovseg.errors import WeightsError
from ovseg.weights import network
from ovseg.weights.files import check_file, file_digest
from ovseg.weights.network import Progress, Unreachable, download

ENDINGS = (".safetensors", ".bin", ".pth", ".pt")
"""Of files with weights."""


@dataclass(frozen=True)
class Source(ABC):
    """One set of weights.

    Attributes:
        name: what the command line calls it, e.g. "ViT-B-16 openai".
    """

    name: str

    @abstractmethod
    def path(self) -> Path:
        """Where the weights are, or would be stored."""

    @abstractmethod
    def find(self) -> Path | None:
        """The file or folder if it is on disk, without the network."""

    @abstractmethod
    def fetch(self, progress: Progress | None) -> Path:
        """The file or folder from the network. Raises Unreachable, or another WeightsError."""

    @abstractmethod
    def how(self) -> str:
        """What the user can do about missing weights."""

    def checksum(self, file: Path) -> str | None:
        """The SHA-256 that a file should have, or its first digits; None where it is not known."""
        return network.checksum(file)

    def pull(self, *, offline: bool = False, progress: Progress | None = None) -> Path:
        """The weights on disk, downloaded if they are missing.

        Args:
            offline: never touch the network.
            progress: called during the download from an address, see ``network.Progress``.

        Returns:
            The file, or the folder of a repository.

        Raises:
            WeightsError: they are missing and ``offline`` is True, cannot be fetched, or have another checksum.
        """
        found = self.find()
        if found is not None:
            return found
        if offline:
            raise self.missing("found none")
        try:
            return self.fetch(progress)
        except Unreachable as error:
            raise self.missing(str(error)) from None

    def verify(self) -> str:
        """Compare each file with its checksum: one line a file.

        Raises:
            WeightsError: nothing is on disk, or a file differs from its checksum.
        """
        found = self.find()
        if found is None:
            raise self.missing("found none")
        files = [found] if found.is_file() else [file for file in found.iterdir() if file.suffix in ENDINGS]
        if not files:
            raise WeightsError(f"expected files with weights in {found}, found none")
        return "\n".join(compare(file, self.checksum(file)) for file in sorted(files))

    def missing(self, problem: str) -> WeightsError:
        """The error for missing weights: which, their place, the reason, and what to do."""
        return WeightsError(f"expected {self.name} at {self.path()}, {problem}: {self.how()}")


@dataclass(frozen=True)
class Address(Source):
    """A file at an address, kept in the weights folder.

    Attributes:
        file: where it is kept.
        url: the address.
        sha256: of the file, or its first digits; None where none is published.
        megabytes: its size; None where it is not known.
    """

    file: Path
    url: str
    sha256: str | None
    megabytes: int | None

    def path(self) -> Path:
        return self.file

    def find(self) -> Path | None:
        return self.file if self.file.is_file() else None

    def fetch(self, progress: Progress | None) -> Path:
        download(self.url, self.file, self.sha256, progress)
        return self.file

    def pull(self, *, offline: bool = False, progress: Progress | None = None) -> Path:
        """As ``Source.pull``; a file on disk may have been copied by hand, so its checksum is compared."""
        if self.find() is not None:
            compare(self.file, self.sha256)
        return super().pull(offline=offline, progress=progress)

    def checksum(self, file: Path) -> str | None:
        return self.sha256

    def how(self) -> str:
        size = "" if self.megabytes is None else f"{self.megabytes} MB, "
        return _fetch_or(self.name, f"copy it there under this name ({size}{self.url})")


@dataclass(frozen=True)
class ClipRepository(Source):
    """Weights in a repository of the hub in open_clip's form, alone or with their config.

    Attributes:
        repository: "org/name".
        files: names of the weights' file, of which the first that exists is used.
        with_config: find the folder with config and weights instead of the weights' file.
    """

    repository: str
    files: tuple[str, ...] = network.CLIP_WEIGHTS
    with_config: bool = False

    def path(self) -> Path:
        return network.cached(self.repository)

    def find(self) -> Path | None:
        weights = network.find_file(self.repository, self.files)
        if not self.with_config:
            return weights
        config = network.find_file(self.repository, (network.CLIP_CONFIG,))
        return config.parent if config and weights else None

    def fetch(self, progress: Progress | None) -> Path:
        config = network.fetch_file(self.repository, (network.CLIP_CONFIG,)) if self.with_config else None
        weights = network.fetch_file(self.repository, self.files)
        return config.parent if config else weights

    def how(self) -> str:
        use = "its name is local-dir:FOLDER" if self.with_config else "give its file as weights"
        return _fetch_or(self.name, f"copy the hub's {self.repository} to a folder: {use}")


@dataclass(frozen=True)
class SegmenterRepository(Source):
    """A segmenter in a repository of the hub in transformers' form: its folder."""

    repository: str

    def path(self) -> Path:
        return network.cached(self.repository)

    def find(self) -> Path | None:
        found = network.snapshot(self.repository)
        return found if found is not None and network.missing_part(found) is None else None

    def fetch(self, progress: Progress | None) -> Path:
        found = network.fetch_folder(self.repository, network.SEGMENTER_FILES)
        if gap := network.missing_part(found):
            raise WeightsError(f"expected {self.repository} of the hub with {gap}, it has none")
        return found

    def how(self) -> str:
        return _fetch_or(self.name, f"copy the hub's {self.repository} to a folder: its name is hf:FOLDER")


@dataclass(frozen=True)
class TextRepository(Source):
    """Config and tokenizer of a text tower in a repository of the hub: their folder."""

    def path(self) -> Path:
        return network.cached(self.name)

    def find(self) -> Path | None:
        found = network.snapshot(self.name)
        return found if found is not None and network.has_tokenizer(found) else None

    def fetch(self, progress: Progress | None) -> Path:
        found = network.fetch_folder(self.name, network.TEXT_FILES)
        if not network.has_tokenizer(found):
            raise WeightsError(f"expected {self.name} of the hub with a tokenizer, it has none")
        return found

    def how(self) -> str:
        return "load the model once with a network, behind a proxy with HTTPS_PROXY set; that fetches it"


@dataclass(frozen=True)
class Local(Source):
    """A file or folder that cannot be downloaded: the installed package's or the user's own.

    Attributes:
        place: where it is.
        hint: what to do if it is missing.
        sha256: of the file; None where it is not known.
    """

    place: Path
    hint: str
    sha256: str | None = None

    def path(self) -> Path:
        return self.place

    def find(self) -> Path | None:
        return self.place if self.place.exists() else None

    def fetch(self, progress: Progress | None) -> Path:
        raise self.missing("found none")

    def checksum(self, file: Path) -> str | None:
        return self.sha256

    def how(self) -> str:
        return self.hint


def _fetch_or(name: str, by_hand: str) -> str:
    """What to do about downloadable weights, online and offline."""
    return f"`ovseg models pull {name}` fetches it (behind a proxy set HTTPS_PROXY); offline, {by_hand}"


def compare(file: Path, wanted: str | None) -> str:
    """Compare a file with its checksum, in one line. Raises WeightsError where they differ; the file stays."""
    check_file(file, "weights")
    got = file_digest(file)
    if wanted is None:
        return f"{file}: no checksum is published, sha256 is {got}"
    if not got.startswith(wanted):
        raise WeightsError(f"expected sha256 {wanted} for {file}, got {got}; the file was left as it is")
    return f"{file}: sha256 {got}, as published"
