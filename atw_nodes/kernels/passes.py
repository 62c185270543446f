"""What every mode of ResWarp comes down to, whoever computes it (``reswarp.py`` for the modes):

    out(p) = W + m·(add - drop·W),   W(p) = (source - up(minus))(to_source·p + field(to_canonical·p))

over a box of output pixels. m is the frame's feather mask; where it is 0 the output is the source itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..pyramid import Taps, Upsampling, taps_at
from ..types import Affine

Tile = tuple[int, int, int, int]  # left, top, right, bottom
_DENSE = 1 << 22  # entries of an axis kept as one matrix
IDENTITY: Affine = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Pass:
    """source: [1,C,H,W], uint8 or float. field: [1,2,n,n], displacements in pixels of the source.

    to_source, to_canonical: from positions in the output, in pixels, to the source's pixels and to the
    tables' unit square. minus: [1,C,h,w], up-sampled over the source's plane. add: [1,C,k,k], drop:
    [1,1,k,k], up-sampled over the unit square. upsample: how images are up-sampled; the field always
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
    upsample: Upsampling = "bilinear"

    @property
    def straight(self) -> bool:
        """Rows and columns of the output are rows and columns of the tables: they are separable."""
        return self.to_canonical[0][1] == 0 and self.to_canonical[1][0] == 0


class Axis:
    """Interpolation along one axis as a dense matrix, of which a tile takes a part."""

    def __init__(self, taps: Taps, inputs: int) -> None:
        self.taps, self._inputs = taps, inputs
        self._first, self._last = taps.index.amin(1).numpy(), taps.index.amax(1).numpy()
        self._dense: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """(first, one past the last) input of outputs ``start`` to ``stop``."""
        return int(self._first[start]), int(self._last[stop - 1]) + 1

    def part(self, start: int, stop: int, like: Tensor) -> Tensor:
        """[outputs, inputs] weights of ``start`` to ``stop``, in the type and on the device of ``like``."""
        (first, last), n = self.span(start, stop), len(self._first)
        if n * self._inputs > _DENSE:
            part = self.taps.part(start, stop)
            return _matrix(part.shifted(first), last - first, like.dtype).to(like.device)
        key = like.dtype, like.device
        if key not in self._dense:
            self._dense[key] = _matrix(self.taps, self._inputs, like.dtype).to(like.device)
        return self._dense[key][start:stop, first:last]


def _matrix(taps: Taps, inputs: int, kind: torch.dtype) -> Tensor:
    """[n,inputs] weights."""
    weights = torch.zeros(len(taps.index), inputs, dtype=kind)
    return weights.scatter_add_(1, taps.index, taps.weight.to(kind))


@lru_cache(32)
def axis(scale: float, offset: float, count: int, inputs: int, mode: Upsampling = "bilinear") -> Axis:
    """Outputs 0..count, whose centres lie at (i + 0.5)·scale + offset of an input of ``inputs`` cells."""
    at = (torch.arange(count, dtype=torch.float64) + 0.5) * scale + offset
    return Axis(taps_at(at, inputs, mode), inputs)
