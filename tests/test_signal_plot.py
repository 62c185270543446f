"""Plots: lines where the values are, a legend that fits, blinks that stay visible."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.signal_plot import plot
from atw_nodes.signals import UNITS, pose
from atw_nodes.types import InputError, Signal


def coloured(picture: torch.Tensor) -> torch.Tensor:
    """[H,W]: neither white, grey nor black."""
    p = picture[0].int()
    return (p.amax(0) - p.amin(0)) > 60


def test_a_ramp_rises_from_left_to_right() -> None:
    signal = Signal(torch.linspace(0, 1, 50)[:, None], ("AU12",), 25.0)
    picture = plot(signal, 400, 200)  # too narrow for a legend
    assert picture.shape == (1, 3, 200, 400) and picture.dtype == torch.uint8
    rows, columns = coloured(picture).nonzero().T
    assert int(rows[columns.argmin()]) > 160 and int(rows[columns.argmax()]) < 30


def test_only_what_moves_is_drawn() -> None:
    assert not bool(coloured(plot(pose({}), 400, 200)).any())
    assert bool(coloured(plot(pose({"AU12": 0.5}), 400, 200)).any())


def test_a_blink_in_an_hour_is_seen() -> None:
    values = torch.zeros(90_000, 1)
    values[45_003] = 1.0
    rows, _ = coloured(plot(Signal(values, ("AU45",), 25.0), 400, 200)).nonzero().T
    assert int(rows.min()) < 20


@pytest.mark.parametrize("size", [(200, 100), (4096, 200), (768, 384)])
def test_every_unit_at_every_size(size: tuple[int, int]) -> None:
    signal = Signal(torch.randn(7, len(UNITS)) * 3, tuple(UNITS))
    assert plot(signal, *size).shape[-2:] == (size[1], size[0])


def test_sizes_are_bounded() -> None:
    with pytest.raises(InputError, match="200x100 to 4096x4096"):
        plot(pose({}), 5000, 300)
