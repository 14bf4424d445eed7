"""The trial itself: a project, pictures, a backend, predictions, and whether they are ovseg's own masks."""

from __future__ import annotations

import base64
import io
import json
import mimetypes
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ovseg
from label_studio.own import Own
from label_studio.studio import PASSWORD, USER, Backend, Studio, form, make_environment
from ovseg.annotation.formats.brush import decode_brush
from ovseg.errors import OvsegError, one_line
from ovseg.files.write import write_file
from ovseg.metrics import mask_iou
from ovseg.results.figures import palette

SEED, SIZE = 4, (240, 320)
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        work: the folder for everything.
        words: the labels of the project.
        photos: files of photographs.
        arguments: of ``ovseg serve``.
        own: ovseg's own masks, by the same models.
        chromium: the browser, or None.
        picture: where the picture of the page goes.
    """

    work: Path
    words: Sequence[str]
    photos: Sequence[Path]
    arguments: Sequence[str]
    own: Own
    chromium: str | None
    picture: Path


@dataclass(frozen=True)
class Row:
    """A line of the outcome: what was asked, what came, and whether that is what was wanted."""

    asked: str
    came: str
    held: bool


@dataclass(frozen=True, eq=False)
class Task:
    """A task of Label Studio, how its image got there, and the picture (H, W, 3) uint8."""

    number: int
    how: str
    picture: NDArray[np.uint8]
    answers: list[dict[str, Any]] = field(default_factory=list)


def run(trial: Trial) -> list[Row]:
    """Everything, from the environment to the page. Raises OvsegError where a step is refused."""
    python = make_environment(trial.work / "environment")
    with Studio(python, trial.work) as studio, Backend(studio, trial.arguments) as backend:
        version = studio.ask("/api/version")["release"]
        title = {"title": "ovseg", "label_config": configuration(trial.words)}
        project = studio.ask("/api/projects", title)["id"]
        tasks = list(put_in(trial, studio, project))
        rows = [Row("start and import", f"Label Studio {version}, {len(tasks)} tasks", len(tasks) >= 3)]
        connection = {"url": backend.url, "project": project, "title": "ovseg", "is_interactive": True}
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "any", "basic_auth_pass": backend.token}
        connected = studio.ask("/api/ml/", {**connection, **login})
        rows.append(Row("connect ovseg serve", connected["readable_state"], connected["state"] == "CO"))
        every = {"selectedItems": {"all": True, "excluded": []}}
        studio.ask(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", every)
        for task in tasks:
            rows += predicted(trial, studio, task)
        rows += drawn(trial, studio, tasks[0], connected["id"])
        rows.append(decoded_there(python, tasks))
        if trial.chromium is not None:
            rows += seen(trial, studio, python, project, tasks[0])
    return rows


def configuration(words: Sequence[str]) -> str:
    """The labelling interface of docs/serve.md with other labels."""
    colours = palette(len(words)).tolist()
    labels = "".join(
        f'<Label value={quoteattr(word)} background="#{red:02x}{green:02x}{blue:02x}"/>'
        for word, (red, green, blue) in zip(words, colours, strict=True)
    )
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    found = re.search(r"^```xml\n(.*?)^```", page, re.M | re.S)
    if found is None:
        raise OvsegError("expected a labelling interface in docs/serve.md, got none")
    return re.sub(r"(\s*<Label [^>]*/>)+", labels, found[1])


def put_in(trial: Trial, studio: Studio, project: int) -> Iterator[Task]:
    """Import the pictures, by turns as uploads, files of Label Studio's disk and data URIs."""
    local = studio.files / "local"
    local.mkdir(exist_ok=True)
    scene = local / f"scene-{SEED}.png"
    Image.fromarray(ovseg.make_scene(SEED, SIZE).image).save(scene)
    storage = {"project": project, "path": str(local), "use_blob_urls": True, "title": "files"}
    studio.ask("/api/storages/localfiles", storage)
    for number, path in enumerate([*trial.photos, scene]):
        kept = path if path == scene else Path(shutil.copy(path, local / f"{number} {path.name}"))
        how, body = (
            ("uploaded", form([kept])),
            ("file", [{"data": {"image": f"/data/local-files/?d=local/{quote(kept.name)}"}}]),
            ("data URI", [{"data": {"image": data_uri(kept)}}]),
        )[number % 3]
        (task,) = studio.ask(f"/api/projects/{project}/import?return_task_ids=true", body)["task_ids"]
        yield Task(task, f"{path.name} ({how})", ovseg.load_image(path))


def data_uri(path: Path) -> str:
    """A file's content as an address of its own."""
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def predicted(trial: Trial, studio: Studio, task: Task) -> Iterator[Row]:
    """The stored prediction of a task against the masks of ``ovseg annotate``."""
    found = studio.ask(f"/api/tasks/{task.number}")["predictions"]
    task.answers.extend(result for one in found for result in one["result"])
    wanted = trial.own.words(task.picture, trial.words)
    yield compared(f"labels of the project, {task.how}", task.answers, wanted)


def drawn(trial: Trial, studio: Studio, task: Task, backend: int) -> Iterator[Row]:
    """What the page sends for a word, a key point and a rectangle, and what comes back."""
    height, width = task.picture.shape[:2]
    word = next((label for label, _ in trial.own.words(task.picture, trial.words)), trial.words[0])
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    point = {"x": 50, "y": 40, "width": 0.5, "keypointlabels": [word]}
    box = {"x": 25, "y": 20, "width": 40, "height": 50, "rotation": 0, "rectanglelabels": [word]}
    asked: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("word", {"type": "textarea", "from_name": "prompt", "value": {"text": [word]}}),
        ("key point", {"type": "keypointlabels", "from_name": "point", "value": point, "is_positive": True}),
        ("rectangle", {"type": "rectanglelabels", "from_name": "box", "value": box}),
    )
    wanted = (
        trial.own.words(task.picture, [word]),
        trial.own.click(task.picture, word, 0.5 * width, 0.4 * height),
        trial.own.box(task.picture, word, 0.25 * width, 0.2 * height, 0.65 * width, 0.7 * height),
    )
    for (name, region), masks in zip(asked, wanted, strict=True):
        context = {"result": [{"id": name[:3], "to_name": "image", **size, **region}]}
        route = f"/api/ml/{backend}/interactive-annotating"
        answer = studio.ask(route, {"task": task.number, "context": context})["data"]
        yield compared(f"{name}, {task.how}", answer["result"], masks)


def compared(
    asked: str, results: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[str, NDArray[np.bool_]]]
) -> Row:
    """Brush regions of Label Studio against labels and masks; the lowest IoU counts."""
    got = [
        (
            one["value"]["brushlabels"][0],
            decode_brush(one["value"]["rle"], (one["original_height"], one["original_width"])),
        )
        for one in results
        if one["type"] == "brushlabels"
    ]
    if [label for label, _ in got] != [label for label, _ in wanted] or len(got) != len(results):
        return Row(asked, f"{len(got)} masks, expected {len(wanted)}", False)
    ious = [mask_iou(mask, own) for (_, mask), (_, own) in zip(got, wanted, strict=True)]
    lowest = min(ious, default=1.0)
    said = f"{len(got)} masks, lowest IoU with ovseg's own {lowest:.3f}" if ious else "no mask, none wanted"
    return Row(asked, said, lowest == 1.0)


def decoded_there(python: Path, tasks: Sequence[Task]) -> Row:
    """Label Studio's own converter on the regions, against our decoder."""
    results = [result for task in tasks for result in task.answers]
    code = (
        "import json, sys; from label_studio_sdk.converter.brush import decode_rle\n"
        "for rle in json.load(sys.stdin): print((decode_rle(rle)[3::4] > 0).astype('u1').tobytes().hex())"
    )
    given = json.dumps([one["value"]["rle"] for one in results])
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OvsegError(f"label_studio_sdk: {one_line(done.stderr[-300:])}")
    equal = [
        bytes.fromhex(line)
        == decode_brush(one["value"]["rle"], (one["original_height"], one["original_width"])).tobytes()
        for line, one in zip(done.stdout.split(), results, strict=True)
    ]
    return Row("decoded by Label Studio's converter", f"{sum(equal)} of {len(equal)} equal", all(equal))


def seen(trial: Trial, studio: Studio, python: Path, project: int, task: Task) -> Iterator[Row]:
    """The labelling page in Chromium: the regions that it lists, draws, and gets for a word that is typed."""
    url = f"{studio.url}/projects/{project}/data?task={task.number}"
    wanted = [one["value"]["brushlabels"][0] for one in task.answers]
    word = f"a {wanted[0]}"
    command = [python, HERE / "page.py", url, USER, PASSWORD, str(trial.chromium), word, trial.work]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield Row("the labelling page", one_line(done.stderr[-300:]), False)
        return
    said = json.loads(done.stdout)
    with Image.open(trial.work / "page.png") as page:
        kept = io.BytesIO()
        small = page.convert("RGB").resize(
            (page.width * 4 // 5, page.height * 4 // 5), Image.Resampling.LANCZOS
        )
        small.quantize(256).save(kept, "PNG", optimize=True)
    write_file(trial.picture, lambda file: file.write(kept.getvalue()))
    held = sorted(said["listed"]) == sorted(wanted) and not said["errors"]
    yield Row("the page lists the regions", f"{len(said['listed'])} of {len(wanted)}", held)
    drawn = changed(trial.work / "shown.png", trial.work / "hidden.png")
    own = trial.own.words(task.picture, trial.words)
    iou = mask_iou(drawn, visible(np.any([mask for _, mask in own], axis=0), said["image"], said["drawn"]))
    yield Row(
        "the page draws the masks", f"IoU {iou:.3f} of the pixels that change when it hides them", iou > 0.95
    )
    new = [label for label, _ in trial.own.words(task.picture, {wanted[0]: [word]})]
    more = len(said["typed"]) - len(said["listed"])
    held = sorted(said["typed"]) == sorted([*said["listed"], *new]) and more > 0
    yield Row(f"'{word}' typed into the page", f"{more} regions more, expected {len(new)}", held)


def visible(
    mask: NDArray[np.bool_], image: Mapping[str, float], drawn: Mapping[str, float]
) -> NDArray[np.bool_]:
    """A mask as the page shows it: enlarged like the image, and cut to the part that is drawn on."""
    size = round(image["width"]), round(image["height"])
    large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    left, top = round(drawn["x"] - image["x"]), round(drawn["y"] - image["y"])
    return large[top : top + round(drawn["height"]), left : left + round(drawn["width"])]


def changed(one: Path, other: Path) -> NDArray[np.bool_]:
    """Pixels (H, W) in which two pictures of one size differ."""
    with Image.open(one) as first, Image.open(other) as second:
        difference = np.abs(np.asarray(first.convert("RGB"), int) - np.asarray(second.convert("RGB"), int))
    return difference.max(axis=2) > 8
