"""Blinks and idle movement: the same from a seed, realistic in time, at rest where clips begin."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.idle import IDLE, blinks, idle
from atw_nodes.signals import UNITS
from atw_nodes.types import InputError


def spans(values: torch.Tensor) -> list[tuple[int, int]]:
    """[first, last + 1) of every run of values above 0."""
    on = torch.nn.functional.pad((values > 0).int(), (1, 1)).diff()
    return list(zip((on == 1).nonzero()[:, 0].tolist(), (on == -1).nonzero()[:, 0].tolist(), strict=True))


@pytest.mark.parametrize("rate", [8, 15, 26])
def test_blinks_keep_their_rate(rate: int) -> None:
    minutes = 20
    found = spans(blinks(minutes * 60 * 30, 30, rate=rate).values[:, 0])
    assert len(found) / minutes == pytest.approx(rate, rel=0.15)


def test_a_blink_looks_like_one() -> None:
    fps = 200
    values = blinks(60 * fps, fps, seed=3).values[:, 0]
    found = spans(values)
    assert len(found) > 8
    for a, b in found:
        shut = (values[a:b] > 0.999).nonzero()[:, 0]
        closing, opening = shut[0].item() / fps, (b - a - shut[-1].item()) / fps
        assert 0.08 < closing < 0.16 and 0.18 < opening < 0.32 and closing < opening
        assert values[a:b].max() == 1
    pauses = [(b[0] - a[1]) / fps for a, b in zip(found, found[1:], strict=False)]
    assert min(pauses) > 0.45 and max(pauses) > 1.5 * min(pauses)


@pytest.mark.parametrize("fps", [8, 12, 24, 25, 30, 60])
def test_every_blink_closes_whatever_the_rate_of_frames(fps: int) -> None:
    values = blinks(120 * fps, fps, strength=0.8).values[:, 0]
    assert values[0] == 0 and values[-1] == 0 and values.min() == 0
    assert all(values[a:b].max() == pytest.approx(0.8) for a, b in spans(values))


def test_seeds() -> None:
    assert torch.equal(blinks(900, 30, 5).values, blinks(900, 30, 5).values)
    assert not torch.equal(blinks(900, 30, 5).values, blinks(900, 30, 6).values)
    assert torch.equal(idle(900, 30, 5).values, idle(900, 30, 5).values)
    assert not torch.equal(idle(900, 30, 5).values, idle(900, 30, 6).values)
    state = torch.random.get_rng_state()
    blinks(100, 30), idle(100, 30)
    assert torch.equal(state, torch.random.get_rng_state())


def test_none() -> None:
    assert not blinks(900, 30, rate=0).values.any() and not blinks(900, 30, strength=0).values.any()
    assert not blinks(5, 30).values.any() and not idle(900, 30, amount=0).values.any()
    assert blinks(1, 30).names == ("AU45",)


@pytest.mark.parametrize(("frames", "fps"), [(240, 24), (37, 30), (901, 29.97), (5, 30), (100, 1000)])
def test_idle_starts_at_rest_and_averages_to_none(frames: int, fps: float) -> None:
    signal = idle(frames, fps, seed=1)
    values = signal.values
    assert signal.names == tuple(IDLE) and set(IDLE) <= set(UNITS) and signal.fps == fps
    assert not values[0].any() and values.any()
    assert values.mean(0).abs().max() < 1e-6
    assert (values.abs().amax(0) <= torch.tensor(list(IDLE.values())) + 1e-6).all()


def test_idle_is_slow_and_loops() -> None:
    fps = 30
    values = idle(20 * fps, fps).values
    step = values.diff(dim=0).abs().max()
    assert step < 2 * 3.15 * 0.5 * 0.08 / fps * 1.5  # about the speed of 0.5 Hz at full reach
    assert (values[0] - values[-1]).abs().max() <= step
    spectrum = torch.fft.rfft(values, dim=0).abs()
    assert spectrum[11:].max() < 1e-3 * spectrum.max()  # bin k is k/20 Hz
    assert not idle(1, 30).values.any() and not idle(2, 30).values.any()


@pytest.mark.parametrize("make", [blinks, idle])
@pytest.mark.parametrize(("frames", "fps"), [(0, 30), (10**9, 30), (10, 0), (10, float("nan"))])
def test_bounds(make, frames: int, fps: float) -> None:
    with pytest.raises(InputError, match="expected"):
        make(frames, fps)


def test_rate_is_bounded() -> None:
    with pytest.raises(InputError, match="400 blinks a minute; expected 0 to 60"):
        blinks(10, 30, rate=400)
