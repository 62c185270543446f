"""Resampling: exact-area down-sampling, interpolating up-sampling, image pyramids. Any height and width.

Both directions are separable: a few source pixels (taps) an output pixel and axis, computed in float64.
Positions follow the half-pixel convention of ``warp.py``; beyond the border the edge repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .types import InputError

Upsampling = Literal["nearest", "bilinear", "bicubic"]
UPSAMPLINGS: tuple[Upsampling, ...] = ("nearest", "bilinear", "bicubic")
_DENSE = 6  # more taps than this are faster as one matrix product
_BAND = 256  # source rows worked on at a time


@dataclass(frozen=True)
class Taps:
    """out[i] = sum_k weight[i,k] * in[index[i,k]] along one axis."""

    index: Tensor  # [n,K] int64
    weight: Tensor  # [n,K] float64

    def part(self, start: int, stop: int) -> Taps:
        """The taps of outputs ``start`` to ``stop``."""
        return Taps(self.index[start:stop], self.weight[start:stop])

    def span(self) -> tuple[int, int]:
        """(first, one past last) input that any output reads."""
        return int(self.index.min()), int(self.index.max()) + 1

    def shifted(self, origin: int) -> Taps:
        """The same taps on an input that starts at ``origin``."""
        return Taps(self.index - origin, self.weight)

    def __call__(self, x: Tensor, dim: int) -> Tensor:
        """Apply along ``dim`` (-1 or -2) of a float tensor."""
        index, weight = self.index.to(x.device), self.weight.to(x.device, x.dtype)
        if index.shape[1] > _DENSE:
            matrix = x.new_zeros(len(index), x.shape[dim]).scatter_add_(1, index, weight)
            return x @ matrix.T if dim == -1 else matrix @ x
        shape = (-1, 1) if dim == -2 else (-1,)
        out = x.index_select(dim, index[:, 0]) * weight[:, 0].reshape(shape)
        for k in range(1, index.shape[1]):
            out.addcmul_(x.index_select(dim, index[:, k]), weight[:, k].reshape(shape))
        return out


@lru_cache(64)
def area_taps(n_in: int, n_out: int) -> Taps:
    """Exact-area average: output i is the mean of the input over [i, i+1)·n_in/n_out, with fractional
    overlaps.
    """
    edges = torch.arange(n_out + 1, dtype=torch.float64) * n_in / n_out
    low, high = edges[:-1], edges[1:]
    first = torch.floor(low + 1e-9).long()
    count = int((torch.ceil(high - 1e-9).long() - first).max())
    index = first[:, None] + torch.arange(count)
    left = torch.maximum(index.double(), low[:, None])
    overlap = (torch.minimum(index.double() + 1, high[:, None]) - left).clamp_min(0)
    return Taps(index.clamp(max=n_in - 1), overlap / overlap.sum(1, keepdim=True))


def _cubic(t: Tensor) -> Tensor:
    """Keys' kernel with a = -0.75, at distance t >= 0 (as image libraries commonly take it)."""
    a = -0.75
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def taps_at(positions: Tensor, n_in: int, mode: Upsampling = "bilinear") -> Taps:
    """Interpolation of an input of ``n_in`` pixels at ``positions`` [n] float64, fractions 0..1 of its
    length.
    """
    s = positions * n_in - 0.5
    if mode == "nearest":
        index, weight = torch.floor(s + 0.5 + 1e-9)[:, None], torch.ones(len(s), 1, dtype=torch.float64)
    elif mode == "bilinear":
        index = torch.floor(s)[:, None] + torch.arange(2)
        weight = 1 - (s[:, None] - index).abs()
    elif mode == "bicubic":
        index = torch.floor(s)[:, None] + torch.arange(-1, 3)
        weight = _cubic((s[:, None] - index).abs())
    else:
        raise InputError(f"up-sampling {mode!r} is unknown; expected one of {', '.join(UPSAMPLINGS)}")
    return Taps(index.long().clamp(0, n_in - 1), weight)


@lru_cache(64)
def up_taps(n_in: int, n_out: int, mode: Upsampling = "bilinear") -> Taps:
    """Interpolation from ``n_in`` to ``n_out`` pixels at half-pixel centres."""
    return taps_at((torch.arange(n_out, dtype=torch.float64) + 0.5) / n_out, n_in, mode)


def to_float(image: Tensor) -> Tensor:
    """uint8 -> float32 k/255; float32 and float64 as they are; half precision as float32."""
    if image.dtype == torch.uint8:
        return image.float().div_(255)
    return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image


def downsample(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Exact-area average of ``image`` [B,C,H,W] (float or uint8) to ``size`` (h, w), in bands of rows."""
    (height, width), (h, w) = image.shape[-2:], size
    rows, columns = area_taps(height, h), area_taps(width, w)
    kind = torch.float64 if image.dtype == torch.float64 else torch.float32
    out = torch.empty(*image.shape[:-2], h, w, dtype=kind, device=image.device)
    step = max(1, _BAND * h // height)
    for a in range(0, h, step):
        part = rows.part(a, a + step)
        first, last = part.span()
        strip = columns(to_float(image[..., first:last, :]), -1)
        out[..., a : a + step, :] = part.shifted(first)(strip, -2)
    return out


def upsample(image: Tensor, size: tuple[int, int], mode: Upsampling = "bilinear") -> Tensor:
    """Interpolate float ``image`` [B,C,h,w] to ``size`` (H, W)."""
    if mode == "bilinear":
        plain = image.device.type != "cpu" or (torch.is_grad_enabled() and image.requires_grad)
        if size == (2 * image.shape[-2], 2 * image.shape[-1]) and not plain:
            return _doubled(image)
        return F.interpolate(image, size, mode=mode, align_corners=False)  # torch's own: the same, faster
    columns = up_taps(image.shape[-1], size[1], mode)(image, -1)
    return up_taps(image.shape[-2], size[0], mode)(columns, -2)


def _doubled(image: Tensor) -> Tensor:
    """``upsample`` to twice the size, bilinear: one core does it in less than half the time."""
    b, c, h, w = image.shape
    tall, wide = image.new_empty(b, c, h, 2, w), image.new_empty(b, c, 2 * h, w, 2)
    _between(image, tall[..., 0, :], tall[..., 1, :], -2)
    _between(tall.view(b, c, 2 * h, w), wide[..., 0], wide[..., 1], -1)
    return wide.view(b, c, 2 * h, 2 * w)


def _between(x: Tensor, before: Tensor, after: Tensor, dim: int) -> None:
    """Bilinear values a quarter of a pixel ``before`` and ``after`` each of ``x`` along ``dim``."""
    n = x.shape[dim]
    first, last = x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1)
    torch.lerp(last, first, 0.25, out=before.narrow(dim, 1, n - 1))
    torch.lerp(first, last, 0.25, out=after.narrow(dim, 0, n - 1))
    before.select(dim, 0).copy_(x.select(dim, 0))
    after.select(dim, n - 1).copy_(x.select(dim, n - 1))


def box_mean(x: Tensor, across: int, down: int) -> Tensor:
    """Float ``x`` [...,h,w]: means of ``down`` rows by ``across`` columns (odd) around each value, the edge
    repeated.
    """
    for dim, n in ((-1, across), (-2, down)):
        if n > 1:
            m = _box(x.shape[dim], n, x.dtype, x.device)
            x = x @ m.T if dim == -1 else m @ x
    return x


@lru_cache(64)
def _box(length: int, n: int, kind: torch.dtype, device: torch.device) -> Tensor:
    """[length,length]: means of ``n`` neighbours, as a matrix: faster than pooling."""
    at = (torch.arange(length)[:, None] + torch.arange(n) - n // 2).clamp(0, length - 1)
    share = torch.full(at.shape, 1 / n, dtype=torch.float64)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add_(1, at, share).to(device, kind)


def pyramid_sizes(size: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """(H, W), ..., (side, side): each axis n -> max(side, ceil(n/2)) until both are ``side``."""
    sizes = [size]
    while sizes[-1] != (side, side):
        h, w = sizes[-1]
        sizes.append((max(side, -(-h // 2)), max(side, -(-w // 2))))
    return sizes


def gaussian_pyramid(image: Tensor, side: int) -> list[Tensor]:
    """``image`` and its successive area averages down to ``side`` x ``side`` (paper, Fig. 3); the first is
    ``image``.
    """
    levels = [image]
    for size in pyramid_sizes((image.shape[-2], image.shape[-1]), side)[1:]:
        levels.append(downsample(levels[-1], size))
    return levels


def smooth_upsample(
    table: Tensor, size: tuple[int, int], mode: Upsampling = "bilinear", octaves: int = 2
) -> Tensor:
    """Up-sample ``table`` [B,C,s,s] octave by octave towards ``size``, by at most ``octaves`` doublings.

    Smoother than one interpolation: its creases along the cell borders are rounded. What is left of the way
    is a plain interpolation for the caller to do where it needs the values.
    """
    steps: Sequence[tuple[int, int]] = pyramid_sizes(size, table.shape[-1])[-2::-1][:octaves]
    for step in steps:
        if step[0] >= table.shape[-2] and step[1] >= table.shape[-1]:
            table = upsample(table, step, mode)
    return table


def blurred(x: Tensor, sigma: float, down: float | None = None) -> Tensor:
    """Float ``x`` [B,C,h,w] under a Gaussian of ``sigma`` pixels, ``down`` of them along columns if that is
    another; the edge repeated.
    """
    across = _bell(x, sigma)
    along = across if down in (None, sigma) else _bell(x, down)
    for kernel, pad in ((across, (1, 1, 0, 0)), (along.transpose(-1, -2), (0, 0, 1, 1))):
        reach = kernel.numel() // 2
        padded = F.pad(x, [reach * p for p in pad], mode="replicate")
        x = F.conv2d(padded, kernel.expand(x.shape[1], -1, -1, -1), groups=x.shape[1])
    return x


def _bell(like: Tensor, sigma: float) -> Tensor:
    """[1,1,1,n]: a Gaussian that adds up to 1, as far as three of its ``sigma``."""
    sigma = max(sigma, 1e-6)
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    return (kernel / kernel.sum())[None, None, None]
