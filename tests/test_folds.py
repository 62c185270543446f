"""Folds of a motion field, and the Gaussian that mends them."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.folds import fold_share, smoothed
from atw_nodes.types import InputError, Motion
from atw_nodes.warp import identity_points
from tests.conftest import smooth_field


def points(n: int) -> torch.Tensor:
    return identity_points(n, n)[0].double()


def field_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([x, y])[None]


def test_no_motion_and_a_shift_do_not_fold() -> None:
    assert fold_share(torch.zeros(2, 2, 8, 8)).tolist() == [0.0, 0.0]
    assert float(fold_share(torch.full((1, 2, 8, 8), 0.3))) == 0.0
    assert float(fold_share(smooth_field(64, 0.01))) == 0.0


def test_a_field_that_flips_folds_everywhere() -> None:
    p = points(16)
    assert float(fold_share(field_of(-2 * p[..., 0], 0 * p[..., 1]))) == 1.0  # x -> -x
    assert float(fold_share(field_of(-2 * p[..., 0], -2 * p[..., 1]))) == 0.0  # turned by 180 degrees
    assert float(fold_share(field_of(-p[..., 0], 0 * p[..., 0]))) == 1.0  # all onto one line: det 0
    assert float(fold_share(field_of(-0.99 * p[..., 0], 0 * p[..., 0]))) == 0.0


def test_the_share_is_that_of_the_cells_that_fold() -> None:
    x = points(21)[..., 0]
    half = torch.where(x < 0.5, 0 * x, -2 * (x - 0.5))  # folds back from the middle on: cell 10 to 20
    assert float(fold_share(field_of(half, 0 * x))) == pytest.approx(10 / 20)


def test_fields_need_not_be_square_and_shears_do_not_fold() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 9), torch.linspace(0, 1, 17), indexing="ij")
    assert float(fold_share(field_of(3 * y, 0 * y))) == 0.0
    assert float(fold_share(field_of(3 * y, 3 * x))) == 1.0  # det = 1 - 9
    with pytest.raises(InputError, match="expected at least 2x2"):
        fold_share(torch.zeros(1, 2, 1, 8))


def test_one_corner_of_a_cell_is_enough() -> None:
    field = torch.zeros(1, 2, 4, 4)
    field[0, 0, 1, 1] = 0.5  # two cells of 1/4 to the right: past its neighbour
    share = float(fold_share(field))
    assert share == pytest.approx(2 / 9)  # the two cells to its right, above and below its row


def folded(n: int = 64) -> Motion:
    p = points(n)
    bump = 0.12 * torch.exp(-((p - 0.5) ** 2).sum(-1) / (2 * 0.03**2))
    return Motion(field_of(bump, 0 * bump).float(), torch.tensor([0.7]))


def test_smoothing_takes_folds_away() -> None:
    motion = folded()
    before = float(fold_share(motion.field))
    shares = [float(fold_share(smoothed(motion, s).field)) for s in (1, 2, 4)]
    assert before > 0.004 and before > shares[0] >= shares[1] >= shares[2] == 0.0
    assert torch.equal(smoothed(motion, 4).weight, motion.weight)


def test_smoothing_is_a_gaussian_of_a_share_of_the_frame() -> None:
    p = points(100)
    narrow = torch.exp(-((p - 0.5) ** 2).sum(-1) / (2 * 0.03**2))
    wide = (0.03 / 0.05) ** 2 * torch.exp(-((p - 0.5) ** 2).sum(-1) / (2 * 0.05**2))
    motion = Motion(field_of(narrow, -narrow).float(), torch.ones(1))
    out = smoothed(motion, 4.0).field  # variances add: 3² + 4² = 5²
    assert torch.allclose(out, field_of(wide, -wide).float(), atol=0.01)


def test_smoothing_keeps_what_is_flat_and_by_nothing_every_bit() -> None:
    motion = Motion(torch.full((2, 2, 9, 17), 0.25), torch.ones(2))
    assert torch.allclose(smoothed(motion, 5).field, motion.field)
    assert smoothed(motion, 0) is motion
    for wrong in (-1.0, 11.0, float("nan")):
        with pytest.raises(InputError, match="expected 0 to 10"):
            smoothed(motion, wrong)
