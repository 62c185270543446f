"""The two discriminators of the paper (Sec. 3.2): D^r judges refined images, D^w warped ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from .types import InputError, check_shape


class Judged(NamedTuple):
    """What a discriminator says of a batch of images."""

    score: (
        Tensor | None
    )  # [B,1,h,w] realism of each patch, without a bound; None from D^w, which has no such head
    label: Tensor  # [B,N] the driving signal it reads: logits of categories, or units


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Shape of a discriminator.

    labels: length of the driving signal it predicts. size: side of the images. width: channels of the first
    layer; they double with every layer, up to ``most`` times. layers: stride-2 convolutions. adversarial:
    with a head for realism (D^r) or without (D^w).
    """

    labels: int
    size: int = 128
    width: int = 32
    layers: int = 5
    most: int = 16
    adversarial: bool = True

    def __post_init__(self) -> None:
        if min(self.labels, self.width, self.layers, self.most) < 1 or self.size % 2**self.layers:
            raise InputError(
                f"discriminator of {self.labels} labels, width {self.width}, {self.layers} layers "
                f"for {self.size}x{self.size} images cannot be built; expected 1 or more of each, a size "
                f"that {self.layers} halvings divide ({2**self.layers}, {2 * 2**self.layers}, ...)"
            )

    def to_json(self) -> dict[str, Any]:
        """A plain object for a training's state."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DiscriminatorConfig:
        """Inverse of ``to_json``."""
        return cls(**data)


class Discriminator(nn.Module):
    """Stride-2 4x4 convolutions with leaky ReLU; no normalisation, since WGAN-GP's penalty is an image's own
    (Gulrajani et al. 2017, Sec. 4). Heads: realism by patch, and the driving signal.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        channels = [3, *(config.width * min(2**k, config.most) for k in range(config.layers))]
        self.trunk = nn.Sequential()
        for i, o in zip(channels[:-1], channels[1:], strict=True):
            self.trunk.extend([nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(0.01)])
        side = config.size >> config.layers
        self.adversarial = nn.Conv2d(channels[-1], 1, 3, 1, 1, bias=False) if config.adversarial else None
        self.driving = nn.Conv2d(channels[-1], config.labels, side, bias=False)

    def forward(self, image: Tensor) -> Judged:
        """``image`` [B,3,S,S] in [0,1]."""
        check_shape(image, "B3SS", "image for a discriminator")
        features = self.trunk(image * 2 - 1)
        score = None if self.adversarial is None else self.adversarial(features)
        return Judged(score, self.driving(features).flatten(1))


def pair(labels: int, size: int, width: int = 32, layers: int = 5) -> nn.ModuleDict:
    """D^r under "real", D^w under "warp"."""
    return nn.ModuleDict(
        {
            "real": Discriminator(DiscriminatorConfig(labels, size, width, layers)),
            "warp": Discriminator(DiscriminatorConfig(labels, size, width, layers, adversarial=False)),
        }
    )


class Remembered:
    """A network that answers once about each image until ``forget``: two losses on one image cost one pass.

    Only for calls between two updates of the network, with gradients wanted alike.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._seen: dict[int, tuple[Tensor, Judged]] = {}

    def __call__(self, image: Tensor) -> Judged:
        if id(image) not in self._seen:  # the image is kept beside its answer, so that its id stays taken
            self._seen[id(image)] = (image, self.network(image))
        return self._seen[id(image)][1]

    def forget(self) -> None:
        self._seen.clear()


def frozen(network: nn.Module, yes: bool = True) -> None:
    """Gradients pass through a frozen network but are not made for its weights, which saves a third."""
    for p in network.parameters():
        p.requires_grad_(not yes)
