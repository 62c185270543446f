"""How a photo has moved in a small frame that another animator made of it.

The field is the one under which the photo, moved at its own resolution and reduced to the frame's size, looks
most like the frame: Gauss-Newton steps from coarse to fine. What is compared is each image's texture (what is
finer than a few cells, beside how much of it there is), so that a change of light moves nothing; what shows
no texture follows its surroundings. Fields are backward, in fractions of the frame, as ``warp.py`` says;
inside this file they are in cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow import consistency
from .pyramid import blurred, downsample, to_float, upsample
from .tiles import canonical
from .types import FaceFrame, InputError, check_shape
from .warp import backward_warp

_COARSEST = 8  # cells of the first level
_SAMPLES = 3  # of the photo a cell and side, at the finest level of small frames
_MANY = 256  # cells a side from which, as above the finest level, 2 will do
_LEAST = 16  # cells of a frame
_BACK = 128  # cells, at most, at which the way back is estimated


@dataclass(frozen=True)
class _Level:
    """How one level is solved: texture is what is finer than ``around`` cells, beside its contrast plus
    ``noise``; stiffness of the field; how often the photo is moved anew, and the steps of each solution.
    """

    stiffness: float
    noise: float
    warps: int
    steps: int
    around: float = 1.5
    window: float = 1.0  # cells over which the evidence is gathered


_COARSE = _Level(1.0, 0.02, 3, 20)
_FINE = _Level(0.5, 0.01, 5, 30)


@dataclass(frozen=True)
class Estimate:
    """field: [1,2,h,w], fractions of the frame. confidence: [1,1,h,w] in 0..1, of the way there and back."""

    field: Tensor
    confidence: Tensor


class Estimator:
    """Finds the motion of one photo [1,3,H,W] in small frames of one size; see the module."""

    def __init__(self, photo: Tensor, frame: FaceFrame, size: tuple[int, int]) -> None:
        if min(size) < _LEAST:
            raise InputError(
                f"frames of {size[1]}x{size[0]} are too small; expected at least {_LEAST} a side"
            )
        self.size, self._sizes = size, _sizes(size)
        self._photos = [reduced(photo, frame, size, 2 if max(size) > _MANY else _SAMPLES)]
        for h, w in self._sizes[-2::-1]:
            above = self._photos[0]
            fewer = min(2 * h, above.shape[-2]), min(2 * w, above.shape[-1])
            self._photos.insert(0, downsample(above, fewer))

    def __call__(self, image: Tensor, start: Tensor | None = None) -> Estimate:
        """The motion in ``image`` [1,3,h,w], float. start: that of the frame before, tried as a beginning."""
        check_shape(image, "13hw", "frame")
        images = [image if s == self.size else downsample(image, s) for s in self._sizes]
        cells = self._begun(images, start)
        for level in range(1, len(images)):
            cells = self._solved(level, images[level], _grown(cells, self._sizes[level]))
        trust = self._trusted(images, cells)
        cells = filled(cells, trust)
        cells = self._solved(len(images) - 1, image, cells, trust, warps=2)
        return Estimate(_fractions(cells), trust)

    def _begun(self, images: list[Tensor], start: Tensor | None) -> Tensor:
        """The coarsest field: from nothing, or from ``start`` where that explains the frame better."""
        first = self._sizes[0]
        guesses = [images[0].new_zeros(1, 2, *first)]
        if start is not None:
            guesses.append(_cells(downsample(start, first)))
        tried = [self._solved(0, images[0], g) for g in guesses]
        return min(tried, key=lambda cells: self._missed(images[0], cells))

    def _missed(self, image: Tensor, cells: Tensor) -> float:
        """How unlike the frame the moved photo is at the coarsest level."""
        texture, moved = _texture(image, _COARSE), _texture(self._moved(0, cells), _COARSE)
        return float((texture - moved).abs().mean())

    def _solved(
        self,
        level: int,
        image: Tensor,
        cells: Tensor,
        trust: Tensor | None = None,
        warps: int | None = None,
    ) -> Tensor:
        how = _FINE if level == len(self._sizes) - 1 else _COARSE
        wanted = _texture(image, how)
        for _ in range(warps or how.warps):
            cells = cells + _step(wanted, _texture(self._moved(level, cells), how), cells, how, trust)
        return cells

    def _moved(self, level: int, cells: Tensor) -> Tensor:
        return moved_and_reduced(self._photos[level], _fractions(cells), self._sizes[level])

    def _trusted(self, images: list[Tensor], cells: Tensor) -> Tensor:
        """[1,1,h,w]: whether the way back, found by itself from the photo to the frame, agrees."""
        fine = max(k for k, s in enumerate(self._sizes) if k == 0 or max(s) <= _BACK)
        back = _inverse(_shrunk(cells, self._sizes[0]))
        for level in range(fine + 1):
            size = self._sizes[level]
            back = _grown(back, size) if level else back
            wanted = _texture(downsample(self._photos[level], size), _COARSE)
            for _ in range(_COARSE.warps):
                moved = _texture(backward_warp(images[level], _fractions(back)), _COARSE)
                back = back + _step(wanted, moved, back, _COARSE)
        there = _shrunk(cells, self._sizes[fine])
        return upsample(consistency(there[0], back[0])[None, None], self.size)


def _inverse(cells: Tensor) -> Tensor:
    """A first guess of the way back: -d at the point it leads to, a few times over."""
    back = -cells
    for _ in range(4):
        back = -backward_warp(cells, _fractions(back))
    return back


def reduced(photo: Tensor, frame: FaceFrame, size: tuple[int, int], samples: int) -> Tensor:
    """The frame's content [1,C,h·k,w·k] float; k is ``samples``, or fewer where the photo has no more."""
    across, down = frame.sides
    k = max(1, min(samples, round(max(across / size[1], down / size[0]))))
    target = (size[0] * k, size[1] * k)
    if frame.is_whole:
        return downsample(photo, target) if tuple(photo.shape[-2:]) != target else to_float(photo)
    square = canonical(photo, frame, max(target))
    return downsample(square, target) if target[0] != target[1] else square


def moved_and_reduced(photo: Tensor, field: Tensor, size: tuple[int, int]) -> Tensor:
    """down(W) [1,C,h,w] of what ``reduced`` gives, under ``field`` [1,2,n,m] in fractions."""
    at = (photo.shape[-2], photo.shape[-1])
    return downsample(backward_warp(photo, upsample(field, at)), size)


def filled(cells: Tensor, trust: Tensor) -> Tensor:
    """A field that is ``cells`` where it is trusted, and elsewhere the mean of what is trusted nearby."""
    small, weight, levels = cells * trust, trust, []
    while min(weight.shape[-2:]) > 2:
        levels.append((small, weight))
        half = (-(-weight.shape[-2] // 2), -(-weight.shape[-1] // 2))
        small, weight = downsample(small, half), downsample(weight, half)
    mean = small / weight.clamp_min(1e-4)
    for small, weight in reversed(levels):
        known = weight.clamp(0, 1)
        around = upsample(mean, (known.shape[-2], known.shape[-1]))
        mean = known * small / known.clamp_min(1e-4) + (1 - known) * around
    return mean


def _texture(image: Tensor, how: _Level) -> Tensor:
    fine = image - blurred(image, how.around)
    contrast = blurred(fine.square().mean(1, keepdim=True), how.around)
    return fine / (contrast + how.noise**2).sqrt()


def _step(wanted: Tensor, moved: Tensor, cells: Tensor, how: _Level, trust: Tensor | None = None) -> Tensor:
    """The change of ``cells`` [1,2,h,w] that makes ``moved`` more like ``wanted``, the field staying smooth.

    Linearised; large differences count less (Charbonnier). trust: [1,1,h,w], how much the evidence counts.
    """
    across, down = (
        (a + b) / 2 for a, b in zip(_slopes(wanted), _slopes(moved), strict=True)
    )  # fmt: skip
    off = wanted - moved
    counts = 1 / (off.square().mean(1, keepdim=True) + 0.01).sqrt()
    counts = counts if trust is None else counts * trust.clamp_min(0.02)
    products = (across * across, across * down, down * down, across * off, down * off)
    means = torch.cat([p.mean(1, keepdim=True) for p in products], 1)
    return _solve(blurred(means * counts, how.window), cells, how)


def _solve(evidence: Tensor, cells: Tensor, how: _Level) -> Tensor:
    """d in (J - s·Laplacian) d = b + s·Laplacian cells: conjugate gradients, preconditioned by cell.

    evidence: [1,5,h,w], J11, J12, J22 and b.
    """
    s = how.stiffness
    xx, xy, yy = (evidence[:, k : k + 1] for k in range(3))
    sum_x, sum_y = xx + 4 * s, yy + 4 * s
    det = sum_x * sum_y - xy * xy

    def times(d: Tensor) -> Tensor:
        x, y = d[:, :1], d[:, 1:]
        return torch.cat([xx * x + xy * y, xy * x + yy * y], 1) - s * _laplacian(d)

    def scaled(r: Tensor) -> Tensor:
        x, y = r[:, :1], r[:, 1:]
        return torch.cat([sum_y * x - xy * y, sum_x * y - xy * x], 1) / det

    left = evidence[:, 3:] + s * _laplacian(cells)
    found, towards = torch.zeros_like(cells), scaled(left)
    size = (left * towards).sum()
    for _ in range(how.steps):
        image = times(towards)
        length = size / (towards * image).sum().clamp_min(1e-20)
        found, left = found + length * towards, left - length * image
        fresh = scaled(left)
        last, size = size, (left * fresh).sum()
        towards = fresh + size / last.clamp_min(1e-20) * towards
    return found


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2


def _laplacian(x: Tensor) -> Tensor:
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return p[..., 1:-1, 2:] + p[..., 1:-1, :-2] + p[..., 2:, 1:-1] + p[..., :-2, 1:-1] - 4 * x


def _sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Coarse to fine, the last being ``size``."""
    sizes = [size]
    while min(sizes[-1]) >= 2 * _COARSEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes[::-1]


def _scale(like: Tensor) -> Tensor:
    return like.new_tensor([like.shape[-1], like.shape[-2]])[None, :, None, None]


def _fractions(cells: Tensor) -> Tensor:
    return cells / _scale(cells)


def _cells(field: Tensor) -> Tensor:
    return field * _scale(field)


def _shrunk(cells: Tensor, size: tuple[int, int]) -> Tensor:
    return _cells(downsample(_fractions(cells), size))


def _grown(cells: Tensor, size: tuple[int, int]) -> Tensor:
    return _cells(upsample(_fractions(cells), size, "bicubic"))
