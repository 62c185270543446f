"""Detail where refinement shows what the photo does not have.

There the residual gate takes the photo's own detail away, and what was painted, R at S x S, comes enlarged
and blurred. X - up(R) is added to that and to nothing else, X being R enlarged to 512 x 512 at most such that
down(X) = R: by back-projection alone ("sharp"), or by a small network and back-projection ("learned").
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from .detail_network import consistent, load_doubler
from .pyramid import Upsampling, upsample
from .tiles import Tile

Detail = Literal["none", "sharp", "learned"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
_OPEN, _SHUT = 0.1, 0.5  # of the warped residual dropped: detail begins, and is there in full
_FINEST = 512  # side of the square that X is made for: what it costs is bounded
_MARGIN = 8  # cells around what is worked on
_STEPS = 4  # of back-projection


def share(drop: Tensor) -> Tensor:
    """[1,1,S,S]: how much of the detail belongs, of how much of the residual is dropped; 0 where next to
    nothing is.
    """
    t = ((drop - _OPEN) / (_SHUT - _OPEN)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def detailed(
    add: Tensor, refined: Tensor, drop: Tensor, detail: Detail, mode: Upsampling = "bilinear"
) -> Tensor:
    """``add``, the table of a correction [1,3,n,m], with detail where ``drop`` [1,1,S,S] says that content is
    new: written into ``add`` where that is as fine. ``add`` as it is where nothing is new, or where it is no
    finer than ``refined`` [1,3,S,S].

    mode: how ``refined`` was up-sampled for the table.
    """
    size, octaves = refined.shape[-1], 0
    while size << (octaves + 1) <= min(_FINEST, *add.shape[-2:]):
        octaves += 1
    weight, k = share(drop), 1 << octaves
    box = _around(weight, size)
    if k == 1 or box is None or detail == "none":
        return add
    x0, y0, x1, y1 = box
    small, shown = refined[..., y0:y1, x0:x1], _grown(weight[..., y0:y1, x0:x1], octaves)
    fine = (enlarged(small, octaves, detail) - _grown(small, octaves, mode)) * shown
    at = (..., slice(y0 * k, y1 * k), slice(x0 * k, x1 * k))
    if add.shape[-2:] == (size * k, size * k):
        add[at] += fine
        return add
    table = refined.new_zeros(1, 3, size * k, size * k)
    table[at] = fine
    return add + upsample(table, (add.shape[-2], add.shape[-1]))


def _around(weight: Tensor, size: int) -> Tile | None:
    """The cells where ``weight`` is not 0, and a margin; None where it is 0 everywhere."""
    shown, at = weight[0, 0] > 0, torch.arange(size, device=weight.device)
    rows, columns = shown.any(1), shown.any(0)
    ends = [torch.where(v, at, size).min() for v in (columns, rows)]
    ends += [torch.where(v, at, -1).max() for v in (columns, rows)]
    x0, y0, x1, y1 = torch.stack(ends).tolist()  # the only wait for the device
    if x1 < 0:
        return None
    low, high = (max(0, x0 - _MARGIN), max(0, y0 - _MARGIN)), (x1 + 1 + _MARGIN, y1 + 1 + _MARGIN)
    return *low, min(size, high[0]), min(size, high[1])


def enlarged(small: Tensor, octaves: int, detail: Detail = "learned") -> Tensor:
    """X [1,3,kh,kw], k = 2^octaves: ``small`` [1,3,h,w] enlarged, its area averages being ``small``."""
    if detail != "learned":
        return consistent(_grown(small, octaves), small, _STEPS)
    network, image = load_doubler(small.device), small.float()
    with torch.no_grad():
        for _ in range(octaves):
            image = consistent(consistent(network(image), image), small.float(), 2)
    return image.to(small.dtype)


def _grown(table: Tensor, octaves: int, mode: Upsampling = "bilinear") -> Tensor:
    for _ in range(octaves):
        table = upsample(table, (2 * table.shape[-2], 2 * table.shape[-1]), mode)
    return table
