"""Named expressions: which there are, which a checkpoint can show, and what it says about the others."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.expressions import (
    ALIASES,
    BASIC,
    COMPOUND,
    EXPRESSIONS,
    SMILE_BRINGS,
    WHOLE,
    expression,
    expression_name,
    presets,
    presets_of,
    with_presets,
)
from atw_nodes.signals import UNITS
from atw_nodes.types import InputError, SignalSpec

ALL = SignalSpec("relative", tuple(UNITS), low=(-1.5,) * 17, high=(1.5,) * 17)
SMILE = SignalSpec("relative", ("AU10", "AU12", "AU25"), presets={"smiling": {"AU12": 0.7}})
ONE_HOT = SignalSpec("category", ("neutral", "happy", "angry"), neutral=(1, 0, 0))
EMFACS = {
    **{"happiness": "6+12+25", "sadness": "1+4+15", "surprise": "1+2+5+26", "fear": "1+2+4+5+7+20+26"},
    **{"anger": "4+5+7+23", "disgust": "9+10+15+17", "contempt": "12+14"},
}
EMOTIONET_LABELS = {  # the 22 names behind the 26 labels of its files
    *("neutral", "happy", "sad", "fearful", "angry", "surprised", "disgusted", "awed", "appalled", "hatred"),
    *("happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised"),
    *("sadly disgusted", "fearfully angry", "fearfully surprised", "fearfully disgusted"),
    *("angrily surprised", "angrily disgusted", "disgustedly surprised"),
}


def test_the_basic_ones_are_those_of_emfacs() -> None:
    for name, units in EMFACS.items():
        more = set(SMILE_BRINGS) if name == "happiness" else set()
        assert set(BASIC[name]) - more == {f"AU{int(n):02d}" for n in units.split("+")}
    assert BASIC["neutral"] == {} and len(BASIC) == 8


def test_the_compound_ones_are_all_there() -> None:
    assert len(COMPOUND) == 17 and len(EMOTIONET_LABELS) == 22
    assert {expression_name(n) for n in EMOTIONET_LABELS} <= set(EXPRESSIONS)
    assert COMPOUND["happily surprised"] == {"AU01": 0.8, "AU02": 0.8, "AU12": 0.9, "AU25": 0.25}


def test_units_and_strengths_are_within_the_table() -> None:
    for units in EXPRESSIONS.values():
        assert set(units) <= set(UNITS) and all(0 < abs(v) <= 1 for v in units.values())
        assert units == BASIC["happiness"] or all(v > 0 for v in units.values())
    assert set(ALIASES.values()) <= set(EXPRESSIONS)


def test_presets_are_what_the_units_allow() -> None:
    assert presets() == EXPRESSIONS
    assert set(presets(SMILE.names)) == {"neutral", "smiling", "happily disgusted"}
    assert presets(()) == {"neutral": {}}
    presets()["anger"]["AU04"] = 9.0
    assert EXPRESSIONS["anger"]["AU04"] == 0.9


def test_a_checkpoints_own_presets_come_first() -> None:
    assert presets_of(SMILE)["smiling"] == {"AU12": 0.7}
    assert expression("smiling", SMILE) == {"AU12": 0.7}
    wide = with_presets(ALL)
    assert wide.preset("fear")[0, wide.names.index("AU20")] == pytest.approx(0.6)
    assert not wide.preset("neutral").any()
    assert wide.toward("anger", 1.0, BASIC["anger"])[0].tolist() == pytest.approx([0] * 17)
    assert SignalSpec.from_json(wide.to_json()) == wide


def test_categories_are_expressions() -> None:
    spec = with_presets(ONE_HOT)
    assert spec.preset("happy").tolist() == [[0, 1, 0]] and spec.preset("neutral").tolist() == [[1, 0, 0]]
    assert torch.equal(spec.preset("angry", 0.5), torch.tensor([[0.5, 0, 0.5]]))
    with pytest.raises(
        InputError, match="'awe' is unknown to this checkpoint; it knows neutral, happy, angry"
    ):
        expression("awe", ONE_HOT)


@pytest.mark.parametrize(
    "text", ["Happily Surprised", "happily_surprised", " happily-surprised", "happily  surprised"]
)
def test_spelling(text: str) -> None:
    assert expression(text, ALL) == COMPOUND["happily surprised"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="'contempt' needs AU14, .* knows neutral, .* has AU10, AU12") as e:
        expression("contempt", SMILE)
    assert f"{WHOLE} has them: choose it as the checkpoint" in str(e.value)
    assert set(load_checkpoint(WHOLE).signal.names) == set(UNITS), "bundled, with all units"
    with pytest.raises(InputError, match="'envy' is unknown to this checkpoint; it knows neutral, happiness"):
        expression("envy", ALL)
