"""Signals over time: identities first (zero stays zero, constant stays constant), then known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atw_nodes.signal_curves import along, blend, clip, fill_gaps, gain, relative, resample, smooth
from atw_nodes.signals import curve, pose
from atw_nodes.types import InputError, ShapeError, Signal, SignalSpec

NAMES = ("AU12", "AU45")


def make(*rows: tuple[float, float], fps: float | None = 10, absolute: bool = False) -> Signal:
    return Signal(torch.tensor(rows), NAMES, fps, absolute)


def noise(steps: int = 40) -> Signal:
    return Signal(torch.randn(steps, 2), NAMES, 30.0)


WAYS = {
    "relative": relative,
    "gain": lambda s: gain(s, 3.0),
    "clip": clip,
    "smooth": lambda s: smooth(s, 0.2),
    "resample": lambda s: resample(s, fps=17),
    "steps": lambda s: resample(s, steps=9),
    "add": lambda s: blend(s, s),
    "mix": lambda s: blend(s, s, "mix", 0.3),
    "max": lambda s: blend(s, s, "max"),
}


@pytest.mark.parametrize("way", WAYS)
def test_zero_in_zero_out(way: str) -> None:
    out = WAYS[way](Signal(torch.zeros(7, 2), NAMES, 30.0))
    assert not out.values.any() and out.names == NAMES


@pytest.mark.parametrize("way", ["clip", "smooth", "resample", "steps", "mix", "max"])
def test_constant_stays_constant_to_the_bit(way: str) -> None:
    row = torch.tensor([[0.1, 1 / 3]])
    assert torch.equal(WAYS[way](Signal(row.repeat(11, 1), NAMES, 30.0)).values[:5], row.repeat(5, 1))


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_in_stays_as_it_is(way: str) -> None:
    signal = noise()
    before = signal.values.clone()
    WAYS[way](signal)
    assert torch.equal(signal.values, before)


def test_along_a_curve() -> None:
    signal = along(pose({"AU12": 0.8}), curve("pingpong", 5), 24)
    assert signal.column("AU12").tolist() == pytest.approx([0, 0.4, 0.8, 0.4, 0]) and signal.fps == 24
    with pytest.raises(ShapeError, match="2 steps; only a single one"):
        along(signal[:2], [1.0])
    with pytest.raises(InputError, match="a curve of 0 steps"):
        along(signal[:1], [])


def test_relative_is_the_change() -> None:
    signal = make((0.2, 0.1), (0.5, 0.1), (0.1, 1), absolute=True)
    change = relative(signal)
    assert not change.absolute and not change.values[0].any() and change.fps == 10
    assert change.values[2].tolist() == pytest.approx([-0.1, 0.9])
    assert relative(signal, 1).values[0].tolist() == pytest.approx([-0.3, 0])
    assert not relative(make(*[(0.3, 0.7)] * 5, absolute=True)).values.any()
    assert torch.equal(relative(change).values, change.values)
    with pytest.raises(ShapeError, match="3 steps"):
        relative(signal, 9)


def test_gain() -> None:
    signal = make((0.2, 0.5))
    assert gain(signal, {"AU45": 2}).values.tolist() == [pytest.approx([0.2, 1.0])]
    assert torch.equal(gain(signal, {}).values, signal.values)
    assert torch.equal(gain(signal, 1.0).values, signal.values)
    with pytest.raises(InputError, match="gain was given for AU99; the signal has AU12, AU45"):
        gain(signal, {"AU99": 1})


def test_clip_keeps_to_the_checkpoint() -> None:
    spec = SignalSpec("relative", ("AU45",), low=(0.0,), high=(1.0,))
    assert clip(make((3, 3), (-3, -3)), spec).values.tolist() == [[1.5, 1], [-1.5, 0]]
    assert torch.equal(clip(make((0.5, 0.5)), spec).values, make((0.5, 0.5)).values)


def test_smoothing() -> None:
    step = Signal(torch.tensor([[0.0]] * 20 + [[1.0]] * 20), ("AU12",), 20.0)
    out = smooth(step, 0.1).values[:, 0]
    assert (out.diff() >= 0).all() and out[0] == 0 and out[-1] == 1
    assert out[19] + out[20] == pytest.approx(1)  # no lag
    assert out[20] - out[19] == pytest.approx(1 / (2 * np.sqrt(2 * np.pi)), abs=0.01)  # sigma of 2 steps
    assert torch.equal(smooth(step, 0.0).values, step.values)
    assert len(smooth(step[:1], 2.0)) == 1
    assert smooth(noise(300), 0.2).values.std() < 0.5
    with pytest.raises(InputError, match="without fps cannot be smoothed"):
        smooth(make((0, 0), fps=None), 0.1)
    with pytest.raises(InputError, match="smoothing over -1 s"):
        smooth(step, -1)


def test_resampling() -> None:
    signal = make((0, 0), (1, 0.5), (0, 1))
    assert resample(signal, fps=20).values[:, 0].tolist() == [0, 0.5, 1, 0.5, 0, 0]
    assert resample(signal, steps=5).values[:, 1].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert resample(signal, fps=20).fps == 20 and resample(signal, steps=5).fps == 10
    assert torch.equal(resample(signal, fps=10).values, signal.values)
    assert resample(make((1, 1), fps=None), fps=25).fps == 25 and len(resample(signal, steps=1)) == 1
    for how in ({}, {"fps": 10, "steps": 3}):
        with pytest.raises(InputError, match="either fps or steps"):
            resample(signal, **how)
    for how in ({"steps": 0}, {"steps": 10**9}):
        with pytest.raises(InputError, match="expected 1 to 108000"):
            resample(signal, **how)
    with pytest.raises(InputError, match="expected 1 to 108000"):
        resample(Signal(torch.zeros(1000, 1), ("a",), 1.0), fps=1000)
    with pytest.raises(InputError, match="fps is 0"):
        resample(signal, fps=0)


def test_gaps_are_filled() -> None:
    values = np.array([[9.0], [0], [9], [9], [3], [9]])
    good = np.array([False, True, False, False, True, False])
    assert fill_gaps(values, good)[:, 0].tolist() == [0, 0, 1, 2, 3, 3]
    with pytest.raises(InputError, match="no step"):
        fill_gaps(values, good & False)


def test_blends() -> None:
    a = Signal(torch.tensor([[0.5], [-0.4]]), ("AU12",), 10.0)
    b = Signal(torch.tensor([[1.0, 0.2], [0.0, 0.3]]), ("AU45", "AU12"), 10.0)
    assert blend(a, b).names == ("AU12", "AU45")
    assert blend(a, b).values.tolist() == [pytest.approx([0.7, 1.0]), pytest.approx([-0.1, 0.0])]
    assert blend(a, b, "add", 0.5).values[0].tolist() == pytest.approx([0.6, 0.5])
    assert blend(a, b, "max").values.tolist() == [pytest.approx([0.5, 1.0]), pytest.approx([-0.4, 0.0])]
    assert blend(a, b, "mix", 0.25).values[0].tolist() == pytest.approx([0.425, 0.25])
    assert torch.equal(blend(a, b, "mix", 0.0).values[:, :1], a.values)
    assert torch.equal(blend(a, b, "mix", 1.0).column("AU45"), b.column("AU45"))


def test_one_step_holds_for_all() -> None:
    smile, clip_ = pose({"AU12": 0.5}, NAMES), make((0, 0), (0, 1), (0, 0))
    for signal in (blend(smile, clip_), blend(clip_, smile)):
        assert signal.values.tolist() == [[0.5, 0], [0.5, 1], [0.5, 0]] and signal.fps == 10
    assert blend(smile, clip_, "mix", 0.5).values[1].tolist() == [0.25, 0.5]


def test_blends_that_mean_nothing_are_refused() -> None:
    change, shown = make((0, 0), (1, 1)), make((0, 0), (1, 1), absolute=True)
    assert blend(shown, change).absolute and blend(shown, shown, "mix", 0.5).absolute
    with pytest.raises(InputError, match="counts the face twice"):
        blend(shown, shown)
    with pytest.raises(InputError, match="make both relative to max them"):
        blend(shown, change, "max")
    with pytest.raises(InputError, match="'subtract' is unknown; expected add, mix, max"):
        blend(change, change, "subtract")
    with pytest.raises(ShapeError, match="2 and 3 steps; resample"):
        blend(change, make((0, 0), (1, 1), (0, 0)))
    with pytest.raises(InputError, match="10 and 25 fps; resample"):
        blend(change, make((0, 0), (1, 1), fps=25))
    with pytest.raises(InputError, match="amount is nan"):
        blend(change, change, amount=float("nan"))
