"""ResWarp against the paper's formulas, written out naively, and the identities every mode must keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from atw_nodes import reswarp as R
from atw_nodes import tiles
from atw_nodes.frames import frame_from_box, frame_from_eyes
from atw_nodes.kernels import Backend
from atw_nodes.pyramid import area_taps, downsample, pyramid_sizes
from atw_nodes.reswarp import (
    ReswarpConfig,
    ReswarpMode,
    _canonical_warp,
    decompose,
    residual_gate,
    reswarp,
    warped,
)
from atw_nodes.types import FaceFrame, InputError, Motion, ShapeError
from atw_nodes.warp import backward_warp
from tests.conftest import photo_like, smooth_field

SIZES = [(256, 256), (512, 384), (333, 517), (100, 90), (90, 700), (1100, 600)]
MODES = list(ReswarpMode)


def down(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    for dim in (-2, -1):
        n = image.shape[dim]
        taps = area_taps(n, size[dim])
        matrix = (
            torch.zeros(size[dim], n, dtype=torch.float64).scatter_add_(1, taps.index, taps.weight).to(image)
        )
        image = matrix @ image if dim == -2 else image @ matrix.T
    return image


def up(image: torch.Tensor, size: tuple[int, int], mode: str = "bilinear") -> torch.Tensor:
    corners = {} if mode.startswith("nearest") else {"align_corners": False}
    return F.interpolate(image, size=size, mode=mode, **corners)


def naive_vanilla(
    photo: torch.Tensor, field: torch.Tensor, refined: torch.Tensor, mode: str = "bilinear"
) -> torch.Tensor:
    """Fig. 2a, line by line."""
    size = (photo.shape[-2], photo.shape[-1])
    residual = photo - up(down(photo, (128, 128)), size, mode)
    return up(refined, size, mode) + backward_warp(residual, up(field, size))


def naive_multiscale(photo: torch.Tensor, field: torch.Tensor, refined: torch.Tensor) -> torch.Tensor:
    """Fig. 3, line by line."""
    images = [photo]
    for size in pyramid_sizes((photo.shape[-2], photo.shape[-1]), 128)[1:]:
        images.append(down(images[-1], size))
    out = refined
    for fine, coarse in zip(images[-2::-1], images[:0:-1], strict=True):
        size = (fine.shape[-2], fine.shape[-1])
        out = up(out, size) + backward_warp(fine - up(coarse, size), up(field, size))
    return out


def one(
    photo: torch.Tensor, field: torch.Tensor, refined: torch.Tensor, config: ReswarpConfig
) -> torch.Tensor:
    return next(reswarp(decompose(photo), Motion(field, field.new_ones(1)), refined, config))


@pytest.mark.parametrize("size", SIZES)
def test_paper_modes_equal_the_formulas_in_float64(size: tuple[int, int]) -> None:
    photo, refined = (torch.rand(1, 3, *s, dtype=torch.float64) for s in (size, (128, 128)))
    field = torch.randn(1, 2, 128, 128, dtype=torch.float64) * 0.02
    vanilla = one(photo, field, refined, ReswarpConfig(ReswarpMode.VANILLA))
    multiscale = one(photo, field, refined, ReswarpConfig(ReswarpMode.MULTISCALE))
    assert float((vanilla - naive_vanilla(photo, field, refined)).abs().max()) < 1e-10
    assert float((multiscale - naive_multiscale(photo, field, refined)).abs().max()) < 1e-10


@pytest.mark.parametrize(("kind", "bound"), [("photo", 5e-5), ("noise", 2e-4)])
@pytest.mark.parametrize("size", [(512, 384), (1100, 600)])
def test_paper_modes_in_float32(size: tuple[int, int], kind: str, bound: float) -> None:
    photo = photo_like(*size) if kind == "photo" else torch.rand(1, 3, *size)
    refined, field = downsample(photo, (128, 128)), smooth_field()
    for config, naive in (
        (ReswarpConfig(ReswarpMode.VANILLA), naive_vanilla),
        (ReswarpConfig(ReswarpMode.MULTISCALE), naive_multiscale),
    ):
        exact = naive(photo.double(), field.double(), refined.double())
        assert float((one(photo, field, refined, config) - exact).abs().max()) < bound


@pytest.mark.parametrize("mode", ["nearest", "bicubic"])
def test_upsampling_ablation(mode: str) -> None:
    photo, refined, field = (
        torch.rand(1, 3, 300, 260).double(),
        torch.rand(1, 3, 128, 128).double(),
        smooth_field().double(),
    )
    got = one(photo, field, refined, ReswarpConfig(ReswarpMode.VANILLA, upsample=mode))  # type: ignore[arg-type]
    expected = naive_vanilla(photo, field, refined, "nearest-exact" if mode == "nearest" else mode)
    assert float((got - expected).abs().max()) < 1e-10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gate", [True, False])
def test_aligned_is_the_warped_photo_when_refined_agrees(size: tuple[int, int], gate: bool) -> None:
    photo, field = photo_like(*size, dtype=torch.float64), smooth_field(dtype=torch.float64)
    motion = Motion(field, field.new_ones(1))
    residuals = decompose(photo)
    expected = backward_warp(photo, up(field, size))
    assert float((next(warped(residuals, motion)) - expected).abs().max()) < 1e-10
    got = next(reswarp(residuals, motion, down(expected, (128, 128)), ReswarpConfig(gate=gate)))
    assert float((got - expected).abs().max()) < 1e-10


def frames() -> list[FaceFrame]:
    return [
        frame_from_box(90, 60, 260, 400, 500),
        frame_from_box(-40.5, 200.25, 300, 400, 500),  # over the border, not on whole pixels
        frame_from_eyes((200, 180), (270, 205), 400, 500),  # rolled
    ]


@pytest.mark.parametrize("frame", frames())
def test_aligned_in_a_frame_is_the_warped_photo_when_refined_agrees(frame: FaceFrame) -> None:
    residuals = decompose(photo_like(400, 500, dtype=torch.float64), frame)
    field = smooth_field(dtype=torch.float64) * residuals.mask()
    motion = Motion(field, field.new_ones(1))
    moved = tiles.canonical(residuals.photo, frame, 128, field)
    got = next(reswarp(residuals, motion, moved))
    assert float((got - next(warped(residuals, motion))).abs().max()) < 1e-10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frame", frames())
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_pixels_outside_the_mask_are_bit_equal(
    mode: ReswarpMode, frame: FaceFrame, kind: torch.dtype
) -> None:
    photo = torch.rand(1, 3, 400, 500)
    photo = (photo * 255).byte() if kind == torch.uint8 else photo
    residuals = decompose(photo, frame)
    motion = Motion(smooth_field(amount=0.1) * residuals.mask(), torch.ones(1))
    got = next(reswarp(residuals, motion, torch.rand(1, 3, 128, 128), ReswarpConfig(mode)))
    inside = torch.zeros(400, 500, dtype=torch.bool)
    inverse = torch.tensor(frame.inverse(), dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(400) + 0.5, torch.arange(500) + 0.5, indexing="ij")
    uv = torch.stack([x, y, torch.ones_like(x)], -1).double() @ inverse.T
    inside = ((uv > 0) & (uv < 1)).all(-1)
    assert torch.equal(got[..., ~inside], photo[..., ~inside])
    changed = (got != photo).any(1)[0][inside].float().mean()
    assert float(changed) > 0.5  # and inside something happened
    assert got.dtype == photo.dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frame", [None, frames()[2]])
def test_zero_weight_is_the_photo_bit_for_bit(mode: ReswarpMode, frame: FaceFrame | None) -> None:
    photo = torch.rand(1, 3, 400, 500)
    motion = Motion(torch.randn(3, 2, 128, 128) * 0.05, torch.tensor([0.0, 1.0, 0.0]))
    refined = torch.rand(3, 3, 128, 128)
    residuals = decompose(photo, frame)
    fresh = list(reswarp(residuals, motion, refined, ReswarpConfig(mode)))
    assert torch.equal(fresh[0], photo)
    assert torch.equal(fresh[2], photo)
    assert not torch.equal(fresh[1], photo)
    buffer = torch.full_like(photo, 7.0)
    reused = [f.clone() for f in reswarp(residuals, motion, refined, ReswarpConfig(mode), out=buffer)]
    for a, b in zip(fresh, reused, strict=True):
        assert torch.equal(a, b)


def test_uint8_frames_are_the_float_frames_rounded() -> None:
    photo = (photo_like(400, 500) * 255).round().byte()
    field, refined = smooth_field(), torch.rand(1, 3, 128, 128)
    for mode, backend, most in ((m, b, e) for m in MODES for b, e in (("torch", 0.51), ("auto", 1.01))):
        small = one(photo, field, refined, ReswarpConfig(mode, backend=backend))
        exact = one(photo.double() / 255, field.double(), refined.double(), ReswarpConfig(mode))
        assert small.dtype == torch.uint8
        assert float((small.double() - exact.clamp(0, 1) * 255).abs().max()) < most


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("sides", [(512, 384), (500, 390)])  # whole cells of 128 or not
def test_w_is_made_once_and_nothing_shows_of_it(backend: Backend, sides: tuple[int, int]) -> None:
    """However the buffer lies in memory; and as if W were made a second time to be written."""
    photo, field, refined = (
        (photo_like(*sides) * 255).round().byte(),
        smooth_field(),
        torch.rand(1, 3, 128, 128),
    )
    config = ReswarpConfig(backend=backend)
    for image in (photo, photo.float() / 255):
        residuals = decompose(image)
        frames = []
        for layout in (torch.contiguous_format, torch.channels_last):
            buffer = torch.empty_like(image, memory_format=layout)
            motion = Motion(field, torch.ones(1))
            frames.append(next(reswarp(residuals, motion, refined, config, out=buffer)).clone())
        scale = 1 if image.dtype == torch.uint8 else 255
        apart = float((frames[0].float() - frames[1].float()).abs().mean()) * scale
        assert apart < 1e-3  # sums in another order
        twice, at = torch.empty_like(image), residuals.frame
        c = R.correction(residuals, field, refined, config)
        R._write(image, at, field, c, twice, config)
        assert float((frames[0].float() - twice.float()).abs().max()) * scale <= 1.01


def test_a_float_photo_keeps_values_between_steps_and_outside_the_range() -> None:
    photo = torch.rand(1, 3, 200, 200) * 1.5 - 0.2
    field = torch.zeros(1, 2, 128, 128)
    field[:, 0] = 8 / 200
    got = one(photo, field, down(backward_warp(photo, up(field, (200, 200))), (128, 128)), ReswarpConfig())
    assert torch.allclose(got[..., :-8], photo[..., 8:], atol=1e-4)
    assert float(got.max()) > 1.2


def test_a_window_that_is_split_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, field, refined = (
        torch.rand(1, 3, 600, 500),
        torch.randn(1, 2, 128, 128) * 0.1,
        torch.rand(1, 3, 128, 128),
    )
    for mode in MODES:
        whole = one(photo, field, refined, ReswarpConfig(mode))
        monkeypatch.setattr(tiles, "WINDOW", 20_000)
        split = one(photo, field, refined, ReswarpConfig(mode))
        monkeypatch.undo()
        assert torch.allclose(whole, split, atol=1e-4)


def test_gate_closes_on_new_content_and_not_on_light() -> None:
    light = torch.full((1, 3, 128, 128), 0.2)
    assert float(residual_gate(light).min()) > 0.999
    mouth = torch.zeros(1, 3, 128, 128)
    mouth[..., 80:88, 52:76] = 0.6
    gate = residual_gate(mouth)
    assert float(gate[0, 0, 84, 64]) < 0.05
    assert float(gate[0, 0, 20, 20]) > 0.999


def test_paper_config() -> None:
    config = ReswarpConfig.paper()
    assert (config.mode, config.upsample, config.gate) == (ReswarpMode.VANILLA, "bilinear", False)
    assert FaceFrame.whole(30, 40).is_whole


def test_errors_name_what_was_found_and_expected() -> None:
    photo, ones = torch.rand(1, 3, 200, 200), torch.ones(2)
    residuals, motion = decompose(photo), Motion(torch.zeros(2, 2, 128, 128), ones)
    with pytest.raises(ShapeError, match="motion has 2 frames but 1 refined frames"):
        reswarp(residuals, motion, torch.rand(1, 3, 128, 128))
    with pytest.raises(ShapeError, match="refined image is 64 wide, the photo was decomposed to 128"):
        reswarp(residuals, motion, torch.rand(2, 3, 64, 64))
    with pytest.raises(ShapeError, match=r"photo has shape \[3, 200, 200\], expected"):
        decompose(photo[0])
    with pytest.raises(ShapeError, match="the frame belongs to a photo of 40x30"):
        decompose(photo, FaceFrame.whole(30, 40))
    with pytest.raises(ShapeError, match="expected uint8 or a float type"):
        decompose(photo.long())
    with pytest.raises(
        InputError, match="'bilinear' is unknown; expected one of aligned, vanilla, multiscale"
    ):
        ReswarpConfig("bilinear")  # type: ignore[arg-type]


def test_tables_and_residual_view() -> None:
    photo = torch.rand(1, 3, 256, 256, dtype=torch.float64)
    residuals = decompose(photo)
    assert torch.allclose(residuals.residual() + up(residuals.low, (256, 256)), photo, atol=1e-12)
    framed = decompose(photo, frame_from_box(20, 20, 200, 256, 256))
    assert framed.residual().shape == (1, 3, 128, 128)


@pytest.mark.parametrize("at", [(700.0, 600.0), (300.0, 1100.0)])
def test_a_level_stands_for_the_photo(at: tuple[float, float]) -> None:
    """down(W) of a large frame comes from what is around it at a fifth of the pixels, unnoticeably."""
    photo = photo_like(1400, 1600)
    x, y = at
    frame = frame_from_eyes((x, y), (x + 130, y + 20), 1400, 1600)
    residuals = decompose(photo, frame, 32)  # cells of 18 pixels
    level, here = residuals.level
    assert level.shape[-1] < 0.5 * photo.shape[-1] and max(here.sides) == pytest.approx(32 * 8, rel=0.01)
    field = smooth_field(32, 0.05) * residuals.mask()
    exact, apart = (
        tiles.canonical(photo, frame, 32, field),
        residuals.low - tiles.canonical(photo, frame, 32, field),
    )
    error = (_canonical_warp(residuals, field, ReswarpConfig()) - exact).abs()
    assert float(error.mean()) < 0.02 * float(apart.abs().mean()) and float(error.max()) < 0.02
