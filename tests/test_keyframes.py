"""Keyframes: text and JSON in, exact at the moments named, bounded, and plain about what is wrong."""

from __future__ import annotations

import json

import pytest
import torch

from atw_nodes.expressions import presets
from atw_nodes.keyframes import (
    Keyframe,
    keyframes_from_json,
    keyframes_to_json,
    parse_keyframes,
    parse_units,
    sequence,
)
from atw_nodes.signals import UNITS
from atw_nodes.types import InputError

EXPRESSIONS = presets()


def column(text: str, name: str, fps: float = 10, **how) -> list[float]:
    values = sequence(parse_keyframes(text, expressions=EXPRESSIONS), fps, **how).column(name)
    return [round(v, 5) for v in values.tolist()]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("AU12=0.8,AU25=0.5", {"AU12": 0.8, "AU25": 0.5}),
        (" au1 = -1e-1 , au_45=1,", {"AU01": -0.1, "AU45": 1.0}),
        ("", {}),
        (" , ", {}),
        ("sadness", {"AU01": 0.8, "AU04": 0.5, "AU15": 0.7}),
        ("sadness=0.5, AU01=0.1", {"AU01": 0.5, "AU04": 0.25, "AU15": 0.35}),
        ("neutral", {}),
        ("Sad=0.1, AU12=1", {"AU01": 0.08, "AU04": 0.05, "AU15": 0.07, "AU12": 1.0}),
    ],
)
def test_units_as_text(text: str, units: dict[str, float]) -> None:
    assert parse_units(text, expressions=EXPRESSIONS) == pytest.approx(units)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AU12", "AU12 has the value ''; expected a number, as in AU12=0.8"),
        ("AU12=", "AU12 has the value ''"),
        ("AU12=much", "AU12 has the value 'much'"),
        ("AU12=nan", "expected a number"),
        ("AU12=inf", "expected a number"),
        ("AU12=1=2", "'1=2'"),
        ("AU12=80", "AU12 is 80; expected -2 to 2, where 1 is FACS intensity E"),
        ("AU12=1,au12=1", "AU12 is given twice"),
        ("AU99=1", "'AU99' is unknown; expected one of AU01, AU02"),
        ("grin=1", "'grin' is unknown"),
        ("happiness", "'happiness' is unknown"),
        ("x" * 300_000, "300000 characters"),
    ],
)
def test_bad_units_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_units(text)


def test_units_of_a_checkpoint() -> None:
    assert parse_units("happy=1", ("neutral", "happy")) == {"happy": 1.0}
    with pytest.raises(InputError, match="'AU12' is unknown; expected one of neutral, happy"):
        parse_units("AU12=1", ("neutral", "happy"))


def test_what_lies_between() -> None:
    text = "0: AU12=0\n1: AU12=1"
    assert column(text, "AU12", 4, interpolation="linear") == [0, 0.25, 0.5, 0.75, 1]
    assert column(text, "AU12", 4) == [0, 0.15625, 0.5, 0.84375, 1]
    assert column(text, "AU12", 4, interpolation="hold") == [0, 0, 0, 0, 1]
    assert column("0 hold: AU12=0.2; 1: AU12=1; 1.5 linear:; 2: AU12=1", "AU12", 2) == [0.2, 0.2, 1, 0, 1]


def test_it_comes_from_rest_and_stays() -> None:
    text = "0.5: AU12=0.8, AU45=1"
    assert column(text, "AU12", 4, interpolation="linear") == [0, 0.4, 0.8]
    assert column(text, "AU12", 4, interpolation="linear", seconds=1.25) == [0, 0.4, 0.8, 0.8, 0.8]
    assert column("0: AU12=0.3", "AU12") == [0.3]
    assert column("0:", "AU12") == [0.0]


def test_a_keyframe_says_it_all_unless_told_to_keep() -> None:
    text = "0: AU12=0.8; 1: AU45=1; 2: AU12=0.4"
    assert column(text, "AU12", 1) == [0.8, 0, 0.4]
    assert column(text, "AU12", 1, keep=True, interpolation="linear") == [0.8, 0.6, 0.4]
    assert column(text, "AU45", 1, keep=True) == [0, 1, 1]
    assert column("1: AU45=1", "AU12", 1, keep=True) == [0, 0]


def test_moments_are_met_exactly() -> None:
    keys = [Keyframe(i / 10, {"AU12": i / 100}) for i in range(60)]
    for fps in (10, 30, 50):
        values = sequence(keys, fps, interpolation="hold").column("AU12")
        assert torch.allclose(values[:: fps // 10], torch.arange(60) / 100)
    assert len(sequence(keys, 7)) == 43 and len(sequence(keys, 24, seconds=10)) == 240
    assert sequence(keys, 24).fps == 24 and sequence(keys, 24).names == tuple(UNITS)


def test_nothing_in_nothing_out() -> None:
    assert not sequence(parse_keyframes("0:; 3: AU12=0"), 30).values.any()


def test_text_form() -> None:
    keys = parse_keyframes("# a smile\n\n2 s: au12=1 # wide\n  0.5 HOLD : AU12=0.5 ;1:")
    assert [k.time for k in keys] == [0.5, 1, 2] and [k.interpolation for k in keys] == ["hold", "", ""]
    assert keys[2].units == {"AU12": 1.0}


def test_text_form_knows_expressions_only_when_told() -> None:
    with pytest.raises(InputError, match="line 1: 'happiness' is unknown"):
        parse_keyframes("0: happiness")
    assert parse_keyframes("0: happiness", expressions=EXPRESSIONS)[0].units == EXPRESSIONS["happiness"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there are no keyframes"),
        ("# only this", "there are no keyframes"),
        ("AU12=0.8", "line 1: 'AU12=0.8' is none; expected seconds"),
        ("0: AU12=1\n1 AU12=1", "line 2"),
        ("0: AU12=x", "line 1: AU12 has the value 'x'"),
        ("-1: AU12=1", "line 1: keyframe at -1.0 s; expected 0 to 3600 s"),
        ("1e9: AU12=1", "expected 0 to 3600 s"),
        ("1.2.3: AU12=1", "line 1: a keyframe's time is '1.2.3'"),
        ("0 wobble: AU12=1", "interpolation 'wobble' is unknown; expected linear, ease, hold"),
        ("0: AU12=1; 0.0: AU12=0", "two keyframes at 0 s"),
        (";".join(f"{i}:" for i in range(2500)), "more than 2000 keyframes"),
        (" " * 300_000, "300000 characters"),
    ],
)
def test_bad_text_says_where(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_keyframes(text)


def test_json_forms() -> None:
    keys = parse_keyframes("0.5: AU12=0.8, AU45=1; 1 hold: AU12=0.2")
    rows = json.loads(json.dumps(keyframes_to_json(keys)))
    assert rows[0] == {"time": 0.5, "units": {"AU12": 0.8, "AU45": 1.0}}
    assert keyframes_from_json(rows) == keys == keyframes_from_json({"keyframes": rows})
    assert keyframes_from_json({"0.5": {"AU12": 0.8}, "0": {}})[1] == Keyframe(0.5, {"AU12": 0.8})
    assert keyframes_from_json([{"time": 0, "units": {"anger": 0.5}}], expressions=EXPRESSIONS)[0].units[
        "AU04"
    ] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (3, "keyframes are no list"),
        ("0: AU12=1", "keyframes are no list"),
        ([], "there are no keyframes"),
        ([3], "keyframe 1 has int; expected time, units"),
        ([{"time": 0, "unit": {}}], "keyframe 1 has time, unit; expected"),
        ([{"units": {}}], "keyframe 1 has units; expected"),
        ([{"time": 0, "units": [1]}], "keyframe 1: units are no object"),
        ([{"time": "soon"}], "time is 'soon'"),
        ([{"time": None}], "time is 'None'"),
        ([{"time": 10**400}], "time is '1000"),
        ([{"time": 0, "units": {"AU12": 10**400}}], "AU12 has the value '1000"),
        ([{"time": 0, "units": {"AU1": 1, "AU01": 1}}], "keyframe 1 names a unit twice: AU1, AU01"),
        ([{"time": True}], "keyframe at nan s"),
        ([{"time": 0, "units": {"AU12": "x"}}], "AU12 has the value 'x'"),
        ([{"time": 0, "units": {"AU12": True}}], "AU12 has the value 'True'"),
        ([{"time": 0, "units": {"AU12": [1]}}], "AU12 has the value"),
        ([{"time": 0, "units": {"AU99": 1}}], "'AU99' is unknown"),
        ([{"time": 0, "interpolation": 3}], "interpolation '3' is unknown"),
        ([{"time": i / 10} for i in range(9000)], "more than 2000 keyframes"),
    ],
)
def test_bad_json_says_which(data: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        keyframes_from_json(data)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"fps": 0}, "fps is 0; expected more than 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": 30, "seconds": 0}, "last 0 s"),
        ({"fps": 30, "seconds": 1e6}, "last 1000000.0 s"),
        ({"fps": 1000, "seconds": 3600}, "3600000 steps; expected at most 108000"),
        ({"fps": 30, "interpolation": "wobble"}, "'wobble' is unknown"),
        ({"fps": 30, "names": ("AU45",)}, "keyframes name AU12; expected AU45"),
    ],
)
def test_a_sequence_is_bounded(how: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        sequence([Keyframe(0, {"AU12": 1})], **how)
