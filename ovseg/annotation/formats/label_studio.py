"""Label Studio: tasks with predictions of brush regions, and the labelling configuration they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import quote

from ovseg.annotation.brush import encode_brush as encode_brush
from ovseg.annotation.formats.base import Records, Writer, json_list, write_parts, write_text, xml_text
from ovseg.annotation.formats.coco import details
from ovseg.annotation.records import Record, Region
from ovseg.results.figures import palette

FROM_NAME, TO_NAME = "label", "image"
"""The names of the brush labels and of the image in ``config.xml``."""


class LabelStudio(Writer):
    """``tasks.json``, imported into a project whose labelling interface is ``config.xml``."""

    name = "label-studio"

    def finish(self, records: Records) -> None:
        write_text(self.path("config.xml"), self.config())
        write_parts(self.path("tasks.json"), [*json_list(self._tasks(records)), "\n"])

    def config(self) -> str:
        """The labelling interface with a brush label for each class."""
        colours = palette(len(self.target.objects)).tolist()
        labels = "".join(
            f'    <Label value="{xml_text(name)}" background="#{red:02x}{green:02x}{blue:02x}"/>\n'
            for name, (red, green, blue) in zip(self.target.objects, colours, strict=True)
        )
        return (
            f'<View>\n  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n</View>\n'
        )

    def _tasks(self, records: Records) -> Iterator[dict[str, object]]:
        for record in records():
            found = self.regions(record)
            scores = [one.score for one in found if one.score is not None]
            prediction: dict[str, object] = {
                "model_version": self.target.source,
                "result": [brush_region(record, one, number) for number, one in enumerate(found)],
            }
            if scores:
                prediction["score"] = round(sum(scores) / len(scores), 4)
            data = {"image": self.target.options.image_prefix + quote(record.name, errors="surrogateescape")}
            yield {"data": data, "predictions": [prediction]}


def brush_region(
    record: Record, one: Region, number: int, from_name: str = FROM_NAME, to_name: str = TO_NAME
) -> dict[str, object]:
    """One region as Label Studio's result, with an id that is the same at every call.

    Args:
        record: the image.
        one: the region.
        number: its position in the image.
        from_name: the name of the brush labels in the project's configuration.
        to_name: the name of the image there.
    """
    said = [f"{key}: {value}" for key, value in details(one).get("attributes", {}).items()]  # type: ignore[attr-defined]
    identity = f"{record.name}\0{number}\0{one.label}".encode(errors="backslashreplace")
    return {
        "id": hashlib.sha256(identity).hexdigest()[:10],
        "type": "brushlabels",
        "from_name": from_name,
        "to_name": to_name,
        "original_width": record.size[1],
        "original_height": record.size[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(one.mask.array()), "brushlabels": [one.label]},
        **({} if one.score is None else {"score": one.score}),
        **({"meta": {"text": said}} if said else {}),
    }
