"""``ovseg explain``: where each text is, as heat maps; several explanations compared; a caption's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ovseg.apps.cli.caption import tokens_marked
from ovseg.apps.cli.compare import applying, check_masks, compared, read_explanations
from ovseg.apps.cli.explain_maps import explained
from ovseg.apps.cli.inputs import (
    DEFAULT_OUT,
    Arguments,
    Inputs,
    Json,
    Npz,
    Out,
    Recursive,
    VocabularyName,
    check_out,
    read_inputs,
)
from ovseg.apps.cli.loading import DEFAULT, ModelName, encode_texts, little_known, load_model
from ovseg.apps.cli.loop import run_images
from ovseg.apps.cli.options import with_options
from ovseg.apps.cli.outputs import Outputs
from ovseg.apps.cli.records import record_of_run
from ovseg.apps.cli.shared import note, reported
from ovseg.errors import UsageError
from ovseg.options import ExplainOptions, LoadOptions, SimilarityOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explanation import Explanation
    from ovseg.model import Model
    from ovseg.results import SimilarityMap


@reported
@with_options(LoadOptions, SimilarityOptions, without=["surgery"])
def explain(
    loading: LoadOptions,
    options: SimilarityOptions,
    images: Arguments,
    out_folder: Out = DEFAULT_OUT,
    vocabulary: VocabularyName = None,
    recursive: Recursive = False,
    npz: Npz = False,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="The NPZ file also holds the maps at the image's size.")
    ] = False,
    json: Json = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            help="Several explanations on one sheet: 'clip, gem, bimodal' (ovseg list explanations); "
            "NAME=FOLDER takes maps that were saved there.",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "--mask",
            help="With --compare, where a text is: a mask file, or FILE:INDEX of class indices; once for "
            "each text. Gives mSC and IoU of every map.",
        ),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="NAMES is one caption: which of its tokens the image answers to.")
    ] = False,
    model: ModelName = DEFAULT,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            show_default="clip_surgery",
            help="clip, clip_surgery, gem ..., or gradcam_cls, bimodal, plrp ... (ovseg list explanations).",
            rich_help_panel="Method",
        ),
    ] = None,
    surgery: Annotated[
        str | None,
        typer.Option(
            "--surgery",
            help="What is taken away from the texts' features: empty, label_set, label_set_code or none.",
            show_default="empty; with --compare what belongs to each method",
            rich_help_panel="Method",
        ),
    ] = None,
) -> None:
    """Show where CLIP sees each text.

    Example: ovseg explain photo.jpg "tree, sky"

    Writes sheets NAME.TEXTS.explain.png: the image and a heat map for each text, blue 0 to red 1 of its own
    range, 20 pictures a sheet, further sheets NAME.TEXTS.explain.2.png and so on. --compare writes
    NAME.TEXTS.compare.png, each text's map by each explanation. --tokens writes NAME.TEXTS.tokens.png and
    prints the three tokens of highest cosine. --npz writes the maps on the token grid. TEXTS stands for the
    texts, so a run with other texts replaces nothing.
    """
    masks = tuple(mask or ())
    _check_together(full_size, npz, compare, masks, tokens, vocabulary)
    if tokens and options.templates != SimilarityOptions.templates:
        raise UsageError("--tokens takes the caption as it is: expected no --templates with it")
    folder = check_out(out_folder)
    given = read_inputs(images, vocabulary, recursive, caption=tokens)
    if masks:
        check_masks(masks, len(given.names), len(given.stems))
    if surgery is not None:
        options = replace(options, surgery=as_surgery("surgery", surgery))
    rows = _rows(method, compare)
    similar = compare is None and not tokens and rows[0].method is not None
    if not similar and (options.window, options.batch) != (None, None):
        raise UsageError(
            "expected --window and --batch with a training-free method alone, got an explanation"
        )
    ready = load_model(model, rows[0].name if similar else "clip", loading)
    own = ExplainOptions(
        surgery="own" if surgery is None else options.surgery,
        size=options.size,
        resize=options.resize,
        templates=options.templates,
    )
    refused: dict[str, str] = {}
    if compare is not None:
        rows, refused = applying(rows, ready.clip.visual)
        for reason in refused.values():
            note(f"note: {reason}: its place stays empty")
    from ovseg.explanation.run import Run
    from ovseg.explanation.tokens import CaptionRun
    from ovseg.files.write import make_folder

    kind = "tokens" if tokens else "explain" if compare is None else "compare"
    run = record_of_run("explain", ready, loading, options if similar else own, given.names) if json else {}
    if json and not similar:
        run["explanations"] = [row.name for row in rows]
        if refused:
            run["does not apply"] = refused
    outputs = Outputs(folder, given, kind, npz, json, run)
    if tokens:
        work = tokens_marked(CaptionRun(ready, given.names.names[0], rows[0], own), outputs)
    else:
        ready.check_window(options)
        encode_texts(ready, given.names.flat, options.templates)
        if similar:
            ready.check_surgery(options.surgery, given.names)
            work = explained(_by_model(ready, given, options), outputs, full_size)
        else:
            prepared = Run(ready, given.names, rows, own)
            work = (
                explained(prepared.first, outputs, full_size)
                if compare is None
                else compared(prepared, outputs, masks, list(refused))
            )
    make_folder(folder)
    run_images(list(given.stems), work, folder, little_known(model, loading.weights))


def _rows(method: str | None, compare: str | None) -> Sequence[Explanation]:
    """What --method or --compare name. Raises UsageError for both, or for several methods."""
    if compare is not None:
        if method is not None:
            raise UsageError("expected --method or --compare, got both")
        return read_explanations(compare)
    rows = read_explanations("clip_surgery" if method is None else method)
    if len(rows) > 1:
        raise UsageError(f"expected one explanation with --method, got {len(rows)}: --compare takes several")
    return rows


def _by_model(
    model: Model, given: Inputs, options: SimilarityOptions
) -> Callable[[NDArray[np.uint8], Path], SimilarityMap]:
    def explain(image: NDArray[np.uint8], _: Path) -> SimilarityMap:
        return model.similarity(
            image,
            given.names,
            surgery=options.surgery,
            size=options.size,
            window=options.window,
            stride=options.stride,
            batch=options.batch,
            resize=options.resize,
            templates=options.templates,
        )

    return explain


def _check_together(
    full_size: bool,
    npz: bool,
    compare: str | None,
    masks: tuple[str, ...],
    tokens: bool,
    vocabulary: str | None,
) -> None:
    """Raise UsageError for options that do not go together."""
    if full_size and not npz:
        raise UsageError("--full-size needs --npz with it")
    if full_size and (tokens or compare is not None):
        raise UsageError("--full-size needs neither --compare nor --tokens with it")
    if masks and compare is None:
        raise UsageError("--mask needs --compare with it")
    if tokens and (compare is not None or vocabulary is not None):
        raise UsageError("--tokens needs a caption in place of --compare and --vocabulary")
