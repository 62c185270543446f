"""Boxes, masks and landmarks to the head-shot frame."""

from __future__ import annotations

import math

import pytest
import torch

from atw_nodes.frames import (
    EYE_X,
    EYE_Y,
    frame_from_eyes,
    frame_from_landmarks,
    frame_from_mask,
    frame_from_text,
)
from atw_nodes.tiles import canonical
from atw_nodes.types import FaceFrame, InputError, ShapeError


def pixel(frame: FaceFrame, u: float, v: float) -> tuple[float, float]:
    (a, b, x), (c, d, y) = frame.matrix
    return a * u + b * v + x, c * u + d * v + y


@pytest.mark.parametrize("angle", [0.0, 20.0, -33.0, 90.0])
def test_eyes_land_where_the_frame_says(angle: float) -> None:
    r = math.radians(angle)
    left = (300 - 40 * math.cos(r), 200 - 40 * math.sin(r))
    right = (300 + 40 * math.cos(r), 200 + 40 * math.sin(r))
    frame = frame_from_eyes(left, right, 500, 600)
    assert pixel(frame, 0.5 - EYE_X, EYE_Y) == pytest.approx(left)
    assert pixel(frame, 0.5 + EYE_X, EYE_Y) == pytest.approx(right)
    sides = frame.sides
    assert sides[0] == pytest.approx(sides[1])  # a similarity: no stretch
    assert sides[0] == pytest.approx(80 / 0.23)
    (a, b, _), (c, d, _) = frame.matrix
    assert a * d - b * c > 0  # and no mirror
    (ia, ib, ix), (ic, id_, iy) = frame.inverse()
    assert (ia * left[0] + ib * left[1] + ix, ic * left[0] + id_ * left[1] + iy) == pytest.approx(
        (0.385, 0.47)
    )


def test_landmarks_of_any_topology() -> None:
    mesh = torch.zeros(478, 2)
    for i, p in ((33, (90, 100)), (133, (110, 100)), (362, (150, 100)), (263, (170, 100))):
        mesh[i] = torch.tensor(p, dtype=torch.float32)
    five = torch.tensor([[160.0, 100.0], [100.0, 100.0], [130, 130], [110, 160], [150, 160]])
    a, b = frame_from_landmarks(mesh, 300, 300), frame_from_landmarks(five, 300, 300, [1], [0])
    assert a == b == frame_from_eyes((100, 100), (160, 100), 300, 300)
    with pytest.raises(ShapeError, match="5 landmarks, but the eyes are named"):
        frame_from_landmarks(five, 300, 300)


def test_box_is_the_frame() -> None:
    frame = frame_from_text("12.5,-20,300", 400, 500)
    assert pixel(frame, 0, 0) == (12.5, -20)
    assert pixel(frame, 1, 1) == (312.5, 280)
    assert frame.bounds() == (12, 0, 313, 280)
    assert frame_from_text("whole", 400, 500).is_whole


def test_mask_over_the_face_gives_the_frame_of_its_landmarks(faces_folder) -> None:  # noqa: ANN001
    import numpy as np

    marks = torch.from_numpy(np.load(faces_folder / "landmarks.npy")[0])
    mask = torch.zeros(256, 256)
    x, y = marks[:468].amin(0), marks[:468].amax(0)
    mask[int(x[1]) : int(y[1]), int(x[0]) : int(y[0])] = 1
    a, b = frame_from_mask(mask), frame_from_landmarks(marks, 256, 256)
    assert a.sides[0] == pytest.approx(b.sides[0], rel=0.1)
    assert pixel(a, 0.5, 0.47) == pytest.approx(pixel(b, 0.5, 0.47), abs=12)


def test_mask_box_has_the_face_proportions() -> None:
    mask = torch.zeros(400, 500)
    mask[100:162, 200:253] = 1  # 53 wide, 62 high: a frame of side 100
    frame = frame_from_mask(mask)
    assert frame.sides == pytest.approx((100, 100))
    assert pixel(frame, 0.5, 0.58) == pytest.approx((226.5, 131))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auto", "expected auto, all, whole or X,Y,SIDE"),
        ("1,2", "expected auto, all, whole or X,Y,SIDE"),
        ("a,b,c", "expected auto, all, whole or X,Y,SIDE"),
        ("nan,0,100", "not finite"),
        ("0,0,3", "a face needs at least 8"),
        ("0,0,-50", "a face needs at least 8"),
        ("600,0,100", "outside the photo of 500x400"),
    ],
)
def test_bad_boxes(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frame_from_text(text, 400, 500)


def test_bad_masks_and_eyes() -> None:
    with pytest.raises(InputError, match="face mask is empty"):
        frame_from_mask(torch.zeros(40, 40))
    with pytest.raises(InputError, match="give two different points"):
        frame_from_eyes((5, 5), (5, 5), 40, 40)


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_canonical_view_is_upright_and_does_not_alias(angle: float) -> None:
    n, r = 1200, math.radians(angle)
    y, x = torch.meshgrid(torch.arange(n) + 0.5, torch.arange(n) + 0.5, indexing="ij")
    checker = (
        ((x.long() + y.long()) % 2).float()[None, None].expand(1, 3, -1, -1)
    )  # the finest pattern there is
    left = (600 - 115 * math.cos(r), 600 - 115 * math.sin(r))
    right = (600 + 115 * math.cos(r), 600 + 115 * math.sin(r))
    frame = frame_from_eyes(left, right, n, n)
    flat = canonical(checker.contiguous(), frame, 128)[..., 4:-4, 4:-4]
    assert float((flat - 0.5).abs().max()) < 0.06
    dot = torch.exp(-((x - right[0]) ** 2 + (y - right[1]) ** 2) / 200)[None, None].expand(1, 3, -1, -1)
    view = canonical(dot.contiguous(), frame, 128)[0, 0]
    row, column = divmod(int(view.argmax()), 128)
    assert (column + 0.5, row + 0.5) == pytest.approx((0.615 * 128, 0.47 * 128), abs=1)
