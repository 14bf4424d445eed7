"""``ovseg page``: photographs, words and clicks in a browser."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from ovseg.apps.cli.inputs import Recursive, check_out
from ovseg.apps.cli.loading import (
    DEFAULT,
    MethodName,
    ModelName,
    SegmenterName,
    SegmenterWeights,
    little_known,
    load_model,
)
from ovseg.apps.cli.loading import load_segmenter as load_named_segmenter
from ovseg.apps.cli.mask import DEFAULT_SEGMENTER
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.files.paths import shown
from ovseg.options import AnnotateOptions, LoadOptions
from ovseg.options.checks import check_integer

DEFAULT_RUN = "ovseg-page"
HOST, PORT = "127.0.0.1", 7860
NOT_ASKED = ("task", "logit_scale", "background", "area_threshold", "synonyms", "batch")
"""Options of ``ovseg annotate`` that a page of masks has no use for."""


def wait(_: str) -> None:
    """Let the page at an address work until the process is stopped."""
    threading.Event().wait()


@reported
@with_options(LoadOptions, AnnotateOptions, without=NOT_ASKED)
def page(
    loading: LoadOptions,
    options: AnnotateOptions,
    folder: Annotated[
        str | None, typer.Option("--folder", help="The photos to go through: a folder, a pattern or a list.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", help="The words to begin with, as for ovseg annotate: a file or 'sky, tree'."
        ),
    ] = None,
    out_folder: Annotated[
        str, typer.Option("--out", help="The run folder of what is accepted; the same again goes on.")
    ] = DEFAULT_RUN,
    recursive: Recursive = False,
    port: Annotated[int, typer.Option("--port", help="The TCP port; 0 for any that is free.")] = PORT,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at; the default is this machine alone.")
    ] = HOST,
    model: ModelName = DEFAULT,
    method: MethodName = "clip_surgery",
    segmenter: SegmenterName = DEFAULT_SEGMENTER,
    segmenter_weights: SegmenterWeights = None,
) -> None:
    """Open a page for words and clicks: look at the masks, correct them, accept them, export them.

    Example: ovseg page --folder photos --classes "sky, tree" --out run

    What is accepted is kept in a run folder as that of ovseg annotate. A page that is started again with the
    same --out goes on. It needs Gradio: pip install '.[page]' in the folder of ovseg.
    """
    from ovseg.apps.page.serve import LOCAL, check_address, check_gradio, served

    check_gradio()
    out = check_out(out_folder)
    check_address(host, check_integer("port", port, 0, 65535))
    from ovseg.annotation.classes import read_classes
    from ovseg.apps.page.photos import find_photos
    from ovseg.apps.page.words import check_words_of_page

    words = None if classes is None else check_words_of_page(read_classes(classes))
    if folder is not None:
        find_photos(folder, recursive, out)  # a wrong path is said before a model is loaded
    ready = load_model(model, method, loading)
    weights = None if segmenter_weights is None else as_weights("segmenter_weights", segmenter_weights)
    sam = load_named_segmenter(segmenter, weights, loading)
    from ovseg.apps.page.session import PageSession

    session = PageSession(ready, sam, out, options)
    try:
        if words is not None:
            session.set_words(words)
        if folder is not None:
            for line in session.open_folder(folder, recursive):
                note(f"warning: {line}")
        for line in little_known(model, loading.weights, segmenter, weights):
            note(line)
        if host not in LOCAL:
            note(f"warning: whoever reaches {host} can use this page; it asks for no password")
        with served(session, host, port) as address:
            tell(f"the page is at {address}, results in {shown(out)}; Ctrl+C ends it")
            wait(address)
    finally:
        session.close()
