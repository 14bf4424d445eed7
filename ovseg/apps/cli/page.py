"""``ovseg page``: masks by words and clicks in a browser."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg.apps.cli.commands import LISTED, OWN, with_options
from ovseg.apps.cli.inputs import check_out, check_paths
from ovseg.apps.cli.loading import check_models, little_known, load_model, load_segmenter
from ovseg.apps.cli.serve import listening
from ovseg.apps.cli.shared import note, reported, tell
from ovseg.files.paths import shown
from ovseg.options import LABEL_FIELDS, AnnotateOptions, ModelOptions, Options, SegmenterOptions
from ovseg.options.fields import ANY_TEXT, FLAG, TEXT, integer, option

if TYPE_CHECKING:
    from ovseg.annotation.classes import Classes

NOT_ASKED = (*LABEL_FIELDS, "batch")
"""Options of ``ovseg annotate`` that do not apply to a page of masks."""


@dataclass(frozen=True, kw_only=True)
class PageOptions(Options):
    """The photos, words and run folder of a page, and its address."""

    folder: str | None = option(None, TEXT, "The photos to go through: a folder, a pattern or a list.", OWN)
    classes: str | None = option(
        None, TEXT, "The words to begin with, as for ovseg annotate: a file or 'sky, tree'.", OWN
    )
    out: str = option(
        "ovseg-page", ANY_TEXT, "The run folder of what is accepted; the same again goes on.", OWN
    )
    recursive: bool = option(False, FLAG, "Search the folders of a folder too.", OWN)
    port: int = option(7860, integer(0, 65_535), "The TCP port; 0 for any that is free.", OWN)
    host: str = option("127.0.0.1", TEXT, "The address to listen on; the default is this machine alone.", OWN)
    host_names: Sequence[str] = option(
        (),
        LISTED,
        "Names by which browsers may reach the page, besides addresses and this machine's own: "
        "labels.example.org. May be repeated, or several with commas.",
        OWN,
    )


def wait(_: str) -> None:
    """Block until Ctrl-C or a SIGTERM, which ends the page in the same way."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Event().wait()


@reported
@with_options(ModelOptions, SegmenterOptions, AnnotateOptions, PageOptions, without=NOT_ASKED)
def page(
    models: ModelOptions, segmenter: SegmenterOptions, options: AnnotateOptions, chosen: PageOptions
) -> None:
    """Open a page for words and clicks: look at masks, correct, accept and export them.

    Example: ovseg page --folder photos --classes "sky, tree" --out run

    What is accepted is kept in a run folder as that of ovseg annotate. A page that is started again with the
    same --out goes on. It needs Starlette and uvicorn: pip install '.[page]' in the folder of ovseg.
    """
    out = check_out(chosen.out)
    check_models(models, segmenter)
    words = read_words(chosen, out)
    from ovseg.apps.page.serve import check_packages, is_local, served

    check_packages()
    listening(chosen.host, chosen.port).close()  # a port that is taken is said before models are loaded
    if words is not None:
        from ovseg.apps.page.words import check_words_of_page

        check_words_of_page(words)
    model = load_model(models)
    sam = load_segmenter(segmenter, models)
    from ovseg.apps.page.session import PageSession

    session = PageSession(model, sam, out, options)
    local = is_local(chosen.host)
    try:
        if words is not None:
            session.set_words(words)
        if chosen.folder is not None:
            for line in session.open_folder(chosen.folder, chosen.recursive, confined=not local):
                note(f"warning: {line}")
        notes = little_known(models, segmenter)
        if not local:
            notes.append(f"warning: whoever reaches {chosen.host} can use this page; it asks for no password")
        for line in notes:
            note(line)
        names = [name for one in chosen.host_names for name in one.split(",")]
        with served(session, chosen.host, chosen.port, names) as address:
            tell(f"the page is at {address}, results in {shown(out)}; Ctrl+C ends it")
            wait(address)
    finally:
        session.close()


def read_words(chosen: PageOptions, out: Path) -> Classes | None:
    """Read the initial words, and check the folder, before torch is imported.

    Raises:
        UsageError: the words or the folder are wrong.
    """
    from ovseg.annotation.classes import read_classes

    words = None if chosen.classes is None else read_classes(chosen.classes)
    if chosen.folder is not None:
        check_paths([] if has_magic(chosen.folder) else [chosen.folder])
        from ovseg.annotation.run.images import find_inputs

        find_inputs([chosen.folder], chosen.recursive, out)
    return words
