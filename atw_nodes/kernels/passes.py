"""What every mode of ResWarp comes down to, whoever computes it (``reswarp.py`` for the modes):

    out(p) = W + m·(add - drop·W),   W(p) = (source - up(minus))(to_source·p + field(to_canonical·p))

over a box of output pixels. m is the frame's feather mask; where it is 0 the output is the source itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from ..pyramid import Taps, Upsampling, taps_at
from ..types import Affine

_DENSE = 1 << 22  # entries of an axis kept as one matrix
IDENTITY: Affine = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Pass:
    """source: [1,C,H,W], uint8 or float. field: [1,2,n,n], displacements in pixels of the source.

    to_source, to_canonical: from positions in the output, in pixels, to the source's pixels and to the
    tables' unit square. minus: [1,C,h,w], up-sampled over the source's plane. add: [1,C,k,k], drop:
    [1,1,k,k], up-sampled over the unit square. warped: W [1,C,H,W], where it is made already, in the source's
    type or float; it may be what is written into. upsample: how images are up-sampled; the field always
    bilinearly.
    """

    source: Tensor
    field: Tensor
    to_canonical: Affine
    to_source: Affine = IDENTITY
    minus: Tensor | None = None
    add: Tensor | None = None
    drop: Tensor | None = None
    feather: float = 0.0
    warped: Tensor | None = None
    upsample: Upsampling = "bilinear"

    @property
    def straight(self) -> bool:
        """Rows and columns of the output are rows and columns of the tables: they are separable."""
        return self.to_canonical[0][1] == 0 and self.to_canonical[1][0] == 0

    @property
    def fusible(self) -> bool:
        """Whether the fused kernel computes it: bilinear, and no double precision."""
        return self.upsample == "bilinear" and self.source.dtype != torch.float64


@dataclass(frozen=True, eq=False)
class Axis:
    """Interpolation along one axis as a dense matrix, of which a tile takes a part: ``count`` outputs, whose
    centres lie at (i + 0.5)·scale + offset of ``inputs`` cells. Nothing is computed before it is used.
    """

    scale: float
    offset: float
    count: int
    inputs: int
    mode: Upsampling = "bilinear"

    @cached_property
    def taps(self) -> Taps:
        at = (torch.arange(self.count, dtype=torch.float64) + 0.5) * self.scale + self.offset
        return taps_at(at, self.inputs, self.mode)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last input of every output: a span costs no operator of torch."""
        return self.taps.index.amin(1).numpy(), self.taps.index.amax(1).numpy()

    @cached_property
    def _dense(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """(first, one past the last) input of outputs ``start`` to ``stop``."""
        first, last = self._ends
        return int(first[start]), int(last[stop - 1]) + 1

    def part(self, start: int, stop: int, like: Tensor) -> Tensor:
        """[outputs, inputs] weights of ``start`` to ``stop``, in the type and on the device of ``like``."""
        first, last = self.span(start, stop)
        if self.count * self.inputs > _DENSE:
            part = self.taps.part(start, stop)
            return _matrix(part.shifted(first), last - first, like.dtype).to(like.device)
        key = like.dtype, like.device
        if key not in self._dense:
            self._dense[key] = _matrix(self.taps, self.inputs, like.dtype).to(like.device)
        return self._dense[key][start:stop, first:last]


def _matrix(taps: Taps, inputs: int, kind: torch.dtype) -> Tensor:
    """[n,inputs] weights."""
    weights = torch.zeros(len(taps.index), inputs, dtype=kind)
    return weights.scatter_add_(1, taps.index, taps.weight.to(kind))


axis = lru_cache(32)(Axis)
