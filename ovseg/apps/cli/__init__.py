"""The command line: ``ovseg segment photo.jpg "sky, tree"`` and the other commands.

A command's module is imported when the command is used, and torch after arguments, names and files have been
checked. The overview and the version import this module only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import ovseg

COMMANDS = {
    "segment": ("segment", "Give every pixel the name that fits best."),
    "explain": ("explain", "Show where CLIP sees each text."),
    "recognize": ("segment", "Print the names that fit each image best, with their scores."),
    "mask": ("mask", "Make masks of what a text names, or say that it is not there."),
    "annotate": (
        "annotate",
        "Annotate many images with the words of a list, in the files of annotation tools.",
    ),
    "page": ("page", "Open a page for words and clicks: look at masks, correct, accept and export them."),
    "review": (
        "annotate",
        "Compare a run with ground truth: IoU, precision and recall of each class, confusion, better thresholds.",
    ),
    "convert": (
        "annotate",
        "Write annotations in other formats: coco, yolo, labelme, label-studio, cvat, voc and others.",
    ),
    "serve": (
        "serve",
        "Answer Label Studio and X-AnyLabeling: masks for words, labels, clicks, boxes and strokes.",
    ),
    "demo": ("lists", "Segment, explain and mask generated scenes and a few photographs."),
    "list": ("lists", "List the names that other commands take, one a line."),
    "models": ("lists", "Weights: what is known, what is on disk, and fetching it."),
}
"""By command: the module that has a function of this name, and the line in the overview."""


def overview() -> str:
    """What ``ovseg --help`` prints."""
    commands = "\n".join(f"  {name:<10} {line}" for name, (_, line) in COMMANDS.items())
    return f"""Usage: ovseg COMMAND [ARGUMENTS]

  Find image regions by their names, with a frozen CLIP and no training.

  Example: ovseg segment photo.jpg "sky, tree, building"

  Without --model, the small embedded model is used, which is made for trying out.

Commands (ovseg COMMAND --help says more):
{commands}

Options:
  --version             Show the version.
  --install-completion  Let this shell complete commands and options.
  --show-completion     Print what that would add to the shell's start file.
  --help                Show this text."""


@contextmanager
def whole_output() -> Iterator[None]:
    """Flush what the block prints; if that fails, end the process with an error line.

    A closed pipe, as with ``| head``, ends the process with exit code 0. Characters that a terminal cannot
    show are escaped, and output to a closed stream is dropped.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()  # a full disk is noticed here, not at Python's shutdown
    except BrokenPipeError:
        discard_stdout()
        sys.exit(0)
    except OSError as error:
        discard_stdout()
        with suppress(OSError):
            print(f"error: expected to write: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def discard_stdout() -> None:
    """Drop further standard output, so that Python does not complain at shutdown."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a file, as in tests
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends


def main() -> None:
    """Run the command line of this process."""
    words = sys.argv[1:]
    if words in ([], ["--help"], ["--version"]) and "_OVSEG_COMPLETE" not in os.environ:
        with whole_output():
            print(f"ovseg {ovseg.__version__}" if words == ["--version"] else overview())
        sys.exit(0 if words else 2)
    from ovseg.apps.cli.commands import app

    app()


def __getattr__(name: str) -> object:
    if name == "app":  # for running commands within Python, as tests do
        from ovseg.apps.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
