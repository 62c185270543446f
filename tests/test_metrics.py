"""Measures with hand-made cases whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from atw_nodes.metrics import (
    MOST_DB,
    au_errors,
    fid,
    flow_warping_error,
    frechet,
    high_band_psnr,
    mouth_box,
    psnr,
    similarity,
    ssim,
    visible,
    warping_error,
)
from atw_nodes.signals import OUTER_LIPS
from atw_nodes.types import InputError, ShapeError, Signal
from tests.conftest import photo_like


def flat(value: float, side: int = 32) -> torch.Tensor:
    return torch.full((1, 3, side, side), value, dtype=torch.float64)


def test_psnr_of_a_known_difference() -> None:
    assert psnr(flat(0.4), flat(0.5)) == pytest.approx(20.0)
    assert psnr(flat(0.5), flat(0.5)) == MOST_DB
    half = flat(0.5)
    half[..., :16] += 0.1
    assert psnr(half, flat(0.5)) == pytest.approx(20 + 10 * math.log10(2))


def test_bytes_are_shares_of_255() -> None:
    a = torch.zeros(3, 16, 16, dtype=torch.uint8)
    b = torch.full((3, 16, 16), 51, dtype=torch.uint8)
    assert psnr(a, b) == pytest.approx(-20 * math.log10(0.2), abs=1e-5)


def test_the_high_band_ignores_what_is_smooth() -> None:
    ramp = torch.linspace(0, 0.5, 90, dtype=torch.float64).expand(1, 3, 90, 90)
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert high_band_psnr(flat(0.3), flat(0.5)) == MOST_DB
    assert high_band_psnr(ramp[inside], 0 * ramp[inside]) > 55 > psnr(ramp, 0 * ramp)
    board = (torch.arange(90)[:, None] + torch.arange(90)) % 2 * 0.2 - 0.1  # of mean 0, but for an odd box
    error = high_band_psnr(board.expand(1, 3, -1, -1), 0 * ramp)
    assert error == pytest.approx(20, abs=0.3)


def test_ssim_of_equal_and_of_flat_images() -> None:
    image = photo_like(40, 50)
    assert ssim(image, image) == pytest.approx(1.0)
    a, b, c1 = 0.3, 0.6, 0.01**2
    assert ssim(flat(a), flat(b)) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))
    noise = torch.randn(1, 3, 64, 64, dtype=torch.float64) * 0.1
    assert ssim(0.5 + noise, 0.5 - noise) < -0.7


def test_ssim_is_that_of_the_definition_pixel_by_pixel() -> None:
    a, b = photo_like(11, 11, torch.float64), photo_like(11, 11, torch.float64)
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for x, y in zip(a[0].numpy(), b[0].numpy(), strict=True):
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        both = (window * (x - mx) * (y - my)).sum()
        top = (2 * mx * my + 1e-4) * (2 * both + 9e-4)
        values.append(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert ssim(a, b) == pytest.approx(np.mean(values))


def test_sizes_have_to_agree() -> None:
    with pytest.raises(ShapeError, match="image is 32x32, its reference 16x16"):
        psnr(flat(0), flat(0, 16))
    with pytest.raises(ShapeError, match="at least 11x11"):
        ssim(flat(0, 8), flat(0, 8))


def test_the_mouth_box_is_the_lips_and_a_margin() -> None:
    marks = np.zeros((478, 2), np.float32)
    marks[list(OUTER_LIPS)] = (50, 60)
    marks[61], marks[291] = (40, 58), (60, 62)
    assert mouth_box(marks, 100, 100) == (33, 51, 67, 69)
    assert mouth_box(marks, 65, 62) == (33, 51, 62, 65)


# --- over time


def shifted(image: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    return torch.roll(image, (dy, dx), (-2, -1))


def exact(dx: float, dy: float, side: int = 64) -> torch.Tensor:
    return torch.tensor([dx, dy], dtype=torch.float64).view(2, 1, 1).expand(2, side, side)


def test_a_pure_translation_has_no_warping_error() -> None:
    a = photo_like(64, 64, torch.float64)
    b, there, back = shifted(a, 5, -3), exact(5, -3), exact(-5, 3)
    seen = visible(there, back)
    assert warping_error(a, b, there, seen) == pytest.approx(0, abs=1e-20)
    assert bool(seen[3:, :59].all()) and not bool(seen[:3].any()) and not bool(seen[:, 59:].any())
    assert warping_error(a, b, 0 * there, torch.ones_like(seen)) > 1e-3


def test_a_change_of_brightness_counts_in_three_channels() -> None:
    a = 0.8 * photo_like(64, 64, torch.float64)
    b = shifted(a, 2, 1) + 0.1
    there, back = exact(2, 1), exact(-2, -1)
    assert warping_error(a, b, there, visible(there, back)) == pytest.approx(3 * 0.01)


def test_what_is_not_seen_does_not_count() -> None:
    a, b = flat(0.5), flat(0.5)
    b[..., :16] = 1.0
    seen = torch.ones(32, 32, dtype=torch.bool)
    assert warping_error(a, b, exact(0, 0, 32), seen) == pytest.approx(3 * 0.25 / 2)
    seen[:, :16] = False
    assert warping_error(a, b, exact(0, 0, 32), seen) == 0.0
    assert warping_error(a, b, exact(0, 0, 32), seen & False) == 0.0


def test_flows_that_do_not_come_back_are_occlusions() -> None:
    there = exact(4, 0).clone()
    assert not bool(visible(there, exact(-2, 0)).any())  # off by 2: 4 > 0.01 * 20 + 0.5
    assert bool(visible(there, exact(-3.4, 0))[:, :59].all())  # 0.36 <= 0.01 * 27.56 + 0.5
    there[:, :, 32:] = 0
    back = torch.where(torch.arange(64) < 36, exact(-4, 0), exact(0, 0))
    seen = visible(there, back)
    assert not bool(seen[:, 31:33].any()) and bool(seen[:, 5:28].all()) and bool(seen[:, 40:].all())


def test_warping_error_by_estimated_flow() -> None:
    pytest.importorskip("cv2")
    large = photo_like(160, 160)
    a, b = large[..., 16:144, 16:144], large[..., 18:146, 13:141]
    noisy = (b + 0.1 * torch.randn_like(b)).clamp(0, 1)
    steady = flow_warping_error(a, b)
    assert steady < 2e-4 < 0.01 < flow_warping_error(a, noisy) < 0.04
    assert flow_warping_error(a, a) == pytest.approx(0, abs=1e-6)


# --- expression and identity


def test_au_error_of_a_known_pair() -> None:
    shown = Signal(torch.tensor([[0.5, 0.0, 9.0], [1.0, 0.25, 9.0]]), ("AU12", "AU25", "AU99"))
    wanted = Signal(torch.tensor([[0.5, 0.75], [0.25, 0.0]]), ("AU25", "AU12"))
    first, second = (0.5 - 0.75) ** 2 + (0.0 - 0.5) ** 2, 1.0**2 + 0.0**2
    assert au_errors(shown, wanted).tolist() == pytest.approx([first, second])
    assert au_errors(shown, Signal(torch.tensor([[0.5]]), ("AU12",))).tolist() == [0.0, 0.25]


def test_au_errors_need_a_common_unit_and_as_many_steps() -> None:
    one = Signal(torch.zeros(3, 1), ("AU12",))
    with pytest.raises(InputError, match="they share no unit"):
        au_errors(one, Signal(torch.zeros(3, 1), ("AU25",)))
    with pytest.raises(ShapeError, match="3 steps were measured, 2 were wanted"):
        au_errors(one, Signal(torch.zeros(2, 1), ("AU12",)))


def test_similarity_is_the_cosine() -> None:
    a = torch.tensor([3.0, 4.0])
    assert similarity(a, 7 * a) == pytest.approx(1.0)
    assert similarity(a, torch.tensor([-4.0, 3.0])) == pytest.approx(0.0)
    assert similarity(a, torch.tensor([1.0, 0.0])) == pytest.approx(0.6)
    with pytest.raises(InputError, match="zero or not finite"):
        similarity(a, 0 * a)


# --- distributions


def test_frechet_distance_of_known_gaussians() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    zero, m = torch.zeros(4), torch.tensor([1.0, 2.0, 0.0, 0.0])
    assert frechet(zero, eye, m, eye) == pytest.approx(5.0)
    assert frechet(zero, eye, m, 4 * eye) == pytest.approx(5.0 + 4 * (1 + 4 - 2 * 2))
    a, b = torch.diag(torch.tensor([1.0, 9.0, 4.0, 0.0])), torch.diag(torch.tensor([4.0, 1.0, 4.0, 1.0]))
    assert frechet(zero, a, zero, b) == pytest.approx(1 + 4 + 0 + 1)  # squared differences of deviations


def test_frechet_distance_where_covariances_do_not_commute() -> None:
    a = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, -0.5], [-0.5, 3.0]], dtype=torch.float64)
    zero = torch.zeros(2)
    # of 2 x 2: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M))
    product = a @ b
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    assert frechet(zero, a, zero, b) == pytest.approx(float(a.trace() + b.trace()) - 2 * root)


@pytest.mark.parametrize("counts", [(5, 7), (40, 9), (60, 50)])
def test_fid_is_the_distance_of_the_fitted_gaussians(counts: tuple[int, int]) -> None:
    a, b = torch.randn(counts[0], 12) * 2, torch.randn(counts[1], 12) + 1
    expected = frechet(a.mean(0), torch.cov(a.double().T), b.mean(0), torch.cov(b.double().T))
    assert fid(a, b) == pytest.approx(expected, rel=1e-5)
    assert fid(a, a) == pytest.approx(0, abs=1e-5)
    assert fid(a, a + 3) == pytest.approx(12 * 9, rel=1e-5)


def test_fid_needs_two_images() -> None:
    with pytest.raises(ShapeError, match="two or more"):
        fid(torch.zeros(1, 4), torch.zeros(9, 4))


def test_smaller_images_differ_less() -> None:
    """No metric is blind: a blurred photo scores worse than the photo in each."""
    a = photo_like(96, 96)
    blurred = F.avg_pool2d(F.pad(a, (3, 3, 3, 3), mode="replicate"), 7, 1)
    assert psnr(a, blurred) < 60 and ssim(a, blurred) < 0.99 and high_band_psnr(a, blurred) < 60
