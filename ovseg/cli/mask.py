"""ovseg mask: a text to masks, through points and a promptable segmenter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ovseg.cli.shared import (
    Cache,
    Device,
    MethodName,
    ModelName,
    Offline,
    Precision,
    SizeText,
    Templates,
    Weights,
    add_ending,
    images_and_names,
    load_model,
    parse_size,
    reported,
    run_images,
)

if TYPE_CHECKING:
    import numpy as np

    from ovseg.text_to_mask import TextMasks


@reported
def mask(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE… TEXTS", help="Images or folders, then the texts: 'bench, person+dog'."
        ),
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("ovseg-out"),
    segmenter: Annotated[
        str | None, typer.Option(help="tiny, grabcut, vit_b, vit_l, vit_h, mobile, hf:…; default: grabcut.")
    ] = None,
    segmenter_weights: Annotated[
        str | None, typer.Option(help="The segmenter's weights, a local file.")
    ] = None,
    rule: Annotated[
        str, typer.Option(help="components (a mask an object) or paper (one prompt set a text).")
    ] = "components",
    prompt_with: Annotated[
        str | None, typer.Option(help="What the segmenter gets besides points: points, map or box.")
    ] = None,
    select_by: Annotated[
        str | None, typer.Option(help="Among its candidates: by score, agreement with the map, or both.")
    ] = None,
    refine: Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="Decode once more from the mask.")
    ] = None,
    presence_threshold: Annotated[
        float, typer.Option(help="Presence below this gives no mask; 0 always answers.")
    ] = 0.5,
    model: ModelName = "tiny",
    weights: Weights = None,
    method: MethodName = "clip_surgery",
    device: Device = "cpu",
    precision: Precision = "fp32",
    size: SizeText = None,
    templates: Templates = "paper",
    offline: Offline = False,
    cache: Cache = True,
) -> None:
    """Masks of what a text names, or word that it is not there.

    ovseg mask photo.jpg "bench, person+dog"

    Writes NAME.TEXT.1.png … (255 on the object), NAME.masks.png (picture with masks and points) and
    NAME.masks.json (scores, presence, points, reasons). An image is encoded once for all texts.
    """
    files, names = images_and_names(images, None)
    from ovseg.io.writers import write_json, write_mask, write_picture
    from ovseg.segmenters.load import DEFAULT, load_segmenter
    from ovseg.text_to_mask import TextToMask
    from ovseg.text_to_mask.picture import draw_answers

    ready = load_model(model, weights, method, device, precision, offline, cache)
    asked: dict[str, Any] = {"prompt_with": prompt_with, "select_by": select_by, "refine": refine}
    t2m = TextToMask(
        ready,
        load_segmenter(segmenter or DEFAULT, weights=segmenter_weights, device=device, offline=offline),
        rule=rule,
        presence_threshold=presence_threshold,
        size=parse_size(size),
        templates=templates,
        **{name: value for name, value in asked.items() if value is not None},
    )
    texts = list(names.names)
    t2m.check(texts)  # a text that is too long is misuse, not a bad image
    slugs = _slugs(texts)

    def work(image: np.ndarray, target: Path) -> None:
        answers = t2m.predict(image, texts)
        written: dict[str, list[str]] = {text: [] for text in texts}
        for found in answers:
            for number, one in enumerate(found.masks, 1):
                path = add_ending(target, f".{slugs[found.text]}.{number}.png")
                write_mask(path, one)
                written[found.text].append(path.name)
            for number in count(len(found) + 1):  # of an earlier run that found more
                stale = add_ending(target, f".{slugs[found.text]}.{number}.png")
                if not stale.is_file():
                    break
                stale.unlink()
        write_picture(add_ending(target, ".masks.png"), draw_answers(image, answers))
        content = [_content(found, written[found.text]) for found in answers]
        write_json(add_ending(target, ".masks.json"), {"segmenter": t2m.segmenter.name, "texts": content})

    run_images(files, out_folder, work)


def _slugs(texts: Sequence[str]) -> dict[str, str]:
    """A part of a file name for each text, no two alike, also where case does not count."""
    slugs: dict[str, str] = {}
    taken: set[str] = set()
    for text in texts:
        base = re.sub(r"[^\w+-]+", "_", text).strip("_")[:60] or "text"
        choices = (f"{base}~{number}" if number > 1 else base for number in count(1))
        slugs[text] = next(slug for slug in choices if slug.casefold() not in taken)
        taken.add(slugs[text].casefold())
    return slugs


def _content(found: TextMasks, files: list[str]) -> dict[str, Any]:
    masks = [
        {
            "file": file,
            "score": round(float(score), 4),
            "agreement": round(float(candidates.agreement[candidates.chosen]), 4),
            "pixels": int(one.sum()),
            "box": candidates.box and [round(float(side), 1) for side in candidates.box],
            "points": candidates.prompts.xy.astype(float).round(1).tolist(),
            "labels": candidates.prompts.labels.tolist(),
        }
        for file, one, score, candidates in zip(
            files, found.masks, found.scores, found.candidates, strict=True
        )
    ]
    presence = {name: round(share, 4) for name, share in found.presence.items()}
    return {"text": found.text, "presence": presence, "reason": found.reason, "masks": masks}
