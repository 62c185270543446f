"""The plain types: a signal's contract."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.types import InputError, ShapeError, Signal, SignalSpec


def signal(t: int = 4) -> Signal:
    return Signal(torch.arange(t * 3.0).reshape(t, 3) / 10, ("AU12", "AU01", "AU45"), 30.0)


def test_steps_and_columns() -> None:
    s = signal()
    assert len(s) == 4 and len(s[1:3]) == 2 and s[1:3].fps == 30.0
    assert torch.equal(s[-1].values, s.values[3:]) and torch.equal(s[1].values, s.values[1:2])
    assert torch.equal(s.column("AU01"), s.values[:, 1])
    with pytest.raises(InputError, match="no AU99; it has AU12"):
        s.column("AU99")
    with pytest.raises(ShapeError, match="4 steps, none in 7"):
        s[7]


def test_nobody_changes_it_later() -> None:
    given = torch.zeros(2, 1, dtype=torch.float64)
    s = Signal(given, ["AU12"])  # type: ignore[arg-type]
    given += 1
    s.column("AU12").add_(1)
    assert s.values.dtype == torch.float32 and not s.values.any() and s.names == ("AU12",)


def test_onto_a_checkpoint() -> None:
    spec = SignalSpec("relative", ("AU25", "AU12"))
    values, dropped = signal().onto(spec)
    assert values.shape == (4, 2) and not values[:, 0].any()
    assert torch.equal(values[:, 1], signal().column("AU12"))
    assert dropped == ("AU01", "AU45")
    assert Signal(torch.zeros(1, 1), ("AU99",)).onto(spec)[1] == ()


@pytest.mark.parametrize(
    ("values", "names", "error", "text"),
    [
        (torch.zeros(3), ("a",), ShapeError, "expected .T, N."),
        (torch.zeros(0, 1), ("a",), ShapeError, "empty"),
        (torch.zeros(2, 2), ("a",), ShapeError, "2 columns but 1 names"),
        (torch.zeros(2, 2), ("a", "a"), InputError, "a more than once"),
        (torch.tensor([[0.0, float("nan")]]), ("a", "b"), InputError, "in b; fill"),
        (torch.tensor([[float("inf")]]), ("a",), InputError, "in a; fill"),
    ],
)
def test_bad_signals(values: torch.Tensor, names: tuple[str, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Signal(values, names)


def test_bad_rate() -> None:
    with pytest.raises(InputError, match="fps is 0"):
        Signal(torch.zeros(1, 1), ("a",), 0.0)
