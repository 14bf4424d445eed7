"""The exceptions of ovseg: one line each, saying what was wanted and what came.

``exit_code`` is what the command line ends with: 2 for misuse (the call itself is wrong),
1 for a failure during a run (the call was right, something it touched was not).
"""


class OvsegError(Exception):
    """Base of every error that ovseg raises on purpose."""

    exit_code = 1


class OvsegWarning(UserWarning):
    """Something was done another way, and the result is the same: a cache that could not be written."""


class UsageError(OvsegError, ValueError):
    """An argument is wrong: an unknown method, no names, a window smaller than a patch."""

    exit_code = 2


class ImageError(OvsegError):
    """An image cannot be read: missing, truncated, not an image, too large."""


class DataError(OvsegError):
    """A data set is not as it should be: a folder or a label is missing, a value belongs to no class."""


class WeightsError(OvsegError):
    """Weights cannot be had or do not fit: no network, wrong checksum, another architecture."""


class UnsupportedModelError(OvsegError):
    """An open_clip model whose image tower has no tokens that ovseg knows how to read."""

    exit_code = 2
