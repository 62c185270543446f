"""Blendshapes and tracks: the correspondence, both sides, gaps, and the video's own time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atw_nodes.signal_curves import relative
from atw_nodes.signal_sources import ARKIT, ARKIT_UNUSED, arkit_units, from_blendshapes, from_track
from atw_nodes.signals import UNITS
from atw_nodes.tracking import Track
from atw_nodes.types import InputError, ShapeError

SIDES = ("Left", "Right")
ONE_SHAPE = ("browInnerUp", "cheekPuff", "jawForward", "jawOpen", "tongueOut") + tuple(
    f"mouth{n}" for n in ("Close", "Funnel", "Pucker", "RollLower", "RollUpper", "ShrugLower", "ShrugUpper")
)
TWO_SHAPES = (
    *(
        "browDown",
        "browOuterUp",
        "cheekSquint",
        "eyeBlink",
        "eyeLookDown",
        "eyeLookIn",
        "eyeLookOut",
        "eyeLookUp",
    ),
    *("eyeSquint", "eyeWide", "jaw", "mouth", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress"),
    *("mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)
ALL = (*ONE_SHAPE, *(f"{n}{s}" for n in TWO_SHAPES for s in SIDES))


def test_all_52_are_accounted_for() -> None:
    assert len(ALL) == 52
    assert set(ONE_SHAPE) | set(TWO_SHAPES) == set(ARKIT.values()) | set(ARKIT_UNUSED) | {"mouthClose"}
    assert tuple(ARKIT) == tuple(UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_has_its_shape_and_no_other(unit: str) -> None:
    shapes = dict.fromkeys(ALL, 0.0)
    for name in ALL:
        if name.removesuffix("Left").removesuffix("Right") == ARKIT[unit]:
            shapes[name] = 0.6
    assert arkit_units(shapes) == {u: pytest.approx(0.6 if u == unit else 0) for u in UNITS}


def test_shapes_without_a_unit_do_nothing() -> None:
    unused = {n: 1.0 for n in ALL if n.removesuffix("Left").removesuffix("Right") in ARKIT_UNUSED}
    assert len(unused) == 20 and not any(arkit_units(unused).values())
    assert not any(arkit_units({"_neutral": 1.0}).values())


def test_sides_are_averaged() -> None:
    assert arkit_units({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.5})["AU45"] == 0.75
    assert arkit_units({"eyeBlinkLeft": 0.4})["AU45"] == 0.4


@pytest.mark.parametrize("name", ["eyeBlinkLeft", "eyeBlink_L", "EyeBlinkLeft", "eye_blink_left", "eyeBlink"])
def test_spellings(name: str) -> None:
    assert arkit_units({name: 0.4})["AU45"] == 0.4


def test_shut_lips_over_an_open_jaw() -> None:
    assert arkit_units({"jawOpen": 0.7, "mouthClose": 0.5})["AU26"] == pytest.approx(0.2)
    assert arkit_units({"jawOpen": 0.2, "mouthClose": 0.5})["AU26"] == 0


def test_range() -> None:
    assert arkit_units({"jawOpen": 1.7})["AU26"] == 1 and arkit_units({"jawOpen": -1})["AU26"] == 0
    with pytest.raises(InputError, match="jawOpen is nan"):
        arkit_units({"jawOpen": float("nan")})


def test_a_sequence_with_gaps() -> None:
    frames = [None, {"jawOpen": 0.2}, {}, None, {"jawOpen": 0.8}, {"something": 1.0}]
    signal = from_blendshapes(frames, 30)
    assert signal.names == tuple(UNITS) and signal.absolute and signal.fps == 30
    assert signal.column("AU26").tolist() == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 0.8])
    assert not relative(from_blendshapes([{"jawOpen": 0.3}] * 4)).values.any()
    assert not from_blendshapes([dict.fromkeys(ALL, 0.0)] * 3).values.any()


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "blendshapes of 0 frames"),
        ([None, {}], "found none; expected ARKit's names"),
        ([{"viseme_aa": 1.0}], "found viseme_aa; expected ARKit's names, as browInnerUp"),
    ],
)
def test_bad_blendshapes(frames: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_blendshapes(frames)


def track(steps: int = 4, start: int = 0) -> Track:
    units = np.arange(steps * 2, dtype=np.float32).reshape(steps, 2) / 10
    return Track(0, start, np.zeros((steps, 478, 2), np.float32), units, np.ones(steps, np.float32))


def test_a_track_keeps_the_videos_time() -> None:
    signal = from_track(track(), ("AU12", "AU45"), 25)
    assert (
        torch.equal(signal.values, torch.from_numpy(track().units)) and signal.fps == 25 and signal.absolute
    )
    late = from_track(track(start=2), ("AU12", "AU45"), 25, frames=8)
    assert late.column("AU12").tolist() == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.6, 0.6])
    assert len(from_track(track(start=2), ("AU12", "AU45"), 25)) == 6


def test_bad_tracks() -> None:
    with pytest.raises(ShapeError, match=r"units \[4, 2\], expected \[frames, 3\]"):
        from_track(track(), ("a", "b", "c"), 25)
    with pytest.raises(ShapeError, match="reaches frame 6, the video has 5"):
        from_track(track(start=2), ("a", "b"), 25, frames=5)
    with pytest.raises(InputError, match="video of 200000 frames; expected at most 108000"):
        from_track(track(), ("a", "b"), 25, frames=200_000)
