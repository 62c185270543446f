"""Action units: what a value of 1.0 means, and how a change is measured between two sets of landmarks.

Names and actions follow the Facial Action Coding System (Ekman, Friesen & Hager 2002); the 17 units are those
that OpenFace 2 rates. All of them move both sides of the face alike: there is no left or right to swap.

Face coordinates: upright, origin midway between the eye centres, unit = the distance between the eye centres
(an eye centre is the mean of the eye's two corners), x to the image's right, y down.
Landmarks are the MediaPipe face mesh: 468 points, then 5 per iris.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .types import InputError, ShapeError, Signal

Array = NDArray[np.float64]


class Unit(NamedTuple):
    """An action unit: its FACS name, and what one sees."""

    facs: str
    plain: str


UNITS: dict[str, Unit] = {
    "AU01": Unit("inner brow raiser", "The inner ends of the brows go up, as in worry."),
    "AU02": Unit("outer brow raiser", "The outer ends of the brows go up; with AU01 the whole brow."),
    "AU04": Unit("brow lowerer", "The brows come down and together, as in a frown."),
    "AU05": Unit("upper lid raiser", "The upper lids go up; the eyes are wide."),
    "AU06": Unit("cheek raiser", "The cheeks rise and the eyes narrow, as in a hearty laugh."),
    "AU07": Unit("lid tightener", "The lids tighten and the eyes narrow, as in bright light."),
    "AU09": Unit("nose wrinkler", "The nose wrinkles and lifts the upper lip, as at a bad smell."),
    "AU10": Unit("upper lip raiser", "The upper lip goes up in its middle."),
    "AU12": Unit("lip corner puller", "The corners of the mouth go out and up: a smile."),
    "AU14": Unit("dimpler", "The corners of the mouth tighten inwards and dimple."),
    "AU15": Unit("lip corner depressor", "The corners of the mouth go down."),
    "AU17": Unit("chin raiser", "The chin pushes the lower lip up, as in a pout."),
    "AU20": Unit("lip stretcher", "The mouth stretches sideways, as in fear."),
    "AU23": Unit("lip tightener", "The lips narrow and tighten, as in anger."),
    "AU25": Unit("lips part", "The lips open; the jaw stays."),
    "AU26": Unit("jaw drop", "The jaw drops and opens the mouth."),
    "AU45": Unit("blink", "Both eyes close."),
}

# FACS intensity E (value 1.0) as a displacement in eye distances; one place, so that training, measuring and
# sliders agree. AU12 pulls a lip corner by (0.12 outward, 0.09 up); AU25 opens the inner lips' gap;
# AU10 raises the upper lip towards the eye line.
UNIT_DISPLACEMENT: dict[str, float] = {"AU10": 0.10, "AU12": 0.15, "AU25": 0.16}
_AU12_DIRECTION = (0.8, -0.6)  # (outward, down), unit length

# Every unit that landmarks measure, with what it reads at 1.0: eye distances, but for AU45 the share of the
# lids' opening that closes. Inner brow end up (AU01), outer brow end up (AU02), half the distance between the
# brows less (AU04), opening more (AU05), lip corners down (AU15), mouth's half width more (AU20), chin down
# (AU26). As the puppet of recipes/puppet.py moves them.
# Each measure is right for its unit alone. Units that share points read each other: AU12 lifts the corners
# (AU15 reads -0.95) and widens the mouth (AU20 reads 1), AU26 parts the lips (AU25 reads 1.7).
MEASURES: dict[str, float] = {
    "AU01": 0.148,
    "AU02": 0.123,
    "AU04": 0.052,
    "AU05": 0.039,
    "AU10": UNIT_DISPLACEMENT["AU10"],
    "AU12": UNIT_DISPLACEMENT["AU12"],
    "AU15": 0.099,
    "AU20": 0.119,
    "AU25": UNIT_DISPLACEMENT["AU25"],
    "AU26": 0.28,
    "AU45": 0.99,
}

EYE_CORNERS = ((33, 133), (362, 263))  # (image left eye), (image right eye): outer/inner, inner/outer
LIDS = (((160, 159, 158), (144, 145, 153)), ((387, 386, 385), (373, 374, 380)))  # (upper, lower) of each eye
LIP_CORNERS = (61, 291)
INNER_LIP_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LIP_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
INNER_LIP_RING = (78, *INNER_LIP_UPPER, 308, *reversed(INNER_LIP_LOWER))
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

# Bounds on what a signal from outside may hold; an hour at 30 frames a second.
MAX_STEPS = 108_000
MAX_SECONDS = 3600.0
MAX_FPS = 1000.0
MAX_VALUE = 2.0


def unit_name(text: str) -> str:
    """A unit's name as the table spells it: ``au1``, ``AU1`` and ``AU01`` are one; other names stay."""
    name = text.strip()
    found = re.fullmatch(r"[aA][uU]_?(\d{1,2})", name)
    return f"AU{int(found[1]):02d}" if found else name


def pose(values: Mapping[str, float], names: Sequence[str] = tuple(UNITS), absolute: bool = False) -> Signal:
    """A signal of one step from named units; those not named are 0, those not in ``names`` are refused."""
    unknown = [n for n in values if n not in names]
    if unknown:
        raise InputError(f"unit {', '.join(unknown)} is unknown; expected {', '.join(names)}")
    return Signal(torch.tensor([[float(values.get(n, 0.0)) for n in names]]), tuple(names), None, absolute)


def eye_centres(landmarks: Array) -> tuple[Array, Array]:
    """Eye centres [2] each, (image left, image right), in the units of ``landmarks`` [478,2] (or [468,2])."""
    if landmarks.ndim != 2 or landmarks.shape[0] < 468 or landmarks.shape[1] != 2:
        raise ShapeError(
            f"landmarks have shape {list(landmarks.shape)}, expected [478, 2] (MediaPipe face mesh)"
        )
    return tuple((landmarks[a] + landmarks[b]) / 2 for a, b in EYE_CORNERS)  # type: ignore[return-value]


def to_face(landmarks: Array) -> Array:
    """Landmarks [478,2] in pixels -> face coordinates [478,2] (upright, eye distances, y down)."""
    left, right = eye_centres(landmarks)
    across = right - left
    distance = float(np.linalg.norm(across))
    if not distance > 0:
        raise InputError("both eye centres fall on one point; the landmarks are not those of a face")
    ex = across / distance
    return (landmarks - (left + right) / 2) @ np.stack([ex, [-ex[1], ex[0]]], 1) / distance


def _measures(landmarks: Array) -> dict[str, float]:
    """What each unit moves, growing with the unit; ``lids`` is their opening."""
    q = to_face(landmarks)
    half_width = (q[291, 0] - q[61, 0]) / 2
    corner_height = (q[61, 1] + q[291, 1]) / 2
    return {
        "AU01": -(q[107, 1] + q[336, 1]) / 2,
        "AU02": -(q[70, 1] + q[300, 1]) / 2,
        "AU04": -(q[336, 0] - q[107, 0]) / 2,
        "AU10": -q[13, 1],
        "AU12": half_width * _AU12_DIRECTION[0] + corner_height * _AU12_DIRECTION[1],
        "AU15": corner_height,
        "AU20": half_width,
        "AU25": q[14, 1] - q[13, 1],
        "AU26": q[152, 1],
        "lids": float(np.mean([q[list(lo), 1].mean() - q[list(up), 1].mean() for up, lo in LIDS])),
    }


def _moved(unit: str, a: Mapping[str, float], b: Mapping[str, float]) -> float:
    if unit == "AU05":
        return max(0.0, b["lids"] - a["lids"])
    if unit == "AU45":
        return max(0.0, a["lids"] - b["lids"]) / max(a["lids"], 1e-6)
    return b[unit] - a[unit]


def unit_change(
    source: Array, target: Array, names: Sequence[str], limit: float = 1.5
) -> NDArray[np.float32]:
    """[N]: change of each named unit between two sets of landmarks [478,2], clipped to ±``limit``.

    AU05 reads lids that open, AU45 lids that close, neither the other's. For units of ``MEASURES`` alone.
    """
    unknown = sorted(set(names) - set(MEASURES))
    if unknown:
        raise InputError(
            f"no geometric measure for {', '.join(unknown)}; there is one for {', '.join(MEASURES)}"
        )
    a, b = _measures(np.asarray(source, np.float64)), _measures(np.asarray(target, np.float64))
    change = [_moved(n, a, b) / MEASURES[n] for n in names]
    return np.clip(change, -limit, limit).astype(np.float32)


# How the weight of an interpolated motion runs over a clip: t in 0..1 -> weight in 0..1.
CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "ease": lambda t: t * t * (3 - 2 * t),
    "pulse": lambda t: math.sin(math.pi * t) ** 2,
    "pingpong": lambda t: 1 - abs(2 * t - 1),
}


def curve(name: str, frames: int) -> list[float]:
    """Weights of ``frames`` frames, first at t = 0 and last at t = 1; a single frame has weight 1."""
    if name not in CURVES:
        raise InputError(f"curve {name!r} is unknown; expected one of {', '.join(CURVES)}")
    if frames < 1:
        raise InputError(f"a clip of {frames} frames was asked for; expected at least 1")
    if frames == 1:
        return [1.0]
    return [CURVES[name](i / (frames - 1)) for i in range(frames)]
