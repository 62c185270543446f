"""The discriminators: shapes, no normalisation across or within images, one pass for two questions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atw_nodes.discriminators import Discriminator, DiscriminatorConfig, Remembered, frozen, pair
from atw_nodes.types import InputError, ShapeError

SMALL = DiscriminatorConfig(4, size=32, width=4, layers=3)


def test_heads() -> None:
    judged = Discriminator(SMALL)(torch.rand(2, 3, 32, 32))
    assert judged.label.shape == (2, 4)
    assert judged.score is not None and judged.score.shape == (2, 1, 4, 4)
    both = pair(4, 32, 4, 3)
    assert both["warp"](torch.rand(2, 3, 32, 32)).score is None, "D^w has a driving head only"
    assert both["real"](torch.rand(2, 3, 32, 32)).score is not None


def test_an_image_is_judged_by_itself() -> None:
    """WGAN-GP's penalty is per image: nothing may mix a batch, nor normalise an image away."""
    torch.manual_seed(0)
    net, images = Discriminator(SMALL).double(), torch.rand(3, 3, 32, 32, dtype=torch.float64)
    together, alone = net(images), net(images[1:2])
    assert torch.allclose(together.label[1:2], alone.label, atol=1e-12)
    assert not any("Norm" in type(m).__name__ for m in net.modules())
    halves = [m.stride for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert halves.count((2, 2)) == SMALL.layers


def test_channels_double_up_to_a_bound() -> None:
    net = Discriminator(DiscriminatorConfig(1, size=64, width=8, layers=5, most=4))
    widths = [m.out_channels for m in net.trunk if isinstance(m, nn.Conv2d)]
    assert widths == [8, 16, 32, 32, 32]


@pytest.mark.parametrize("wrong", [{"size": 48, "layers": 5}, {"labels": 0}, {"width": 0}, {"layers": 0}])
def test_impossible_shapes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="cannot be built; expected"):
        DiscriminatorConfig(**{"labels": 2, "size": 64, "width": 4, "layers": 3, **wrong})


def test_other_images_are_refused() -> None:
    with pytest.raises(ShapeError, match="image for a discriminator"):
        Discriminator(SMALL)(torch.rand(1, 1, 32, 32))


def test_remembered_asks_once_about_an_image() -> None:
    calls = []

    class Counted(Discriminator):
        def forward(self, image: torch.Tensor):  # noqa: ANN202
            calls.append(image)
            return super().forward(image)

    net = Counted(SMALL)
    memory, a, b = Remembered(net), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert memory(a) is memory(a) and len(calls) == 1
    memory(b)
    assert len(calls) == 2
    memory.forget()
    memory(a)
    assert len(calls) == 3


def test_frozen_lets_gradients_through_but_makes_none() -> None:
    net, image = Discriminator(SMALL), torch.rand(1, 3, 32, 32, requires_grad=True)
    frozen(net)
    net(image).label.sum().backward()
    assert image.grad is not None and bool(image.grad.any())
    assert all(p.grad is None for p in net.parameters())
    frozen(net, False)
    net(image).label.sum().backward()
    assert all(p.grad is not None for p in net.trunk.parameters())


def test_config_survives_json() -> None:
    assert DiscriminatorConfig.from_json(SMALL.to_json()) == SMALL
