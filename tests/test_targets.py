"""Named expressions as targets: strength·(target - what the photo shows)."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.types import InputError, SignalSpec

SPEC = SignalSpec(
    "relative",
    ("AU10", "AU12"),
    low=(-1.5, -1.5),
    high=(1.5, 1.5),
    presets={"smiling": {"AU10": 0.4, "AU12": 0.7}, "neutral": {"AU10": -0.4, "AU12": -0.7}},
)


def values(name: str, strength: float, **shown: float) -> list[float]:
    return [round(v, 6) for v in SPEC.toward(name, strength, shown)[0].tolist()]


def test_a_calm_face_gets_the_whole_expression() -> None:
    assert values("smiling", 1.0) == [0.4, 0.7]
    assert torch.equal(SPEC.toward("smiling", 0.5, {}), SPEC.preset("smiling", 0.5))


def test_what_is_shown_already_is_not_added_again() -> None:
    assert values("smiling", 1.0, AU10=0.4, AU12=0.7) == [0, 0]
    assert values("smiling", 1.0, AU12=0.2) == [0.4, 0.5]
    assert values("smiling", 1.0, AU12=1.0) == [0.4, -0.3]


def test_neutral_undoes_what_is_shown_and_nothing_else() -> None:
    assert values("neutral", 1.0) == [0, 0]
    assert values("neutral", 1.0, AU10=0.3, AU12=0.9) == [-0.3, -0.9]
    assert values("neutral", 0.5, AU12=0.8) == [0, -0.4]


def test_estimates_within_their_error_count_as_nothing() -> None:
    assert values("neutral", 1.0, AU10=0.09, AU12=0.05) == [0, 0]


def test_changes_stay_in_the_range_that_was_trained() -> None:
    assert values("neutral", 1.5, AU12=1.4) == [0, -1.5]


def test_units_unknown_to_either_side_do_not_matter() -> None:
    assert values("smiling", 1.0, AU45=1.0) == [0.4, 0.7]


def test_zero_strength_is_no_change_at_all() -> None:
    assert not SPEC.toward("smiling", 0.0, {"AU12": 0.6}).any()


def test_an_unknown_expression_is_refused() -> None:
    with pytest.raises(InputError, match="it knows neutral, smiling"):
        SPEC.toward("envy", 1.0, {})


def test_other_kinds_of_signal_are_presets_as_ever() -> None:
    spec = SignalSpec("absolute", ("AU12",), presets={"smiling": {"AU12": 0.7}})
    assert torch.equal(spec.toward("smiling", 1.0, {"AU12": 0.5}), spec.preset("smiling"))


def test_more_than_facs_knows_counts_as_the_most() -> None:
    assert values("neutral", 1.0, AU12=1.4) == [0, -1.0]
