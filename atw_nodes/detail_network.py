"""A small network that doubles the size of a picture; trained on mouths by ``recipes/detail.py``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .files import model_folders
from .pyramid import up_taps, upsample
from .types import CheckpointError, check_shape

FILE = "atw-detail.safetensors"
WIDTH, BLOCKS = 32, 5
_SHARE = 0.2  # of a block's convolutions in what it passes on


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + _SHARE * self.second(self.first(x).relu())


class Doubler(nn.Module):
    """[B,3,h,w] in [0,1] -> [B,3,2h,2w]. Fully convolutional; untrained, it is bilinear."""

    def __init__(self, width: int = WIDTH, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(self, image: Tensor) -> Tensor:
        check_shape(image, "B3HW", "image")
        height, width = image.shape[-2:]
        x = self.first(image - 0.5)
        x = self.last(x + self.blocks(x))
        return upsample(image, (2 * height, 2 * width)) + F.pixel_shuffle(x, 2)


def consistent(image: Tensor, small: Tensor, steps: int = 1) -> Tensor:
    """``image`` [B,C,kh,kw] brought to the area averages ``small`` [B,C,h,w]: what they miss is added,
    interpolated (Irani and Peleg 1991), ``steps`` times.
    """
    k = image.shape[-1] // small.shape[-1]
    missed = added = small - F.avg_pool2d(image, k)
    if steps > 1:  # what is added is missed again, less its own averages: all of it at the small size
        down, across = (_kept(n, k, small.dtype, small.device) for n in small.shape[-2:])
        for _ in range(steps - 1):
            missed = missed - down @ missed @ across.T
            added = added + missed
    return image + upsample(added, (image.shape[-2], image.shape[-1]))


@lru_cache(64)
def _kept(n: int, k: int, kind: torch.dtype, device: torch.device) -> Tensor:
    """[n,n]: the averages, along one axis, of ``n`` values enlarged ``k`` times."""
    taps = up_taps(n, n * k)
    enlarged = torch.zeros(n * k, n, dtype=torch.float64).scatter_add_(1, taps.index, taps.weight)
    return enlarged.view(n, k, n).mean(1).to(device, kind)


@lru_cache(maxsize=4)
def load_doubler(device: torch.device, path: Path | None = None) -> Doubler:
    """The network that ships with the pack, or that of ``path``; read once a process and device.

    A file that is missing, damaged or of other shapes is a ``CheckpointError``.
    """
    path = path or next((p for f in model_folders() if (p := f / FILE).is_file()), None)
    if path is None:
        raise CheckpointError(f'the pack lacks models/{FILE}; download it again, or set detail="sharp"')
    network = Doubler()
    try:
        network.load_state_dict(load_file(str(path)))  # half precision becomes float32
    except (SafetensorError, OSError, RuntimeError) as e:
        reason = str(e).splitlines()[0]
        raise CheckpointError(f"{path}: not the detail network ({reason}); download the pack again") from e
    return network.eval().requires_grad_(False).to(device)
