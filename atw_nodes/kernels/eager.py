"""A pass with torch's operators, tile by tile: for CPUs, and for GPUs without the fused kernel.

A tile takes one interpolation and a handful of small matrix products; nothing as large as the image is made.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..pyramid import Upsampling, to_float
from ..threads import each
from ..tiles import COLUMNS, ROWS, Tile, tiles, working_type
from ..types import Affine
from ..warp import feather_mask, sample, sample_grid
from .passes import Axis, Pass, axis

_MANY = 80  # columns of a table from which a few taps a pixel cost less than a matrix product
WINDOW = 1 << 19  # source pixels a tile may pull in before it is split


def run(p: Pass, out: Tensor, box: Tile, rows: int = ROWS) -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float. rows: the most that a tile is high."""
    work(Run(p, out), box, rows)


def work(made: Run, box: Tile, rows: int) -> None:
    """``made`` on the tiles of ``box``, by as many threads as torch uses here."""
    device = made.out.device
    if device.type == "cpu":
        share = (box[2] - box[0]) * (box[3] - box[1]) // (2 * COLUMNS * torch.get_num_threads())
        each(made.tile, tiles(box, max(1, min(rows, made.rows, max(share, 32))), made.columns), device)
    else:  # few large launches
        each(made.tile, tiles(box, rows * 8, 1 << 20), device)


class Part(NamedTuple):
    """A table on a tile: ``rows`` @ ``columns``."""

    rows: Tensor  # [h,K]
    columns: Tensor  # [C,K,w]

    def plus(self, values: Tensor, scale: float = 1.0) -> Tensor:
        """values [C,h,w] + scale·table, in place."""
        return values.baddbmm_(self.rows.expand(len(values), -1, -1), self.columns, alpha=scale)


class Table(NamedTuple):
    """Values on a lattice [C,n,m], up-sampled where a tile needs them."""

    values: Tensor
    across: Axis
    down: Axis

    def on(self, at: Tile) -> Part:
        rows, cells = self.down.part(at[1], at[3], self.values), self.cells(at)
        if cells.shape[-1] > _MANY:
            taps = self.across.taps.part(at[0], at[2])
            return Part(rows, taps.shifted(self.across.span(at[0], at[2])[0])(cells, -1))
        return Part(rows, cells @ self.across.part(at[0], at[2], self.values).T)

    def cells(self, at: Tile) -> Tensor:
        """[C,k,l]: all that a tile reads."""
        (top, bottom), (left, right) = self.down.span(at[1], at[3]), self.across.span(at[0], at[2])
        return self.values[:, top:bottom, left:right]


class Run:
    """A pass under way: its tables in the working type, bytes as 0..255."""

    rows, columns = ROWS, COLUMNS  # of a tile on a CPU

    def __init__(self, p: Pass, out: Tensor) -> None:
        self.p, self.out, self.device = p, out, p.source.device
        self.kind = working_type(p.source)
        self.bytes = p.source.dtype == torch.uint8
        self.scale = 255.0 if self.bytes else 1.0
        self.field = self._table(p.field)
        self.add = None if p.add is None else self._table(p.add, p.upsample)
        self.drop = None if p.drop is None else self._table(p.drop)
        self.minus = None if p.minus is None else self._below(p.minus)
        self.centres = torch.arange(max(out.shape[-2:]), dtype=self.kind, device=self.device) + 0.5
        self.most = WINDOW if self.device.type == "cpu" else 1 << 24

    def _table(self, values: Tensor, mode: Upsampling = "bilinear") -> Table:
        (a, _, x), (_, d, y) = self.p.to_canonical
        (height, width), (n, m) = self.out.shape[-2:], values.shape[-2:]
        return Table(values[0].to(self.kind), axis(a, x, width, m, mode), axis(d, y, height, n, mode))

    def tile(self, at: Tile) -> None:
        if self.p.warped is not None:
            points = None if self.p.straight else self._map(self.p.to_canonical, at)
            self._finish(at, self._ready(at, self.p.warped), points, mask := self._mask(at))
            self._keep(at, mask)
            return
        points = None if self.p.straight else self._map(self.p.to_canonical, at)
        window = self._window(at, points)
        if self._split(at, window):
            return
        mask = self._mask(at)
        self._finish(at, self._sampled(at, window, points), points, mask)
        self._keep(at, mask)

    def _ready(self, at: Tile, warped: Tensor) -> Tensor:
        """W on a tile, of all of it: a copy."""
        x0, y0, x1, y1 = at
        layout = torch.contiguous_format
        w = warped[..., y0:y1, x0:x1].to(self.kind, copy=True, memory_format=layout)
        return w if warped.dtype == self.p.source.dtype else w.mul_(self.scale)

    def _split(self, at: Tile, window: Tile) -> bool:
        """Whether a tile reads so much that it was made in two halves."""
        wide = _area(window) > self.most and _area(at) > 4096
        for half in _halves(at) if wide else ():
            self.tile(half)
        return wide

    def _keep(self, at: Tile, mask: Tensor | None) -> None:
        """Copy the source where the mask is 0."""
        outside = None if mask is None else mask == 0
        if outside is not None and bool(outside.any()):
            x0, y0, x1, y1 = at
            now = self.out[..., y0:y1, x0:x1]
            source = self.p.source[..., y0:y1, x0:x1]
            source = source if source.dtype == now.dtype else to_float(source)
            now.copy_(torch.where(outside, source.to(now.dtype), now))

    def _sampled(self, at: Tile, window: Tile, points: Tensor | None) -> Tensor:
        """W on a tile, [1,C,h,w], bytes as 0..255."""
        x0, y0, x1, y1 = window
        read = self.p.source[:, :, y0:y1, x0:x1]
        source = read.to(self.kind, memory_format=torch.contiguous_format, copy=self.minus is not None)
        if self.minus is not None:
            self.minus.on(window).plus(source[0], -self.scale)
        scale, middle = (2 / (x1 - x0), 2 / (y1 - y0)), ((x0 + x1) / 2, (y0 + y1) / 2)
        return sample_grid(source, self._grid(at, middle, scale, points))

    def _finish(self, at: Tile, value: Tensor, points: Tensor | None, mask: Tensor | None) -> None:
        """Write W + mask·(add - drop·W) of ``value`` = W, which is overwritten."""
        if self.add is not None and points is None:
            if self.drop is not None and bool(self.drop.cells(at).any()):
                drop = self.drop.on(at)
                drop = drop.rows @ drop.columns
                value.mul_(1 - (drop if mask is None else drop * mask))
            add = self.add.on(at)
            if mask is None:
                add.plus(value[0], self.scale)
            else:
                value.addcmul_(add.rows @ add.columns, mask, value=self.scale)
        elif self.add is not None and points is not None:
            whole = value.new_ones(()) if mask is None else mask
            if self.drop is not None and bool(around(self.drop.values, points).any()):
                value.mul_(1 - whole * sample(self.drop.values[None], points[None]))
            value.addcmul_(sample(self.add.values[None], points[None]), whole, value=self.scale)
        self._store(at, value)

    def _mask(self, at: Tile) -> Tensor | None:
        """[h,w] feather mask of a tile; None where it is 1 everywhere."""
        feather = self.p.feather
        if feather == 0 or self._inside(at):
            return None
        if not self.p.straight:
            return feather_mask(self._map(self.p.to_canonical, at), feather)
        sides = []  # the mask grows with the distance to the nearest edge: across, or down
        for i, (first, last) in enumerate(((at[0], at[2]), (at[1], at[3]))):
            scale, offset = self.p.to_canonical[i][i], self.p.to_canonical[i][2]
            place = (torch.arange(first, last, dtype=torch.float64) + 0.5) * scale + offset
            point = torch.full((last - first, 2), 0.5, dtype=self.kind, device=self.device)
            point[:, 0] = place.to(self.kind)
            sides.append(feather_mask(point, feather))
        return torch.minimum(sides[1][:, None], sides[0])

    def _inside(self, at: Tile) -> bool:
        """Whether the mask is 1 on all of a tile: it is at its corners, and the frame is convex."""
        x0, y0, x1, y1 = at
        points = [
            [a * x + b * y + t for a, b, t in self.p.to_canonical]
            for x in (x0 + 0.5, x1 - 0.5)
            for y in (y0 + 0.5, y1 - 0.5)
        ]
        corners = torch.tensor(points, dtype=torch.float64)
        return bool((feather_mask(corners, self.p.feather) == 1).all())

    def _map(self, affine: Affine, at: Tile) -> Tensor:
        """[h,w,2]: a tile's pixel centres under ``affine``."""
        rows, columns = self._mapped(affine, at, (0.0, 0.0), (1.0, 1.0))
        return (rows @ columns.flatten(1)).view(len(rows), -1, 2)

    def _mapped(
        self,
        affine: Affine,
        at: Tile,
        origin: tuple[float, float],
        scale: tuple[float, float],
        part: Part | None = None,
    ) -> tuple[Tensor, Tensor]:
        """[h,K], [K,w,2], whose product is (affine·centre - origin + part)·scale."""
        x0, y0, x1, y1 = at
        k = 0 if part is None else part.rows.shape[1]
        columns = torch.empty(k + 2, x1 - x0, 2, dtype=self.kind, device=self.device)
        rows = torch.ones(y1 - y0, k + 2, dtype=self.kind, device=self.device)
        rows[:, k + 1] = self.centres[: y1 - y0]
        for i, (a, b, t) in enumerate(affine):  # from the tile's corner: what the corner adds is exact
            corner = (a * x0 + b * y0 + t - origin[i]) * scale[i]
            torch.mul(self.centres[: x1 - x0], a * scale[i], out=columns[k, :, i]).add_(corner)
            columns[k + 1, :, i] = b * scale[i]
            if part is not None:
                torch.mul(part.columns[i], scale[i], out=columns[:k, :, i])
        if part is not None:
            rows[:, :k] = part.rows
        return rows, columns

    def _grid(
        self, at: Tile, origin: tuple[float, float], scale: tuple[float, float], points: Tensor | None
    ) -> Tensor:
        """[1,h,w,2]: (where a tile's pixels come from - origin)·scale."""
        part = self.field.on(at) if points is None else None
        rows, columns = self._mapped(self.p.to_source, at, origin, scale, part)
        grid = (rows @ columns.flatten(1)).view(1, len(rows), -1, 2)
        if points is not None:
            moved = sample(self.field.values[None], points[None]).movedim(1, -1)
            grid.addcmul_(moved, moved.new_tensor(scale))
        return grid

    def _window(self, at: Tile, points: Tensor | None) -> Tile:
        """What of the source a tile can read, its displacements lying within those of the cells around it."""
        field = self.field.cells(at) if points is None else around(self.field.values, points)
        least, most = field.amin((1, 2)).tolist(), field.amax((1, 2)).tolist()
        x0, y0, x1, y1 = at
        corners = [(x, y) for x in (x0 + 0.5, x1 - 0.5) for y in (y0 + 0.5, y1 - 0.5)]
        spans = []
        for i, (a, b, t) in enumerate(self.p.to_source):
            n = self.p.source.shape[-1 - i]
            places = [a * x + b * y + t for x, y in corners]
            first = min(max(math.floor(min(places) + least[i] - 0.501), 0), n - 1)
            spans.append((first, min(max(math.floor(max(places) + most[i] - 0.499) + 2, first + 1), n)))
        return spans[0][0], spans[1][0], spans[0][1], spans[1][1]

    def _below(self, values: Tensor) -> Table:
        """A table over the source's plane."""
        (height, width), (n, m) = self.p.source.shape[-2:], values.shape[-2:]
        down = axis(1 / height, 0.0, height, n, self.p.upsample)
        across = axis(1 / width, 0.0, width, m, self.p.upsample)
        return Table(values[0].to(self.kind), across, down)

    def _store(self, at: Tile, value: Tensor) -> None:
        if self.out.dtype == torch.uint8:
            value = (value if self.bytes else value.mul_(255)).add_(0.5).clamp_(0, 255)
        elif self.bytes:
            value = value.div_(255)
        self.out[..., at[1] : at[3], at[0] : at[2]].copy_(value)


def around(values: Tensor, points: Tensor) -> Tensor:
    """The cells of a table [C,n,m] that ``points`` [h,w,2], an affine image of a tile, can read."""
    corners = points[:: max(1, len(points) - 1), :: max(1, points.shape[1] - 1)].reshape(-1, 2)
    low, high = corners.amin(0).tolist(), corners.amax(0).tolist()
    spans = []
    for i in (0, 1):
        n = values.shape[-1 - i]
        first = min(max(math.floor(low[i] * n - 0.501), 0), n - 1)
        spans.append(slice(first, min(max(math.floor(high[i] * n - 0.499) + 2, first + 1), n)))
    return values[:, spans[1], spans[0]]


def _area(at: Tile) -> int:
    return (at[2] - at[0]) * (at[3] - at[1])


def _halves(at: Tile) -> tuple[Tile, Tile]:
    x0, y0, x1, y1 = at
    if x1 - x0 > y1 - y0:
        m = (x0 + x1) // 2
        return (x0, y0, m, y1), (m, y0, x1, y1)
    m = (y0 + y1) // 2
    return (x0, y0, x1, m), (x0, m, x1, y1)
