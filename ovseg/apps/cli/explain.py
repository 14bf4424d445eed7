"""``ovseg explain``: heat maps of texts, comparison of explanations, tokens of a caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ovseg.apps.cli import sheets
from ovseg.apps.cli.commands import LISTED, OWN, with_options
from ovseg.apps.cli.inputs import Arguments, ArrayFiles, Inputs, check_out, open_image, read_inputs
from ovseg.apps.cli.loading import (
    EXPLANATIONS,
    METHODS,
    check_models,
    encode_texts,
    little_known,
    load_model,
    say_unknown,
)
from ovseg.apps.cli.loop import Opened, Result, Work, run_images
from ovseg.apps.cli.outputs import Outputs, record_of_run
from ovseg.apps.cli.shared import note, reported
from ovseg.errors import UnsupportedModelError, UsageError, described
from ovseg.options import ExplainOptions, InputOptions, ModelOptions, Options, SimilarityOptions
from ovseg.options.fields import ANY_TEXT, FLAG, choice, option
from ovseg.options.models import SURGERIES
from ovseg.words.names import split_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ovseg.explanation import Explanation
    from ovseg.model import Model
    from ovseg.results import SimilarityMap

    Pairs: TypeAlias = Iterator[tuple[Path, NDArray[np.uint8]]]

TAKES = 8
"""Memory in bytes per pixel of a large image, measured."""
FIRST = "clip_surgery"


@dataclass(frozen=True, kw_only=True)
class MapOptions(ExplainOptions, InputOptions):
    """The options of similarity maps and of explanations."""

    surgery: str | None = option(
        None,
        choice(SURGERIES),
        "What is taken away from the texts' features: none, empty, label_set or label_set_code. "
        "Without it: empty; with --compare what belongs to each method.",
    )


@dataclass(frozen=True, kw_only=True)
class MapFiles(ArrayFiles):
    """Which explanations are computed, and which files are written."""

    full_size: bool = option(False, FLAG, "The NPZ file also holds the maps at the image's size.", OWN)
    compare: str | None = option(
        None,
        ANY_TEXT,
        "Several explanations on one sheet: 'clip, gem, bimodal' (ovseg list explanations); NAME=FOLDER takes "
        "maps that were saved there.",
        OWN,
    )
    mask: Sequence[str] = option(
        (),
        LISTED,
        "With --compare, where a text is: a mask file, or FILE:INDEX of class indices; once for each text. "
        "Gives mSC and IoU of every map.",
        OWN,
    )
    tokens: bool = option(False, FLAG, "NAMES is one caption: which of its tokens the image answers to.", OWN)
    explained_by: str | None = option(
        None,
        ANY_TEXT,
        "clip, clip_surgery, gem ..., or gradcam_cls, bimodal, plrp ... (ovseg list explanations). "
        f"Without it: {FIRST}.",
    )

    def __post_init__(self) -> None:
        """Reject combinations of options that contradict each other."""
        super().__post_init__()
        if self.full_size and not self.npz:
            raise UsageError("--full-size needs --npz with it")
        if self.full_size and (self.tokens or self.compare is not None):
            raise UsageError("--full-size needs neither --compare nor --tokens with it")
        if self.mask and self.compare is None:
            raise UsageError("--mask needs --compare with it")
        if self.tokens and (self.compare is not None or self.vocabulary is not None):
            raise UsageError("--tokens needs a caption in place of --compare and --vocabulary")
        if self.explained_by is not None and self.compare is not None:
            raise UsageError("expected --method or --compare, got both")

    @property
    def kind(self) -> str:
        """The kind of result, which is part of the files' names."""
        return "tokens" if self.tokens else "explain" if self.compare is None else "compare"


@reported
@with_options(ModelOptions, MapOptions, MapFiles, without=["method"])
def explain(models: ModelOptions, options: MapOptions, files: MapFiles, images: Arguments) -> None:
    """Show where CLIP sees each text.

    Example: ovseg explain photo.jpg "tree, sky"

    Writes sheets NAME.TEXTS.explain.png: the image and a heat map for each text, blue 0 to red 1 of its own
    range, 20 pictures a sheet, further sheets NAME.TEXTS.explain.2.png and so on. --compare writes
    NAME.TEXTS.compare.png, each text's map by each explanation. --tokens writes NAME.TEXTS.tokens.png and
    prints the three tokens of highest cosine. --npz writes the maps on the token grid. TEXTS stands for the
    texts, so a run with other texts replaces nothing.
    """
    if files.tokens and options.templates != MapOptions.templates:
        raise UsageError("--tokens takes the caption as it is: expected no --templates with it")
    folder = check_out(files.out)
    named = check_explanations(files)
    similar = files.kind == "explain" and named[0] in METHODS
    models = replace(models, method=named[0] if similar else "clip")
    check_models(models)
    given = read_inputs(images, files, caption=files.tokens)
    sheets.check_masks(files.mask, len(given.names), len(given.stems))
    if not similar and (options.window, options.batch) != (None, None):
        raise UsageError(
            "expected --window and --batch with a training-free method alone, got an explanation"
        )
    asked = Asked(load_model(models), models, given, named, options, files, folder)
    work = similarities(asked) if similar else explanations(asked)
    from ovseg.files.write import make_folder

    make_folder(folder)
    run_images(given.files, work, folder, little_known(models))


@dataclass(frozen=True)
class Asked:
    """The checked arguments of a command line, and its model."""

    model: Model
    models: ModelOptions
    given: Inputs
    named: Sequence[str]
    options: MapOptions
    files: MapFiles
    folder: Path

    def outputs(self, chosen: Options, **more: object) -> Outputs:
        """The writer of results, with the records of the run."""
        files, run = self.files, dict[str, object]()
        if files.json:
            run = record_of_run("explain", self.model, self.models, chosen, self.given.names) | more
        return Outputs(self.folder, self.given, files.kind, files.npz, files.json, run)

    def chosen(self, names: Iterable[str]) -> dict[str, object]:
        """The values of the named options."""
        return {name: getattr(self.options, name) for name in names}


def check_explanations(files: MapFiles) -> list[str]:
    """Parse and check the names of --method or --compare; NAME=FOLDER is for saved maps.

    Raises:
        UsageError: a name is unknown, or --method has several.
    """
    text = files.explained_by if files.compare is None else files.compare
    named = list(split_text("method", FIRST if text is None else text))
    for name in named:
        if "=" not in name and name not in EXPLANATIONS:
            raise UsageError(
                f"unknown explanation {described(name)}: expected one of {', '.join(EXPLANATIONS)}"
            )
    if files.compare is None and len(named) > 1:
        raise UsageError(f"expected one explanation with --method, got {len(named)}: --compare takes several")
    return named


def similarities(asked: Asked) -> Work[SimilarityMap]:
    """The work of a training-free method, which encodes images of one size in batches."""
    from ovseg.maps.similarity import check_surgery

    model, names = asked.model, asked.given.names
    values = asked.chosen(SimilarityOptions.names())
    if asked.options.surgery is None:
        del values["surgery"]
    options = SimilarityOptions.make(None, values)
    model.check_window(options)
    check_surgery(options.surgery, len(names.flat))
    encode_texts(model, names.flat, options.templates)

    def each(pairs: Pairs) -> Iterator[SimilarityMap]:
        return model.similarity_each((picture for _, picture in pairs), names, options=options)

    outputs = asked.outputs(options)
    finish = partial(sheets.write_maps, outputs=outputs, full_size=asked.files.full_size)
    return Work(partial(open_image, takes=TAKES, side=sheets.CELL), each, finish)


def explanations(asked: Asked) -> Work[Any]:
    """The work of all other explanations, --compare and --tokens: one image at a time."""
    from ovseg.explanation.run import Run
    from ovseg.explanation.tokens import CaptionRun

    model, names, files = asked.model, asked.given.names, asked.files
    options = ExplainOptions.make(None, asked.chosen(ExplainOptions.names()))
    rows, refused = read_explanations(asked.named), dict[str, str]()
    if files.kind == "compare":
        rows, refused = applying(rows, model)
    more = {"does not apply": refused} if refused else {}
    positions = {row.name: row.resize for row in rows}
    outputs = asked.outputs(options, explanations=list(positions), positions=positions, **more)
    if files.tokens:
        say_unknown(model, names.flat)
        caption = CaptionRun(model, names.names[0], rows[0], options)
        return _one_by_one(caption, partial(sheets.write_tokens, outputs=outputs))
    encode_texts(model, names.flat, options.templates)
    run = Run(model, names, rows, options)
    if files.kind == "explain":
        return _one_by_one(run.first, partial(sheets.write_maps, outputs=outputs, full_size=files.full_size))
    write = partial(sheets.write_compared, outputs=outputs, masks=files.mask, refused=list(refused))
    return _one_by_one(run, write)


def _one_by_one(
    make: Callable[[NDArray[np.uint8], Path], Result], finish: Callable[[Opened, Result], list[str]]
) -> Work[Result]:
    def each(pairs: Pairs) -> Iterator[Result]:
        return (make(picture, file) for file, picture in pairs)

    return Work(partial(open_image, takes=TAKES), each, finish)


def read_explanations(named: Sequence[str]) -> list[Explanation]:
    """Look up explanations by name; NAME=FOLDER reads saved maps.

    Raises:
        UsageError: a name is unknown or a folder is missing.
    """
    from ovseg.explanation import get_explanation, saved_maps

    rows = []
    for one in named:
        name, equals, folder = one.partition("=")
        rows.append(saved_maps(name.strip(), folder.strip()) if equals else get_explanation(name))
    return rows


def applying(rows: Sequence[Explanation], model: Model) -> tuple[list[Explanation], dict[str, str]]:
    """Split explanations into those that apply to the model, and the reasons why others do not, which are printed.

    Raises:
        UnsupportedModelError: none applies.
    """
    kept, refused = [], dict[str, str]()
    for row in rows:
        try:
            row.check(model.clip.visual)
        except UnsupportedModelError as error:
            refused[row.name] = str(error)
        else:
            kept.append(row)
    if not kept:
        raise UnsupportedModelError(next(iter(refused.values())))
    for reason in refused.values():
        note(f"note: {reason}: its place stays empty")
    return kept, refused
