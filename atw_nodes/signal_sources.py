"""Signals from other trackers: ARKit's 52 blendshapes (also MediaPipe's face landmarker), our own tracks.

Both give a face as shown; ``signal_curves.relative`` makes it drive another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .signal_curves import fill_gaps
from .signals import MAX_STEPS, UNITS
from .tracking import Track
from .types import InputError, ShapeError, Signal

# ARKit's shapes (developer.apple.com, ARFaceAnchor.BlendShapeLocation) as action units, after Melinda Ozel,
# "ARKit to FACS" (melindaozel.com/arkit-to-facs-cheat-sheet), with three choices of ours where 17 units are
# too few: mouthPress is AU24 and goes to AU23, its neighbour; mouthLowerDown is AU16, which parts the lips,
# and goes to AU25; jawOpen is AU26 to AU27 and counts less mouthClose, as lips can be shut over an open jaw.
# Shapes come with Left and Right at the end or without; sides are averaged. 1.0 is taken as intensity E.
ARKIT: dict[str, str] = {
    "AU01": "browInnerUp",
    "AU02": "browOuterUp",
    "AU04": "browDown",
    "AU05": "eyeWide",
    "AU06": "cheekSquint",
    "AU07": "eyeSquint",
    "AU09": "noseSneer",
    "AU10": "mouthUpperUp",
    "AU12": "mouthSmile",
    "AU14": "mouthDimple",
    "AU15": "mouthFrown",
    "AU17": "mouthShrugLower",
    "AU20": "mouthStretch",
    "AU23": "mouthPress",
    "AU25": "mouthLowerDown",
    "AU26": "jawOpen",
    "AU45": "eyeBlink",
}
# No unit of ours: gaze (8 shapes), jaw and mouth sideways or forward, tongue, and these by their units.
ARKIT_UNUSED: dict[str, str] = {
    **{"mouthShrugUpper": "AU17, with mouthShrugLower", "mouthPucker": "AU18", "mouthFunnel": "AU22"},
    **{"mouthRollUpper": "AU28", "mouthRollLower": "AU28", "cheekPuff": "AD34", "jawForward": "AD29"},
    **{"jaw": "AD30", "mouth": "sideways", "tongueOut": "AD19"},
    **{"eyeLookUp": "gaze", "eyeLookDown": "gaze", "eyeLookIn": "gaze", "eyeLookOut": "gaze"},
}


def _shape(name: str) -> str:
    """``eyeBlinkLeft``, ``EyeBlink_L`` -> ``eyeblink``."""
    plain = name.replace("_", "").replace(" ", "").lower()
    for side in ("left", "right"):
        plain = plain.removesuffix(side)
    return plain[:-1] if name[-2:] in ("_L", "_R") else plain


_UNIT_OF = {shape.lower(): unit for unit, shape in ARKIT.items()}
_CLOSED = "mouthclose"


def arkit_units(shapes: Mapping[str, float]) -> dict[str, float]:
    """{unit: 0..1} of one face from its blendshapes {name: 0..1}; units without a shape are 0."""
    sides: dict[str, list[float]] = {}
    for name, value in shapes.items():
        key = _shape(str(name))
        if key in _UNIT_OF or key == _CLOSED:
            number = float(value)
            if not math.isfinite(number):
                raise InputError(f"blendshape {name} is {number}; expected 0 to 1")
            sides.setdefault(key, []).append(min(max(number, 0.0), 1.0))
    level = {key: sum(values) / len(values) for key, values in sides.items()}
    units = {unit: level.get(shape, 0.0) for shape, unit in _UNIT_OF.items()}
    units["AU26"] = max(0.0, units["AU26"] - level.get(_CLOSED, 0.0))
    return units


def from_blendshapes(frames: Sequence[Mapping[str, float] | None], fps: float | None = None) -> Signal:
    """An absolute signal of the 17 units from one face's blendshapes a frame.

    Frames without a face (None or empty) are interpolated, at the ends they repeat the nearest.
    """
    if not 1 <= len(frames) <= MAX_STEPS:
        raise InputError(f"blendshapes of {len(frames)} frames; expected 1 to {MAX_STEPS}")
    names = tuple(UNITS)
    values, good = np.zeros((len(frames), len(names))), np.zeros(len(frames), bool)
    for k, shapes in enumerate(frames):
        if shapes and any(_shape(str(n)) in _UNIT_OF for n in shapes):
            units = arkit_units(shapes)
            values[k], good[k] = [units[n] for n in names], True
    if not good.any():
        found = ", ".join(str(n) for shapes in frames for n in (shapes or {}))[:120] or "none"
        raise InputError(
            f"no frame has blendshapes of a face; found {found}; expected ARKit's names, as browInnerUp and "
            "eyeBlinkLeft"
        )
    return Signal(torch.from_numpy(fill_gaps(values, good)).float(), names, fps, True)


def from_track(track: Track, names: Sequence[str], fps: float, frames: int | None = None) -> Signal:
    """An absolute signal from a face followed through a video: step k is the video's frame k.

    names: of the track's units, e.g. ``network.config.units``. frames: length of the video; before the face
    came and after it went, its first and last step are repeated.
    """
    units = np.asarray(track.units, np.float64)
    if units.ndim != 2 or units.shape[1] != len(names):
        raise ShapeError(f"track has units {list(units.shape)}, expected [frames, {len(names)}], one a name")
    length = track.start + len(units)
    if frames is not None and frames < length:
        raise ShapeError(f"track reaches frame {length}, the video has {frames}; give the video's own length")
    total = length if frames is None else frames
    if total > MAX_STEPS:
        raise InputError(f"a video of {total} frames; expected at most {MAX_STEPS}")
    filled = np.pad(units, ((track.start, total - length), (0, 0)), mode="edge")
    return Signal(torch.from_numpy(filled).float(), tuple(names), fps, True)
