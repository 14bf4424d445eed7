"""Draw maps, labels and masks as pictures, (H, W, 3) uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = "NDArray[np.uint8]"
"""(H, W, 3) RGB; also a palette (K, 3)."""
Integers: TypeAlias = "NDArray[np.integer[Any]]"
Floats: TypeAlias = "NDArray[np.floating[Any]]"
Mask: TypeAlias = "NDArray[np.bool_]"
PAPER = (255, 255, 255)
INK = (32, 32, 32)
VOID_COLOUR = (0, 0, 0)
POSITIVE, NEGATIVE = (24, 160, 60), (220, 40, 40)
RANKS = ((250, 150, 140), (250, 225, 110), (150, 190, 250))
"""Backgrounds of the first, second and third in a ranking: red, yellow, blue, light enough for text."""


def palette(count: int) -> Picture:
    """``count`` colours (K, 3) uint8, neighbours far apart: hues by the golden angle, three brightnesses.

    The first is magenta, which few things in photographs are.
    """
    index = np.arange(count)
    hue = ((0.85 + index * 0.61803398875) % 1.0) * 180
    saturation = np.array([200, 150, 230])[index // 7 % 3]
    value = np.array([230, 170, 120])[index // 3 % 3]
    hsv = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)[None]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]) if count else np.zeros((0, 3), np.uint8)


def colour_labels(labels: Integers, colours: Picture) -> Picture:
    """(H, W) class indices to colours; indices beyond the palette (void) are black."""
    table = np.concatenate([colours, [VOID_COLOUR]]).astype(np.uint8)
    return table[np.minimum(labels, len(colours))]


def overlay_labels(image: Picture, labels: Integers, colours: Picture, opacity: float = 0.55) -> Picture:
    """Classes as colour over the image, their borders in white."""
    mixed = (1 - opacity) * image + opacity * colour_labels(labels, colours)
    out = mixed.astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    out[edge] = PAPER
    return out


def overlay_heat(image: Picture, values: Floats, opacity: float = 0.6) -> Picture:
    """A map (H, W) in 0..1 as colours over the image (H, W, 3): blue is 0, red is 1."""
    return ((1 - opacity) * image + opacity * heat(values)).astype(np.uint8)


def heat(values: Floats) -> Picture:
    """A map (H, W) in 0..1 as colours (H, W, 3): blue is 0, red is 1."""
    shades = np.round(values * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)[..., ::-1])


def overlay_mask(image: Picture, mask: Mask, colour: tuple[int, int, int], opacity: float = 0.5) -> Picture:
    """One mask (H, W) bool as colour over the image, its outline in white."""
    return outlined(fill_mask(image, mask, colour, opacity), mask)


def fill_mask(image: Picture, mask: Mask, colour: tuple[int, int, int], opacity: float = 0.5) -> Picture:
    """One mask (H, W) bool as colour over the image, without an outline."""
    out = image.copy()
    out[mask] = ((1 - opacity) * image[mask] + opacity * np.array(colour)).astype(np.uint8)
    return out


def draw_points(image: Picture, xy: Floats, labels: Integers) -> Picture:
    """Prompts on the image: (P, 2) pixels (x, y), green where ``labels`` (P,) is 1 and red where it is 0."""
    out = image.copy()
    radius = max(2, round(min(image.shape[:2]) / 90))
    for (x, y), label in zip(xy, labels, strict=True):
        place = (int(x), int(y))
        cv2.circle(out, place, radius + max(1, radius // 3), PAPER, -1, cv2.LINE_AA)
        cv2.circle(out, place, radius, POSITIVE if label else NEGATIVE, -1, cv2.LINE_AA)
    return out


def legend(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int, size: int = 15) -> Picture:
    """Names beside their colours in rows of ``width`` pixels, (h, width, 3)."""
    font, margin, box = _font(size), size // 2, size
    places, x, y = [], margin, margin
    for text, colour in entries:
        text = " ".join(text.split())  # a line break cannot be measured
        needed = box + margin // 2 + int(font.getlength(text)) + 2 * margin
        if x > margin and x + needed > width:
            x, y = margin, y + size + margin
        places.append((x, y, text, colour))
        x += needed
    canvas = Image.new("RGB", (width, y + size + margin + 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, text, colour in places:
        draw.rectangle([x, y, x + box, y + box], fill=tuple(int(c) for c in colour))
        draw.text((x + box + margin // 2, y - size // 8), text, fill=INK, font=font)
    return np.asarray(canvas)


def words(
    entries: Sequence[tuple[str, str, tuple[int, int, int] | None]], width: int, size: int = 17
) -> Picture:
    """Words in lines of ``width`` pixels, (h, width, 3).

    Each entry is a word, a smaller note below it, and the colour behind it or None.
    """
    font, small, margin = _font(size), _font(size * 2 // 3), size // 2
    height = size + size * 2 // 3 + 2 * margin
    places, x, y = [], margin, margin
    for word, note, colour in entries:
        word = " ".join(word.split())
        needed = int(max(font.getlength(word), small.getlength(note))) + margin
        if x > margin and x + needed > width:
            x, y = margin, y + height
        places.append((x, y, needed, word, note, colour))
        x += needed + margin
    canvas = Image.new("RGB", (width, y + height + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, needed, word, note, colour in places:
        if colour is not None:
            draw.rectangle([x, y, x + needed, y + size + margin // 2], fill=colour)
        draw.text((x + margin // 2, y), word, fill=INK, font=font)
        draw.text((x + margin // 2, y + size + margin // 2 + 1), note, fill=INK, font=small)
    return np.asarray(canvas)


def with_legend(picture: Picture, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> Picture:
    """The picture, padded to at least 200 pixels in width, with a legend below that grows with its width."""
    padded = _pad_to(picture, picture.shape[0], max(200, picture.shape[1]))
    size = max(15, round(padded.shape[1] / 45))
    return np.concatenate([padded, legend(entries, padded.shape[1], size)])


def titled(picture: Picture, title: str, size: int = 15) -> Picture:
    """The picture with a line of text above it."""
    return np.concatenate([_line(title, picture.shape[1], size), picture])


def captioned(picture: Picture, caption: str, size: int = 13) -> Picture:
    """The picture with a line of text below it."""
    return np.concatenate([picture, _line(caption, picture.shape[1], size)])


def _line(text: str, width: int, size: int) -> Picture:
    """One line of text, cut to ``width`` pixels, (size + 9, width, 3)."""
    font, text = _font(size), " ".join(text.split())
    canvas = Image.new("RGB", (width, size + 9), PAPER)
    while text and font.getlength(text) > width - 6:
        text = text[:-2].rstrip(" …") + "…"
        if text == "…":
            break
    ImageDraw.Draw(canvas).text((3, 2), text, fill=INK, font=font)
    return np.asarray(canvas)


def colour_bar(width: int, low: str, high: str, height: int = 14, size: int = 13) -> Picture:
    """The colours of ``heat`` from 0 to 1, left to right, with a word at each end: (h, width, 3)."""
    bar = np.broadcast_to(heat(np.linspace(0, 1, width)[None]), (height, width, 3))
    canvas = Image.new("RGB", (width, size + 9), PAPER)
    draw, font = ImageDraw.Draw(canvas), _font(size)
    draw.text((0, 2), low, fill=INK, font=font)
    draw.text((width, 2), high, fill=INK, font=font, anchor="ra")
    return np.concatenate([bar, np.asarray(canvas)])


def outlined(picture: Picture, mask: Mask, colour: tuple[int, int, int] = PAPER) -> Picture:
    """Draw the outline of a mask (H, W) bool, with a dark edge that shows on any background."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(min(mask.shape) / 200))
    dark = cv2.drawContours(picture.copy(), outlines, -1, INK, width + 2)
    return np.asarray(cv2.drawContours(dark, outlines, -1, colour, width))


def grid(pictures: Sequence[Sequence[Picture]], gap: int = 6) -> Picture:
    """Rows of pictures in one, each cell as large as the largest of its row and column."""
    heights = [max(p.shape[0] for p in row) for row in pictures]
    columns = max(len(row) for row in pictures)
    widths = [max(row[c].shape[1] for row in pictures if c < len(row)) for c in range(columns)]
    total = (sum(heights) + gap * (len(heights) + 1), sum(widths) + gap * (columns + 1), 3)
    canvas = np.full(total, 255, np.uint8)
    y = gap
    for row, height in zip(pictures, heights, strict=True):
        x = gap
        for picture, width in zip(row, widths, strict=False):
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x += width + gap
        y += height + gap
    return canvas


def fit(image: Picture, height: int) -> Picture:
    """Resize the image to a height in pixels, keeping its aspect ratio."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, (width, height), interpolation=how))


def _pad_to(picture: Picture, height: int, width: int) -> Picture:
    missing = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, missing, constant_values=255)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships: Latin, Greek, Cyrillic, Arabic and more."""
    found = find_spec("matplotlib")  # importing it would take half a second
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def bar_chart(series: dict[str, list[float]], groups: Sequence[str], title: str) -> Picture:
    """Bars in ``groups``, one a series: (H, W, 3) uint8. NaN leaves a gap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(1, min(3, 60 // (max(map(len, series)) + 4)))  # of the legend
    height = 3.6 + 0.16 * -(-len(series) // columns)
    figure = Figure(figsize=(max(5.0, 1.5 * len(groups)), height), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(series)
    colours = palette(len(series)) / 255
    for index, (name, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, values, width, label=name, color=colours[index])
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.set_title(title, loc="left", fontsize=10)
    figure.legend(fontsize=8, ncols=columns, loc="outside lower center")
    axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def line_chart(
    series: dict[str, tuple[list[float], list[float]]],
    title: str,
    labels: tuple[str, str],
    marks: dict[str, tuple[list[float], list[float]]] | None = None,
    level: dict[str, float] | None = None,
    dashed: dict[str, tuple[list[float], list[float]]] | None = None,
) -> Picture:
    """Lines through (x, y), one a series, as (H, W, 3) uint8. NaN leaves a gap.

    Args:
        series: for each line its x and y.
        title: above it.
        labels: of the two axes.
        marks: points without a line.
        level: horizontal lines through the whole width.
        dashed: a second line for each series, in their order and colours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    marks, level, dashed = marks or {}, level or {}, dashed or {}
    entries = len(series) + len(marks) + len(level)
    below = entries + len(dashed) > 4 or bool(marks)  # so many would cover the lines, and points lie anywhere
    height = 3.8 + 0.16 * entries * below
    figure = Figure(figsize=(6.0, height), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = iter(palette(entries) / 255)
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name, color=next(colours))
    for line, (name, (x, y)) in zip(list(axes.lines), dashed.items(), strict=False):
        axes.plot(x, y, label=name, color=line.get_color(), linestyle="--")
    for name, (x, y) in marks.items():
        axes.scatter(x, y, label=name, color=next(colours), zorder=3)
    for name, value in level.items():
        axes.axhline(value, label=name, color=next(colours), linestyle="--", linewidth=1)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if below:
        figure.legend(fontsize=8, loc="outside lower center", ncols=2 if dashed else 1)
    else:
        axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
