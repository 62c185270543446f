"""A pass with OpenCV, tile by tile: tables enlarged by its resize, or its warpAffine where a
frame is turned, the photo sampled by its remap, pixels interleaved. For CPUs, and 32 bits or fewer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extras import opencv_module
from ..tiles import ROWS, Tile
from ..types import Affine
from ..warp import MARGIN
from . import eager
from .passes import Pass

Array = np.ndarray[Any, Any]
_FINER = 4  # cells of 16 pixels and more are brought onto a finer lattice first
_WRITTEN = (torch.uint8, torch.float32)  # what OpenCV can write
_TILE = 1 << 17  # pixels: a few tables of them fit into a core's cache
_MOST = 32767  # OpenCV's remap takes no larger picture
_WHAT = 'the backend "opencv" of ResWarp'


def run(p: Pass, out: Tensor, box: Tile, rows: int = ROWS) -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float. Raises ``MissingExtraError`` without
    OpenCV.
    """
    eager.work(Run(p, out, box), box, rows)


def accurate() -> bool:
    """Whether this OpenCV samples between pixels as finely as floats go: 5 does, 4 goes by 1/32 pixel."""
    cv = opencv_module(_WHAT)
    image, at = np.array([[0.0, 3200.0]], np.float32), np.full((1, 1), 0.51, np.float32)
    return abs(float(cv.remap(image, at, np.zeros_like(at), cv.INTER_LINEAR)[0, 0]) - 1632) < 1


class Table:
    """Values on a lattice [1,C,n,m] of the unit square, up-sampled where a tile needs them."""

    def __init__(self, values: Tensor, to_unit: Affine, box: Tile, scale: float = 1.0) -> None:
        self.cv, self.scale, self.origin = opencv_module(_WHAT), np.float32(scale), box[:2]
        self.planes: Array = values[0].float().numpy()
        n, m = self.planes.shape[1:]
        # from the corner of a pixel to cells, of which the first is centred at 0
        self.affine = np.array([[v * k for v in row] for row, k in zip(to_unit, (m, n), strict=True)])
        self.affine[:, 2] += self.affine[:, :2].sum(1) / 2 - 0.5
        self.ratio = _ratio(to_unit, (m, n))
        if self.ratio is not None:
            self.origin = 0, 0
        elif (step := int(1 / np.abs(self.affine[:, :2]).max() / 4)) >= _FINER:
            self._straighten(box, step)

    def _straighten(self, box: Tile, step: int) -> None:
        """Onto a finer lattice, along the image's axes: ``step`` pixels a cell, one of which the box begins
        with.
        """
        affine = self.affine.copy()
        affine[:, 2] += affine[:, :2] @ (np.array(box[:2]) + (step - 1) / 2)
        affine[:, :2] *= step
        size = -(-(box[2] - box[0]) // step), -(-(box[3] - box[1]) // step)
        self.planes = np.stack([self._warped(p, affine, size) for p in self.planes])
        self.ratio = step, step

    def _warped(self, image: Array, affine: Array, size: tuple[int, int]) -> Array:
        cv = self.cv
        how = cv.INTER_LINEAR | cv.WARP_INVERSE_MAP
        return cv.warpAffine(image, affine, size, flags=how, borderMode=cv.BORDER_REPLICATE)

    def on(self, at: Tile, plus: float = 0.0) -> Array:
        """[h,w,C] on a tile, times the scale, and ``plus``."""
        x0, y0, x1, y1 = at
        left, top, right, bottom = self._read(at)
        planes = list(self.planes[:, top:bottom, left:right])
        if self.ratio is None and len(planes) == 3:
            planes.append(planes[0])  # four are faster
        cells = self.cv.merge(planes) * self.scale + np.float32(plus)
        if self.ratio is None:
            affine = self.affine.copy()
            affine[:, 2] += affine[:, :2] @ (x0, y0) - (left, top)
            made = self._warped(cells, affine, (x1 - x0, y1 - y0))
        else:
            across, down = self.ratio
            size = (right - left) * across, (bottom - top) * down
            x, y = x0 - self.origin[0] - left * across, y0 - self.origin[1] - top * down
            made = self.cv.resize(cells, size, interpolation=self.cv.INTER_LINEAR)
            made = made[y : y + y1 - y0, x : x + x1 - x0]
        made = made.reshape(y1 - y0, x1 - x0, -1)
        if made.shape[2] == len(self.planes):
            return made
        few = np.empty((*made.shape[:2], len(self.planes)), np.float32)
        self.cv.mixChannels([made], [few], [k for c in range(len(self.planes)) for k in (c, c)])
        return few

    def any(self, at: Tile) -> bool:
        """Whether there may be other values than 0 on a tile."""
        left, top, right, bottom = self._read(at)
        return bool(self.planes[:, top:bottom, left:right].any())

    def _read(self, at: Tile) -> Tile:
        """The cells that a tile reads, and one more around."""
        spans, (left, top) = [], self.origin
        for i, (first, last) in enumerate(((at[0] - left, at[2] - left), (at[1] - top, at[3] - top))):
            count = self.planes.shape[2 - i]
            if self.ratio is None:
                a, b, t = self.affine[i].tolist()
                places = [a * x + b * y + t for x in at[::2] for y in at[1::2]]
                low, high = math.floor(min(places)) - 1, math.ceil(max(places)) + 2
            else:
                low, high = first // self.ratio[i] - 1, -(-last // self.ratio[i]) + 1
            low = min(max(low, 0), count - 1)
            spans.append((low, min(max(high, low + 1), count)))
        return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


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

    columns = 2048  # wide tiles write long rows, and take fewer calls

    def __init__(self, p: Pass, out: Tensor, box: Tile) -> None:
        super().__init__(p, out)
        self.rows = max(64, _TILE // max(1, min(self.columns, box[2] - box[0])))
        self.cv = opencv_module(_WHAT)
        height, width = p.source.shape[-2:]
        over = ((1 / width, 0.0, 0.0), (0.0, 1 / height, 0.0))
        self.moves = [Table(p.field[:, k : k + 1], p.to_canonical, box) for k in (0, 1)]
        self.adds = None if p.add is None else Table(p.add, p.to_canonical, box, self.scale)
        self.drops = None if p.drop is None else Table(p.drop, p.to_canonical, box)
        self.lows = None if p.minus is None else Table(p.minus, over, (0, 0, width, height), self.scale)
        pixels = p.source[0].permute(1, 2, 0)
        self.pixels: Array | None = None  # what OpenCV can read as it lies
        if pixels.is_contiguous() and p.source.dtype in _WRITTEN:
            self.pixels = pixels.numpy()
        # what can be sampled as it is
        self.whole = self.pixels if p.minus is None and max(pixels.shape) < _MOST else None
        self.ramps: dict[tuple[Affine, int, int], list[Array]] = {}

    def tile(self, at: Tile) -> None:
        if self.p.warped is not None:
            w = self.p.warped[0, :, at[1] : at[3], at[0] : at[2]].permute(1, 2, 0).numpy()
            mask = self._soft(at)
            self._put(at, w, self._added(at, w, mask), mask)
            return
        source, origin = self.whole, (0, 0)
        if source is None:
            points = None if self.p.straight else self._map(self.p.to_canonical, at)
            window = self._window(at, points)
            if self._split(at, window):
                return
            source, origin = self._read(window), window[:2]
        cv, (x, y), mask = self.cv, self._places(at, origin), self._soft(at)
        alone = self.adds is None and mask is None and self.out.dtype == self.p.source.dtype
        into = self._into(at) if alone and source.dtype.itemsize == self.out.element_size() else None
        w = cv.remap(source, x, y, cv.INTER_LINEAR, dst=into, borderMode=cv.BORDER_REPLICATE)
        if into is not None:
            return
        w = w.reshape(*x.shape, -1)
        self._put(at, w, self._added(at, w, mask), mask)

    def _read(self, window: Tile) -> Array:
        """[h,w,C] float32 of the source, less what lies ``minus`` it."""
        x0, y0, x1, y1 = window
        if self.pixels is not None:
            pixels = self.pixels[y0:y1, x0:x1]
        else:
            part = self.p.source[0, :, y0:y1, x0:x1]
            pixels = self._merged(part if self.bytes else part.float())
        if self.lows is None:
            return pixels.astype(np.float32, copy=False)
        return self.cv.subtract(pixels, self.lows.on(window), dtype=self.cv.CV_32F).reshape(pixels.shape)

    def _merged(self, planes: Tensor) -> Array:
        """[C,h,w] -> [h,w,C]"""
        return self.cv.merge(list(planes.numpy())).reshape(*planes.shape[1:], len(planes))

    def _places(self, at: Tile, origin: tuple[int, int]) -> list[Array]:
        """[h,w] across and [h,w] down: where a tile's pixels come from, the first of ``origin`` being 0."""
        ramps = self._ramps(self.p.to_source, at)
        places = []
        for k, (a, b, t) in enumerate(self.p.to_source):
            first = a * (at[0] + 0.5) + b * (at[1] + 0.5) + t - 0.5 - origin[k]
            places.append(self.moves[k].on(at, first)[..., 0] + ramps[k])
        return places

    def _ramps(self, affine: Affine, at: Tile) -> list[Array]:
        """[h,w] twice: how ``affine`` grows over a tile from its first pixel."""
        height, width = at[3] - at[1], at[2] - at[0]
        key = affine, height, width
        if key not in self.ramps:
            i, j = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
            self.ramps[key] = [np.float32(a) * j + np.float32(b) * i for a, b, _ in affine]
        return self.ramps[key]

    def _soft(self, at: Tile) -> Array | None:
        """[h,w] feather mask of a tile (``warp.feather_mask``); None where it is 1 everywhere."""
        feather = self.p.feather
        if feather == 0 or self._inside(at):
            return None
        nearest: Array | None = None  # to an edge
        for (a, b, t), ramp in zip(self.p.to_canonical, self._ramps(self.p.to_canonical, at), strict=True):
            edge = ramp + np.float32(a * (at[0] + 0.5) + b * (at[1] + 0.5) + t - 0.5)
            np.abs(edge, out=edge)
            nearest = edge if nearest is None else self.cv.max(nearest, edge, dst=nearest)
        assert nearest is not None
        s = nearest
        s *= np.float32(-1 / feather)
        s += np.float32((0.5 - MARGIN) / feather)
        np.clip(s, 0, 1, out=s)
        square = s * s
        s *= -2
        s += 3
        s *= square
        return s

    def _added(self, at: Tile, w: Array, mask: Array | None) -> Array | None:
        """[h,w,C] mask·(add - drop·w)"""
        if self.adds is None:
            return None
        cv, add = self.cv, self.adds.on(at)
        if self.drops is not None and self.drops.any(at):
            drop = cv.merge([self.drops.on(at)] * w.shape[2])
            add = cv.subtract(add, cv.multiply(w, drop, dtype=cv.CV_32F)).reshape(w.shape)
        return add if mask is None else cv.multiply(add, cv.merge([mask] * w.shape[2])).reshape(w.shape)

    def _put(self, at: Tile, w: Array, add: Array | None, mask: Array | None) -> None:
        """Write w + add; the source where the mask is 0."""
        cv, out = self.cv, self.out[0, :, at[1] : at[3], at[0] : at[2]]
        pixels = out.permute(1, 2, 0)
        plain, into = out.dtype in _WRITTEN, self._into(at)
        placed = into is not None
        kind = cv.CV_8U if out.dtype == torch.uint8 else cv.CV_32F
        scale = (1.0 if self.bytes else 255.0) if out.dtype == torch.uint8 else 1 / self.scale
        if add is not None and scale == 1:
            w = cv.add(w, add, dst=into, dtype=kind)  # rounds and clamps, to bytes
        else:
            w = w if add is None else cv.add(w, add, dtype=cv.CV_32F)
            w = cv.multiply(w, (scale,) * 4, dst=into, dtype=kind)
        w = w.reshape(pixels.shape)
        kept = mask is None or self._kept(at, mask, w)
        if not plain:
            pixels.copy_(torch.from_numpy(w))
        elif not placed:
            cv.mixChannels([w], list(out.numpy()), [k for c in range(len(out)) for k in (c, c)])
        if mask is not None and not kept:
            self._keep(at, torch.from_numpy(mask))

    def _into(self, at: Tile) -> Array | None:
        """[h,w,C] of the output, if OpenCV can write there: its pixels lie one after the other, too."""
        pixels = self.out[0, :, at[1] : at[3], at[0] : at[2]].permute(1, 2, 0)
        placed = self.out.dtype in _WRITTEN and pixels.stride()[1:] == (pixels.shape[2], 1)
        return pixels.numpy() if placed else None

    def _kept(self, at: Tile, mask: Array, made: Array) -> bool:
        """Copy the source into ``made`` [h,w,C] where the mask is 0, if they are of one type."""
        if self.whole is None or self.whole.dtype != made.dtype:
            return False
        outside = (mask == 0).view(np.uint8)
        if outside.any():
            self.cv.copyTo(self.whole[at[1] : at[3], at[0] : at[2]], outside, made)
        return True
