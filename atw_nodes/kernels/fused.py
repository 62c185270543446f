"""A pass as one Triton kernel: each output pixel is computed once, from the photo and small tables alone.

For CUDA devices where torch ships Triton. What it reads and writes is what a pass cannot do without: the
photo's bytes once, the frame's once; the tables stay in the cache. Several frames go in one launch.
"""

# pyright: reportCallIssue=false, reportMissingImports=false, reportArgumentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..tiles import Tile
from .passes import IDENTITY, Pass

_BLOCK = 256  # pixels a program computes
_INTERPRETED = 4096  # and under Triton's interpreter, whose time is a program's, not a pixel's


@triton.jit
def _cell(at, count):
    """Where ``at``, in cells, lies between the centres of a table's cells: (first, second, share of it)."""
    at = tl.minimum(tl.maximum(at - 0.5, 0.0), count - 1.0)
    first = tl.floor(at)
    low = first.to(tl.int32)
    return low, tl.minimum(low + 1, count - 1), at - first


@triton.jit
def _table(values, rows, columns, u, v, live):
    """Bilinear values of a table [rows,columns] at (u, v) in the unit square."""
    x0, x1, fx = _cell(u * columns, columns)
    y0, y1, fy = _cell(v * rows, rows)
    a = tl.load(values + y0 * columns + x0, mask=live, other=0.0)
    b = tl.load(values + y0 * columns + x1, mask=live, other=0.0)
    c = tl.load(values + y1 * columns + x0, mask=live, other=0.0)
    d = tl.load(values + y1 * columns + x1, mask=live, other=0.0)
    top, low = a + (b - a) * fx, c + (d - c) * fx
    return top + (low - top) * fy


@triton.jit
def _pixel(plane, y, x, down, across, live):
    """A channel's values at whole pixels, as float."""
    at = plane + y.to(tl.int64) * down + x.to(tl.int64) * across
    return tl.load(at, mask=live, other=0).to(tl.float32)


@triton.jit
def _mask(u, v, feather):
    """``warp.feather_mask``."""
    edge = tl.minimum(tl.minimum(u, 1.0 - u), tl.minimum(v, 1.0 - v))
    s = tl.minimum(tl.maximum((edge - 0.015625) / feather, 0.0), 1.0)
    return s * s * (3.0 - 2.0 * s)


@triton.jit
def _kernel(
    source, out, field, add, drop, minus,
    height, width, left, top, right, bottom,
    source_c, source_y, source_x, out_t, out_c, out_y, out_x,
    field_n, field_m, add_n, add_m, drop_n, drop_m, minus_n, minus_m,
    ca, cb, cx, cc, cd, cy, sa, sb, sx, sc, sd, sy, feather,
    CHANNELS: tl.constexpr, HAS_ADD: tl.constexpr, HAS_DROP: tl.constexpr, HAS_MINUS: tl.constexpr,
    FEATHERED: tl.constexpr, STRAIGHT: tl.constexpr, BYTES_IN: tl.constexpr, BYTES_OUT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(1)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # of the box's pixels, row by row
    y, x = top + index // (right - left), left + index % (right - left)
    live = y < bottom
    px, py = x + 0.5, y + 0.5
    u, v = ca * px + cb * py + cx, cc * px + cd * py + cy
    field += t * 2 * field_n * field_m
    dx = _table(field, field_n, field_m, u, v, live)
    dy = _table(field + field_n * field_m, field_n, field_m, u, v, live)
    if STRAIGHT:  # to_source is the identity: whole pixels and shares apart, exact at any size
        x_low, y_low = tl.floor(dx), tl.floor(dy)
        ix, iy = x + x_low.to(tl.int32), y + y_low.to(tl.int32)
    else:
        dx, dy = dx + sa * px + sb * py + sx - 0.5, dy + sc * px + sd * py + sy - 0.5
        x_low, y_low = tl.floor(dx), tl.floor(dy)
        ix, iy = x_low.to(tl.int32), y_low.to(tl.int32)
    fx, fy = dx - x_low, dy - y_low
    x0, x1 = tl.minimum(tl.maximum(ix, 0), width - 1), tl.minimum(tl.maximum(ix + 1, 0), width - 1)
    y0, y1 = tl.minimum(tl.maximum(iy, 0), height - 1), tl.minimum(tl.maximum(iy + 1, 0), height - 1)
    m = tl.full([BLOCK], 1.0, tl.float32)
    if FEATHERED:
        m = _mask(u, v, feather)
    keep = tl.full([BLOCK], 1.0, tl.float32)
    if HAS_DROP:
        keep = 1.0 - m * _table(drop + t * drop_n * drop_m, drop_n, drop_m, u, v, live)
    scale = 255.0 if BYTES_IN else 1.0
    for c in tl.static_range(CHANNELS):
        plane = source + c * source_c
        p00, p01 = (
            _pixel(plane, y0, x0, source_y, source_x, live),
            _pixel(plane, y0, x1, source_y, source_x, live),
        )
        p10, p11 = (
            _pixel(plane, y1, x0, source_y, source_x, live),
            _pixel(plane, y1, x1, source_y, source_x, live),
        )
        if HAS_MINUS:
            low = minus + c * minus_n * minus_m
            u0, u1, v0, v1 = (x0 + 0.5) / width, (x1 + 0.5) / width, (y0 + 0.5) / height, (y1 + 0.5) / height
            p00 -= scale * _table(low, minus_n, minus_m, u0, v0, live)
            p01 -= scale * _table(low, minus_n, minus_m, u1, v0, live)
            p10 -= scale * _table(low, minus_n, minus_m, u0, v1, live)
            p11 -= scale * _table(low, minus_n, minus_m, u1, v1, live)
        above, below = p00 + (p01 - p00) * fx, p10 + (p11 - p10) * fx
        value = (above + (below - above) * fy) * keep
        if HAS_ADD:
            value += scale * m * _table(add + (t * CHANNELS + c) * add_n * add_m, add_n, add_m, u, v, live)
        if FEATHERED:
            value = tl.where(m == 0.0, _pixel(plane, y, x, source_y, source_x, live), value)
        if BYTES_OUT:
            value = value if BYTES_IN else value * 255.0
            value = tl.minimum(tl.maximum(tl.floor(value + 0.5), 0.0), 255.0)
        elif BYTES_IN:
            value = value / 255.0
        to = out + t * out_t + c * out_c + y.to(tl.int64) * out_y + x.to(tl.int64) * out_x
        tl.store(to, value.to(out.dtype.element_ty), mask=live)


def run(p: Pass, out: Tensor, box: Tile) -> None:
    """``eager.run``; a pass of T fields fills the T frames of ``out`` in one launch."""
    left, top, right, bottom = box
    channels, height, width = p.source.shape[1:]
    none = p.field.new_empty(0)
    field, add, drop, minus = (
        none if v is None else v.float().contiguous() for v in (p.field, p.add, p.drop, p.minus)
    )
    sizes = [s for v in (p.field, p.add, p.drop, p.minus) for s in ((0, 0) if v is None else v.shape[-2:])]
    block = _INTERPRETED if os.environ.get("TRITON_INTERPRET") == "1" else _BLOCK
    grid = (triton.cdiv((right - left) * (bottom - top), block), len(out))
    affine = [v for a in (p.to_canonical, p.to_source) for row in a for v in row]
    _kernel[grid](
        p.source, out, field, add, drop, minus, height, width, left, top, right, bottom,
        *p.source.stride()[1:], *out.stride(), *sizes, *affine, p.feather,
        channels, p.add is not None, p.drop is not None, p.minus is not None,
        p.feather > 0, p.to_source == IDENTITY, p.source.dtype == torch.uint8, out.dtype == torch.uint8,
        block,
    )  # fmt: skip
