"""The action-unit table: what is named, what is measured, and that the puppet moves by what the table says."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from atw_nodes.signals import (
    CURVES,
    MEASURES,
    UNIT_DISPLACEMENT,
    UNITS,
    curve,
    pose,
    to_face,
    unit_change,
    unit_name,
)
from atw_nodes.types import InputError
from tests.conftest import ROOT

sys.path.append(str(ROOT / "recipes"))
import puppet  # noqa: E402

EYE = {  # one eye of a plain face, image left, from its middle at 0; eye distance 1
    **{33: (-0.22, 0), 133: (0.22, 0), 246: (-0.19, -0.02), 161: (-0.16, -0.04), 160: (-0.1, -0.07)},
    **{159: (-0.02, -0.09), 158: (0.06, -0.08), 157: (0.14, -0.05), 173: (0.19, -0.02), 7: (-0.19, 0.01)},
    **{163: (-0.16, 0.03), 144: (-0.1, 0.05), 145: (-0.02, 0.06), 153: (0.06, 0.05), 154: (0.14, 0.03)},
    155: (0.19, 0.02),
}
REST = {  # the image's left half of the rest of it, from midway between the eyes
    **{107: (-0.24, -0.36), 55: (-0.21, -0.23), 70: (-0.94, -0.25), 46: (-0.88, -0.21), 129: (-0.33, 0.59)},
    **{61: (-0.4, 1.1), 78: (-0.36, 1.1), 13: (0, 1.08), 14: (0, 1.08), 0: (0, 0.98), 17: (0, 1.25)},
    **{152: (0, 1.83), 1: (0, 0.62)},
}
TWIN = {
    **{33: 263, 133: 362, 246: 466, 161: 388, 160: 387, 159: 386, 158: 385, 157: 384, 173: 398, 7: 249},
    **{163: 390, 144: 373, 145: 374, 153: 380, 154: 381, 155: 382, 107: 336, 55: 285, 70: 300, 46: 276},
    **{129: 358, 61: 291, 78: 308},
}


def plain_face() -> np.ndarray:
    """A symmetric face [478,2] in eye distances; points that no unit is anchored to lie far below it."""
    points = np.tile([0.0, 9.0], (478, 1))
    half = {i: (x - 0.5, y) for i, (x, y) in EYE.items()} | REST
    for i, (x, y) in half.items():
        points[i] = (x, y)
        points[TWIN.get(i, i)] = (-x if i in TWIN else x, y)
    return points


def measured(unit: str, amount: float) -> float:
    face = plain_face()
    moved = face + amount * puppet.basis(face)[puppet.UNITS.index(unit)]
    return float(unit_change(face, moved, (unit,), limit=9)[0])


def test_the_table() -> None:
    assert len(UNITS) == 17 and tuple(UNITS) == puppet.UNITS
    assert set(UNIT_DISPLACEMENT) == {"AU10", "AU12", "AU25"}  # the puppet is calibrated by these
    assert all(MEASURES[u] == d for u, d in UNIT_DISPLACEMENT.items())
    assert [u for u in UNITS if u in MEASURES] == list(MEASURES)
    for unit in UNITS.values():
        assert unit.facs and unit.plain.endswith(".") and "\n" not in unit.plain


@pytest.mark.parametrize("unit", MEASURES)
def test_the_puppet_defines_the_scale(unit: str) -> None:
    near = 0.1 if unit == "AU05" else 0.03  # AU05 depends on where along the lid the points sit
    assert measured(unit, 1.0) == pytest.approx(1.0, abs=near)
    assert measured(unit, 0.5) == pytest.approx(0.5, abs=near)
    assert measured(unit, 0.0) == 0


def test_brows_and_eyes_do_not_read_the_mouth() -> None:
    face = plain_face()
    fields = puppet.basis(face)
    upper, lower = ("AU01", "AU02", "AU04", "AU05", "AU45"), ("AU10", "AU12", "AU15", "AU20", "AU25", "AU26")
    for names, movers in ((upper, lower), (lower, upper)):
        for mover in movers:
            moved = face + fields[puppet.UNITS.index(mover)]
            assert np.abs(unit_change(face, moved, names)).max() < 0.06, mover


def test_lids_read_one_way_each() -> None:
    face, wide, shut = plain_face(), plain_face(), plain_face()
    wide[[160, 159, 158, 387, 386, 385]] -= [0, 0.039]
    shut[[160, 159, 158, 387, 386, 385]] = shut[[144, 145, 153, 373, 374, 380]]
    names = ("AU05", "AU45")
    assert unit_change(face, wide, names) == pytest.approx([1, 0], abs=1e-6)
    assert unit_change(face, shut, names) == pytest.approx([0, 1 / 0.99], abs=1e-6)
    assert unit_change(shut, face, names)[1] == 0 and unit_change(shut, face, names)[0] > 1
    assert unit_change(shut, shut, names) == pytest.approx([0, 0])


def test_measures_do_not_see_size_place_or_roll() -> None:
    face, names = plain_face(), tuple(MEASURES)
    moved = puppet.move(face, {"AU02": 0.5, "AU12": 0.7, "AU45": 0.3})
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]]) * 57
    assert unit_change(face @ turn + 200, moved @ turn + 200, names) == pytest.approx(
        unit_change(face, moved, names), abs=1e-5
    )
    assert not unit_change(face, face @ turn - 3, names).round(6).any()
    assert to_face(face @ turn) == pytest.approx(face, abs=1e-9)


def test_units_without_a_measure_are_named() -> None:
    with pytest.raises(InputError, match="no geometric measure for AU06, AU99; there is one for AU01, AU02"):
        unit_change(plain_face(), plain_face(), ("AU12", "AU99", "AU06"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("au1", "AU01"), (" AU12 ", "AU12"), ("AU_45", "AU45"), ("smiling", "smiling"), ("AU123", "AU123")],
)
def test_unit_names(text: str, name: str) -> None:
    assert unit_name(text) == name


def test_pose() -> None:
    signal = pose({"AU12": 0.8})
    assert signal.names == tuple(UNITS) and len(signal) == 1 and not signal.absolute
    assert signal.column("AU12").item() == pytest.approx(0.8) and signal.values.count_nonzero() == 1
    assert torch.equal(pose({}, ("AU12", "AU45"), absolute=True).values, torch.zeros(1, 2))
    with pytest.raises(InputError, match="unit AU45 is unknown; expected AU12"):
        pose({"AU45": 1}, ("AU12",))


def test_curves() -> None:
    for name in CURVES:
        assert len(curve(name, 5)) == 5 and curve(name, 1) == [1.0]
        assert all(0 <= w <= 1 for w in curve(name, 9)) and curve(name, 9)[0] == 0
    assert curve("linear", 3) == [0, 0.5, 1] and curve("pingpong", 3) == [0, 1, 0]
    with pytest.raises(InputError, match="'wobble' is unknown; expected one of linear"):
        curve("wobble", 3)
    with pytest.raises(InputError, match="0 frames"):
        curve("ease", 0)
