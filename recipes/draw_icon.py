"""Draws assets/icon.png: a grid of pixels bent into a smile.

python recipes/draw_icon.py assets/icon.png
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIDE, SCALE = 400, 3
TOP, BOTTOM, LINE = (24, 28, 58), (88, 42, 114), (255, 214, 120)


def bend(u: float, v: float) -> tuple[float, float]:
    """Backward-warp style displacement of the unit square: corners of a mouth pulled out and up."""
    pull = math.exp(-(((v - 0.66) / 0.22) ** 2))
    return u + 0.05 * math.sin(math.pi * (2 * u - 1)) * pull, v - 0.30 * (2 * u - 1) ** 2 * pull + 0.08 * pull


def main() -> None:
    n = SIDE * SCALE
    image = Image.new("RGB", (n, n))
    draw = ImageDraw.Draw(image)
    for y in range(n):
        t = y / n
        draw.line([(0, y), (n, y)], tuple(round(a + (b - a) * t) for a, b in zip(TOP, BOTTOM, strict=True)))
    steps = [i / 60 for i in range(61)]
    lanes = [0.12 + 0.76 * i / 8 for i in range(9)]
    for k in lanes:
        for path in ([bend(k, 0.12 + 0.76 * s) for s in steps], [bend(0.12 + 0.76 * s, k) for s in steps]):
            draw.line([(x * n, y * n) for x, y in path], LINE, width=2 * SCALE, joint="curve")
    mouth = [bend(0.22 + 0.56 * s, 0.66) for s in steps]
    draw.line([(x * n, y * n) for x, y in mouth], (255, 96, 110), width=11 * SCALE, joint="curve")
    for u in (0.35, 0.65):
        x, y, r = u * n, 0.34 * n, 0.045 * n
        draw.ellipse([x - r, y - r, x + r, y + r], (240, 244, 255))
    image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(Path(sys.argv[1]), optimize=True)


if __name__ == "__main__":
    main()
