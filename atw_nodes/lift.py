"""The small frames of any animator, at the resolution of the photo that they were made of (paper, A.4).

Write R for a small frame, F for the motion that ``lift_motion.py`` finds in it, W = warp(photo, F):

    out = k·W + up(R - k·soft(down(W))),   k = share·light

as ``reswarp``'s aligned mode, where k is 1 and nothing soft. soft: the blur that the animator leaves, fitted
over the clip so far, lest it become the result's. light: how much brighter R is than down(W) over some cells,
so that the photo's detail takes part in a change of light. share: how far the texture of the two agrees, 1 to
0: where R shows something new, or the motion is wrong, the photo's detail does not belong and R alone is
enlarged. The enlargement is solved for so that, reduced again, it is R.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import Backend, Pass, check_backend, run
from .lift_motion import Estimate, Estimator, moved_and_reduced, reduced
from .pyramid import blurred, to_float, upsample
from .reswarp import in_pixels
from .tiles import ROWS
from .types import FaceFrame, InputError, Motion, ShapeError, check_frame, check_shape
from .warp import feather_mask, identity_points

_LEVEL = 2048  # side, at most, of what down(W) is computed from
_LIGHT = 3.0  # cells over which light is compared
_DARK = 0.02  # added to both sides of it
_DETAIL = 0.01  # texture weaker than this says nothing
_SAME = 1.01 / 255  # how far bytes may be off: however they were rounded


@dataclass(frozen=True)
class LiftConfig:
    """How frames are lifted.

    gate: drop the photo's detail where it does not belong. steady: cells within which a motion counts as the
    trembling of an estimate and is averaged with the frames before and after; 0 leaves it. rows, backend: as
    in ``ReswarpConfig``.
    """

    gate: bool = True
    steady: float = 0.25
    rows: int = ROWS
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.steady <= 8:
            raise InputError(f"steady is {self.steady}; expected 0 to 8 pixels of a small frame")
        check_backend(self.backend)


def estimate_motion(
    photo: Tensor,
    frames: Iterable[Tensor],
    frame: FaceFrame | None = None,
    steady: float = LiftConfig.steady,
) -> Iterator[tuple[Motion, Tensor]]:
    """(motion of one frame, confidence [1,h,w] in 0..1) of every small frame, one by one.

    photo: [1,3,H,W]. frames: [3,h,w] or [1,3,h,w], all of one size. frame: what of the photo they show, the
    whole of it if not given; the motion fades out at its feather. Weight 0: the frame is the photo, reduced.
    """
    found = _estimates(photo, frames, frame or FaceFrame.whole(*photo.shape[-2:]))
    for _, estimate, weight in _steadied(found, steady):
        yield Motion(estimate.field, torch.tensor([weight])), estimate.confidence[:, 0]


def lift(
    photo: Tensor,
    frames: Iterable[Tensor],
    frame: FaceFrame | None = None,
    config: LiftConfig | None = None,
    out: Tensor | None = None,
    motion: Motion | None = None,
) -> Iterator[Tensor]:
    """The frames at the resolution of ``photo`` [1,3 or 4,H,W], in its type, one at a time.

    frames: [3,h,w] or [1,3,h,w] each, uint8 or float in [0,1], all of one size; read one ahead, not kept.
    frame: what of the photo they show, the whole of it if not given; around it the photo stays, bit for bit.
    A frame that is the photo, reduced, gives the photo, bit for bit. A fourth channel moves along.
    out: a buffer like the photo that every frame is written into. motion: one a frame, instead of estimating.
    """
    check_shape(photo, "1CHW", "photo")
    if photo.shape[1] not in (3, 4):
        raise ShapeError(f"photo has {photo.shape[1]} channels; expected 3, or 4 with alpha")
    frame = frame or FaceFrame.whole(*photo.shape[-2:])
    check_frame(frame, photo.shape[-2:])
    return _lifted(photo, frames, frame, config or LiftConfig(), out, motion)


def _lifted(
    photo: Tensor,
    frames: Iterable[Tensor],
    frame: FaceFrame,
    config: LiftConfig,
    buffer: Tensor | None,
    motion: Motion | None,
) -> Iterator[Tensor]:
    colour = photo[:, :3]
    if motion is None:
        given = _steadied(_estimates(colour, frames, frame), config.steady)
    else:
        given = _given(colour, frames, frame, motion)
    writer: _Writer | None = None
    for image, estimate, weight in given:
        out = torch.empty_like(photo) if buffer is None else buffer
        writer = writer or _Writer(photo, frame, (image.shape[-2], image.shape[-1]), config)
        writer.write(image, estimate, weight, out)
        yield out


def _planes(frames: Iterable[Tensor], like: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """([1,3,h,w] float on the device of ``like``, whether it was bytes), all of one size."""
    size: Sequence[int] | None = None
    for index, given in enumerate(frames):
        image = given if given.dim() == 4 else given[None]
        check_shape(image, "13hw", f"frame {index}")
        if size is not None and image.shape[-2:] != size:
            raise ShapeError(
                f"frame {index} is {image.shape[-1]}x{image.shape[-2]}, the first is {size[1]}x{size[0]}; "
                "give frames of one size"
            )
        size = image.shape[-2:]
        yield to_float(image.to(like.device)).float(), image.dtype == torch.uint8


def _mask(frame: FaceFrame, like: Tensor) -> Tensor:
    """[h,w]: the frame's feather in the cells of ``like``."""
    return feather_mask(identity_points(*like.shape[-2:], like=like)[0], frame.feather)


def _estimates(
    photo: Tensor, frames: Iterable[Tensor], frame: FaceFrame
) -> Iterator[tuple[Tensor, Estimate, float]]:
    """(small frame, its motion with the feather on it, weight), one by one."""
    estimator, last = None, None
    for image, exact in _planes(frames, photo):
        size = (image.shape[-2], image.shape[-1])
        if estimator is None:
            estimator, still = Estimator(photo, frame, size), reduced(photo, frame, size, 1)
            mask = _mask(frame, image)
        if float((image - still).abs().max()) <= (_SAME if exact else 1e-5):
            rest = image.new_zeros(1, 2, *size)
            yield image, Estimate(rest, torch.ones_like(rest[:, :1])), 0.0
            last = rest
        else:
            found = estimator(image, last)
            last = found.field
            yield image, replace(found, field=found.field * mask), 1.0


def _given(
    photo: Tensor, frames: Iterable[Tensor], frame: FaceFrame, motion: Motion
) -> Iterator[tuple[Tensor, Estimate, float]]:
    """``_estimates`` of a motion made before, of any size; it has its feather already."""
    count = 0
    for image, _ in _planes(frames, photo):
        if count >= len(motion):
            raise ShapeError(f"motion has {len(motion)} frames, more were given to lift; use one length")
        field = motion.field[count : count + 1].to(image)
        trust = torch.ones_like(image[:, :1])
        yield image, Estimate(field, trust), float(motion.weight[count])
        count += 1
    if count < len(motion):
        raise ShapeError(f"motion has {len(motion)} frames, {count} were given to lift; use one length")


def _steadied(
    found: Iterator[tuple[Tensor, Estimate, float]], steady: float
) -> Iterator[tuple[Tensor, Estimate, float]]:
    """``found`` with the trembling taken out: a field that differs from both its neighbours by little is
    averaged with them, cell by cell. A steady motion stays what it is.
    """
    before: Tensor | None = None
    now = next(found, None)
    while now is not None:
        after = next(found, None)
        image, estimate, weight = now
        if steady and before is not None and after is not None and weight:
            field = _averaged(before, estimate.field, after[1].field, steady)
            now = image, replace(estimate, field=field), weight
        yield now
        before, now = estimate.field, after


def _averaged(before: Tensor, field: Tensor, after: Tensor, steady: float) -> Tensor:
    scale = field.new_tensor([field.shape[-1], field.shape[-2]])[None, :, None, None] / steady
    far = torch.maximum(
        ((before - field) * scale).square().sum(1, keepdim=True),
        ((after - field) * scale).square().sum(1, keepdim=True),
    )
    share = torch.exp(-0.5 * far)
    return (field + 0.5 * share * (before + after)) / (1 + share)


class _Writer:
    """Composes frames of one photo."""

    def __init__(self, photo: Tensor, frame: FaceFrame, size: tuple[int, int], config: LiftConfig) -> None:
        self.photo, self.frame, self.size, self.config = photo, frame, size, config
        samples = min(8, max(2, _LEVEL // max(size)))
        self._level, self._soft = reduced(photo[:, :3], frame, size, samples), _Softness()
        self._written: Tensor | None = None  # the buffer that holds the photo around the frame already

    def write(self, image: Tensor, estimate: Estimate, weight: float, out: Tensor) -> None:
        """One frame into ``out``; weight 0: the photo."""
        left, top, right, bottom = self.frame.bounds()
        if weight == 0 or (self._written is not out and not self.frame.is_whole):
            out.copy_(self.photo)
        self._written = out
        if weight == 0:
            return
        field = estimate.field
        shift, inverse, feather = in_pixels(field, self.frame), self.frame.inverse(), self.frame.feather
        add, drop = self.tables(image, estimate)
        box, rows, backend = (left, top, right, bottom), self.config.rows, self.config.backend
        colour = Pass(self.photo[:, :3], shift, inverse, add=add, drop=drop, feather=feather)
        run(colour, out[:, :3], box, rows, backend)
        if out.shape[1] == 4:
            alpha = Pass(self.photo[:, 3:], shift, inverse, feather=feather)
            run(alpha, out[:, 3:], box, rows, backend)

    def tables(self, image: Tensor, estimate: Estimate) -> tuple[Tensor, Tensor]:
        """What is added to W, and which share of W is taken off."""
        moved = moved_and_reduced(self._level, estimate.field, self.size)
        keep = _light(image, moved)
        moved = self._soft(image, keep, moved, estimate.confidence)
        if self.config.gate:
            keep = keep * share(image, keep * moved, estimate.confidence)
        return _enlarged(image - keep * moved, min(self.frame.sides) / min(self.size)), 1 - keep


class _Softness:
    """What the animator's images are to the photo's, reduced: a symmetric kernel of 5 x 5 that leaves smooth
    images as they are, by least squares over the frames so far, of which old ones are forgotten.
    """

    def __init__(self) -> None:
        self._products: Tensor | None = None

    def __call__(self, image: Tensor, light: Tensor, moved: Tensor, trust: Tensor) -> Tensor:
        """``moved`` as the animator would show it; ``image`` is what it shows, ``light`` times brighter."""
        bands = torch.stack([r - moved for r in _rings(moved)])  # [5,1,3,h,w]
        off = image - light * moved
        off = off - blurred(off, _LIGHT)  # what light has left over is no softness
        fine = torch.stack([light * (b - blurred(b, _LIGHT)) for b in bands])
        counts = trust / (1 + (off.square().mean(1, keepdim=True) / 0.05**2))
        both = torch.cat([fine, off[None]]).flatten(1)
        products = (both * counts.expand_as(off).flatten()) @ both.T / off[0, 0].numel()
        now = products.cpu().double()  # not every device has double precision
        self._products = now if self._products is None else 0.9 * self._products + now
        square, wanted = self._products[:-1, :-1], self._products[:-1, -1]
        ridge = 1e-8 * torch.eye(len(square), dtype=square.dtype)
        shares = torch.linalg.solve(square + ridge, wanted).to(moved)
        return moved + (shares[:, None, None, None, None] * bands).sum(0)


def _rings(x: Tensor) -> list[Tensor]:
    """Means of the neighbours at each distance in a square of 5 x 5, the edge repeated."""
    h, w = x.shape[-2:]
    p = F.pad(x, (2, 2, 2, 2), mode="replicate")
    found = []
    for a, b in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2)):
        steps = {(s * i, t * j) for i, j in ((a, b), (b, a)) for s in (1, -1) for t in (1, -1)}
        parts = [p[..., 2 + i : 2 + i + h, 2 + j : 2 + j + w] for i, j in sorted(steps)]
        found.append(sum(parts[1:], parts[0]) / len(parts))
    return found


def _light(image: Tensor, moved: Tensor) -> Tensor:
    """[1,1,h,w]: how much brighter R is than down(W)."""
    shown, had = (blurred(x.mean(1, keepdim=True), _LIGHT) + _DARK for x in (image, moved))
    return (shown / had.clamp_min(1e-3)).clamp(0.5, 2.0)


def share(image: Tensor, moved: Tensor, trust: Tensor) -> Tensor:
    """[1,1,h,w] in 0..1: how far the photo's detail belongs to R, by the texture that R and down(W) share.

    The regression of one texture on the other over a few cells, never more than their correlation; squared,
    since finer detail agrees less; squared once more where the motion is not to be trusted. 1 where there
    is no texture: it has no detail to lose.
    """
    fine, had = image - blurred(image, 1.5), moved - blurred(moved, 1.5)
    parts = [(a * b).mean(1, keepdim=True) for a, b in ((fine, had), (had, had), (fine, fine))]
    both, own, shown = blurred(torch.cat(parts, 1), 2.5).clamp_min(-1).split(1, 1)
    own, shown = own.clamp_min(0), shown.clamp_min(0)
    agreed = (both + _DETAIL**2) / (torch.maximum(own, (own * shown).sqrt()) + _DETAIL**2)
    return agreed.clamp(0, 1) ** (4 - 2 * trust)


def _enlarged(table: Tensor, times: float) -> Tensor:
    """``table`` at twice its size (bicubic) such that the photo, to which it is interpolated from there and
    then reduced, shows ``table``; as it is where the photo is hardly larger.
    """
    if times < 2:
        return table
    size = (table.shape[-2] * 2, table.shape[-1] * 2)
    grown = upsample(table, size, "bicubic")
    for _ in range(2):
        grown = grown + upsample(table - _shown(grown), size, "bicubic")
    return grown


def _shown(grown: Tensor) -> Tensor:
    """What averaging makes of a bilinear interpolation of ``grown``, at half its size."""
    p = F.pad(grown, (1, 1, 1, 1), mode="replicate")
    p = (p[..., :-2] + 6 * p[..., 1:-1] + p[..., 2:]) / 8
    return F.avg_pool2d((p[..., :-2, :] + 6 * p[..., 1:-1, :] + p[..., 2:, :]) / 8, 2)
