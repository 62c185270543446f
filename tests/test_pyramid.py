"""Resampling against definitions and against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from atw_nodes.pyramid import (
    area_taps,
    blurred,
    box_mean,
    downsample,
    gaussian_pyramid,
    pyramid_sizes,
    smooth_upsample,
    up_taps,
    upsample,
)
from atw_nodes.types import InputError


def dense(taps, n_in: int) -> torch.Tensor:  # noqa: ANN001
    matrix = torch.zeros(len(taps.index), n_in, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.index, taps.weight)


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(256, 128), (1350, 128), (100, 128), (7, 3), (3, 7), (129, 128), (1, 5)]
)
def test_area_average_is_the_integral_over_each_cell(n_in: int, n_out: int) -> None:
    fine = torch.rand(n_in, dtype=torch.float64)
    each = fine.repeat_interleave(n_out)  # n_in·n_out pieces: every cell is a whole number of them
    expected = each.reshape(n_out, n_in).mean(1)
    assert torch.allclose(dense(area_taps(n_in, n_out), n_in) @ fine, expected, atol=1e-12)


def test_divisible_downsampling_is_block_averaging() -> None:
    image = torch.rand(1, 3, 512, 384, dtype=torch.float64)
    expected = F.avg_pool2d(image, (4, 3))
    assert torch.allclose(downsample(image, (128, 128)), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(100, 90), (1000, 130), (333, 517)])
def test_bands_do_not_show(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    rows, columns = dense(area_taps(size[0], 128), size[0]), dense(area_taps(size[1], 128), size[1])
    assert torch.allclose(downsample(image, (128, 128)), rows @ image @ columns.T, atol=1e-12)


def test_uint8_is_read_as_k_over_255() -> None:
    image = torch.randint(0, 256, (1, 3, 300, 200), dtype=torch.uint8)
    assert torch.allclose(
        downsample(image, (128, 128)), downsample(image.float() / 255, (128, 128)), atol=1e-6
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(256, 256), (333, 517), (90, 300)])
def test_upsampling_agrees_with_torch(mode: str, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 128, 128, dtype=torch.float64)
    torch_mode = "nearest-exact" if mode == "nearest" else mode
    corners = {} if mode == "nearest" else {"align_corners": False}
    expected = F.interpolate(image, size=size, mode=torch_mode, **corners)
    assert torch.allclose(upsample(image, size, mode), expected, atol=1e-10)  # type: ignore[arg-type]


def test_unknown_upsampling_is_refused() -> None:
    with pytest.raises(InputError, match="'lanczos' is unknown; expected one of nearest, bilinear, bicubic"):
        up_taps(4, 8, "lanczos")  # type: ignore[arg-type]


def test_pyramid_sizes_halve_to_the_side() -> None:
    assert pyramid_sizes((1024, 512), 128) == [(1024, 512), (512, 256), (256, 128), (128, 128)]
    assert pyramid_sizes((1350, 100), 128) == [(1350, 100), (675, 128), (338, 128), (169, 128), (128, 128)]
    assert pyramid_sizes((128, 128), 128) == [(128, 128)]


def test_pyramid_of_a_power_of_two_ends_in_the_direct_average() -> None:
    image = torch.rand(1, 3, 1024, 512, dtype=torch.float64)
    assert torch.allclose(gaussian_pyramid(image, 128)[-1], downsample(image, (128, 128)), atol=1e-12)


def test_laplacian_pyramid_reconstructs() -> None:
    image = torch.rand(1, 3, 333, 517, dtype=torch.float64)
    levels = gaussian_pyramid(image, 128)
    out = levels[-1]
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        size = (fine.shape[-2], fine.shape[-1])
        out = upsample(out, size) + (fine - upsample(coarse, size))
    assert torch.allclose(out, image, atol=1e-12)


def test_smooth_upsampling_goes_by_octaves_and_keeps_constants() -> None:
    table = torch.full((1, 3, 128, 128), 0.25)
    assert smooth_upsample(table, (4096, 4096)).shape[-2:] == (512, 512)
    assert smooth_upsample(table, (300, 200)).shape[-2:] == (300, 200)
    assert smooth_upsample(table, (100, 90)).shape[-2:] == (128, 128)
    assert torch.allclose(smooth_upsample(table, (1024, 1024)), torch.tensor(0.25))


def test_a_blur_is_a_gaussian_and_keeps_constants_at_the_edge() -> None:
    point = torch.zeros(2, 3, 41, 61, dtype=torch.float64)
    point[..., 20, 30] = 1
    made = blurred(point, 2.0, 3.0)
    rows, columns = made[1, 2].sum(1), made[1, 2].sum(0)
    for along, at, sigma in ((columns, 30, 2.0), (rows, 20, 3.0)):
        off = torch.arange(len(along), dtype=torch.float64) - at
        want = torch.exp(-0.5 * (off / sigma) ** 2)
        assert torch.allclose(along, want / want.sum(), atol=2e-3) and along.sum() == pytest.approx(1)
    assert torch.equal(made[0, 0], made[1, 2])
    assert torch.equal(blurred(point, 2.0), blurred(point, 2.0, 2.0))
    flat = torch.full((1, 2, 5, 7), 0.25)
    assert torch.allclose(blurred(flat, 4.0), flat) and torch.equal(blurred(flat, 1e-9), flat)


@pytest.mark.parametrize("sides", [(5, 7), (1, 6), (9, 1), (1, 1), (64, 48)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_doubling_is_torchs_own(sides: tuple[int, int], kind: torch.dtype) -> None:
    """The quick way for one core, and the way that gradients take."""
    image = torch.rand(2, 3, *sides, dtype=kind)
    size = 2 * sides[0], 2 * sides[1]
    expected = F.interpolate(image, size, mode="bilinear", align_corners=False)
    assert torch.allclose(upsample(image, size), expected, atol=1e-6 if kind == torch.float32 else 1e-14)
    assert torch.allclose(
        upsample(image.movedim(1, -1).contiguous().movedim(-1, 1), size), expected, atol=1e-6
    )
    followed = upsample(image.clone().requires_grad_(), size)
    assert torch.equal(followed, expected) and followed.requires_grad


def test_means_of_boxes_repeat_the_edge() -> None:
    x = torch.rand(2, 3, 12, 10, dtype=torch.float64)
    padded = F.pad(x, (2, 2, 1, 1), mode="replicate")
    assert torch.allclose(box_mean(x, 5, 3), F.avg_pool2d(padded, (3, 5), 1), atol=1e-14)
    assert torch.equal(box_mean(x, 1, 1), x)
    wide = F.avg_pool2d(F.pad(x, (8, 8, 8, 8), mode="replicate"), 17, 1)
    assert torch.allclose(box_mean(x, 17, 17), wide, atol=1e-14), "wider than the picture"
