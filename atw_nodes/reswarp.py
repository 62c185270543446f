"""ResWarp: move the residuals of a photo by a small motion field and add them to the small result (paper, Sec. 3.4).

Write I for the photo, L = down(I), F the up-sampled motion, R the refined low-resolution result, W = warp(I, F).

    vanilla     up(R) + warp(I - up(L), F)                                   (Fig. 2a)
    multiscale  O_K = R, O_k = up(O_{k+1}) + warp(I_k - up(I_{k+1}), F_k)    (Fig. 3)
    aligned     W + up(R - down(W)), the residual taken after the warp       (ours)

With a ``FaceFrame`` each is W + m·C: C, the mode's result minus W, is smooth, is computed in the frame's canonical
square and multiplied by the feather mask m; pixels with m = 0 are copied. No full-size buffer is made beyond the
output: everything works in tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import (
    Taps,
    Upsampling,
    area_taps,
    downsample,
    gaussian_pyramid,
    smooth_upsample,
    taps_at,
    to_float,
    up_taps,
    upsample,
)
from .types import FaceFrame, InputError, Motion, ShapeError, check_shape
from .warp import backward_warp, feather_mask, identity_points, sample

_ROWS, _COLUMNS = 256, 1024  # a tile; what it needs beside input and output is some 20 MB
_WINDOW = 1 << 20  # source pixels a tile may pull in before it is split
_CORRECTION = 1024  # vanilla and multiscale in a face frame: C is computed at this size at most


class ReswarpMode(str, Enum):
    """Which correction is added to the warped photo."""

    ALIGNED = "aligned"
    VANILLA = "vanilla"
    MULTISCALE = "multiscale"


@dataclass(frozen=True)
class ReswarpConfig:
    """How the high-resolution frame is composed.

    upsample: how images (not motions) are up-sampled, the paper's ablation. gate: ``aligned`` only: where the
    refined result shows content that the photo does not have (teeth), drop the warped residual.
    """

    mode: ReswarpMode = ReswarpMode.ALIGNED
    upsample: Upsampling = "bilinear"
    gate: bool = True

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "mode", ReswarpMode(self.mode))
        except ValueError:
            known = ", ".join(m.value for m in ReswarpMode)
            raise InputError(f"ResWarp mode {self.mode!r} is unknown; expected one of {known}") from None
        up_taps(1, 1, self.upsample)  # refuses an unknown name

    @classmethod
    def paper(cls) -> ReswarpConfig:
        """The published module: one residual map, bilinear, nothing gated."""
        return cls(ReswarpMode.VANILLA, "bilinear", gate=False)


@dataclass(frozen=True)
class Residuals:
    """A decomposed photo. The residual itself is never stored; ``residual()`` computes it for looking at."""

    photo: Tensor  # [1,3,H,W] uint8 or float
    frame: FaceFrame
    low: Tensor  # [1,3,S,S] float

    @property
    def size(self) -> int:
        """Side S of the low-resolution image."""
        return self.low.shape[-1]

    def residual(self, mode: Upsampling = "bilinear") -> Tensor:
        """I - up(L) of the frame: [1,3,H,W] for the whole image, else the frame's canonical square at its own size."""
        image = self.photo if self.frame.is_whole else canonical(self.photo, self.frame, _frame_size(self, 4096))
        return to_float(image) - upsample(self.low, (image.shape[-2], image.shape[-1]), mode)

    def mask(self) -> Tensor:
        """[S,S] feather mask of the low-resolution image; motions are multiplied by it before anything else."""
        return feather_mask(identity_points(self.size, self.size, like=self.low)[0], self.frame.feather)


def decompose(photo: Tensor, frame: FaceFrame | None = None, size: int = 128) -> Residuals:
    """Split ``photo`` [1,3,H,W] (uint8, or float in [0,1]) into a ``size``² image and residuals (paper, Sec. 3.1).

    frame: where the face is; the whole image if not given. Raises ``ShapeError`` on anything but one RGB photo.
    """
    check_shape(photo, "13HW", "photo")
    if photo.dtype != torch.uint8 and not photo.is_floating_point():
        raise ShapeError(f"photo has type {photo.dtype}, expected uint8 or a float type in [0, 1]")
    frame = frame or FaceFrame.whole(photo.shape[-2], photo.shape[-1])
    if (frame.height, frame.width) != tuple(photo.shape[-2:]):
        raise ShapeError(
            f"face frame belongs to a photo of {frame.width}x{frame.height}, this one is "
            f"{photo.shape[-1]}x{photo.shape[-2]}; make the frame for this photo"
        )
    low = downsample(photo, (size, size)) if frame.is_whole else canonical(photo, frame, size)
    return Residuals(photo, frame, low)


# --- gathering pixels ------------------------------------------------------------------------------------------------


def _gather(image: Tensor, where: Tensor, origin: tuple[int, int], minus: tuple[Taps, Taps, Tensor] | None = None) -> Tensor:
    """Bilinear ``image`` [1,C,H,W] at pixel positions origin + ``where`` [h,w,2]: float [1,C,h,w].

    Only the window of the image that is read becomes float; a tile whose window is large is split. ``minus``
    (row taps, column taps, table) is up-sampled over the window and subtracted from it first.
    """
    height, width = image.shape[-2:]
    low = where.amin((0, 1)).sub(0.5).floor().tolist()
    high = where.amax((0, 1)).sub(0.5).floor().tolist()
    x0, y0 = (min(max(int(v) + o, 0), n - 1) for v, o, n in zip(low, origin, (width, height), strict=True))
    x1, y1 = (min(max(int(v) + o, 0), n - 1) + 1 for v, o, n in zip(high, origin, (width, height), strict=True))
    x1, y1 = min(x1 + 1, width), min(y1 + 1, height)
    if (x1 - x0) * (y1 - y0) > max(_WINDOW, 0) and max(where.shape[:2]) > 64:
        axis = 0 if where.shape[0] >= where.shape[1] else 1
        halves = where.tensor_split(2, axis)
        return torch.cat([_gather(image, h, origin, minus) for h in halves], axis - 2)
    window = to_float(image[..., y0:y1, x0:x1])
    if minus is not None:
        rows, columns, table = minus
        window = window - _tile(table, rows.part(y0, y1), columns.part(x0, x1))
    start = where.new_tensor([origin[0] - x0, origin[1] - y0])
    points = (where + start) / where.new_tensor([x1 - x0, y1 - y0])
    return sample(window, points[None].to(window.dtype))


def _tile(table: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Part of an up-sampled ``table`` [1,C,h,w]; only the cells that are read are touched."""
    (r0, r1), (c0, c1) = rows.span(), columns.span()
    part = table[..., r0:r1, c0:c1]
    if part.shape[-2] * columns.index.shape[0] < rows.index.shape[0] * part.shape[-1]:
        return rows.shifted(r0)(columns.shifted(c0)(part, -1), -2)
    return columns.shifted(c0)(rows.shifted(r0)(part, -2), -1)


def _tiles(left: int, top: int, right: int, bottom: int) -> Iterator[tuple[int, int, int, int]]:
    for y in range(top, bottom, _ROWS):
        for x in range(left, right, _COLUMNS):
            yield x, y, min(x + _COLUMNS, right), min(y + _ROWS, bottom)


def _store(out: Tensor, at: tuple[int, int, int, int], values: Tensor) -> None:
    """Write a tile in the type of ``out``; uint8 is rounded to the nearest k/255."""
    x0, y0, x1, y1 = at
    if out.dtype == torch.uint8:
        values = values.mul(255).round_().clamp_(0, 255)
    out[..., y0:y1, x0:x1] = values.to(out.dtype)


class _Plane:
    """Where the pixels of a tile lie in a frame's canonical square, and the values of canonical tables there."""

    def __init__(self, frame: FaceFrame, kind: torch.dtype, device: torch.device) -> None:
        self.frame, self.kind, self.device = frame, kind, device
        (a, b, x), (c, d, y) = frame.inverse()
        self.straight = b == 0 and c == 0  # rows and columns stay rows and columns: tables are separable
        self.rows = (torch.arange(frame.height, dtype=torch.float64) + 0.5) * d + y
        self.columns = (torch.arange(frame.width, dtype=torch.float64) + 0.5) * a + x
        self.skew = (b, c)

    def points(self, at: tuple[int, int, int, int]) -> Tensor:
        """[h,w,2] canonical positions of the pixels of a tile."""
        x0, y0, x1, y1 = at
        u, v = self.columns[None, x0:x1], self.rows[y0:y1, None]
        if not self.straight:
            i = torch.arange(y0, y1, dtype=torch.float64)[:, None] + 0.5
            j = torch.arange(x0, x1, dtype=torch.float64)[None] + 0.5
            u, v = u + self.skew[0] * i, v + self.skew[1] * j
        return torch.stack(torch.broadcast_tensors(u, v), -1).to(self.device, self.kind)

    def table(self, table: Tensor, at: tuple[int, int, int, int], points: Tensor | None = None) -> Tensor:
        """Bilinear values [1,C,h,w] of a canonical ``table`` [1,C,n,n] on a tile."""
        if not self.straight:
            return sample(table, (self.points(at) if points is None else points)[None])
        x0, y0, x1, y1 = at
        rows, columns = taps_at(self.rows[y0:y1], table.shape[-2]), taps_at(self.columns[x0:x1], table.shape[-1])
        return _tile(table, rows, columns)

    def displaced(self, at: tuple[int, int, int, int], field: Tensor, points: Tensor | None = None) -> Tensor:
        """[h,w,2] pixel positions, relative to the tile's corner, that ``field`` [1,2,n,n] sends its pixels to."""
        x0, y0, x1, y1 = at
        d = self.table(field, at, points)[0]
        (a, b, _), (c, e, _) = self.frame.matrix
        x = d[0] * a + d[1] * b + (torch.arange(x1 - x0, device=d.device) + 0.5)
        y = d[0] * c + d[1] * e + (torch.arange(y1 - y0, device=d.device) + 0.5)[:, None]
        return torch.stack([x, y], -1)


def _kind(photo: Tensor) -> torch.dtype:
    return torch.float64 if photo.dtype == torch.float64 else torch.float32


def canonical(photo: Tensor, frame: FaceFrame, size: int, field: Tensor | None = None) -> Tensor:
    """The frame's content as [1,3,size,size] float, averaged over enough samples a cell that nothing aliases.

    field: [1,2,S,S]; the photo is warped by it first: down(W).
    """
    k = max(1, -(-int(max(frame.sides) + 0.999) // size))
    (a, b, x), (c, d, y) = frame.matrix
    kind = _kind(photo)
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
            dx, dy = _tile(field, taps_at(v[:, 0], field.shape[-2]), columns)[0].to(kind)
            where = where + torch.stack([dx * a + dy * b, dx * c + dy * d], -1)
        out[..., r : r + step, :] = F.avg_pool2d(_gather(photo, where, corner), k)
    return out


# --- the modes -------------------------------------------------------------------------------------------------------


def _octave(image: Tensor, lowband: Tensor, base: Tensor, field: Tensor, mode: Upsampling, out: Tensor) -> Tensor:
    """up(base) + warp(image - up(lowband), up(field)) into ``out``: one step of Fig. 2a or Fig. 3, tile by tile."""
    height, width = image.shape[-2:]
    plane = _Plane(FaceFrame.whole(height, width), _kind(image), image.device)
    rows, columns = up_taps(base.shape[-2], height, mode), up_taps(base.shape[-1], width, mode)
    low = (up_taps(lowband.shape[-2], height, mode), up_taps(lowband.shape[-1], width, mode), lowband)
    for at in _tiles(0, 0, width, height):
        x0, y0, x1, y1 = at
        warped = _gather(image, plane.displaced(at, field), (x0, y0), low)
        _store(out, at, warped.add_(_tile(base, rows.part(y0, y1), columns.part(x0, x1))))
    return out


def _whole(photo: Tensor, low: Tensor, field: Tensor, refined: Tensor, config: ReswarpConfig, out: Tensor) -> Tensor:
    """Vanilla or multiscale on a whole image, exactly as the paper prints them."""
    if config.mode is ReswarpMode.VANILLA:
        return _octave(photo, low, refined, field, config.upsample, out)
    levels = gaussian_pyramid(photo, low.shape[-1])
    below, result = levels.pop(), refined
    while levels:
        image = levels.pop()
        target = torch.empty_like(image) if levels else out
        result = _octave(image, below, result, field, config.upsample, target)
        below = image
    if result is refined:  # the photo is as small as the low-resolution image: no residual
        _store(out, (0, 0, out.shape[-1], out.shape[-2]), refined)
    return out


class _Correction(NamedTuple):
    """out = W + m·(add - (1 - gate)·(W - low)), tables in the canonical square."""

    add: Tensor  # [1,3,n,n]
    gate: Tensor | None = None  # [1,1,n,n]
    low: Tensor | None = None  # [1,3,n,n], down(W)


def residual_gate(error: Tensor, threshold: float = 0.12) -> Tensor:
    """[1,1,S,S]: 1 where the warped residual belongs, towards 0 where R shows content the photo does not have.

    error: E = R - down(W) [1,3,S,S]. What counts is E beside its surroundings (a change of light is no new content).
    """
    around = F.avg_pool2d(F.pad(error, (8, 8, 8, 8), mode="replicate"), 17, 1)
    e = (error - around).abs().amax(1, keepdim=True)
    wide = F.max_pool2d(F.pad(e, (2, 2, 2, 2), mode="replicate"), 5, 1)
    soft = F.avg_pool2d(F.pad(wide, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return 1 / (1 + (soft / threshold) ** 4)


def _aligned(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> _Correction:
    """C = up(R - down(W)), octave by octave, and the gate's tables."""
    photo, frame = residuals.photo, residuals.frame
    down = _downsampled_warp(photo, field, residuals.size) if frame.is_whole else canonical(photo, frame, residuals.size, field)
    target = (frame.height, frame.width) if frame.is_whole else (_frame_size(residuals, 1 << 30),) * 2

    def grow(table: Tensor) -> Tensor:
        return smooth_upsample(table, target, config.upsample)

    error = refined - down
    if not config.gate:
        return _Correction(grow(error))
    return _Correction(grow(error), grow(residual_gate(error)), grow(down))


def _downsampled_warp(photo: Tensor, field: Tensor, size: int) -> Tensor:
    """down(warp(photo, field)) of a whole image, a strip at a time: [1,3,size,size]."""
    height, width = photo.shape[-2:]
    plane = _Plane(FaceFrame.whole(height, width), _kind(photo), photo.device)
    rows, columns = area_taps(height, size), area_taps(width, size)
    out = torch.empty(1, photo.shape[1], size, size, dtype=_kind(photo), device=photo.device)
    step = max(1, _ROWS * size // height)
    for a in range(0, size, step):
        part = rows.part(a, a + step)
        first, last = part.span()
        strip = torch.empty(1, photo.shape[1], last - first, width, dtype=out.dtype, device=out.device)
        for x0, y0, x1, y1 in _tiles(0, first, width, last):
            at = (x0, y0, x1, y1)
            strip[..., y0 - first : y1 - first, x0:x1] = _gather(photo, plane.displaced(at, field), (x0, y0))
        out[..., a : a + step, :] = part.shifted(first)(columns(strip, -1), -2)
    return out


def _frame_size(residuals: Residuals, most: int) -> int:
    """Largest S·2^k that is no longer than the frame's side, nor than ``most``; at least S."""
    size, side = residuals.size, min(max(residuals.frame.sides), most)
    while size * 2 <= side:
        size *= 2
    return size


def _in_frame(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> _Correction:
    """Vanilla's or multiscale's result minus W, in the canonical square: smooth, so a table of 1024² holds it."""
    image = canonical(residuals.photo, residuals.frame, _frame_size(residuals, _CORRECTION))
    result = _whole(image, residuals.low, field, refined, config, torch.empty_like(image))
    n = image.shape[-1]
    return _Correction(result.sub_(backward_warp(image, upsample(field, (n, n)))))


def _write(photo: Tensor, frame: FaceFrame, field: Tensor, c: _Correction | None, out: Tensor) -> None:
    """The writing pass: W + m·C inside the frame's bounding box; pixels of mask 0 are copied from the photo."""
    plane = _Plane(frame, _kind(photo), photo.device)
    for at in _tiles(*frame.bounds()):
        x0, y0, x1, y1 = at
        points = None if frame.is_whole else plane.points(at)
        value = _gather(photo, plane.displaced(at, field, points), (x0, y0))
        if c is not None:
            add = plane.table(c.add, at, points)
            if c.gate is not None and c.low is not None:
                drop = 1 - plane.table(c.gate, at, points)
                add = add - drop * (value - plane.table(c.low, at, points))
            mask = 1 if points is None else feather_mask(points, frame.feather)
            value = value.add_(add * mask)
        _store(out, at, value)
        if points is not None:
            outside = feather_mask(points, frame.feather) == 0
            out[..., y0:y1, x0:x1] = torch.where(outside, photo[..., y0:y1, x0:x1], out[..., y0:y1, x0:x1])


def _check(residuals: Residuals, motion: Motion, refined: Tensor) -> None:
    check_shape(refined, "T3SS", "refined image")
    if len(refined) != len(motion):
        raise ShapeError(
            f"motion has {len(motion)} frames but {len(refined)} refined frames were given; interpolate the motion to {len(refined)}"
        )
    if refined.shape[-1] != residuals.size:
        raise ShapeError(f"refined image is {refined.shape[-1]} wide, the photo was decomposed to {residuals.size}; use one size")


def warped(residuals: Residuals, motion: Motion, out: Tensor | None = None) -> Iterator[Tensor]:
    """W alone, frame by frame: the photo (or any [1,C,H,W] in its place) moved, nothing added."""
    return _frames(residuals, motion, None, None, out)


def reswarp(
    residuals: Residuals, motion: Motion, refined: Tensor, config: ReswarpConfig | None = None, out: Tensor | None = None
) -> Iterator[Tensor]:
    """High-resolution frames, one by one: each [1,3,H,W] in the photo's type (uint8 rounded; float not clamped).

    motion: T fields, already masked by the frame's feather (``Residuals.mask``). refined: [T,3,S,S] in [0,1].
    A frame of weight 0 is the photo, bit for bit. out: a buffer like the photo; if given, every frame is
    written into it and it is what is yielded, so use or copy a frame before asking for the next.
    """
    _check(residuals, motion, refined)
    return _frames(residuals, motion, refined, config or ReswarpConfig(), out)


def _frames(
    residuals: Residuals, motion: Motion, refined: Tensor | None, config: ReswarpConfig | None, buffer: Tensor | None
) -> Iterator[Tensor]:
    photo, frame, kind = residuals.photo, residuals.frame, _kind(residuals.photo)
    left, top, right, bottom = frame.bounds()
    fresh = True
    for t in range(len(motion)):
        out = torch.empty_like(photo) if buffer is None else buffer
        still = float(motion.weight[t]) == 0
        if still or (not frame.is_whole and (fresh or buffer is None)):
            region = (..., slice(None), slice(None)) if fresh or buffer is None else (..., slice(top, bottom), slice(left, right))
            out[region].copy_(photo[region])
        fresh = False
        if not still:
            field = motion.field[t : t + 1].to(photo.device, kind)
            if refined is None or config is None:
                _write(photo, frame, field, None, out)
            else:
                r = refined[t : t + 1].to(photo.device, kind)
                if config.mode is ReswarpMode.ALIGNED:
                    _write(photo, frame, field, _aligned(residuals, field, r, config), out)
                elif frame.is_whole:
                    _whole(photo, residuals.low, field, r, config, out)
                else:
                    _write(photo, frame, field, _in_frame(residuals, field, r, config), out)
        yield out
