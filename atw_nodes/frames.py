"""Where the face is: from nothing, a box, a mask or landmarks to a ``FaceFrame``.

The head-shot frame has the eye centres at x = 0.5 ± 0.115, y = 0.47 of its side (see ``warp.py`` for
conventions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .signals import EYE_CORNERS
from .types import FaceFrame, InputError, ShapeError, check_shape

EYE_X, EYE_Y = 0.115, 0.47
# Where hairline to chin and cheek to cheek fall in the frame, averaged over aligned adult faces.
FACE_CENTRE, _FACE_WIDTH, _FACE_HEIGHT = (0.5, 0.58), 0.53, 0.62


def _inside(frame: FaceFrame, what: str) -> FaceFrame:
    left, top, right, bottom = frame.bounds()
    if left >= right or top >= bottom:
        raise InputError(
            f"{what} lies outside the photo of {frame.width}x{frame.height}; give one that overlaps it"
        )
    if min(frame.sides) < 8:
        raise InputError(f"{what} is {min(frame.sides):.1f} pixels wide; a face needs at least 8")
    return frame


def frame_from_box(left: float, top: float, side: float, height: int, width: int) -> FaceFrame:
    """An upright square head-shot frame in pixels of a photo of ``height`` x ``width``; it may reach over the
    edge.
    """
    if not all(math.isfinite(v) for v in (left, top, side)):
        raise InputError(f"face box {left},{top},{side} is not finite; expected X,Y,SIDE in pixels")
    matrix = ((float(side), 0.0, float(left)), (0.0, float(side), float(top)))
    if side < 8:
        raise InputError(f"face box has a side of {side:g} pixels; a face needs at least 8")
    return _inside(FaceFrame(matrix, height, width), f"face box {left:g},{top:g},{side:g}")


def frame_from_eyes(left: Sequence[float], right: Sequence[float], height: int, width: int) -> FaceFrame:
    """A similarity from the two eye centres (x, y) in pixels; ``left`` is the leftmost in the image."""
    dx, dy = right[0] - left[0], right[1] - left[1]
    side = math.hypot(dx, dy) / (2 * EYE_X)
    if not (math.isfinite(side) and side > 0):
        raise InputError(
            f"eye centres {tuple(left)} and {tuple(right)} do not make a face; give two different points"
        )
    ax, ay = dx / (2 * EYE_X), dy / (2 * EYE_X)  # the frame's horizontal side in pixels
    mx, my = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    origin = (mx - 0.5 * ax + EYE_Y * ay, my - 0.5 * ay - EYE_Y * ax)
    return _inside(
        FaceFrame(((ax, -ay, origin[0]), (ay, ax, origin[1])), height, width), "face frame from the eyes"
    )


def frame_from_landmarks(
    landmarks: Tensor,
    height: int,
    width: int,
    left_eye: Sequence[int] = EYE_CORNERS[0],
    right_eye: Sequence[int] = EYE_CORNERS[1],
) -> FaceFrame:
    """From landmarks [N,2] in pixels of any topology, given which of them average to each eye's centre.

    The default indices are the eye corners of the MediaPipe mesh.
    """
    check_shape(landmarks, "N2", "landmarks")
    if max(*left_eye, *right_eye) >= len(landmarks):
        raise ShapeError(
            f"{len(landmarks)} landmarks, but the eyes are named {left_eye} and {right_eye}; name others"
        )
    points = landmarks.double()
    a, b = (points[list(e)].mean(0).tolist() for e in (left_eye, right_eye))
    return frame_from_eyes(*((a, b) if a[0] <= b[0] else (b, a)), height, width)


def frame_from_mask(mask: Tensor) -> FaceFrame:
    """From a mask [H,W] in 0..1 over the face, hairline to chin and cheek to cheek, in the photo's size."""
    check_shape(mask, "HW", "face mask")
    on = mask > 0.5
    if not bool(on.any()):
        raise InputError("face mask is empty (nothing above 0.5); paint over the face, from hairline to chin")
    ys, xs = (torch.nonzero(on.any(d)).flatten() for d in (1, 0))
    x0, x1, y0, y1 = int(xs[0]), int(xs[-1]) + 1, int(ys[0]), int(ys[-1]) + 1
    side = ((x1 - x0) / _FACE_WIDTH + (y1 - y0) / _FACE_HEIGHT) / 2
    left, top = (x0 + x1) / 2 - FACE_CENTRE[0] * side, (y0 + y1) / 2 - FACE_CENTRE[1] * side
    return frame_from_box(left, top, side, *mask.shape)


def frame_from_text(text: str, height: int, width: int) -> FaceFrame:
    """``whole`` or ``X,Y,SIDE`` (pixels), as given on the command line."""
    if text == "whole":
        return FaceFrame.whole(height, width)
    try:
        left, top, side = (float(v) for v in text.split(","))
    except ValueError:
        raise InputError(
            f"--face {text}: expected auto, all, whole or X,Y,SIDE in pixels, for example 120,40,300"
        ) from None
    return frame_from_box(left, top, side, height, width)
