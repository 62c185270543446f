"""Action units: what a value of 1.0 means, and how a change is measured between two sets of landmarks.

Face coordinates: upright, origin midway between the eye centres, unit = the distance between the eye centres
(an eye centre is the mean of the eye's two corners), x to the image's right, y down.
Landmarks are the MediaPipe face mesh: 468 points, then 5 per iris.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .types import InputError, ShapeError

Array = NDArray[np.float64]

# FACS intensity E (value 1.0) as a displacement in eye distances; one place, so that training, measuring and
# sliders agree. AU12 pulls a lip corner by (0.12 outward, 0.09 up); AU25 opens the gap between the inner
# lips;
# AU10 raises the upper lip towards the eye line.
UNIT_DISPLACEMENT: dict[str, float] = {"AU10": 0.10, "AU12": 0.15, "AU25": 0.16}
_AU12_DIRECTION = (0.8, -0.6)  # (outward, down), unit length

EYE_CORNERS = ((33, 133), (362, 263))  # (image left eye), (image right eye): outer/inner, inner/outer
LIP_CORNERS = (61, 291)
INNER_LIP_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LIP_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
INNER_LIP_RING = (78, *INNER_LIP_UPPER, 308, *reversed(INNER_LIP_LOWER))
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)


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
    q = to_face(landmarks)
    half_width = (q[291, 0] - q[61, 0]) / 2
    corner_height = (q[61, 1] + q[291, 1]) / 2
    return {
        "AU10": -q[13, 1],
        "AU12": half_width * _AU12_DIRECTION[0] + corner_height * _AU12_DIRECTION[1],
        "AU25": q[14, 1] - q[13, 1],
    }


def unit_change(
    source: Array, target: Array, names: Sequence[str], limit: float = 1.5
) -> NDArray[np.float32]:
    """[N]: change of each named unit between two sets of landmarks [478,2], clipped to ±``limit``."""
    unknown = sorted(set(names) - set(UNIT_DISPLACEMENT))
    if unknown:
        raise InputError(
            f"no geometric measure for {', '.join(unknown)}; there is one for {', '.join(UNIT_DISPLACEMENT)}"
        )
    a, b = _measures(np.asarray(source, np.float64)), _measures(np.asarray(target, np.float64))
    change = [(b[n] - a[n]) / UNIT_DISPLACEMENT[n] for n in names]
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
