"""CVAT: "CVAT for images 1.1", an XML with masks as run lengths of their boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ovseg.annotation.formats.base import Records, Writer, write_parts, xml_text
from ovseg.annotation.records import Record
from ovseg.results.figures import palette


class Cvat(Writer):
    """``annotations.xml``; score, prompt and method are attributes of each label."""

    name = "cvat"

    def finish(self, records: Records) -> None:
        write_parts(self.path("annotations.xml"), self._parts(records))

    def _parts(self, records: Records) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        yield "<meta><task><labels>\n"
        attributes = "".join(
            f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for name in ("score", "prompt", "method")
        )
        colours = palette(len(self.target.objects)).tolist()
        for name, (red, green, blue) in zip(self.target.objects, colours, strict=True):
            yield (
                f"<label><name>{xml_text(name)}</name><color>#{red:02x}{green:02x}{blue:02x}</color>"
                f"<type>mask</type><attributes>{attributes}</attributes></label>\n"
            )
        yield "</labels></task></meta>\n"
        for number, record in enumerate(records()):
            yield from self._image(number, record)
        yield "</annotations>\n"

    def _image(self, number: int, record: Record) -> Iterator[str]:
        height, width = record.size
        yield f'<image id="{number}" name="{xml_text(record.name)}" width="{width}" height="{height}">\n'
        for one in self.regions(record):
            x0, y0, x1, y1 = one.mask.box
            runs = ", ".join(map(str, box_runs(one.mask.array()[y0:y1, x0:x1])))
            yield (
                f'<mask label="{xml_text(one.label)}" source="auto" occluded="0" rle="{runs}" left="{x0}" '
                f'top="{y0}" width="{x1 - x0}" height="{y1 - y0}" z_order="0">'
            )
            known = {"score": one.score, "prompt": one.prompt, "method": one.method}
            for key, value in known.items():
                if value is not None:
                    yield f'<attribute name="{key}">{xml_text(str(value))}</attribute>'
            yield "</mask>\n"
        yield "</image>\n"


def box_runs(crop: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask (h, w) row by row, the first of them outside the object.

    >>> box_runs(np.array([[True, False], [True, True]]))
    [0, 1, 1, 2]
    """
    flat = crop.reshape(-1)
    edges = (np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist()
    places = [0, *([0] if flat[0] else []), *edges, flat.size]
    return np.diff(places).tolist()
