"""A signal as a picture: one line a unit that moves, over time."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .signals import UNITS
from .types import InputError, Signal

SMALLEST, LARGEST = (200, 100), (4096, 4096)  # width, height
_LEGEND, _LEFT, _TOP, _BOTTOM = 210, 44, 10, 26  # pixels
_GREY = (210, 210, 210)


def plot(signal: Signal, width: int = 768, height: int = 384) -> Tensor:
    """``signal`` as [1,3,height,width] uint8: lines of the units that are not 0 throughout, with a legend."""
    if not (SMALLEST[0] <= width <= LARGEST[0] and SMALLEST[1] <= height <= LARGEST[1]):
        raise InputError(
            f"a plot of {width}x{height}; expected {SMALLEST[0]}x{SMALLEST[1]} to {LARGEST[0]}x{LARGEST[1]}"
        )
    moving = [n for n in signal.names if bool(signal.column(n).any())]
    colours = {n: _colour(k, len(moving)) for k, n in enumerate(moving)}
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    legend = _LEGEND if moving and width >= 2 * _LEGEND else 0
    box = (_LEFT, _TOP, width - legend - 10, height - _BOTTOM)
    low, high = min(0.0, float(signal.values.min())), max(1.0, float(signal.values.max()))
    _axes(draw, font, box, (low, high), signal)
    for name in moving:
        points = _line(signal.column(name).numpy(), box, (low, high))
        draw.line(points, fill=colours[name], width=2, joint="curve")
    if legend:
        _names(draw, font, (box[2] + 12, _TOP, height - _BOTTOM), colours, signal)
    return torch.from_numpy(np.asarray(page).copy()).movedim(-1, 0)[None]


def _colour(index: int, count: int) -> tuple[int, int, int]:
    """Hues apart, neighbours of different brightness."""
    red, green, blue = colorsys.hsv_to_rgb(index / max(count, 1), 0.85, (0.85, 0.6)[index % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def _line(
    values: np.ndarray, box: tuple[int, int, int, int], span: tuple[float, float]
) -> list[tuple[float, float]]:
    """Pixels of [T] values. Of many steps in one column of pixels, the lowest and the highest are drawn."""
    x0, y0, x1, y1 = box
    steps = np.arange(len(values))
    if len(values) > 4 * (x1 - x0):
        parts = np.array_split(steps, x1 - x0)
        ends = [p[[values[p].argmin(), values[p].argmax()]] for p in parts]
        steps = np.unique(np.concatenate(ends))
    if len(values) == 1:  # a pose, held
        steps, values = np.array([0, 1]), np.repeat(values, 2)
    x = x0 + (x1 - x0) * steps / max(len(values) - 1, 1)
    y = y1 - (y1 - y0) * (values[steps] - span[0]) / (span[1] - span[0])
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _axes(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    box: tuple[int, int, int, int],
    span: tuple[float, float],
    signal: Signal,
) -> None:
    """A grid with values at the left, and seconds (or steps) below."""
    x0, y0, x1, y1 = box
    step = _round_step((span[1] - span[0]) / 5)
    for k in range(math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9) + 1):
        y = y1 - (y1 - y0) * (k * step - span[0]) / (span[1] - span[0])
        draw.line(((x0, y), (x1, y)), fill="black" if k == 0 else _GREY)
        draw.text((x0 - 6, y), f"{k * step:g}", fill="black", font=font, anchor="rm")
    length = (len(signal) - 1) / (signal.fps or 1)
    step = _round_step(length / 6) if length else 1.0
    unit = " s" if signal.fps else ""
    for k in range(math.floor(length / step + 1e-9) + 1):
        x = x0 + (x1 - x0) * (k * step / length if length else 0)
        draw.line(((x, y0), (x, y1)), fill=_GREY)
        draw.text((x, y1 + 8), f"{k * step:g}{unit}", fill="black", font=font, anchor="mt")


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _names(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    place: tuple[int, int, int],
    colours: dict[str, tuple[int, int, int]],
    signal: Signal,
) -> None:
    """Units and what they are, as many as there is room for."""
    left, top, bottom = place
    room = max(1, (bottom - top) // 16)
    for row, (name, colour) in enumerate(colours.items()):
        if row == room - 1 and len(colours) > room:
            draw.text((left, top + 16 * row), f"and {len(colours) - row} more", fill="black", font=font)
            return
        y = top + 16 * row
        draw.line(((left, y + 7), (left + 14, y + 7)), fill=colour, width=3)
        known = f"{name} {UNITS[name].facs}" if name in UNITS else name
        draw.text((left + 20, y), known[:28], fill="black", font=font)
