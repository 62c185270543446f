"""Small frames of another animator at the photo's resolution: what must hold whatever the animator is."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
import torch

from atw_nodes.lift import LiftConfig, _enlarged, _Softness, _steadied, estimate_motion, lift, share
from atw_nodes.lift_motion import Estimate, Estimator, filled
from atw_nodes.pyramid import blurred, downsample, to_float, upsample
from atw_nodes.types import FaceFrame, InputError, Motion, ShapeError
from atw_nodes.warp import backward_warp

SIDE, SMALL = 256, 64


def scene(side: int = SIDE, seed: int = 0) -> torch.Tensor:
    """[1,3,side,side] float: something to see at every scale, down to single pixels."""
    g = torch.Generator().manual_seed(seed)
    parts = ((5, 0.4), (20, 0.3), (64, 0.2), (side, 0.1))
    layers = [a * upsample(torch.rand(1, 3, n, n, generator=g), (side, side), "bicubic") for n, a in parts]
    return sum(layers, torch.zeros(())).clamp(0, 1)


def smooth(side: int, amount: float, seed: int = 1) -> torch.Tensor:
    """[1,2,side,side]: a gentle motion in fractions of the side."""
    g = torch.Generator().manual_seed(seed)
    return amount * upsample(torch.randn(1, 2, 4, 4, generator=g), (side, side), "bicubic")


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def inner(x: torch.Tensor, margin: int = 8) -> torch.Tensor:
    return x[..., margin:-margin, margin:-margin]


PHOTO = scene()
BYTES = PHOTO.mul(255).round().byte()


# --- zero means zero


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_photo_reduced_is_the_photo(as_bytes: bool) -> None:
    small = downsample(BYTES, (SMALL, SMALL))
    small = small.mul(255).round().byte() if as_bytes else small
    (made,) = lift(BYTES, [small[0]])
    assert torch.equal(made, BYTES)
    ((motion, trust),) = estimate_motion(BYTES, [small])
    assert float(motion.weight) == 0 and not motion.field.any() and (trust == 1).all()


def test_a_clip_that_rests_between_moves_writes_the_photo_again() -> None:
    still = downsample(BYTES, (SMALL, SMALL))
    moved = downsample(backward_warp(PHOTO, smooth(SIDE, 0.02)), (SMALL, SMALL))
    buffer = torch.empty_like(BYTES)
    same = [torch.equal(frame, BYTES) for frame in lift(BYTES, [still, moved, still], out=buffer)]
    assert same == [True, False, True]


def test_nothing_happens_around_a_crop() -> None:
    frame = FaceFrame(((100.0, 0.0, 60.0), (0.0, 120.0, 80.0)), SIDE, SIDE)
    crop = backward_warp(PHOTO, smooth(SIDE, 0.02))[..., 80:200, 60:160]
    (made,) = lift(BYTES, [downsample(crop, (60, 50))], frame)
    changed = (made != BYTES).any(1)[0]
    assert changed[80:200, 60:160].float().mean() > 0.5
    changed[80:200, 60:160] = False
    assert not changed.any()


# --- motion


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (33, 50)])
@pytest.mark.parametrize("shift", [(0.3, -0.4), (2.0, 1.0), (-7.5, 4.0)])
def test_a_translation_is_found_to_a_tenth_of_a_pixel(
    size: tuple[int, int], shift: tuple[float, float]
) -> None:
    field = torch.tensor(shift)[None, :, None, None] / torch.tensor(size[::-1])[None, :, None, None]
    small = downsample(backward_warp(PHOTO, field.expand(1, 2, SIDE, SIDE).contiguous()), size)
    found = Estimator(PHOTO, FaceFrame.whole(SIDE, SIDE), size)(small).field
    pixels = inner(found * torch.tensor(size[::-1])[None, :, None, None], 10)
    assert (pixels.mean((0, 2, 3)) - torch.tensor(shift)).abs().max() < 0.1


def test_a_change_of_light_moves_nothing() -> None:
    light = 1 + 0.25 * upsample(torch.tensor([[[[1.0, -1.0], [0.0, 1.0]]]]), (SMALL, SMALL))
    small = (downsample(PHOTO, (SMALL, SMALL)) * light).clamp(0, 1)
    found = Estimator(PHOTO, FaceFrame.whole(SIDE, SIDE), (SMALL, SMALL))(small).field * SMALL
    assert found.norm(dim=1).mean() < 0.05


def test_the_motion_fades_out_with_the_crop() -> None:
    frame = FaceFrame(((160.0, 0.0, 40.0), (0.0, 160.0, 40.0)), SIDE, SIDE, 0.1)
    crop = torch.roll(PHOTO, (6, 6), (2, 3))[..., 40:200, 40:200]
    ((motion, _),) = estimate_motion(PHOTO, [downsample(crop, (64, 64))], frame)
    assert not motion.field[..., 0, :].any() and not motion.field[..., :, -1].any()
    assert (inner(motion.field, 16).mean((0, 2, 3)) * 160 + 6).abs().max() < 0.3


def test_what_is_hidden_is_not_trusted() -> None:
    small = downsample(PHOTO, (SMALL, SMALL))
    small[..., 20:44, 20:44] = scene(SMALL, 5)[..., 20:44, 20:44]
    trust = Estimator(PHOTO, FaceFrame.whole(SIDE, SIDE), (SMALL, SMALL))(small).confidence[0, 0]
    assert trust[24:40, 24:40].mean() < 0.7
    assert trust[:16].mean() > 0.95


def test_holes_are_filled_from_around() -> None:
    cells = torch.ones(1, 2, 32, 32)
    cells[..., 10:20, 10:20] = 50.0
    trust = torch.ones(1, 1, 32, 32)
    trust[..., 10:20, 10:20] = 0.0
    assert (filled(cells, trust) - 1).abs().max() < 1e-3
    assert torch.allclose(filled(cells, torch.ones(1, 1, 32, 32)), cells)


def test_trembling_is_taken_out_and_motion_is_not() -> None:
    def clip(at: list[float]) -> Iterator[tuple[torch.Tensor, Estimate, float]]:
        for v in at:
            field = torch.full((1, 2, 8, 8), v / 8)  # v cells
            yield torch.zeros(1, 3, 8, 8), Estimate(field, torch.ones(1, 1, 8, 8)), 1.0

    def steadied(at: list[float]) -> list[float]:
        return [float(e.field.mean()) * 8 for _, e, _ in _steadied(clip(at), 0.25)]

    assert steadied([0, 1, 2, 3, 4]) == pytest.approx([0, 1, 2, 3, 4])
    calm = steadied([0, 0.1, 0, 0.1, 0])
    assert calm[2] == pytest.approx(0.05, abs=0.01)
    assert steadied([0, 3, 0])[1] == pytest.approx(3.0)


# --- frames


@pytest.mark.parametrize("size", [64, 128])
def test_better_than_enlarging_and_than_the_residual_as_it_is(size: int) -> None:
    field = smooth(SIDE, 0.02)
    light = 1 + 0.15 * upsample(torch.tensor([[[[1.0, -1.0], [0.0, 1.0]]]]), (SIDE, SIDE))
    truth = (backward_warp(PHOTO, field) * light).clamp(0, 1)
    small = downsample(truth, (size, size))
    (made,) = lift(PHOTO, [small])
    plain = upsample(small, (SIDE, SIDE), "bicubic")
    assert psnr(made, truth) > psnr(plain, truth) + 6
    low = upsample(downsample(PHOTO, (size, size)), (SIDE, SIDE))
    ((motion, _),) = estimate_motion(PHOTO, [small])
    moved = upsample(motion.field, (SIDE, SIDE))
    vanilla = upsample(small, (SIDE, SIDE)) + backward_warp(PHOTO - low, moved)
    assert psnr(made, truth) > psnr(vanilla, truth) + 1


def test_new_content_is_that_of_the_frame() -> None:
    truth = PHOTO.clone()
    truth[..., 96:160, 96:160] = upsample(scene(16, 9), (64, 64), "bicubic")  # smooth: nothing of the photo
    small = downsample(truth, (SMALL, SMALL))
    (made,) = lift(PHOTO, [small])
    (open_,) = lift(PHOTO, [small], config=LiftConfig(gate=False))
    here = (..., slice(104, 152), slice(104, 152))
    assert psnr(made[here], truth[here]) > psnr(open_[here], truth[here]) + 3
    assert psnr(made[..., :80, :], truth[..., :80, :]) > 40


def test_reduced_again_it_is_the_frame() -> None:
    small = downsample(backward_warp(PHOTO, smooth(SIDE, 0.02)), (SMALL, SMALL))
    (made,) = lift(PHOTO, [small])
    assert (downsample(made, (SMALL, SMALL)) - small).abs().mean() < 2e-3
    table = scene(32, 4)
    at = upsample(_enlarged(table, 8), (256, 256))
    plain = upsample(table, (256, 256))
    assert psnr(downsample(at, (32, 32)), table) > psnr(downsample(plain, (32, 32)), table) + 10


@pytest.mark.parametrize("sigma", [0.7, 1.2])
def test_a_soft_animator_makes_no_soft_result(sigma: float) -> None:
    truth = backward_warp(PHOTO, smooth(SIDE, 0.02))
    small = blurred(downsample(truth, (SMALL, SMALL)), sigma)
    (made,) = lift(PHOTO, [small])
    plain = upsample(small, (SIDE, SIDE), "bicubic")
    assert psnr(made, truth) > psnr(plain, truth) + 3
    assert made.std() > 0.97 * truth.std() > 1.03 * plain.std()


def test_softness_is_what_was_done_to_the_photo() -> None:
    image, light, trust = scene(64), torch.ones(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    for shown in (image, blurred(image, 0.8), 1.3 * image - 0.3 * blurred(image, 0.8)):
        soft = _Softness()(shown, light, image, trust)
        assert inner((soft - shown).abs(), 4).mean() < 0.1 * max(float((image - shown).abs().mean()), 1e-3)
    flat = torch.full_like(image, 0.4)
    assert (_Softness()(flat, light, flat, trust) - flat).abs().max() < 1e-5


def test_share_is_one_where_textures_agree_and_falls_where_they_do_not() -> None:
    a, b, trust = scene(64), scene(64, 7), torch.ones(1, 1, 64, 64)
    assert share(a, a, trust).min() > 0.999
    assert share(a, b, trust).mean() < 0.3
    assert (share(a, b, trust * 0) <= share(a, b, trust) + 1e-6).all()
    assert (share(torch.full_like(a, 0.5), torch.full_like(a, 0.4), trust) > 0.999).all()


def test_types_and_alpha_are_the_photos() -> None:
    field = smooth(SIDE, 0.02)
    small = downsample(backward_warp(PHOTO, field), (SMALL, SMALL))
    four = torch.cat([BYTES, BYTES[:, :1]], 1)
    (made,) = lift(four, [small])
    assert made.dtype == torch.uint8 and made.shape == four.shape
    (exact,) = lift(PHOTO, [small])
    assert (exact.mul(255).round() - made[:, :3].float()).abs().max() <= 1
    moved = backward_warp(PHOTO[:, :1], field)
    assert psnr(to_float(made[:, 3:]), moved) > psnr(PHOTO[:, :1], moved) + 6


def test_frames_come_one_by_one() -> None:
    asked: list[int] = []

    def frames() -> Iterator[torch.Tensor]:
        for k in range(5):
            asked.append(k)
            yield downsample(torch.roll(PHOTO, k, 3), (32, 32))[0]

    made = lift(PHOTO, frames())
    for k in range(3):
        next(made)
        assert len(asked) == k + 2  # one ahead


def test_frames_are_let_go() -> None:
    """Of a clip of any length, only a frame and its neighbours are in memory, small or large."""
    small: list[weakref.ref[torch.Tensor]] = []
    large: list[weakref.ref[torch.Tensor]] = []

    def frames() -> Iterator[torch.Tensor]:
        for k in range(8):
            frame = downsample(torch.roll(PHOTO, k, 3), (32, 32))[0]
            small.append(weakref.ref(frame))
            yield frame
            del frame

    for made in lift(PHOTO, frames()):
        large.append(weakref.ref(made))
        del made
        assert sum(r() is not None for r in small) <= 3 and sum(r() is not None for r in large) <= 1


def test_a_motion_of_ones_own() -> None:
    field = downsample(smooth(SIDE, 0.02), (SMALL, SMALL))
    truth = backward_warp(PHOTO, upsample(field, (SIDE, SIDE)))
    small = downsample(truth, (SMALL, SMALL))
    (made,) = lift(PHOTO, [small], motion=Motion(field, torch.ones(1)))
    assert psnr(made, truth) > 45
    with pytest.raises(ShapeError, match="motion has 1 frames, more"):
        list(lift(PHOTO, [small, small], motion=Motion(field, torch.ones(1))))
    with pytest.raises(ShapeError, match="motion has 1 frames, 0"):
        list(lift(PHOTO, [], motion=Motion(field, torch.ones(1))))


def test_bad_input_says_what_to_do() -> None:
    small = downsample(PHOTO, (32, 32))
    with pytest.raises(ShapeError, match="frame 1 is 16x16, the first is 32x32"):
        list(lift(PHOTO, [small, downsample(PHOTO, (16, 16))]))
    with pytest.raises(InputError, match="too small; expected at least 16"):
        list(lift(PHOTO, [downsample(PHOTO, (8, 8))]))
    with pytest.raises(ShapeError, match="make the frame for this photo"):
        lift(PHOTO, [small], FaceFrame.whole(100, 100))
    with pytest.raises(ShapeError, match="channels"):
        lift(PHOTO[:, :2], [small])
    with pytest.raises(InputError, match="steady"):
        LiftConfig(steady=-1)
