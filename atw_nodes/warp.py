"""Backward warping, and THE conventions of this library. Other rooms refer to this block.

In the order in which they build on each other:

    Images  float [B,3,H,W], RGB in [0,1], or uint8 (0..255 is k/255). [-1,1] exists only inside
            ``networks.py``.
    Pixels  half-pixel centres: pixel i covers [i, i+1), its centre is i + 0.5 (``align_corners=False``).
    Warp    backward: out(p) = src(p + d(p)), bilinear; beyond its border the source repeats its edge.
    Motion  ``Motion.field`` [T,2,h,w] holds d as (dx, dy), x to the right, y down, in fractions of the
            width and the height of what it moves: up-sampling a motion is interpolation alone, never
            rescaling.
    Frame   ``FaceFrame`` maps the canonical unit square to pixels. A field predicted in a frame is in
            fractions of the frame's sides along the frame's own axes.
    Zero    d = 0, or ``Motion.weight`` = 0, is the photo itself, bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .types import FaceFrame, ShapeError, check_shape

MARGIN = 1 / 64  # of a frame, outside of which its feather mask is 0
_SETTLED = 2e-6  # fractions of the frame, within which one more step of Newton's method is the last


def sample(source: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of ``source`` [B,C,H,W] at ``points`` [B,h,w,2], (x, y) as fractions of its width and
    height.

    Returns [B,C,h,w].
    """
    return sample_grid(source, points * 2 - 1)


def sample_grid(source: Tensor, grid: Tensor) -> Tensor:
    """``sample`` at positions from -1 to 1, torch's own. The only ``grid_sample`` of this repository."""
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)


def identity_points(height: int, width: int, like: Tensor | None = None) -> Tensor:
    """[1,height,width,2]: pixel centres as (x, y) fractions, in the type and on the device of ``like``."""
    options = {} if like is None else {"dtype": like.dtype, "device": like.device}
    x = (torch.arange(width, **options) + 0.5) / width
    y = (torch.arange(height, **options) + 0.5) / height
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]


def backward_warp(source: Tensor, field: Tensor) -> Tensor:
    """out(p) = source(p + field(p)): ``source`` [B,C,h,w] float, ``field`` [B,2,h,w] in fractions ->
    [B,C,h,w].
    """
    check_shape(field, "B2hw", "motion field")
    if source.shape[-2:] != field.shape[-2:] or len(source) != len(field):
        raise ShapeError(
            f"cannot warp {list(source.shape)} by a motion field {list(field.shape)}: sizes must agree; "
            f"up-sample the field to {source.shape[-1]}x{source.shape[-2]} first"
        )
    points = identity_points(*field.shape[-2:], like=field) + field.movedim(1, -1)
    return sample(source, points.to(source.dtype))


def inverted(forward: Tensor, steps: int = 12) -> Tensor:
    """The backward field of a forward one, same size: d with d(p) = -D(p + d(p)).

    forward: [B,2,h,w], D(q) is where the source's point q goes, less q, in fractions. Differentiable. Plain
    iteration neither closes a lid, which squeezes an eye to almost nothing, nor opens lips, between which D
    has a step: this is Newton's method, and between two points whose errors oppose each other a search.
    Where D folds, the result is one of the points that meet. D = 0 gives exactly 0.
    """
    check_shape(forward, "B2hw", "forward motion field")
    h, w = forward.shape[-2:]
    at = identity_points(h, w, like=forward).movedim(-1, 1)
    both = torch.cat([forward, _slope(forward, -1) * w, _slope(forward, -2) * h], 1)
    most = forward.detach().abs().amax((1, 2, 3), keepdim=True)  # d is a value of -D
    if forward.device.type == "cpu" and not (torch.is_grad_enabled() and forward.requires_grad):
        each = zip(both.split(1), most.split(1), strict=True)
        return torch.cat([_inverted_where_needed(one, at, bound, steps) for one, bound in each])
    tries = _Tries(*[torch.zeros_like(forward)] * 5)
    for _ in range(steps):
        tries = _better(both, at, most, tries)
    return tries.back


class _Tries(NamedTuple):
    """Of every point: d as found so far; the last d and what was left there; the last d on the other side
    of the solution and what was left there. [B,2,...] each.
    """

    back: Tensor
    last: Tensor
    off_last: Tensor
    other: Tensor
    off_other: Tensor


def _better(both: Tensor, at: Tensor, most: Tensor, tries: _Tries) -> _Tries:
    """One step of ``inverted``. both: [B,6,h,w], D and its slopes; at: [1,2,...], the points."""
    return _stepped(sample(both, (at + tries.back).movedim(1, -1)), most, tries)


def _stepped(values: Tensor, most: Tensor, tries: _Tries) -> _Tries:
    """``_better``, of what ``both`` is at the points as they are: [B,6,...]."""
    back, last, off_last, other, off_other = tries
    off = back + values[:, :2]  # what is left
    step = _newton(values, off)
    crossed = _dot(off, off_last) < 0
    other, off_other = torch.where(crossed, last, other), torch.where(crossed, off_last, off_other)
    to = other - back
    far = _dot(step, step) > 0.2 * _dot(to, to)
    length, opposed = _dot(off, off).sqrt(), _dot(off_other, off_other).sqrt()
    share = (length / (length + opposed + 1e-12)).clamp(0.1, 0.9)
    search = far & (_dot(off, off_other) < 0)
    found = torch.where(search, back + share * to, back - step).clamp(-most, most)
    return _Tries(found, back, off, other, off_other)


def _newton(values: Tensor, off: Tensor) -> Tensor:
    """[B,2,...]: what ``off`` is by the slopes in ``values`` [B,6,...]."""
    a, c, b, e = values[:, 2:].split(1, 1)  # the matrix is [[1 + a, b], [c, 1 + e]]
    a, e = 1 + a, 1 + e
    det = (a * e - b * c).clamp_min(0.08)
    x, y = off[:, :1], off[:, 1:]
    return torch.cat([e * x - b * y, a * y - c * x], 1) / det


def _inverted_where_needed(both: Tensor, at: Tensor, most: Tensor, steps: int) -> Tensor:
    """``inverted`` of one image [1,6,h,w], in which a point rests once its step began within ``_SETTLED``."""
    start = both[:, :2]
    back = (-_newton(both, start)).clamp(-most, most)  # ``_better`` of nothing, which needs no sampling
    if steps < 2 or not bool(most > 0):
        return back
    values = sample(both, (at + back).movedim(1, -1))  # nearly all points move: all of them at once
    off = back + values[:, :2]
    found = torch.where(_far(start) > _SETTLED, (back - _newton(values, off)).clamp(-most, most), back)
    index = (_far(off) > _SETTLED).flatten().nonzero()[:, 0]
    if not len(index):
        return found
    back, start, values, at = (t.flatten(2)[..., None, index] for t in (back, start, values, at))
    zero = torch.zeros_like(back)
    tries, flat = _stepped(values, most, _Tries(back, zero, start, zero, zero)), found.flatten(2)
    flat[..., index] = tries.back[:, :, 0]
    for _ in range(steps - 2):
        moving = (_far(tries.off_last) > _SETTLED).flatten().nonzero()[:, 0]
        if not len(moving):
            break
        index, at = index[moving], at[..., moving]
        tries = _better(both, at, most, _Tries(*(t[..., moving] for t in tries)))
        flat[..., index] = tries.back[:, :, 0]
    return flat.view_as(found)


def _far(off: Tensor) -> Tensor:
    """[1,1,...]: the larger part of what is left, [1,2,...]."""
    off = off.abs()
    return torch.maximum(off[:, :1], off[:, 1:])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """[B,1,h,w] of two fields, no gradient; spelt out, since a reduction over two channels is far slower."""
    a, b = a.detach(), b.detach()
    return a[:, :1] * b[:, :1] + a[:, 1:] * b[:, 1:]


def _slope(x: Tensor, dim: int) -> Tensor:
    """Central differences a cell along ``dim``, one-sided at the ends."""
    return torch.gradient(x, dim=dim)[0]


def feather_mask(points: Tensor, feather: float) -> Tensor:
    """The frame's soft mask at canonical ``points`` [...,2]: 1 inside, 0 at the edge and beyond, smooth
    between.

    The outer ``MARGIN`` is 0, so a table of 32 cells or more that carries the mask is 0 in its whole outer
    ring and motion ends at the frame's edge without a step. ``feather`` 0 (whole image) gives 1 everywhere.
    """
    if feather == 0:
        return torch.ones_like(points[..., 0])
    edge = torch.minimum(points, 1 - points).amin(-1)
    t = ((edge - MARGIN) / feather).clamp(0, 1)
    return t * t * (3 - 2 * t)


def feather_picture(*frames: FaceFrame) -> Tensor:
    """The soft masks of frames of one photo in its pixels, [H,W] float, the larger one where they overlap; a
    band of rows at a time.
    """
    out = torch.zeros(frames[0].height, frames[0].width)
    for frame in frames:
        _add_feather(out, frame)
    return out


def _add_feather(out: Tensor, frame: FaceFrame) -> None:
    if frame.feather == 0:
        out.fill_(1.0)
        return
    (a, b, x), (c, d, y) = frame.inverse()
    left, top, right, bottom = frame.bounds()
    px = torch.arange(left, right, dtype=torch.float32) + 0.5
    for start in range(top, bottom, 256):
        stop = min(start + 256, bottom)
        py = (torch.arange(start, stop, dtype=torch.float32) + 0.5)[:, None]
        points = torch.stack([a * px + b * py + x, c * px + d * py + y], -1)
        part = out[start:stop, left:right]
        torch.maximum(part, feather_mask(points, frame.feather), out=part)
