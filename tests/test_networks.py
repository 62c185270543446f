"""The generator: shapes and counts of the paper, and a zero that is exact and continuous."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from atw_nodes.checkpoints import Checkpoint, load_checkpoint
from atw_nodes.generation import generate
from atw_nodes.networks import Generator, GeneratorConfig, MouthDiscriminator, warped_low
from atw_nodes.pyramid import downsample, upsample
from atw_nodes.reswarp import decompose, reswarp
from atw_nodes.types import InputError, ShapeError
from atw_nodes.warp import backward_warp, identity_points, inverted
from tests.conftest import TINY, photo_like, tiny_generator, tiny_spec


def parameters(net: nn.Module) -> float:
    return sum(p.numel() for p in net.parameters()) / 1e6


def test_paper_configuration_is_the_published_network() -> None:
    config = GeneratorConfig.paper(17)
    assert (config.size, config.conditioning, config.zero, config.refine_source) == (
        128,
        "concat",
        0.0,
        False,
    )
    assert (config.motion_blocks, config.refine_blocks) == (6, 4)
    net = Generator(config)
    convs = [m for m in net.motion.modules() if isinstance(m, nn.Conv2d)]
    assert convs[0].in_channels == 3 + 17  # the signal is tiled beside the image
    assert [c.kernel_size[0] for c in convs[:3]] == [7, 4, 4]
    assert [c.stride[0] for c in convs[:3]] == [1, 2, 2]
    assert convs[-1].out_channels == 2
    refine = [m for m in net.refine.modules()]
    assert not any(isinstance(m, nn.InstanceNorm2d) for m in refine)  # keeps colours between O^w and O^r
    assert any(isinstance(m, nn.ELU) for m in refine)
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in net.motion.modules()) == 3 + 12 + 2
    assert next(m for m in net.refine.modules() if isinstance(m, nn.Conv2d)).in_channels == 3  # O^w alone
    strength = net.strength(torch.zeros(2, 17))
    assert bool((strength == 1).all())  # a = 1 even at zero signal


def test_width_covers_the_paper_range_of_parameters() -> None:
    assert parameters(Generator(GeneratorConfig.paper(17, width=28))) == pytest.approx(2.7, abs=0.1)
    assert parameters(Generator(GeneratorConfig.paper(17, width=52))) == pytest.approx(9.3, abs=0.2)
    assert 3.4 < parameters(Generator(GeneratorConfig(3))) < 3.6


@pytest.mark.parametrize("conditioning", ["film", "concat", "basis"])
@pytest.mark.parametrize("size", [32, 48])
def test_shapes_and_bound_of_the_motion(conditioning: str, size: int) -> None:
    config = GeneratorConfig(3, size=size, width=4, conditioning=conditioning, max_displacement=0.1)  # type: ignore[arg-type]
    net = tiny_generator(config)
    net.motion.last.weight *= 100
    out = net(torch.rand(2, 3, size, size), torch.ones(2, 3))
    assert [tuple(x.shape) for x in out] == [(2, 2, size, size), (2, 3, size, size), (2, 3, size, size)]
    assert 0.05 < float(out.field.abs().max()) <= 0.1 + 1e-6


def test_the_signal_reaches_the_motion() -> None:
    net, low = tiny_generator(), torch.rand(1, 3, 32, 32)
    a, b = (net.predict_motion(low, torch.tensor([s])) for s in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    assert float((a - b).abs().mean()) > 0.2 * float(a.abs().mean())


def test_zero_signal_is_exactly_the_input() -> None:
    net, low = tiny_generator(), torch.rand(2, 3, 32, 32)
    out = net(low, torch.zeros(2, 3))
    assert bool((out.field == 0).all())
    assert torch.equal(out.coarse, low)
    assert torch.equal(out.refined, low)


def test_the_mask_multiplies_the_field_before_the_warp() -> None:
    net, low, signal = tiny_generator(), torch.rand(1, 3, 32, 32), torch.ones(1, 3)
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    free, held = net(low, signal), net(low, signal, mask)
    assert torch.equal(held.field, free.field * mask)
    assert torch.equal(held.coarse[..., :8, :], low[..., :8, :])


def nets() -> list[Checkpoint]:
    tiny = Checkpoint(tiny_generator(), tiny_spec(), {}, Path("tiny"), "")
    try:
        return [tiny, load_checkpoint()]
    except Exception:  # no bundled checkpoint yet: the other tests say so
        return [tiny]


@pytest.mark.parametrize("checkpoint", nets(), ids=lambda c: c.path.stem)
def test_the_change_near_zero_is_bounded_by_the_strength(checkpoint: Checkpoint) -> None:
    size = checkpoint.generator.config.size
    low, signal = photo_like(size, size), checkpoint.signal.preset("smiling")
    per_unit = []
    for eps in (1e-3, 1e-2, 1e-1, 0.5, 1.0):
        out = checkpoint.generator(low, signal * eps)
        per_unit.append(max(float((x - low).abs().max()) for x in (out.coarse, out.refined)) / eps)
    k = 2.5 * max(per_unit[3:])  # what a unit of strength does when it is large bounds what it does near 0
    assert max(per_unit) <= k


@pytest.mark.parametrize("checkpoint", nets(), ids=lambda c: c.path.stem)
def test_a_clip_starts_without_a_pop(checkpoint: Checkpoint) -> None:
    size = checkpoint.generator.config.size
    photo = photo_like(2 * size, 2 * size)
    residuals = decompose(photo, size=size)
    weights = [i / 24 for i in range(25)]
    frames = []
    for low in generate(checkpoint, residuals, checkpoint.signal.preset("smiling"), weights):
        frames += list(reswarp(residuals, low.motion, low.refined))
    assert torch.equal(frames[0], photo)
    steps = torch.stack([(b - a).abs().mean() for a, b in zip(frames, frames[1:], strict=False)])
    assert float(steps[0]) <= 2 * float(steps.median())


def test_errors() -> None:
    net = tiny_generator()
    with pytest.raises(ShapeError, match="generator takes 32x32 images, got 64x64; decompose to 32"):
        net(torch.rand(1, 3, 64, 64), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match=r"signal has shape \[1, 2\], expected \[1, 3\]"):
        net(torch.rand(1, 3, 32, 32), torch.zeros(1, 2))
    with pytest.raises(InputError, match="conditioning 'adain' is unknown"):
        GeneratorConfig(3, conditioning="adain")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="size 30 cannot be built"):
        GeneratorConfig(3, size=30)


def test_config_round_trip() -> None:
    assert GeneratorConfig.from_json(TINY.to_json()) == TINY


def test_mouth_discriminator_maps() -> None:
    maps = MouthDiscriminator()(torch.rand(2, 4, 32, 48))
    assert tuple(maps[-1].shape) == (2, 1, 8, 12)
    assert len(maps) == 5


def test_basis_is_one_pass_for_every_signal() -> None:
    """Half a unit is half the forward field; units add; zero is exactly zero; a basis made before is the
    same."""
    net = tiny_generator(GeneratorConfig(3, size=32, width=4, conditioning="basis", field_scale=2))
    low = torch.rand(1, 3, 32, 32)
    basis = net.basis(low)
    assert tuple(basis.shape) == (1, 3, 2, 32, 32)
    signals = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0.5, 0], [1, 0.5, 0]]) * 1e-5
    fields = net.predict_motion(low.expand(4, -1, -1, -1), signals, basis=basis)
    assert tuple(fields.shape) == (4, 2, 64, 64) and bool((fields[0] == 0).all())
    assert torch.allclose(
        fields[1] + fields[2], fields[3], rtol=0.01, atol=1e-8
    )  # small: inversion hardly matters
    assert torch.allclose(fields, net.predict_motion(low.expand(4, -1, -1, -1), signals), atol=1e-8)
    with pytest.raises(InputError, match="field_scale"):
        GeneratorConfig(3, field_scale=2)


def test_a_finer_motion_moves_the_small_image_as_the_photo() -> None:
    """No motion and a smooth motion are what they are at the small size; a lid that shuts over an eye hides it
    in the small image as in the photo."""
    photo = downsample(photo_like(256, 256), (256, 256))
    low = downsample(photo, (64, 64))
    none = torch.zeros(1, 2, 128, 128)
    assert torch.equal(warped_low(low, none)[0], low)
    smooth = torch.full((1, 2, 128, 128), 3 / 64)
    assert torch.allclose(warped_low(low, smooth)[0], backward_warp(low, smooth[..., ::2, ::2]), atol=1e-5)

    y = identity_points(64, 64)[..., 1]
    inside = (y - 0.45) / 0.06  # 4 pixels of eye, and the skin above comes down over it
    down = torch.where(inside < 0, 0.084 * (1 + inside / 4).clamp(0, 1), 0.084 * (1 - inside).clamp(0, 1))
    forward = torch.stack([torch.zeros_like(down), down], 1)
    fine = inverted(upsample(forward, (256, 256)))
    black = ((identity_points(256, 256)[..., 1] - 0.48).abs() > 0.03).float()[:, None].expand(1, 3, -1, -1)
    eye = downsample(black, (64, 64))
    truth = downsample(backward_warp(black, fine), (64, 64))
    here, plain = warped_low(eye, fine)[0], backward_warp(eye, downsample(fine, (64, 64)))
    assert float(truth.min()) > 0.7  # shut: no more than its line
    assert float((here - truth).abs().max()) < 0.5 * float((plain - truth).abs().max())


def test_neutral_paint_is_no_greener_than_grey_unless_the_photo_is() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(2, size=32, width=4, motion_blocks=1, refine_blocks=1)
    plain, neutral = Generator(config), Generator(replace(config, neutral_paint=True))
    for p in plain.refine.parameters():
        p.data.mul_(3)  # paints something
    neutral.load_state_dict(plain.state_dict())
    low, field = torch.rand(4, 3, 32, 32), torch.zeros(4, 2, 32, 32)
    signal = torch.ones(4, 2)
    with torch.no_grad():
        coarse, a = plain.refine_warped(low, signal, field)
        _, b = neutral.refine_warped(low, signal, field)
        _, still = neutral.refine_warped(low, 0 * signal, field)
    assert torch.equal(still, coarse), "zero is zero"
    red, others = b[:, :1], b[:, 1:]
    allowed = (coarse[:, 1:] - coarse[:, :1]).clamp_min(0)
    share = 1 - float(plain.strength(signal)[0])  # what of the fade to zero is left at this signal
    assert float((others - allowed - red).max()) < share + 1e-5
    assert torch.equal(a[:, 1:], b[:, 1:]) and bool((b[:, 0] >= a[:, 0] - 1e-6).all()), "red alone is lifted"
    assert float((a[:, 1:] - allowed - a[:, :1]).max()) > float((others - allowed - red).max())


def test_even_channels_come_to_a_constant() -> None:
    """The signal need not be tiled: the first layer repeats its border, so it adds the same everywhere."""
    net, x, signal = tiny_generator().refine, torch.randn(2, 8, 32, 32), torch.randn(2, 3)
    tiled = torch.cat([x, signal[:, :, None, None].expand(-1, -1, 32, 32)], 1)
    assert torch.allclose(net(x, signal, signal), net(tiled, signal), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(net(x, signal, 0 * signal), net(tiled, signal), atol=1e-3)


def test_a_paint_box_repaints_what_is_inside_and_nothing_else() -> None:
    config = GeneratorConfig(2, 64, 8, refine_blocks=0, zero=0.0, paint_box=(0.25, 0.25, 0.75, 1.0))
    assert GeneratorConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    generator = Generator(config).eval()
    whole = Generator(replace(config, paint_box=None)).eval()
    whole.load_state_dict(generator.state_dict())
    low, signal, field = torch.rand(2, 3, 64, 64), torch.ones(2, 2), torch.zeros(2, 2, 64, 64)
    with torch.no_grad():
        coarse, boxed = generator.refine_warped(low, signal, field)
        _, all_of_it = whole.refine_warped(low, signal, field)
        assert torch.equal(
            generator.train().refine_warped(low, signal, field)[1],
            whole.train().refine_warped(low, signal, field)[1],
        )
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[16:, 16:48] = False
    assert torch.equal(boxed[..., outside], coarse[..., outside])
    middle = (..., slice(36, 44), slice(28, 36))  # further inside than the network sees
    change = (all_of_it - coarse)[middle].abs().max()
    assert float((boxed - all_of_it)[middle].abs().max()) < 0.1 * float(change) and float(change) > 0
    with pytest.raises(InputError, match="holds nothing; expected left < right"):
        GeneratorConfig(2, paint_box=(0.5, 0.0, 0.5, 1.0))


def test_a_step_is_warped_finely_where_it_is_as_everywhere() -> None:
    """Without gradients only around the step, with them all over: the same picture."""
    low, field = torch.rand(1, 3, 32, 32), torch.zeros(1, 2, 64, 64)
    field[..., 20:40, 30:44] = 0.1
    around, average = warped_low(low, field)
    everywhere, same = warped_low(low, field.clone().requires_grad_())
    assert torch.equal(average, same) and torch.allclose(around, everywhere, atol=1e-6)
    plain = backward_warp(low, average)
    assert not torch.allclose(around, plain, atol=1e-2) and torch.equal(around[..., :4, :], plain[..., :4, :])
