"""ResWarp: move the residuals of a photo by a small motion field and add them to the small result (paper,
Sec. 3.4).

Write I for the photo, L = down(I), F the up-sampled motion, R the refined low-resolution result, W = warp(I,
F).

    vanilla     up(R) + warp(I - up(L), F)                                   (Fig. 2a)
    multiscale  O_K = R, O_k = up(O_{k+1}) + warp(I_k - up(I_{k+1}), F_k)    (Fig. 3)
    aligned     W + up(R - down(W)), the residual taken after the warp       (ours)

With a ``FaceFrame`` each is W + m·C: C, the mode's result minus W, is smooth, is computed in the frame's
canonical square and multiplied by the feather mask m; pixels with m = 0 are copied. No full-size buffer is
made beyond the output: everything works in tiles.
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
    Upsampling,
    area_taps,
    downsample,
    gaussian_pyramid,
    smooth_upsample,
    to_float,
    up_taps,
    upsample,
)
from .tiles import ROWS, Plane, Tile, canonical, gather, store, table_part, tiles, working_type
from .types import FaceFrame, InputError, Motion, ShapeError, check_shape
from .warp import backward_warp, feather_mask, identity_points

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
    refined result shows content that the photo does not have (teeth), drop the warped residual. rows: the
    height of the tiles worked on at a time; fewer need less memory.
    """

    mode: ReswarpMode = ReswarpMode.ALIGNED
    upsample: Upsampling = "bilinear"
    gate: bool = True
    rows: int = ROWS

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "mode", ReswarpMode(self.mode))
        except ValueError:
            known = ", ".join(m.value for m in ReswarpMode)
            raise InputError(f"ResWarp mode {self.mode!r} is unknown; expected one of {known}") from None
        up_taps(1, 1, self.upsample)  # refuses an unknown name
        if self.rows < 1:
            raise InputError(f"tiles of {self.rows} rows cannot be worked on; expected at least 1")

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
        """I - up(L) of the frame: [1,3,H,W] for the whole image, else the frame's canonical square at its own
        size.
        """
        image = (
            self.photo if self.frame.is_whole else canonical(self.photo, self.frame, _frame_size(self, 4096))
        )
        return to_float(image) - upsample(self.low, (image.shape[-2], image.shape[-1]), mode)

    def mask(self) -> Tensor:
        """[S,S] feather mask of the low-resolution image; motions are multiplied by it first of all."""
        return feather_mask(identity_points(self.size, self.size, like=self.low)[0], self.frame.feather)


def decompose(photo: Tensor, frame: FaceFrame | None = None, size: int = 128) -> Residuals:
    """Split ``photo`` [1,3,H,W] (uint8, or float in [0,1]) into a ``size``² image and residuals (paper, Sec.
    3.1).

    frame: where the face is; the whole image if not given. Raises ``ShapeError`` on anything but one RGB
    photo.
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


# --- the modes
# -------------------------------------------------------------------------------------------------------


def _octave(
    image: Tensor, lowband: Tensor, base: Tensor, field: Tensor, config: ReswarpConfig, out: Tensor
) -> Tensor:
    """up(base) + warp(image - up(lowband), up(field)) into ``out``: one step of Fig. 2a or Fig. 3, tile by
    tile.
    """
    height, width = image.shape[-2:]
    mode = config.upsample
    plane = Plane(FaceFrame.whole(height, width), working_type(image), image.device)
    rows, columns = up_taps(base.shape[-2], height, mode), up_taps(base.shape[-1], width, mode)
    low = (up_taps(lowband.shape[-2], height, mode), up_taps(lowband.shape[-1], width, mode), lowband)
    for at in tiles(0, 0, width, height, config.rows):
        x0, y0, x1, y1 = at
        warped = gather(image, plane.displaced(at, field), (x0, y0), low)
        store(out, at, warped.add_(table_part(base, rows.part(y0, y1), columns.part(x0, x1))))
    return out


def _whole(
    photo: Tensor, low: Tensor, field: Tensor, refined: Tensor, config: ReswarpConfig, out: Tensor
) -> Tensor:
    """Vanilla or multiscale on a whole image, exactly as the paper prints them."""
    if config.mode is ReswarpMode.VANILLA:
        return _octave(photo, low, refined, field, config, out)
    levels = gaussian_pyramid(photo, low.shape[-1])
    below, result = levels.pop(), refined
    while levels:
        image = levels.pop()
        target = torch.empty_like(image) if levels else out
        result = _octave(image, below, result, field, config, target)
        below = image
    if result is refined:  # the photo is as small as the low-resolution image: no residual
        store(out, (0, 0, out.shape[-1], out.shape[-2]), refined)
    return out


class Correction(NamedTuple):
    """out = W + m·(add - (1 - gate)·(W - low)), tables in the canonical square."""

    add: Tensor  # [1,3,n,n]
    gate: Tensor | None = None  # [1,1,n,n]
    low: Tensor | None = None  # [1,3,n,n], down(W)

    def on(self, plane: Plane, at: Tile, points: Tensor | None, value: Tensor) -> Tensor:
        """C on a tile, where W is ``value``: [1,3,h,w]."""
        add = plane.table(self.add, at, points)
        if self.gate is None or self.low is None:
            return add
        drop = 1 - plane.table(self.gate, at, points)
        return add - drop * (value - plane.table(self.low, at, points))


def residual_gate(error: Tensor, threshold: float = 0.15) -> Tensor:
    """[1,1,S,S]: 1 where the warped residual belongs, towards 0 where R shows what the photo does not have.

    error: E = R - down(W) [1,3,S,S]. What counts is E beside its surroundings: a change of light is no new
    content. Not dilated: a wider gate scores higher on a pasted mouth, but blurs the lips around real teeth.
    """
    around = F.avg_pool2d(F.pad(error, (8, 8, 8, 8), mode="replicate"), 17, 1)
    e = (error - around).abs().amax(1, keepdim=True)
    soft = F.avg_pool2d(F.pad(e, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return 1 / (1 + (soft / threshold) ** 4)


def _aligned(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> Correction:
    """C = up(R - down(W)), octave by octave, and the gate's tables."""
    photo, frame = residuals.photo, residuals.frame
    down = (
        _downsampled_warp(photo, field, residuals.size, config.rows)
        if frame.is_whole
        else canonical(photo, frame, residuals.size, field)
    )
    side = _frame_size(residuals, 1 << 30)
    target = (frame.height, frame.width) if frame.is_whole else (side, side)

    def grow(table: Tensor) -> Tensor:
        return smooth_upsample(table, target, config.upsample)

    error = refined - down
    if not config.gate:
        return Correction(grow(error))
    return Correction(grow(error), grow(residual_gate(error)), grow(down))


def _downsampled_warp(photo: Tensor, field: Tensor, size: int, most: int) -> Tensor:
    """down(warp(photo, field)) of a whole image, strips of ``most`` rows at a time: [1,3,size,size]."""
    height, width = photo.shape[-2:]
    plane = Plane(FaceFrame.whole(height, width), working_type(photo), photo.device)
    rows, columns = area_taps(height, size), area_taps(width, size)
    out = torch.empty(1, photo.shape[1], size, size, dtype=working_type(photo), device=photo.device)
    step = max(1, most * size // height)
    for a in range(0, size, step):
        part = rows.part(a, a + step)
        first, last = part.span()
        strip = torch.empty(1, photo.shape[1], last - first, width, dtype=out.dtype, device=out.device)
        for x0, y0, x1, y1 in tiles(0, first, width, last, most):
            at = (x0, y0, x1, y1)
            strip[..., y0 - first : y1 - first, x0:x1] = gather(photo, plane.displaced(at, field), (x0, y0))
        out[..., a : a + step, :] = part.shifted(first)(columns(strip, -1), -2)
    return out


def _frame_size(residuals: Residuals, most: int) -> int:
    """Largest S·2^k that is no longer than the frame's side, nor than ``most``; at least S."""
    size, side = residuals.size, min(max(residuals.frame.sides), most)
    while size * 2 <= side:
        size *= 2
    return size


def _in_frame(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> Correction:
    """Vanilla's or multiscale's result minus W, in the canonical square: smooth, so a table of 1024² holds
    it.
    """
    image = canonical(residuals.photo, residuals.frame, _frame_size(residuals, _CORRECTION))
    result = _whole(image, residuals.low, field, refined, config, torch.empty_like(image))
    n = image.shape[-1]
    return Correction(result.sub_(backward_warp(image, upsample(field, (n, n)))))


def correction(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> Correction:
    """C of one frame, by the config's mode. Of a whole image, only in the aligned mode."""
    make = _aligned if config.mode is ReswarpMode.ALIGNED else _in_frame
    return make(residuals, field, refined, config)


def _write(
    photo: Tensor, frame: FaceFrame, field: Tensor, c: Correction | None, out: Tensor, rows: int = ROWS
) -> None:
    """The writing pass: W + m·C inside the frame's bounding box; pixels of mask 0 are copied."""
    plane = Plane(frame, working_type(photo), photo.device)
    for at in tiles(*frame.bounds(), rows):
        x0, y0, x1, y1 = at
        points = None if frame.is_whole else plane.points(at)
        mask = None if points is None else feather_mask(points, frame.feather)
        value = gather(photo, plane.displaced(at, field, points), (x0, y0))
        if c is not None:
            add = c.on(plane, at, points, value)
            value = value.add_(add if mask is None else add * mask)
        store(out, at, value)
        if mask is not None:
            outside = mask == 0
            out[..., y0:y1, x0:x1] = torch.where(outside, photo[..., y0:y1, x0:x1], out[..., y0:y1, x0:x1])


def check_motion(residuals: Residuals, motion: Motion, refined: Tensor) -> None:
    """Raise ``ShapeError`` unless they fit together."""
    check_shape(refined, "T3SS", "refined image")
    if len(refined) != len(motion):
        raise ShapeError(
            f"motion has {len(motion)} frames but {len(refined)} refined frames were given; "
            f"interpolate the motion to {len(refined)}"
        )
    if refined.shape[-1] != residuals.size:
        raise ShapeError(
            f"refined image is {refined.shape[-1]} wide, the photo was decomposed to {residuals.size}; "
            "use one size"
        )


def warped(residuals: Residuals, motion: Motion, out: Tensor | None = None) -> Iterator[Tensor]:
    """W alone, frame by frame: the photo (or any [1,C,H,W] in its place) moved, nothing added."""
    return _frames(residuals, motion, None, None, out)


def reswarp(
    residuals: Residuals,
    motion: Motion,
    refined: Tensor,
    config: ReswarpConfig | None = None,
    out: Tensor | None = None,
) -> Iterator[Tensor]:
    """High-resolution frames, one by one: each [1,3,H,W] in the photo's type (uint8 rounded; float not
    clamped).

    motion: T fields, already masked by the frame's feather (``Residuals.mask``). refined: [T,3,S,S] in [0,1].
    A frame of weight 0 is the photo, bit for bit. out: a buffer like the photo; if given, every frame is
    written into it and it is what is yielded, so use or copy a frame before asking for the next.
    """
    check_motion(residuals, motion, refined)
    return _frames(residuals, motion, refined, config or ReswarpConfig(), out)


def _frames(
    residuals: Residuals,
    motion: Motion,
    refined: Tensor | None,
    config: ReswarpConfig | None,
    buffer: Tensor | None,
) -> Iterator[Tensor]:
    photo, frame, kind = residuals.photo, residuals.frame, working_type(residuals.photo)
    left, top, right, bottom = frame.bounds()
    fresh = True
    for t in range(len(motion)):
        out = torch.empty_like(photo) if buffer is None else buffer
        still = float(motion.weight[t]) == 0
        if still or (not frame.is_whole and (fresh or buffer is None)):
            region = (
                (..., slice(None), slice(None))
                if fresh or buffer is None
                else (..., slice(top, bottom), slice(left, right))
            )
            out[region].copy_(photo[region])
        fresh = False
        if not still:
            field = motion.field[t : t + 1].to(photo.device, kind)
            if refined is None or config is None:
                _write(photo, frame, field, None, out)
            else:
                r = refined[t : t + 1].to(photo.device, kind)
                if frame.is_whole and config.mode is not ReswarpMode.ALIGNED:
                    _whole(photo, residuals.low, field, r, config, out)
                else:
                    _write(photo, frame, field, correction(residuals, field, r, config), out, config.rows)
        yield out
