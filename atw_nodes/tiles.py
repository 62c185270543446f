"""Reading and writing a photo piece by piece, so that no full-size buffer is needed beside the output.

A tile is (left, top, right, bottom) in pixels. Tables are small images in a frame's canonical square.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import Taps, taps_at, to_float
from .types import FaceFrame
from .warp import sample

ROWS, COLUMNS = 256, 1024  # a tile; what it needs beside input and output is some 20 MB
WINDOW = 1 << 20  # source pixels a tile may pull in before it is split

Tile = tuple[int, int, int, int]


def gather(image: Tensor, where: Tensor, origin: tuple[int, int]) -> Tensor:
    """Bilinear ``image`` [1,C,H,W] at pixel positions origin + ``where`` [h,w,2]: float [1,C,h,w].

    Only the window of the image that is read becomes float; a tile whose window is large is split.
    """
    height, width = image.shape[-2:]
    low = where.amin((0, 1)).sub(0.5).floor().tolist()
    high = where.amax((0, 1)).sub(0.5).floor().tolist()
    x0, y0 = (min(max(int(v) + o, 0), n - 1) for v, o, n in zip(low, origin, (width, height), strict=True))
    x1, y1 = (
        min(max(int(v) + o, 0), n - 1) + 1 for v, o, n in zip(high, origin, (width, height), strict=True)
    )
    x1, y1 = min(x1 + 1, width), min(y1 + 1, height)
    if (x1 - x0) * (y1 - y0) > WINDOW and max(where.shape[:2]) > 64:
        axis = 0 if where.shape[0] >= where.shape[1] else 1
        halves = where.tensor_split(2, axis)
        return torch.cat([gather(image, h, origin) for h in halves], axis - 2)
    window = to_float(image[..., y0:y1, x0:x1])
    start = where.new_tensor([origin[0] - x0, origin[1] - y0])
    points = (where + start) / where.new_tensor([x1 - x0, y1 - y0])
    return sample(window, points[None].to(window.dtype))


def table_part(table: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Part of an up-sampled ``table`` [1,C,h,w]; only the cells that are read are touched."""
    (r0, r1), (c0, c1) = rows.span(), columns.span()
    part = table[..., r0:r1, c0:c1]
    if part.shape[-2] * columns.index.shape[0] < rows.index.shape[0] * part.shape[-1]:
        return rows.shifted(r0)(columns.shifted(c0)(part, -1), -2)
    return columns.shifted(c0)(rows.shifted(r0)(part, -2), -1)


def tiles(box: Tile, rows: int = ROWS, columns: int = COLUMNS) -> Iterator[Tile]:
    """``box`` in pieces of at most ``rows`` x ``columns`` pixels."""
    left, top, right, bottom = box
    for y in range(top, bottom, rows):
        for x in range(left, right, columns):
            yield x, y, min(x + columns, right), min(y + rows, bottom)


def store(out: Tensor, at: Tile, values: Tensor) -> None:
    """Write a tile in the type of ``out``; uint8 is rounded to the nearest k/255."""
    x0, y0, x1, y1 = at
    if out.dtype == torch.uint8:
        values = values.mul(255).round_().clamp_(0, 255)
    out[..., y0:y1, x0:x1] = values.to(out.dtype)


class Plane:
    """Where a tile's pixels lie in a frame's canonical square, and the values of canonical tables there."""

    def __init__(self, frame: FaceFrame, kind: torch.dtype, device: torch.device) -> None:
        self.frame, self.kind, self.device = frame, kind, device
        (a, b, x), (c, d, y) = frame.inverse()
        self.straight = b == 0 and c == 0  # rows and columns stay rows and columns: tables are separable
        self.rows = (torch.arange(frame.height, dtype=torch.float64) + 0.5) * d + y
        self.columns = (torch.arange(frame.width, dtype=torch.float64) + 0.5) * a + x
        self.skew = (b, c)

    def points(self, at: Tile) -> Tensor:
        """[h,w,2] canonical positions of the pixels of a tile."""
        x0, y0, x1, y1 = at
        u, v = self.columns[None, x0:x1], self.rows[y0:y1, None]
        if not self.straight:
            i = torch.arange(y0, y1, dtype=torch.float64)[:, None] + 0.5
            j = torch.arange(x0, x1, dtype=torch.float64)[None] + 0.5
            u, v = u + self.skew[0] * i, v + self.skew[1] * j
        return torch.stack(torch.broadcast_tensors(u, v), -1).to(self.device, self.kind)

    def table(self, table: Tensor, at: Tile, points: Tensor | None = None) -> Tensor:
        """Bilinear values [1,C,h,w] of a canonical ``table`` [1,C,n,n] on a tile."""
        if not self.straight:
            return sample(table, (self.points(at) if points is None else points)[None])
        x0, y0, x1, y1 = at
        rows, columns = (
            taps_at(self.rows[y0:y1], table.shape[-2]),
            taps_at(self.columns[x0:x1], table.shape[-1]),
        )
        return table_part(table, rows, columns)

    def shift(self, at: Tile, field: Tensor, points: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How far ``field`` [1,2,n,n] sends the pixels of a tile: [h,w] across and [h,w] down, in pixels."""
        d = self.table(field, at, points)[0]
        (a, b, _), (c, e, _) = self.frame.matrix
        return d[0] * a + d[1] * b, d[0] * c + d[1] * e


def positions(dx: Tensor, dy: Tensor) -> Tensor:
    """[h,w,2] where displacements of [h,w] pixels lead, relative to the corner of their tile."""
    height, width = dx.shape
    x = dx + (torch.arange(width, device=dx.device) + 0.5)
    y = dy + (torch.arange(height, device=dy.device) + 0.5)[:, None]
    return torch.stack([x, y], -1)


def working_type(photo: Tensor) -> torch.dtype:
    return torch.float64 if photo.dtype == torch.float64 else torch.float32


def canonical(
    photo: Tensor, frame: FaceFrame, size: int, field: Tensor | None = None, samples: int | None = None
) -> Tensor:
    """The frame's content as [1,3,size,size] float, averaged over ``samples`` x ``samples`` samples a cell;
    None takes so many that nothing aliases.

    field: [1,2,S,S]; the photo is warped by it first: down(W).
    """
    k = samples or max(1, -(-int(max(frame.sides) + 0.999) // size))
    (a, b, x), (c, d, y) = frame.matrix
    kind = working_type(photo)
    u = (torch.arange(size * k, dtype=torch.float64) + 0.5) / (size * k)
    columns = None if field is None else taps_at(u, field.shape[-1])
    out = torch.empty(1, photo.shape[1], size, size, dtype=kind, device=photo.device)
    step = max(1, (1 << 18) // (size * k * k))
    for r in range(0, size, step):
        v = u[r * k : (r + step) * k, None]
        px, py = a * u + b * v + x, c * u + d * v + y
        corner = (int(px.min()), int(py.min()))
        where = torch.stack([px - corner[0], py - corner[1]], -1).to(photo.device, kind)
        if field is not None and columns is not None:
            dx, dy = table_part(field, taps_at(v[:, 0], field.shape[-2]), columns)[0].to(kind)
            where = where + torch.stack([dx * a + dy * b, dx * c + dy * d], -1)
        part = gather(photo, where, corner)
        out[..., r : r + step, :] = F.avg_pool2d(part, k) if k > 1 else part
    return out
