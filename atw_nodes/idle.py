"""Signs of life for a face at rest: blinks, and small slow movements. Both are made from a seed.

Blinks: 17 a minute at rest, 26 in conversation, 4.5 reading (Bentivoglio et al., Movement Disorders 12, 1997,
150 people); lids close faster than they open (Sforza et al., Ophthalmic Physiol. Opt. 28, 2008) in the phases
closing, closed, opening (Kwon et al., J. R. Soc. Interface 10, 2013). Phases here last 100-150, 40-60 and
200-300 ms; the spread of the pauses is ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .signals import CURVES, MAX_FPS, MAX_STEPS
from .types import InputError, Signal

CLOSING, CLOSED, OPENING = (0.10, 0.15), (0.04, 0.06), (0.20, 0.30)  # seconds
SHORTEST_PAUSE = 0.5  # seconds with open eyes
IDLE: dict[str, float] = {  # unit: how far it goes at amount 1
    **{"AU01": 0.06, "AU02": 0.05, "AU04": 0.05, "AU07": 0.08, "AU12": 0.04, "AU14": 0.04, "AU17": 0.03},
}
FASTEST = 0.5  # Hz


def _checked(frames: int, fps: float) -> None:
    if not 1 <= frames <= MAX_STEPS:
        raise InputError(f"a signal of {frames} steps was asked for; expected 1 to {MAX_STEPS}")
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"fps is {fps}; expected more than 0, up to {MAX_FPS:g}")


def _uniform(g: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=g))


def blinks(frames: int, fps: float, seed: int = 0, rate: float = 15.0, strength: float = 1.0) -> Signal:
    """[frames,1] of AU45: blinks at irregular moments, ``rate`` a minute on average.

    Starts and ends with open eyes; each blink is whole and has a frame with the lids at ``strength``.
    """
    _checked(frames, fps)
    if not 0 <= rate <= 60:
        raise InputError(f"{rate} blinks a minute; expected 0 to 60")
    g = torch.Generator().manual_seed(seed)
    values = torch.zeros(frames, dtype=torch.float64)
    time, end, first = 0.0, (frames - 1) / fps, True
    while rate > 0:
        phases = [_uniform(g, *p) for p in (CLOSING, CLOSED, OPENING)]
        time += _pause(g, rate, sum(phases)) * (_uniform(g) if first else 1.0)
        first = False
        middle = math.ceil((time + phases[0] + phases[1] / 2) * fps) / fps  # a frame shows the lids closed
        start, stop = middle - phases[0] - phases[1] / 2, middle + phases[1] / 2 + phases[2]
        if stop > end:
            break
        a, b = max(0, math.ceil(start * fps)), min(frames, math.floor(stop * fps) + 1)
        at = torch.arange(a, b, dtype=torch.float64) / fps - start
        values[a:b] = torch.tensor([_lids(float(t), *phases) for t in at], dtype=torch.float64)
        time = stop
    return Signal((strength * values)[:, None].float(), ("AU45",), fps)


def _pause(g: torch.Generator, rate: float, blink: float) -> float:
    """Seconds with open eyes: log-normal, so many long ones, and none too short."""
    mean, spread = max(60 / rate - blink - SHORTEST_PAUSE, 0.05), 0.7
    draw = float(torch.randn((), generator=g))
    return SHORTEST_PAUSE + mean * math.exp(spread * draw - spread * spread / 2)


def _lids(t: float, closing: float, closed: float, opening: float) -> float:
    """0..1 closed, ``t`` seconds into a blink."""
    ease = CURVES["ease"]
    if t < closing:
        return ease(max(t, 0.0) / closing)
    return 1.0 - ease(min(max(t - closing - closed, 0.0) / opening, 1.0))


def idle(frames: int, fps: float, seed: int = 0, amount: float = 1.0) -> Signal:
    """[frames,N] of small slow movements of brows, lids and lips, nothing faster than 0.5 Hz.

    Starts at 0, is 0 on average and would go on into itself as a loop. For units, see ``IDLE``.
    """
    _checked(frames, fps)
    g = torch.Generator().manual_seed(seed)
    columns = [amount * reach * _wander(frames, fps, g) for reach in IDLE.values()]
    return Signal(torch.stack(columns, 1).float(), tuple(IDLE), fps)


def _wander(frames: int, fps: float, g: torch.Generator) -> Tensor:
    """[frames] from 0, within ±1: a sum of whole waves; the cosines cancel where it starts."""
    waves = min(max(1, int(FASTEST * frames / fps)), (frames - 1) // 2)
    if waves < 1:
        return torch.zeros(frames, dtype=torch.float64)
    k = torch.arange(1, waves + 1, dtype=torch.float64)
    fall = k**-0.5
    sines, cosines = (fall * torch.randn(waves, generator=g, dtype=torch.float64) for _ in range(2))
    cosines = cosines - fall * cosines.sum() / fall.sum()
    out = torch.zeros(frames, dtype=torch.float64)
    turn = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    for n, s, c in zip(k, sines, cosines, strict=True):  # one by one, as a long clip has many
        out += s * torch.sin(n * turn) + c * torch.cos(n * turn)
    out = out / out.abs().max().clamp(min=1e-9)
    out[0] = 0.0
    return out
