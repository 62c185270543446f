"""Where small frames were cut out of a photo."""

from __future__ import annotations

import math

import pytest
import torch

from atw_nodes.lift_crop import crop_from_text, find_crop
from atw_nodes.lift_motion import reduced
from atw_nodes.types import FaceFrame, InputError
from tests.test_lift import PHOTO, SIDE


def frame_at(x: float, y: float, across: float, down: float, turn: float = 0.0) -> FaceFrame:
    c, s = math.cos(turn), math.sin(turn)
    return FaceFrame(((across * c, -down * s, x), (across * s, down * c, y)), SIDE, SIDE)


def apart(a: FaceFrame, b: FaceFrame) -> float:
    """The most that a corner is off, in pixels of the photo."""
    return max(math.dist(p, q) for p, q in zip(a.corners(), b.corners(), strict=True))


def test_text() -> None:
    assert crop_from_text("whole", (64, 64), 100, 200).is_whole
    frame = crop_from_text("10,20,80", (32, 64), 100, 200)
    assert frame.matrix == ((80.0, 0.0, 10.0), (0.0, 40.0, 20.0)) and frame.feather > 0
    assert crop_from_text("10,20,30,40", (64, 64), 100, 200).sides == (30.0, 40.0)
    assert crop_from_text("0,0,200,100", (64, 64), 100, 200).is_whole
    for text in ("", "1,2,x", "1,2,3,4,5", "nan,0,50"):
        with pytest.raises(InputError, match="expected auto, whole"):
            crop_from_text(text, (64, 64), 100, 200)
    with pytest.raises(InputError, match="does not lie"):
        crop_from_text("300,0,50", (64, 64), 100, 200)


def test_the_whole_photo_is_seen_as_such() -> None:
    small = reduced(PHOTO, FaceFrame.whole(SIDE, SIDE), (64, 64), 1)
    assert find_crop(PHOTO, small).is_whole
    assert find_crop(PHOTO, (0.7 * small + 0.1).mul(255).byte()).is_whole


@pytest.mark.parametrize("place", [(40, 60, 160, 160), (10.5, 100.25, 120, 90), (120, 20, 100, 130)], ids=str)
def test_a_crop_is_found_to_half_a_pixel(place: tuple[float, float, float, float]) -> None:
    frame = frame_at(*place)
    small = reduced(PHOTO, frame, (round(place[3] / 2), round(place[2] / 2)), 2)
    found = find_crop(PHOTO, torch.nn.functional.avg_pool2d(small, 2) if min(small.shape) > 90 else small)
    assert apart(found, frame) < 0.6
    assert found.matrix[0][1] == 0 == found.matrix[1][0]


def test_nothing_alike_is_refused() -> None:
    g = torch.Generator().manual_seed(11)
    with pytest.raises(InputError, match="say where they were cut out"):
        find_crop(PHOTO, torch.rand(1, 3, 64, 48, generator=g))
