"""A log-log plot with Pillow: milliseconds a frame over the side of the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _SCALE = 1000, 640, 2
_LEFT, _TOP, _RIGHT, _BOTTOM = 96, 56, 264, 64  # margins; the labels of the curves stand to the right


class Curve(NamedTuple):
    label: str
    points: dict[int, float]  # {side in pixels: milliseconds}
    colour: str
    dashed: bool = False


class _Axes:
    """Positions in the picture of (side, milliseconds), both logarithmic."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self.sides = sorted({s for c in curves for s in c.points})
        times = [t for c in curves for t in c.points.values()]
        self.first, self.last = math.log(self.sides[0]) - 0.12, math.log(self.sides[-1]) + 0.12
        self.low, self.high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
        self.high = max(self.high, self.low + 1)

    def x(self, side: float) -> float:
        share = (math.log(side) - self.first) / (self.last - self.first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, time: float) -> float:
        share = (math.log10(time) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


class _Pen:
    """Draws in points; the picture has ``_SCALE`` pixels a point."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
        self._draw = ImageDraw.Draw(self.image)

    def line(self, a: tuple[float, float], b: tuple[float, float], colour: str, width: float = 1) -> None:
        ends = [(x * _SCALE, y * _SCALE) for x, y in (a, b)]
        self._draw.line(ends, fill=colour, width=round(width * _SCALE))

    def dashes(self, a: tuple[float, float], b: tuple[float, float], colour: str, width: float) -> None:
        length = math.dist(a, b)
        count = max(1, round(length / 12))
        for k in range(count):
            p, q = k / count, (k + 0.6) / count
            ends = [(a[0] + (b[0] - a[0]) * s, a[1] + (b[1] - a[1]) * s) for s in (p, q)]
            self.line(ends[0], ends[1], colour, width)

    def dot(self, at: tuple[float, float], colour: str, radius: float) -> None:
        x, y, r = at[0] * _SCALE, at[1] * _SCALE, radius * _SCALE
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def text(
        self,
        at: tuple[float, float],
        words: str,
        anchor: str = "lm",
        size: float = 14,
        colour: str = "#222222",
    ) -> None:
        place = (at[0] * _SCALE, at[1] * _SCALE)
        halo = {"stroke_width": 2 * _SCALE, "stroke_fill": "white"}
        self._draw.text(place, words, fill=colour, font=_font(size), anchor=anchor, **halo)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SCALE)  # Pillow 10.1 or newer


def _grid(pen: _Pen, axes: _Axes) -> None:
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    for decade in range(axes.low, axes.high + 1):
        for k in range(1, 10) if decade < axes.high else (1,):
            y = axes.y(k * 10.0**decade)
            pen.line((left, y), (right, y), "#b8b8b8" if k == 1 else "#ececec")
        pen.text((left - 8, axes.y(10.0**decade)), f"{10.0**decade:,.{max(0, -decade)}f}", "rm")
    for side in axes.sides:
        pen.line((axes.x(side), top), (axes.x(side), bottom), "#dcdcdc")
        pen.text((axes.x(side), bottom + 16), str(side), "mm")
    for a, b in (((left, top), (left, bottom)), ((left, bottom), (right, bottom))):
        pen.line(a, b, "#222222", 1.5)
    pen.text(((left + right) / 2, bottom + 42), "side of the square photo, pixels", "mm")
    pen.text((left - 68, top - 26), "Milliseconds a frame, CPU (both axes logarithmic)", "lm", 17)


def _labels(axes: _Axes, curves: Sequence[Curve], apart: float = 19) -> list[tuple[Curve, float]]:
    """Each curve's label height: at its right end, moved down where two of one side would touch."""
    ends = [(max(c.points), axes.y(c.points[max(c.points)]), k) for k, c in enumerate(curves)]
    placed: list[tuple[Curve, float]] = []
    above: tuple[int, float] = (0, 0.0)
    for side, y, k in sorted(ends):
        at = max(y, above[1] + apart) if above[0] == side else y
        placed.append((curves[k], at))
        above = (side, at)
    return placed


def draw(path: Path, curves: Sequence[Curve]) -> None:
    """Write the plot. A curve of one point is a dot that carries its label."""
    axes, pen = _Axes(curves), _Pen()
    _grid(pen, axes)
    for curve in curves:
        points = [(axes.x(s), axes.y(t)) for s, t in sorted(curve.points.items())]
        for a, b in zip(points, points[1:], strict=False):
            (pen.dashes if curve.dashed else pen.line)(a, b, curve.colour, 2.5)
        for point in points:
            pen.dot(point, curve.colour, 4 if len(points) > 1 else 6)
    lines, dots = ([c for c in curves if (len(c.points) > 1) is many] for many in (True, False))
    left = min((s for c in lines for s in c.points), default=0)  # beside their first points there is room
    for curve, y in _labels(axes, dots, 17):
        side = next(iter(curve.points))
        x, anchor = (axes.x(side) + 11, "lm") if side < left else (axes.x(side) - 11, "rm")
        pen.text((x, y), curve.label, anchor, colour=curve.colour)
    for curve, y in _labels(axes, lines):
        end = (axes.x(max(curve.points)), axes.y(curve.points[max(curve.points)]))
        pen.line((end[0] + 5, end[1]), (_WIDTH - _RIGHT + 8, y), "#c8c8c8")
        pen.text((_WIDTH - _RIGHT + 12, y), curve.label, colour=curve.colour)
    pen.image.quantize(64).save(path, optimize=True)
