"""The paper's measures of an animation (Sec. 4.3), as plain functions of images, fields and vectors.

Images are [3,H,W] or [1,3,H,W], uint8 or float in [0,1]. Nothing here looks for a face or loads a network:
``measuring.py`` does, and streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .flow import estimate_flow, reached
from .pyramid import to_float
from .signals import OUTER_LIPS
from .types import InputError, ShapeError, Signal, check_shape
from .warp import sample

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
MOST_DB = 99.0  # of equal images, and what counts as equal
ENOUGH = 2048  # images, from which an FID of 2048 features is more than a hint
# How the measures are called, printed and read: by key, in the order of the tables
TITLES: Mapping[str, str] = {
    "fid": "FID",
    "css": "CSS",
    "fwe": "FWE x 1000",
    "au_error": "AU error",
    "folds": "folds, %",
    "detail": "detail",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "high_band": "high band, dB",
    "mouth_psnr": "mouth PSNR, dB",
    "mouth_ssim": "mouth SSIM",
    "mouth_high_band": "mouth high band, dB",
    "seconds": "s a frame",
    "memory": "MB a frame",
}
SCALE: Mapping[str, float] = {"fwe": 1000.0, "folds": 100.0}
RISING = (
    "css",
    "psnr",
    "ssim",
    "high_band",
    "mouth_psnr",
    "mouth_ssim",
    "mouth_high_band",
)  # more is better
_BAND = 9  # pixels: the high band is what a box of this side averages away


def _planes(image: Tensor, name: str) -> Tensor:
    """[1,3,H,W] float64."""
    planes = image if image.dim() == 4 else image[None]
    check_shape(planes, "13HW", name)
    return to_float(planes).double()


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    x, y = _planes(a, "image"), _planes(b, "reference").to(a.device)
    if x.shape != y.shape:
        raise ShapeError(
            f"image is {x.shape[-1]}x{x.shape[-2]}, its reference {y.shape[-1]}x{y.shape[-2]}; use one size"
        )
    return x, y


# --- against a true image


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise in dB, the peak being 1; ``MOST_DB`` of equal images."""
    x, y = _pair(a, b)
    return _decibels(float((x - y).square().mean()))


def high_band_psnr(a: Tensor, b: Tensor) -> float:
    """``psnr`` of what is finer than 9 pixels: the image less its mean over a box of 9 x 9."""
    x, y = _pair(a, b)
    return _decibels(float(_fine(x - y).square().mean()))


def detail(a: Tensor, b: Tensor) -> float:
    """How much of what is finer than 9 pixels ``a`` has, of what ``b`` has: a ratio of standard deviations.

    Below 1 is blurred, above 1 has edges that are not there. Of a flat ``b``, 1.
    """
    fine = [float(_fine(x).square().mean()) for x in _pair(a, b)]
    return math.sqrt(fine[0] / fine[1]) if fine[1] > 0 else 1.0


def _decibels(error: float) -> float:
    return min(MOST_DB, -10 * math.log10(error)) if error > 0 else MOST_DB


def _fine(x: Tensor) -> Tensor:
    reach = _BAND // 2
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return x - F.avg_pool2d(F.avg_pool2d(padded, (_BAND, 1), 1), (1, _BAND), 1)


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, K = 0.01 and 0.03,
    where the window fits, mean of the channels. Images of at least 11 x 11.
    """
    x, y = _pair(a, b)
    if min(x.shape[-2:]) < 11:
        raise ShapeError(f"image is {x.shape[-1]}x{x.shape[-2]}; SSIM needs at least 11x11")
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    both = _windowed(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _windowed(x: Tensor) -> Tensor:
    weights = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    taps = (weights / weights.sum()).tolist()
    for dim in (-1, -2):  # sums of shifted images: convolutions of float64 are slow
        length = x.shape[dim] - 10
        out = taps[0] * x.narrow(dim, 0, length)
        for k, tap in enumerate(taps[1:], 1):
            out.add_(x.narrow(dim, k, length), alpha=tap)
        x = out
    return x


def mouth_box(landmarks: np.ndarray, height: int, width: int, margin: float = 0.35) -> Box:
    """The box of pixels around the lips of ``landmarks`` [478,2], wider by ``margin`` of their width all
    around: an opened mouth stays inside.
    """
    lips = landmarks[list(OUTER_LIPS)]
    (x0, y0), (x1, y1) = lips.min(0), lips.max(0)
    more = margin * (x1 - x0)
    left, top = max(0, math.floor(x0 - more)), max(0, math.floor(y0 - more))
    return left, top, min(width, math.ceil(x1 + more)), min(height, math.ceil(y1 + more))


# --- over time


def flow_warping_error(a: Tensor, b: Tensor) -> float:
    """Of two consecutive frames, by their own optical flow (``flow.py``); see ``warping_error``."""
    x, y = _pair(a, b)
    there, back = estimate_flow(x[0].float(), y[0].float()), estimate_flow(y[0].float(), x[0].float())
    return warping_error(a, b, there, visible(there, back))


def warping_error(a: Tensor, b: Tensor, flow: Tensor, seen: Tensor) -> float:
    """Of Lai et al. (ECCV 2018): E(a, b) = sum_i M_i |a_i - b^_i|² / sum_i M_i over the pixels i.

    |.|² sums the three channels, in [0,1]; b^(p) = b(p + flow(p)), flow [2,H,W] in pixels; M: ``seen`` [H,W].
    The error of a clip is the mean over its T - 1 pairs of neighbours. 0 where nothing is seen.
    """
    x, y = _pair(a, b)
    points = reached(flow.to(x))
    brought = sample(y, points)
    error = ((x - brought) ** 2).sum(1)[0]
    mask = seen.to(x)
    total = float(mask.sum())
    return float((error * mask).sum()) / total if total else 0.0


def visible(forward: Tensor, backward: Tensor) -> Tensor:
    """[H,W] bool: M of the same paper (thresholds of Ruder et al. 2016), for flows [2,H,W] in pixels.

    Not seen is what flow there and back misses by more than 0.01 (|f|² + |b|²) + 0.5, what lies on an edge of
    the motion, |grad f|² > 0.01 |f|² + 0.002, and what leaves the frame.
    """
    there = forward.double()
    points = reached(there)
    back = sample(backward.to(there)[None], points)[0]
    length = there.square().sum(0)
    met = (there + back).square().sum(0) <= 0.01 * (length + back.square().sum(0)) + 0.5
    slopes = sum(s.square().sum(0) for s in torch.gradient(there, dim=(-2, -1)))
    smooth = slopes <= 0.01 * length + 0.002
    inside = ((points >= 0) & (points <= 1)).all(-1)[0]
    return met & smooth & inside


# --- expression and identity


def au_errors(shown: Signal, wanted: Signal) -> Tensor:
    """[T]: the sum over units of squared differences, both signals being of T steps (``wanted`` may be of
    one, that holds), over the units that both name; the mean over steps is the paper's AU error.

    Units in which intensity E is 1. The paper's, in which it is 5, are 25 times as large.
    """
    names = [n for n in shown.names if n in wanted.names]
    if not names:
        raise InputError(
            f"they share no unit ({', '.join(shown.names)}; {', '.join(wanted.names)}); name one in both"
        )
    if len(wanted) not in (1, len(shown)):
        raise ShapeError(f"{len(shown)} steps were measured, {len(wanted)} were wanted; give one a frame")
    a, b = (torch.stack([s.column(n) for n in names], 1).double() for s in (shown, wanted))
    return (a - b).square().sum(1)


def similarity(a: Tensor, b: Tensor) -> float:
    """Cosine of two embeddings [D]; the mean over frames of a face's and its photo's is the paper's CSS."""
    x, y = a.flatten().double(), b.flatten().double()
    if x.shape != y.shape:
        raise ShapeError(f"embeddings have {len(x)} and {len(y)} entries; use one embedder")
    length = float(x.norm() * y.norm())
    if not length > 0:
        raise InputError("an embedding is zero or not finite; the embedder saw no face it knows")
    return float(x @ y) / length


# --- distributions


def frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Fréchet distance of two Gaussians: |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), in float64."""
    a, b = cov_a.double(), cov_b.double()
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum()
    apart = (mean_a.double() - mean_b.double()).square().sum()
    return max(0.0, float(apart + a.trace() + b.trace() - 2 * cross))


def fid(a: Tensor, b: Tensor) -> float:
    """``frechet`` of the Gaussians fitted to features [n,D] and [m,D], at least two of each.

    tr (C_a C_b)^½ is the sum of singular values of X_a X_b^T, X being centred features over sqrt(n - 1):
    exact, and quick where there are fewer images than features.
    """
    check_shape(a, "nD", "features")
    check_shape(b, "nD", "features")
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"features are {list(a.shape)} and {list(b.shape)}; expected two or more images each, one length"
        )
    (mean_a, x), (mean_b, y) = _centred(a), _centred(b)
    if max(len(x), len(y)) > x.shape[1]:
        return frechet(mean_a, x.T @ x, mean_b, y.T @ y)
    cross = torch.linalg.svdvals(x @ y.T).sum()
    spread = x.square().sum() + y.square().sum()
    return max(0.0, float((mean_a - mean_b).square().sum() + spread - 2 * cross))


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    x = features.double()
    mean = x.mean(0)
    return mean, (x - mean) / math.sqrt(len(x) - 1)


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return float(np.mean(values)) if len(values) else None
