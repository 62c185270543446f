"""A pass with OpenCV, tile by tile: tables enlarged by its resize, or its warpAffine where a
frame is turned, the photo sampled by its remap, pixels interleaved. For CPUs, and 32 bits or fewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extras import opencv_module
from ..tiles import ROWS, Tile
from ..types import Affine
from . import eager
from .passes import Pass

Array = np.ndarray[Any, Any]
_MOST = 32767  # OpenCV's remap takes no larger picture
_WHAT = 'the backend "opencv" of ResWarp'


def run(p: Pass, out: Tensor, box: Tile, rows: int = ROWS) -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float. Raises ``MissingExtraError`` without
    OpenCV.
    """
    eager.work(Run(p, out), box, rows)


def accurate() -> bool:
    """Whether this OpenCV samples between pixels as finely as floats go: 5 does, 4 goes by 1/32 pixel."""
    cv = opencv_module(_WHAT)
    image, at = np.array([[0.0, 3200.0]], np.float32), np.full((1, 1), 0.51, np.float32)
    return abs(float(cv.remap(image, at, np.zeros_like(at), cv.INTER_LINEAR)[0, 0]) - 1632) < 1


class Table:
    """Values on a lattice [1,C,n,m] of the unit square, up-sampled where a tile needs them."""

    def __init__(self, values: Tensor, to_unit: Affine, scale: float = 1.0) -> None:
        self.cv, self.scale = opencv_module(_WHAT), np.float32(scale)
        self.planes: Array = values[0].float().numpy()
        sides = values.shape[-1], values.shape[-2]
        # from the corner of a pixel to cells, of which the first is centred at 0
        self.affine = np.array([[v * n for v in row] for row, n in zip(to_unit, sides, strict=True)])
        self.affine[:, 2] += self.affine[:, :2].sum(1) / 2 - 0.5
        self.ratio = _ratio(to_unit, sides)

    def on(self, at: Tile, plus: float = 0.0) -> Array:
        """[h,w,C] on a tile, times the scale, and ``plus``."""
        cv, (x0, y0, x1, y1) = self.cv, at
        left, top, right, bottom = self._read(at)
        cells = cv.merge(list(self.planes[:, top:bottom, left:right])) * self.scale + np.float32(plus)
        if self.ratio is None:
            affine, size, how = self.affine.copy(), (x1 - x0, y1 - y0), cv.INTER_LINEAR | cv.WARP_INVERSE_MAP
            affine[:, 2] += affine[:, :2] @ (x0, y0) - (left, top)
            made = cv.warpAffine(cells, affine, size, flags=how, borderMode=cv.BORDER_REPLICATE)
        else:
            across, down = self.ratio
            size = (right - left) * across, (bottom - top) * down
            x, y = x0 - left * across, y0 - top * down
            made = cv.resize(cells, size, interpolation=cv.INTER_LINEAR)
            made = made[y : y + y1 - y0, x : x + x1 - x0]
        return made.reshape(y1 - y0, x1 - x0, -1)

    def any(self, at: Tile) -> bool:
        """Whether there may be other values than 0 on a tile."""
        left, top, right, bottom = self._read(at)
        return bool(self.planes[:, top:bottom, left:right].any())

    def _read(self, at: Tile) -> Tile:
        """The cells that a tile reads, and one more around."""
        corners = np.array([(x, y, 1) for x in at[::2] for y in at[1::2]]) @ self.affine.T
        low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 2
        m, n = self.planes.shape[2], self.planes.shape[1]
        left, top = min(max(int(low[0]), 0), m - 1), min(max(int(low[1]), 0), n - 1)
        return left, top, min(max(int(high[0]), left + 1), m), min(max(int(high[1]), top + 1), n)


def _ratio(to_unit: Affine, sides: tuple[int, int]) -> tuple[int, int] | None:
    """Pixels a cell, where they are whole numbers and the first pixel begins with the first cell."""
    found = []
    for i, n in enumerate(sides):
        scale = to_unit[i][i] * n
        pixels = round(1 / scale) if scale > 0 else 0
        if to_unit[i][1 - i] or to_unit[i][2] or pixels < 1 or abs(pixels * scale - 1) > 1e-9:
            return None
        found.append(pixels)
    return found[0], found[1]


class Run(eager.Run):
    """A pass under way: bytes as 0..255."""

    rows, columns = 128, 512

    def __init__(self, p: Pass, out: Tensor) -> None:
        super().__init__(p, out)
        self.cv = opencv_module(_WHAT)
        height, width = p.source.shape[-2:]
        over = ((1 / width, 0.0, 0.0), (0.0, 1 / height, 0.0))
        self.moves = [Table(p.field[:, k : k + 1], p.to_canonical) for k in (0, 1)]
        self.adds = None if p.add is None else Table(p.add, p.to_canonical, self.scale)
        self.drops = (
            None if p.drop is None else Table(p.drop.expand(-1, p.source.shape[1], -1, -1), p.to_canonical)
        )
        self.lows = None if p.minus is None else Table(p.minus, over, self.scale)
        pixels = p.source[0].permute(1, 2, 0)
        self.whole: Array | None = None  # what can be sampled as it is
        if p.minus is None and pixels.is_contiguous() and max(pixels.shape) < _MOST:
            self.whole = pixels.numpy() if p.source.dtype in (torch.uint8, torch.float32) else None
        self.ramps: dict[tuple[int, int], list[Array]] = {}

    def tile(self, at: Tile) -> None:
        source, origin = self.whole, (0, 0)
        if source is None:
            points = None if self.p.straight else self._map(self.p.to_canonical, at)
            window = self._window(at, points)
            if self._split(at, window):
                return
            source, origin = self._read(window), window[:2]
        cv, (x, y) = self.cv, self._places(at, origin)
        w = cv.remap(source, x, y, cv.INTER_LINEAR, borderMode=cv.BORDER_REPLICATE).reshape(*x.shape, -1)
        mask = self._mask(at)
        self._put(at, w, self._added(at, w, mask))
        self._keep(at, mask)

    def _read(self, window: Tile) -> Array:
        """[h,w,C] float32 of the source, less what lies ``minus`` it."""
        x0, y0, x1, y1 = window
        part = self.p.source[0, :, y0:y1, x0:x1]
        pixels = self._merged(part if self.bytes else part.float()).astype(np.float32, copy=False)
        return pixels if self.lows is None else pixels - self.lows.on(window)

    def _merged(self, planes: Tensor) -> Array:
        """[C,h,w] -> [h,w,C]"""
        return self.cv.merge(list(planes.numpy())).reshape(*planes.shape[1:], len(planes))

    def _places(self, at: Tile, origin: tuple[int, int]) -> list[Array]:
        """[h,w] across and [h,w] down: where a tile's pixels come from, the first of ``origin`` being 0."""
        x0, y0, x1, y1 = at
        shape = y1 - y0, x1 - x0
        if shape not in self.ramps:  # how the places grow from the first
            i, j = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)
            self.ramps[shape] = [np.float32(a) * j + np.float32(b) * i for a, b, _ in self.p.to_source]
        places = []
        for k, (a, b, t) in enumerate(self.p.to_source):
            first = a * (x0 + 0.5) + b * (y0 + 0.5) + t - 0.5 - origin[k]
            places.append(self.moves[k].on(at, first)[..., 0] + self.ramps[shape][k])
        return places

    def _added(self, at: Tile, w: Array, mask: Tensor | None) -> Array | None:
        """[h,w,C] mask·(add - drop·w)"""
        if self.adds is None:
            return None
        add = self.adds.on(at)
        if self.drops is not None and self.drops.any(at):
            add = self.cv.subtract(add, self.cv.multiply(w, self.drops.on(at), dtype=self.cv.CV_32F)).reshape(
                w.shape
            )
        return add if mask is None else add * mask.numpy()[..., None]

    def _put(self, at: Tile, w: Array, add: Array | None) -> None:
        """Write w + add."""
        cv, out = self.cv, self.out[0, :, at[1] : at[3], at[0] : at[2]]
        pixels = out.permute(1, 2, 0)
        placed = pixels.stride()[1:] == (len(out), 1)  # one after the other there, too
        plain = out.dtype in (torch.uint8, torch.float32)  # what OpenCV can write
        kind = cv.CV_8U if out.dtype == torch.uint8 else cv.CV_32F
        into = pixels.numpy() if placed and plain else None
        scale = (1.0 if self.bytes else 255.0) if out.dtype == torch.uint8 else 1 / self.scale
        if add is not None and scale == 1:
            w = cv.add(w, add, dst=into, dtype=kind)  # rounds and clamps, to bytes
        else:
            w = w if add is None else cv.add(w, add, dtype=cv.CV_32F)
            w = cv.multiply(w, (scale,) * 4, dst=into, dtype=kind)
        if into is None:
            w = w.reshape(pixels.shape)
            if not plain:
                pixels.copy_(torch.from_numpy(w))
            else:
                cv.mixChannels([w], list(out.numpy()), [k for c in range(len(out)) for k in (c, c)])
