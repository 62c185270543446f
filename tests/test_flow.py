"""Optical flow: which way it points, how fine it is, and where it says it is wrong."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.extras import opencv_module
from atw_nodes.flow import consistency, estimate_flow
from atw_nodes.pyramid import upsample
from atw_nodes.types import MissingExtraError, ShapeError
from atw_nodes.warp import backward_warp

MARGIN = 16


def scene(side: int = 128, seed: int = 0) -> torch.Tensor:
    """[1,3,side,side] float: something to see at every scale."""
    g = torch.Generator().manual_seed(seed)
    layers = [upsample(torch.rand(1, 3, n, n, generator=g), (side, side), "bicubic") for n in (5, 16, 48)]
    return (0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).clamp(0, 1)


def inner(x: torch.Tensor) -> torch.Tensor:
    return x[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.mark.parametrize("side", [96, 128, 300])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -1.0), (0.4, 1.7)])
def test_a_translation_is_found_to_a_tenth_of_a_pixel(side: int, shift: tuple[float, float]) -> None:
    b = scene(side)
    field = torch.tensor(shift)[None, :, None, None].expand(1, 2, side, side) / side
    a = backward_warp(b, field)  # a(p) = b(p + shift)
    found = inner(estimate_flow(a[0], b[0])).mean((1, 2))
    assert (found - torch.tensor(shift)).abs().max() < 0.1


def test_equal_images_do_not_move() -> None:
    image = scene()[0]
    assert estimate_flow(image, image).abs().max() == 0


def test_bytes_and_grey_say_the_same() -> None:
    b = scene()
    a = torch.roll(b, (1, -2), (2, 3))
    by_float = inner(estimate_flow(a[0], b[0]))
    by_bytes = inner(estimate_flow(a[0].mul(255).round().byte(), b[0].mul(255).round().byte()))
    assert (by_float - by_bytes).abs().mean() < 0.05
    assert (by_float - inner(estimate_flow(a[0, 1], b[0, 1]))).abs().mean() < 0.2


def test_a_start_is_taken_up() -> None:
    b = scene()
    a = torch.roll(b, 40, 3)
    start = torch.tensor([-40.0, 0.0])[:, None, None].expand(2, 128, 128)
    found = estimate_flow(a[0], b[0], start)[:, 16:-16, 60:-16]
    assert (found.median(-1).values.median(-1).values - torch.tensor([-40.0, 0.0])).abs().max() < 0.1


def test_sizes_must_agree() -> None:
    with pytest.raises(ShapeError, match="from 128x128 to 64x64"):
        estimate_flow(scene()[0], scene(64)[0])


def test_opencv_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingExtraError, match="optical flow needs OpenCV; run: pip install"):
        opencv_module("optical flow")


def test_consistency_of_known_flows() -> None:
    there = torch.tensor([2.0, 0.0])[:, None, None].expand(2, 40, 40)
    assert (consistency(there, -there)[:, :37] == 1).all()
    assert (consistency(there, -there)[:, 38:] == 0).all()  # they leave the image
    allowed = 0.01 * 4 + 0.5
    assert consistency(there, torch.zeros_like(there))[0, 0] == pytest.approx(
        1 / (1 + (4 / allowed) ** 2), abs=1e-5
    )


def test_what_is_covered_is_not_trusted() -> None:
    b = scene()
    a = b.clone()
    a[..., 40:70, 40:70] = scene(seed=3)[..., 40:70, 40:70]  # nothing of it is in b
    seen = consistency(estimate_flow(a[0], b[0]), estimate_flow(b[0], a[0]))
    assert seen[44:66, 44:66].mean() < 0.7
    assert inner(seen)[:16].mean() > 0.97
