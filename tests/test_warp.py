"""The conventions of warp.py, pinned."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.types import ShapeError
from atw_nodes.warp import backward_warp, feather_mask, identity_points, sample


def test_zero_motion_is_the_image() -> None:
    image = torch.rand(2, 3, 64, 32)
    assert torch.equal(backward_warp(image, torch.zeros(2, 2, 64, 32)), image)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 5)])
def test_integer_shift_is_slicing(dx: int, dy: int) -> None:
    image = torch.rand(1, 3, 64, 32, dtype=torch.float64)
    field = torch.zeros(1, 2, 64, 32, dtype=torch.float64)
    field[:, 0], field[:, 1] = dx / 32, dy / 64  # fractions of width and height
    y = (torch.arange(64) + dy).clamp(0, 63)
    x = (torch.arange(32) + dx).clamp(0, 31)  # beyond the border the edge repeats
    expected = image[:, :, y][:, :, :, x]  # out(p) = src(p + d)
    assert torch.allclose(backward_warp(image, field), expected, atol=1e-12)


def test_half_pixel_shift_averages_neighbours() -> None:
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    field = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    field[:, 0] = 0.5 / 8
    out = backward_warp(image, field)
    assert torch.allclose(out[..., :-1], (image[..., :-1] + image[..., 1:]) / 2, atol=1e-12)


def test_points_are_pixel_centres() -> None:
    points = identity_points(2, 4)
    assert points[0, 0, :, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert points[0, :, 0, 1].tolist() == [0.25, 0.75]


def test_sample_reads_the_named_point() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert float(sample(image, torch.tensor([[[[0.625, 0.375]]]]))) == 6.0  # column 2, row 1


def test_warp_refuses_a_field_of_another_size() -> None:
    with pytest.raises(ShapeError, match="up-sample the field to 16x8"):
        backward_warp(torch.rand(1, 3, 8, 16), torch.zeros(1, 2, 8, 8))


def test_feather_is_one_inside_zero_at_the_edge_and_monotone() -> None:
    x = torch.linspace(-0.1, 0.5, 200)
    mask = feather_mask(torch.stack([x, torch.full_like(x, 0.5)], -1), 0.08)
    assert float(mask[-1]) == 1.0
    assert bool((mask[x <= 1 / 64] == 0).all())
    assert bool((mask.diff() >= 0).all())


def test_feather_table_ends_in_zeros_so_motion_ends_without_a_step() -> None:
    mask = feather_mask(identity_points(32, 32)[0], 0.08)
    assert float(mask[0].max()) == float(mask[:, -1].max()) == 0.0


def test_no_feather_is_one_everywhere() -> None:
    assert bool((feather_mask(identity_points(16, 16)[0] * 3 - 1, 0.0) == 1).all())
