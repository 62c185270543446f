"""ResWarp: move the residuals of a photo by a small motion field and add them to the small result (paper,
Sec. 3.4).

Write I for the photo, L = down(I), F the up-sampled motion, R the refined low-resolution result, W = warp(I,
F).

    vanilla     up(R) + warp(I - up(L), F)                                   (Fig. 2a)
    multiscale  O_K = R, O_k = up(O_{k+1}) + warp(I_k - up(I_{k+1}), F_k)    (Fig. 3)
    aligned     W + up(R - down(W)), the residual taken after the warp       (ours)

With a ``FaceFrame`` each is W + m·C: C, the mode's result minus W, is smooth, is computed in the frame's
canonical square and multiplied by the feather mask m; pixels with m = 0 are copied. No full-size buffer is
made beyond the output, but for W of photos up to 2048 x 2048: everything works in tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .detail import DETAILS, Detail, detailed
from .kernels import IDENTITY, Backend, Pass, check_backend, opencv_works, run
from .pyramid import (
    Upsampling,
    area_taps,
    box_mean,
    downsample,
    gaussian_pyramid,
    smooth_upsample,
    to_float,
    up_taps,
    upsample,
)
from .tiles import ROWS, Plane, Tile, canonical, store, working_type
from .types import Affine, FaceFrame, InputError, Motion, ShapeError, check_frame, check_shape
from .warp import backward_warp, feather_mask, identity_points

_SAMPLES = 8  # a cell's side, at least, in the level that down(W) is computed from: 0.07/255 off
_LINES = 8  # of cells whose pixels are floats at a time
_ONCE = 3 * 2048 * 2048  # values of W that may lie beside the output
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
    height of the tiles worked on at a time; fewer need less memory. backend: what computes it
    (``kernels.run``); all agree within 1/255, OpenCV before 5 but for edges, which it samples by 1/32 pixel.
    detail: of what is added where the gate drops the residual (``detail.py``); without a gate there is none.
    """

    mode: ReswarpMode = ReswarpMode.ALIGNED
    upsample: Upsampling = "bilinear"
    gate: bool = True
    rows: int = ROWS
    backend: Backend = "auto"
    detail: Detail = "sharp"

    def interleaves(self, image: Tensor) -> bool:
        """Whether OpenCV will work on ``image``, which it likes pixel by pixel."""
        if image.device.type != "cpu" or image.dtype == torch.float64:
            return False
        return self.backend == "opencv" or (self.backend == "auto" and opencv_works())

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "mode", ReswarpMode(self.mode))
        except ValueError:
            known = ", ".join(m.value for m in ReswarpMode)
            raise InputError(f"ResWarp mode {self.mode!r} is unknown; expected one of {known}") from None
        up_taps(1, 1, self.upsample)  # refuses an unknown name
        if self.rows < 1:
            raise InputError(f"tiles of {self.rows} rows cannot be worked on; expected at least 1")
        check_backend(self.backend)
        if self.detail not in DETAILS:
            raise InputError(f"detail {self.detail!r} is unknown; expected one of {', '.join(DETAILS)}")

    @classmethod
    def paper(cls) -> ReswarpConfig:
        """The published module: one residual map, bilinear, nothing gated."""
        return cls(ReswarpMode.VANILLA, "bilinear", gate=False, detail="none")


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

    @cached_property
    def pixels(self) -> Tensor:
        """The photo, its pixels one after the other in memory: what OpenCV reads. At most once a clip."""
        return self.photo.contiguous(memory_format=torch.channels_last)

    @cached_property
    def level(self) -> tuple[Tensor, FaceFrame]:
        """(what is around the frame, reduced to cells of ``_SAMPLES`` pixels a side; the frame in it): what
        down(W) is computed from. The photo itself where little is to be gained. At most once a clip.
        """
        frame, side = self.frame, self.size * _SAMPLES
        if max(frame.sides) < 2 * side:
            return self.photo, frame
        if frame.is_whole:
            size = min(frame.height, side), min(frame.width, side)
            return downsample(self.photo, size), FaceFrame.whole(*size)
        left, top, right, bottom = frame.bounds()
        far = math.ceil(max(frame.sides) / 2)  # no motion fetches from further away
        left, top = max(0, left - far), max(0, top - far)
        part, by = self.photo[..., top : bottom + far, left : right + far], side / max(frame.sides)
        reduced = downsample(part, (math.ceil(part.shape[-2] * by), math.ceil(part.shape[-1] * by)))
        height, width = reduced.shape[-2:]
        x, y = width / part.shape[-1], height / part.shape[-2]
        (a, b, u), (c, d, v) = frame.matrix
        here = ((a * x, b * x, (u - left) * x), (c * y, d * y, (v - top) * y))
        return reduced, replace(frame, matrix=here, height=height, width=width)

    @cached_property
    def levels(self) -> list[Tensor]:
        """The photo and its octaves down to ``low`` (Fig. 3), at most once a clip."""
        return gaussian_pyramid(self.photo, self.size)

    @cached_property
    def square(self) -> Tensor:
        """The frame's content as [1,3,n,n], what the paper's modes work on in a face frame."""
        return canonical(self.photo, self.frame, _frame_size(self, _CORRECTION))

    @cached_property
    def square_levels(self) -> list[Tensor]:
        """``levels`` of ``square``."""
        return gaussian_pyramid(self.square, self.size)

    def prepare(self, config: ReswarpConfig) -> None:
        """Make now what is made once a clip, before frames are made beside one another."""
        interleaved, aligned = config.interleaves(self.photo), config.mode is ReswarpMode.ALIGNED
        if interleaved and (aligned or not self.frame.is_whole):
            self.pixels  # noqa: B018
        if aligned:
            self.level  # noqa: B018
        elif config.mode is ReswarpMode.MULTISCALE:
            self.levels if self.frame.is_whole else self.square_levels  # noqa: B018
        elif not self.frame.is_whole:
            self.square  # noqa: B018

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
    check_frame(frame, photo.shape[-2:])
    low = downsample(photo, (size, size)) if frame.is_whole else canonical(photo, frame, size)
    return Residuals(photo, frame, low)


# --- the modes
# -------------------------------------------------------------------------------------------------------


def _octave(
    image: Tensor, lowband: Tensor, base: Tensor, field: Tensor, config: ReswarpConfig, out: Tensor
) -> Tensor:
    """up(base) + warp(image - up(lowband), up(field)) into ``out``: one step of Fig. 2a or Fig. 3."""
    height, width = image.shape[-2:]
    frame = FaceFrame.whole(height, width)
    p = Pass(
        image, in_pixels(field, frame), frame.inverse(), minus=lowband, add=base, upsample=config.upsample
    )
    run(p, out, (0, 0, width, height), config.rows, config.backend)
    return out


def in_pixels(field: Tensor, frame: FaceFrame) -> Tensor:
    """[1,2,n,n] displacements in pixels, of a field in fractions of the frame along its own axes."""
    (a, b, _), (c, d, _) = frame.matrix
    x, y = field[:, :1], field[:, 1:]
    return torch.cat([x * a + y * b, x * c + y * d], 1)


def _whole(
    levels: Sequence[Tensor], field: Tensor, refined: Tensor, config: ReswarpConfig, out: Tensor
) -> Tensor:
    """Vanilla or multiscale on a whole image, exactly as the paper prints them. levels: from the image down
    to the low-resolution one.
    """
    result = refined
    for k in range(len(levels) - 2, -1, -1):
        target = torch.empty_like(levels[k]) if k else out
        result = _octave(levels[k], levels[k + 1], result, field, config, target)
    if result is refined:  # the photo is as small as the low-resolution image: no residual
        store(out, (0, 0, out.shape[-1], out.shape[-2]), refined)
    return out


class Correction(NamedTuple):
    """out = W + m·(add - drop·W), tables in the canonical square."""

    add: Tensor  # [1,3,n,n]
    drop: Tensor | None = None  # [1,1,n,n]

    def on(self, plane: Plane, at: Tile, points: Tensor | None, value: Tensor) -> Tensor:
        """C on a tile, where W is ``value``: [1,3,h,w]."""
        add = plane.table(self.add, at, points)
        return add if self.drop is None else add - plane.table(self.drop, at, points) * value


def residual_gate(error: Tensor, threshold: float = 0.15) -> Tensor:
    """[1,1,S,S]: 1 where the warped residual belongs, towards 0 where R shows what the photo does not have.

    error: E = R - down(W) [1,3,S,S]. What counts is E beside its surroundings: a change of light is no new
    content. Not dilated: a wider gate scores higher on a pasted mouth, but blurs the lips around real teeth.
    """
    e = (error - box_mean(error, 17, 17)).abs().amax(1, keepdim=True)
    soft = box_mean(e, 3, 3) / threshold
    return 1 / (1 + soft.square().square())


def _aligned(
    residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig, whole: Tensor | None = None
) -> Correction:
    """C = up(R - down(W)), octave by octave; the gate takes off (1 - gate)·(W - up(down(W))). whole: W of all
    of the photo, where it is made already.
    """
    frame = residuals.frame
    if frame.is_whole:
        down = _downsampled_warp(residuals, field, config, whole)
    else:
        down = _canonical_warp(residuals, field, config)
    side = _frame_size(residuals, 1 << 30)
    target = (frame.height, frame.width) if frame.is_whole else (side, side)

    error = refined - down
    if not config.gate:
        return Correction(smooth_upsample(error, target, config.upsample))
    drop = 1 - residual_gate(error)
    tables = smooth_upsample(torch.cat([error + drop * down, drop], 1), target, config.upsample)
    add, dropped = tables.split((3, 1), 1)
    return Correction(detailed(add, refined, drop, config.detail, config.upsample), dropped)


def _downsampled_warp(
    residuals: Residuals, field: Tensor, config: ReswarpConfig, whole: Tensor | None = None
) -> Tensor:
    """down(W) of a whole image, from its level or from ``whole``, strip by strip: [1,3,S,S]."""
    (level, frame), size = residuals.level, residuals.size
    if level is residuals.photo and config.interleaves(level):
        level = residuals.pixels
    inverse, shift = frame.inverse(), in_pixels(field, frame)
    rows, columns = area_taps(frame.height, size), area_taps(frame.width, size)
    cell = (frame.height // size, frame.width // size)
    even = (frame.height, frame.width) == (cell[0] * size, cell[1] * size)
    out = level.new_empty(1, level.shape[1], size, size, dtype=working_type(level))
    step = size if out.is_cuda else max(1, config.rows * size // frame.height)
    for a in range(0, size, step):
        part = rows.part(a, a + step)
        first, last = part.span()
        if whole is None:
            strip = _strip(out, last - first, frame.width, config)
            p = Pass(level, shift, _below(inverse, first), _below(IDENTITY, first))
            run(p, strip, _all(strip), config.rows, config.backend)
        else:
            strip = whole[..., first:last, :]
        if even:
            out[..., a : a + step, :] = _averaged(strip, cell)
        else:
            strip = to_float(strip)
            out[..., a : a + step, :] = part.shifted(first)(columns(strip, -1), -2)
    return out


def _averaged(strip: Tensor, cell: tuple[int, int]) -> Tensor:
    """[1,C,h,w] in [0,1]: the mean of every ``cell`` (rows, columns) of ``strip`` [1,C,H,W]."""
    pixels, (rows, columns) = strip[0].permute(1, 2, 0), cell
    if not pixels.is_contiguous():
        return F.avg_pool2d(to_float(strip), cell)
    height, width, channels = pixels.shape  # sums of what lies side by side: a third of the time
    lines, kind = pixels.reshape(height // rows, rows, width * channels), working_type(strip)
    sums = torch.cat([part.to(kind).sum(1) for part in lines.split(_LINES)])
    sums = sums.reshape(len(lines), width // columns, columns, channels).sum(2)
    return (sums / (rows * columns * (255 if strip.dtype == torch.uint8 else 1))).permute(2, 0, 1)[None]


def _canonical_warp(residuals: Residuals, field: Tensor, config: ReswarpConfig) -> Tensor:
    """down(W) of a face frame, from its level, k x k samples a cell: [1,3,S,S]."""
    (level, frame), size = residuals.level, residuals.size
    whole = level is residuals.photo
    level = residuals.pixels if whole and config.interleaves(level) else level
    k = max(1, math.ceil(max(frame.sides) / size - (1e-3 if whole else 0.05)))
    n, shift = size * k, in_pixels(field, frame)
    (a, b, x), (c, d, y) = frame.matrix
    to_source: Affine = ((a / n, b / n, x), (c / n, d / n, y))
    to_canonical: Affine = ((1 / n, 0.0, 0.0), (0.0, 1 / n, 0.0))
    out = level.new_empty(1, level.shape[1], size, size, dtype=working_type(level))
    step = size if out.is_cuda else max(1, config.rows // k)
    for r in range(0, size, step):
        strip = _strip(out, min(step, size - r) * k, n, config)
        p = Pass(level, shift, _below(to_canonical, r * k), _below(to_source, r * k))
        run(p, strip, _all(strip), config.rows, config.backend)
        out[..., r : r + step, :] = F.avg_pool2d(strip, k) if k > 1 else strip
    return out


def _strip(like: Tensor, height: int, width: int, config: ReswarpConfig) -> Tensor:
    """[1,C,height,width] to be filled and averaged."""
    layout = torch.channels_last if config.interleaves(like) else torch.contiguous_format
    shape = 1, like.shape[1], height, width
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _below(affine: Affine, rows: int) -> Affine:
    """``affine`` of an output that starts ``rows`` further down."""
    (a, b, x), (c, d, y) = affine
    return (a, b, x + b * rows), (c, d, y + d * rows)


def _all(out: Tensor) -> Tile:
    return 0, 0, out.shape[-1], out.shape[-2]


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
    image, vanilla = residuals.square, config.mode is ReswarpMode.VANILLA
    levels = [image, residuals.low] if vanilla else residuals.square_levels
    result = _whole(levels, field, refined, config, torch.empty_like(image))
    n = image.shape[-1]
    return Correction(result.sub_(backward_warp(image, upsample(field, (n, n)))))


def correction(residuals: Residuals, field: Tensor, refined: Tensor, config: ReswarpConfig) -> Correction:
    """C of one frame, by the config's mode. Of a whole image, only in the aligned mode."""
    make = _aligned if config.mode is ReswarpMode.ALIGNED else _in_frame
    return make(residuals, field, refined, config)


def write_face(
    residuals: Residuals,
    photo: Tensor,
    field: Tensor,
    refined: Tensor | None,
    config: ReswarpConfig,
    out: Tensor,
) -> None:
    """Write the frame's bounding box of ``out``: W + m·C, or W alone without ``refined``.

    photo: that of ``residuals``, laid out as it is read fastest. Where C comes from the whole photo's own W,
    that is made once: OpenCV's, which is bytes, lies in ``out`` meanwhile.
    """
    frame = residuals.frame
    if refined is None:
        _write(photo, frame, field, None, out, config)
        return
    fast, kind = config.interleaves(photo), working_type(photo)
    # OpenCV wants pixels one after the other; torch's W keeps what bytes would round away
    here = out.stride() == photo.stride() if fast else out.dtype == kind
    once = config.mode is ReswarpMode.ALIGNED and frame.is_whole and not out.is_cuda
    once = once and residuals.level[0] is residuals.photo and (here or out.numel() <= _ONCE)
    if not once:
        _write(photo, frame, field, correction(residuals, field, refined, config), out, config)
        return
    p = Pass(photo, in_pixels(field, frame), frame.inverse())
    w = out if here else torch.empty_like(photo, dtype=photo.dtype if fast else kind)
    run(p, w, frame.bounds(), config.rows, config.backend)
    add, drop = _aligned(residuals, field, refined, config, w)
    run(replace(p, add=add, drop=drop, warped=w), out, frame.bounds(), config.rows, config.backend)


def _write(
    photo: Tensor, frame: FaceFrame, field: Tensor, c: Correction | None, out: Tensor, config: ReswarpConfig
) -> None:
    """The writing pass: W + m·C inside the frame's bounding box; pixels of mask 0 are copied."""
    add, drop = (None, None) if c is None else c
    p = Pass(photo, in_pixels(field, frame), frame.inverse(), add=add, drop=drop, feather=frame.feather)
    run(p, out, frame.bounds(), config.rows, config.backend)


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


def warped(
    residuals: Residuals, motion: Motion, out: Tensor | None = None, filled: bool = False
) -> Iterator[Tensor]:
    """W alone, frame by frame: the photo (or any [1,C,H,W] in its place) moved, nothing added. filled: see
    ``reswarp``.
    """
    return _frames(residuals, motion, None, ReswarpConfig(), out, filled)


def reswarp(
    residuals: Residuals,
    motion: Motion,
    refined: Tensor,
    config: ReswarpConfig | None = None,
    out: Tensor | None = None,
    filled: bool = False,
) -> Iterator[Tensor]:
    """High-resolution frames, one by one: each [1,3,H,W] in the photo's type (uint8 rounded; float not
    clamped).

    motion: T fields, already masked by the frame's feather (``Residuals.mask``). refined: [T,3,S,S] in [0,1].
    A frame of weight 0 is the photo, bit for bit. out: a buffer like the photo; if given, every frame is
    written into it and it is what is yielded, so use or copy a frame before asking for the next. filled: it
    holds a frame of the same photo with the same face already, so what is around the face need not be copied.
    """
    check_motion(residuals, motion, refined)
    return _frames(residuals, motion, refined, config or ReswarpConfig(), out, filled)


def _frames(
    residuals: Residuals,
    motion: Motion,
    refined: Tensor | None,
    config: ReswarpConfig,
    buffer: Tensor | None,
    filled: bool,
) -> Iterator[Tensor]:
    frame, kind = residuals.frame, working_type(residuals.photo)
    paper = refined is not None and frame.is_whole and config.mode is not ReswarpMode.ALIGNED
    photo = residuals.photo if paper or not config.interleaves(residuals.photo) else residuals.pixels
    left, top, right, bottom = frame.bounds()
    fresh = not filled
    for t, weight in enumerate(motion.weight.tolist()):
        out = torch.empty_like(photo) if buffer is None else buffer
        still = weight == 0
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
            r = None if refined is None else refined[t : t + 1].to(photo.device, kind)
            if paper and r is not None:
                vanilla = config.mode is ReswarpMode.VANILLA
                _whole([photo, residuals.low] if vanilla else residuals.levels, field, r, config, out)
            else:
                write_face(residuals, photo, field, r, config, out)
        yield out
