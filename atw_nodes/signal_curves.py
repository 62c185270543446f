"""Signals over time: driven by curves, made relative, amplified, smoothed, resampled and blended.

Every function returns a new signal. Units move both sides of the face alike, so a mirrored signal is the
signal itself: there is nothing to swap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .signals import MAX_FPS, MAX_STEPS
from .types import InputError, ShapeError, Signal, SignalSpec

BLENDS = ("add", "mix", "max")
Floats = NDArray[np.floating]


def along(signal: Signal, weights: Sequence[float] | Tensor, fps: float | None = None) -> Signal:
    """A signal of one step, times each of ``weights`` [T], e.g. ``signals.curve("pulse", 48)``."""
    if len(signal) != 1:
        raise ShapeError(f"signal has {len(signal)} steps; only a single one can follow a curve")
    w = torch.as_tensor(weights, dtype=torch.float32).reshape(-1, 1)
    if not 1 <= len(w) <= MAX_STEPS:
        raise InputError(f"a curve of {len(w)} steps was given; expected 1 to {MAX_STEPS}")
    return Signal(w * signal.values, signal.names, fps, signal.absolute)


def relative(signal: Signal, reference: int = 0) -> Signal:
    """The change from step ``reference``, so that this step is 0: how one face drives another."""
    return replace(signal, values=signal.values - signal[reference].values, absolute=False)


def gain(signal: Signal, gains: float | Mapping[str, float]) -> Signal:
    """Times a number, or times one a unit; units that ``gains`` does not name stay as they are."""
    table = gains if isinstance(gains, Mapping) else dict.fromkeys(signal.names, gains)
    unknown = [n for n in table if n not in signal.names]
    if unknown:
        raise InputError(
            f"a gain was given for {', '.join(unknown)}; the signal has {', '.join(signal.names)}"
        )
    factors = torch.tensor([float(table.get(n, 1.0)) for n in signal.names])
    return replace(signal, values=signal.values * factors)


def clip(signal: Signal, spec: SignalSpec | None = None, low: float = -1.5, high: float = 1.5) -> Signal:
    """Held within the range a checkpoint was trained on; other units within ``low`` to ``high``."""
    ranges = dict(zip(spec.names, zip(spec.low, spec.high, strict=True), strict=True)) if spec else {}
    bounds = torch.tensor([ranges.get(n, (low, high)) for n in signal.names])
    return replace(signal, values=torch.minimum(torch.maximum(signal.values, bounds[:, 0]), bounds[:, 1]))


def smooth(signal: Signal, seconds: float) -> Signal:
    """Weighed with a Gaussian of standard deviation ``seconds``; it neither lags nor moves the ends' level.

    The first and the last step are repeated outward. Use well under 0.05 s where blinks are to survive.
    """
    if signal.fps is None:
        raise InputError("a signal without fps cannot be smoothed over time; resample it or give it fps")
    if not 0 <= seconds <= 10:
        raise InputError(f"smoothing over {seconds} s; expected 0 to 10 s")
    sigma = seconds * signal.fps
    reach = min(math.ceil(4 * sigma), 4 * len(signal))
    if reach == 0:
        return signal
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    level = signal.values[:1].double().numpy()  # subtracted, so that what is constant stays so to the bit
    wide = np.pad(signal.values.double().numpy() - level, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(c, kernel, mode="valid") for c in wide.T]
    return replace(signal, values=torch.from_numpy(np.stack(columns, 1) + level).float())


def resample(signal: Signal, fps: float | None = None, steps: int | None = None) -> Signal:
    """At another rate over the same time, or in ``steps`` steps from the first to the last; linear between.

    A signal without fps is first taken to last as long as it has steps at ``fps``.
    """
    if (fps is None) == (steps is None):
        raise InputError("give either fps or steps to resample to")
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise InputError(f"fps is {fps}; expected more than 0, up to {MAX_FPS:g}")
    if fps is not None:
        rate = signal.fps or fps
        steps = max(1, round(len(signal) * fps / rate))
        at = np.arange(min(steps, MAX_STEPS + 1)) * rate / fps
    else:
        at = np.linspace(0, len(signal) - 1, min(max(int(steps or 0), 0), MAX_STEPS + 1))
        fps = signal.fps
    if not 1 <= len(at) <= MAX_STEPS:
        raise InputError(f"resampling to {steps} steps; expected 1 to {MAX_STEPS}")
    return Signal(torch.from_numpy(_between(signal.values, at)).float(), signal.names, fps, signal.absolute)


def _between(values: Tensor, at: Floats) -> Floats:
    known = np.arange(len(values))
    return np.stack([np.interp(at, known, column) for column in values.double().numpy().T], 1)


def strongest(signal: Signal) -> int:
    """The step furthest from 0 over all units, the first of several."""
    return int(signal.values.square().sum(1).argmax())


def fill_gaps(values: Floats, good: NDArray[np.bool_]) -> Floats:
    """[T,N] with the steps that are not ``good`` [T] interpolated; the ends repeat the nearest good step."""
    if not good.any():
        raise InputError("no step of the signal is usable")
    steps = np.arange(len(values))
    return np.stack([np.interp(steps, steps[good], column[good]) for column in values.T], 1)


def blend(a: Signal, b: Signal, how: str = "add", amount: float = 1.0) -> Signal:
    """Two signals in one, over the units of both; a signal of one step holds for all steps of the other.

    add: a + amount·b. mix: from a (amount 0) to b (amount 1). max: of a and amount·b what is further from 0,
    unit by unit and step by step.
    """
    if how not in BLENDS:
        raise InputError(f"blend {how!r} is unknown; expected {', '.join(BLENDS)}")
    if not math.isfinite(amount):
        raise InputError(f"blend amount is {amount}; expected a number")
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ShapeError(f"signals have {len(a)} and {len(b)} steps; resample one to the other")
    if a.fps and b.fps and abs(a.fps - b.fps) > 1e-3 and 1 not in (len(a), len(b)):
        raise InputError(f"signals run at {a.fps:g} and {b.fps:g} fps; resample one to the other")
    names = (*a.names, *(n for n in b.names if n not in a.names))
    x, y = _onto(a, names), _onto(b, names)
    if how == "mix":
        x, y = torch.broadcast_tensors(x, y)
        values = torch.lerp(x, y, amount)
    elif how == "add":
        values = x + amount * y
    else:
        x, y = torch.broadcast_tensors(x, amount * y)
        values = torch.where(y.abs() > x.abs(), y, x)
    fps = (a.fps or b.fps) if len(a) == len(b) else max(a, b, key=len).fps
    return Signal(values, names, fps, _kind(a, b, how))


def _kind(a: Signal, b: Signal, how: str) -> bool:
    """Whether the blend is absolute: a face as shown plus a change is a face as shown."""
    if how == "add" and a.absolute and b.absolute:
        raise InputError("adding two signals of faces as shown counts the face twice; make one relative")
    if how != "add" and a.absolute != b.absolute:
        raise InputError(
            f"one signal is a face as shown, the other a change; make both relative to {how} them"
        )
    return a.absolute or b.absolute


def _onto(signal: Signal, names: Sequence[str]) -> Tensor:
    """[T,len(names)], 0 for units it does not have."""
    out = torch.zeros(len(signal), len(names))
    out[:, [names.index(n) for n in signal.names]] = signal.values
    return out
