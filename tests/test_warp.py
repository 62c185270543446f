"""The conventions of warp.py, pinned."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.types import ShapeError
from atw_nodes.warp import backward_warp, feather_mask, identity_points, inverted, sample

from .conftest import smooth_field


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


def test_inverted_is_the_way_back() -> None:
    """A smooth forward field and its inverse cancel: src(p + d(p)) puts every point where D said it goes."""
    u = identity_points(64, 64).double()[0]
    x, y = u[..., 0], u[..., 1]
    forward = torch.stack([0.03 * torch.sin(6 * y), 0.05 * torch.cos(5 * x) * torch.sin(3 * y)])[None]
    back = inverted(forward)
    at = u + back[0].movedim(0, -1)
    rest = back + sample(forward, at[None])
    assert float(rest.abs().max()) < 1e-6
    assert bool((inverted(torch.zeros(2, 2, 16, 16)) == 0).all())


def test_inverted_parts_lips_and_closes_lids() -> None:
    """What plain iteration cannot do: a step that opens by 8 cells, and a band of 8 that closes to a
    tenth."""
    y = (torch.arange(64) + 0.5)[:, None].expand(64, 64)
    opened = torch.zeros(1, 2, 64, 64)
    opened[0, 1] = torch.where(y > 32, 8.0, 0.0) * torch.clamp((64 - y) / 16, 0, 1) / 64
    source = (inverted(opened)[0, 1] * 64 + y)[:, 32]  # which row each row shows
    assert float((source[:31] - y[:31, 32]).abs().max()) < 0.1  # above the step nothing moved
    assert float((source[33:39] - 32).abs().max()) < 1.1  # the opening shows the line between
    assert abs(float(source[44]) - (44.5 - 8)) < 0.1  # below, everything came down by 8
    closed = torch.zeros(1, 2, 64, 64)
    closed[0, 1] = 7.2 / 64 * torch.where(y < 28, ((y - 12) / 16).clamp(0, 1), ((36 - y) / 8).clamp(0, 1))
    shown = (inverted(closed)[0, 1] * 64 + y)[:, 32]
    assert int(((shown > 29) & (shown < 35)).sum()) <= 2  # of eight rows of eye
    assert bool((shown.diff() > -0.05).all())  # nothing turned over


def test_points_that_rest_are_where_all_steps_would_leave_them() -> None:
    """Without gradients a point rests once it has settled; with them every point takes every step."""
    forward = torch.cat([smooth_field(64, 0.05), 0 * smooth_field(64), smooth_field(64, 0.002)])
    forward[0, :, 20:30] *= 4  # folds
    every = inverted(forward.clone().requires_grad_(), 8).detach()
    resting = inverted(forward, 8)
    off = (resting - every).abs().amax(1)
    assert off.flatten().quantile(0.99) < 1e-6 and off[2].max() < 1e-6
    assert torch.equal(resting[1], torch.zeros_like(resting[1]))
    assert torch.equal(resting[:1], inverted(forward[:1], 8)), "images do not depend on their batch"
