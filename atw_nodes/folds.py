"""Motion fields that fold, the paper's invalid motions (A.3): how much of one, and a Gaussian against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .pyramid import blurred
from .types import InputError, Motion, check_shape

MANY = 0.001  # share of a field from which folds are worth a word
MOST_SIGMA = 10.0  # per cent of the frame's side


def fold_share(field: Tensor) -> Tensor:
    """[T]: the share of a motion field [T,2,h,w] (fractions, see ``warp.py``) that folds, det(I + ∂d) <= 0.

    Between four neighbours a bilinear map's determinant is linear, so a cell of the grid folds exactly where
    one of its four corners does. ``ShapeError`` of fields under 2 x 2.
    """
    check_shape(field, "T2hw", "motion field")
    h, w = field.shape[-2:]
    if min(h, w) < 2:
        raise InputError(f"a motion field of {w}x{h} has no slope; expected at least 2x2")
    d = field.double()
    across, down = d.diff(dim=-1) * w, d.diff(dim=-2) * h  # [T,2,h,w-1], [T,2,h-1,w]
    folded = torch.zeros(len(d), h - 1, w - 1, dtype=torch.bool, device=d.device)
    for top in (0, 1):
        for left in (0, 1):
            x, y = across[:, :, top : h - 1 + top], down[..., left : w - 1 + left]
            folded |= (1 + x[:, 0]) * (1 + y[:, 1]) - x[:, 1] * y[:, 0] <= 0
    return folded.double().mean((1, 2))


@dataclass
class Watch:
    """The worst of the motion fields that it was shown: ``share`` of it folds."""

    share: float = 0.0

    def look(self, motions: Sequence[Motion]) -> None:
        """At motions of any faces and frames."""
        self.share = max(self.share, *(float(fold_share(m.field).max()) for m in motions))

    def note(self, smooth: float) -> str | None:
        """What to tell somebody who smoothed by ``smooth``; None where nothing is amiss."""
        if self.share < MANY:
            return None
        more = min(MOST_SIGMA, max(1.0, 2 * smooth))
        return (
            f"the motion folds over itself in {self.share:.1%} of the face's square, which looks torn; ask "
            f"for less, or smooth it: --smooth {more:g}"
        )


def smoothed(motion: Motion, sigma: float) -> Motion:
    """``motion`` after a Gaussian of standard deviation ``sigma``, in per cent of the frame's side; beyond
    the edge the field goes on. 0 is the motion itself, bit for bit; weights stay.
    """
    if not 0 <= sigma <= MOST_SIGMA:
        raise InputError(f"smoothing by {sigma:g} % of the frame; expected 0 to {MOST_SIGMA:g}")
    if sigma == 0:
        return motion
    h, w = motion.field.shape[-2:]
    return Motion(blurred(motion.field, sigma / 100 * w, sigma / 100 * h), motion.weight)
