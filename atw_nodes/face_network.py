"""The face network: a finder of faces in small images, and a reader of landmarks and action units in a frame.

Both are trained by ``recipes/face.py`` and live in one file, ``models/atw-face-128.safetensors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .signals import EYE_CORNERS
from .types import InputError, check_shape
from .warp import identity_points

STRIDE = 4  # pixels of a cell of the finder
REACH = 12.0  # pixels: eyes this far from a cell's centre have the regressed position 1
_MAPPED = (2, 4, 6)  # layers of the reader's trunk that its heat maps are made from
EYES = (6.0, 18.0)  # eye distances in pixels that the finder is trained to see


@dataclass(frozen=True)
class FaceNetworkConfig:
    """Everything that decides the network's shape; stored in the checkpoint.

    size: side of the image that the reader sees. view: side of that square in the head-shot frame, with its
    middle at ``middle`` (fractions of the frame). width: channels of its first layer. flat: channels from
    which presence and units are read. maps: channels of the heat maps that landmarks are read from; 0 reads
    them from ``flat`` too. finder: channels of the finder at a stride of 4. landmarks: how many. units:
    names of the action units it estimates.
    """

    units: tuple[str, ...]
    size: int = 128
    width: int = 24
    finder: int = 24
    landmarks: int = 478
    view: float = 1.0
    middle: tuple[float, float] = (0.5, 0.5)
    flat: int = 24
    maps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))
        object.__setattr__(self, "middle", tuple(self.middle))
        if self.size % 16 or self.size < 32 or min(self.width, self.finder, self.flat, self.landmarks) < 1:
            raise InputError(
                f"face network of size {self.size}, width {self.width} cannot be built; "
                "expected a size that is a multiple of 16, at least 32, and widths of at least 1"
            )

    def to_json(self) -> dict[str, Any]:
        """A plain object for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FaceNetworkConfig:
        """Inverse of ``to_json``."""
        return cls(**data)


class Reading(NamedTuple):
    """What the reader says of B framed faces."""

    landmarks: Tensor  # [B,L,2] fractions of the crop
    presence: Tensor  # [B] logit: is there a face at all, framed as it should be
    units: Tensor  # [B,N] action units as shown


def _conv(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(o),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class _Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(i, o, 3, stride), _conv(o, o, 3, act=False))
        self.skip = nn.Identity() if i == o and stride == 1 else _conv(i, o, 1, stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.skip(x) + self.body(x)).relu_()


class Finder(nn.Module):
    """Fully convolutional: an image of any size -> for each cell of 4x4 pixels a score and two eyes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        w, wide = width, width * 5 // 3
        self.stem = nn.Sequential(_conv(3, w * 2 // 3, 3, 2), _conv(w * 2 // 3, w, 3, 2), _conv(w, w, 3))
        self.deep = nn.Sequential(
            _conv(w, wide, 3, 2), *(_Block(wide, wide) for _ in range(3)), _conv(wide, w, 1, act=False)
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Sequential(_conv(w, w, 3), nn.Conv2d(w, 5, 1))
        nn.init.constant_(self.head[-1].bias[:1], -4.0)  # type: ignore[index]

    def forward(self, image: Tensor) -> Tensor:
        """[B,3,H,W] in [0,1], H and W multiples of 8 -> [B,5,H/4,W/4].

        Channel 0: logit of "midway between two eyes". 1 to 4: the left eye's (x, y) and the right eye's,
        from the cell's centre, in units of ``REACH`` pixels.
        """
        check_shape(image, "B3HW", "image")
        x = self.stem(image * 2 - 1)
        return self.head((x + self.up(self.deep(x))).relu_())


class _Maps(nn.Module):
    """Where each landmark is: a heat map at a quarter of the crop's size, and its centre of mass
    (soft-argmax; Luvizon et al. 2017).
    """

    def __init__(self, widths: tuple[int, int, int], maps: int, landmarks: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow = nn.ModuleList([_conv(coarse, middle, 1), _conv(middle, fine, 1)])
        self.mix = nn.ModuleList([_Block(middle, middle), _Block(fine, maps)])
        self.last = nn.Conv2d(maps, landmarks, 1)

    def forward(
        self, fine: Tensor, middle: Tensor, coarse: Tensor, only: Sequence[int] | None = None
    ) -> Tensor:
        """Features at 1/4, 1/8, 1/16 -> [B,L,2] fractions of the crop; of the landmarks ``only``, or all."""
        x = self.mix[0](middle + self.up(self.narrow[0](coarse)))
        x = self.mix[1](fine + self.up(self.narrow[1](x)))
        at = identity_points(*x.shape[-2:], like=x).float().reshape(-1, 2)
        weight, bias = self.last.weight.flatten(1), cast(Tensor, self.last.bias)
        if only is not None:
            weight, bias = weight[list(only)], bias[list(only)]
        maps = weight @ x.flatten(2) + bias[:, None]  # ``last``, with each map in one piece: half the time
        return torch.softmax(maps.float(), -1) @ at


def face_points(landmarks: Tensor) -> Tensor:
    """[B,L,2] -> [B,2L]: upright, from between the eyes, in eye distances (as ``signals.to_face``)."""
    left, right = (landmarks[:, list(e)].mean(1) for e in EYE_CORNERS)
    across = right - left
    length = across.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    ex = across / length
    turn = torch.stack([ex, torch.stack([-ex[:, 1], ex[:, 0]], -1)], -1)
    q = (landmarks - ((left + right) / 2)[:, None]) @ turn / length[:, None]
    return q.flatten(1)


class Reader(nn.Module):
    """Landmarks, presence and action units of a framed face."""

    def __init__(self, config: FaceNetworkConfig) -> None:
        super().__init__()
        w, n = config.width, (config.size // 16) ** 2 * config.flat
        w2, w4, w8 = (w * k // 3 for k in (4, 8, 16))
        self.trunk = nn.Sequential(
            _conv(3, w, 3, 2),
            *(_Block(i, o, 2 if i != o else 1) for i, o in ((w, w2), (w2, w2), (w2, w4), (w4, w4))),
            *(_Block(i, o, 2 if i != o else 1) for i, o in ((w4, w8), (w8, w8))),
        )
        self.flat = nn.Sequential(_conv(w8, config.flat, 1), nn.Flatten())
        self.face = nn.Sequential(nn.Linear(n, 128), nn.ReLU(), nn.Linear(128, 1 + len(config.units)))
        if config.maps:
            self.maps = _Maps((w2, w4, w8), config.maps, config.landmarks)
            self.geometry = nn.Linear(2 * config.landmarks, len(config.units))
        else:
            self.shape = nn.Sequential(nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, config.landmarks * 2))

    def _seen(self, crops: Tensor) -> list[Tensor]:
        """What every layer of the trunk makes of the crops."""
        check_shape(crops, "B3SS", "face crop")
        centred = crops - crops.mean((1, 2, 3), keepdim=True)
        x = centred / (centred.std((1, 2, 3), keepdim=True) + 0.02)
        seen = []
        for layer in self.trunk:
            x = layer(x)
            seen.append(x)
        return seen

    def glance(self, crops: Tensor, least: float) -> tuple[Tensor, Tensor]:
        """(presence [B], eye centres [B,2,2] in fractions of the crop) as ``forward`` gives them, for half
        the work. Where presence is below ``least``, a logit, nobody looks for eyes and they are 0.
        """
        seen = self._seen(crops)
        flat = self.flat(seen[-1])
        presence = self.face(flat)[:, 0]
        rows = torch.nonzero(presence >= least)[:, 0]
        corners = [i for eye in EYE_CORNERS for i in eye]
        eyes = crops.new_zeros(len(crops), 2, 2)
        if not hasattr(self, "maps"):
            points = self.shape(flat[rows]).unflatten(1, (-1, 2))[:, corners] + 0.5
        else:
            points = self.maps(*(seen[k][rows] for k in _MAPPED), corners)
        eyes[rows] = points.unflatten(1, (2, -1)).mean(2)
        return presence, eyes

    def forward(self, crops: Tensor) -> Reading:
        """``crops`` [B,3,S,S] in [0,1]: the ``view`` of head-shot frames. Their contrast does not matter."""
        seen = self._seen(crops)
        flat = self.flat(seen[-1])
        face = self.face(flat)
        if not hasattr(self, "maps"):
            shape = self.shape(flat).unflatten(1, (-1, 2)) + 0.5
            return Reading(shape, face[:, 0], face[:, 1:])
        shape = self.maps(*(seen[k] for k in _MAPPED))
        # detached: else units are got right by moving the eyes apart, in whose distance all else is measured
        return Reading(shape, face[:, 0], face[:, 1:] + self.geometry(face_points(shape.detach())))


class FaceNetwork(nn.Module):
    """Finder and reader."""

    def __init__(self, config: FaceNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.finder, self.reader = Finder(config.finder), Reader(config)

    def fused(self) -> FaceNetwork:
        """The same function with every normalisation folded into its convolution; for inference only."""
        copy = deepcopy(self).eval().requires_grad_(False)
        for module in copy.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = True  # fresh memory costs a quarter of the finder's time
            if isinstance(module, nn.Sequential):
                for k in range(len(module) - 1):
                    conv, norm = module[k], module[k + 1]
                    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                        module[k], module[k + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
        return copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def peaks(scores: Tensor, threshold: float) -> Tensor:
    """Cells [n,2] (row, column) of ``scores`` [H,W] that are no less than their eight neighbours and
    ``threshold``.
    """
    highest = nn.functional.max_pool2d(scores[None, None], 3, 1, 1)[0, 0]
    return torch.nonzero((scores >= highest) & (scores >= threshold))
