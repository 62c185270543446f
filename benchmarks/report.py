"""What a benchmark is asked for, and what it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.timing import Rounds, Span, Step, interleaved

_SECONDS = {512: 5.0, 1024: 8.0, 2048: 15.0, 4096: 40.0, 8192: 60.0}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan:
    """What is measured, on what, and for how long."""

    sizes: tuple[int, ...]
    threads: int
    device: torch.device = CPU
    repeat: int = 21
    quick: bool = False
    checkouts: dict[str, Path | None] = field(default_factory=dict)

    def seconds(self, side: int) -> float:
        """How long the rounds of one size may take."""
        full = _SECONDS[min(_SECONDS, key=lambda s: abs(s - side))]
        return min(2.0, full) if self.quick else full

    def rounds(self, steps: dict[str, Step], side: int, share: float = 1.0) -> Rounds:
        return interleaved(steps, share * self.seconds(side), most=self.repeat)


@dataclass
class Report:
    """Markdown, single figures by name (for targets), and curves: {name: {side: seconds a frame}}."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Span] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, title: str, lines: list[str], *notes: str) -> None:
        self.lines += [f"### {title}", "", *lines, ""]
        for note in notes:
            self.lines += [note, ""]


def sides(plan: Plan) -> list[str]:
    return [f"{side}²" for side in plan.sizes]


def put(rows: dict[str, list[str]], name: str, column: int, text: str) -> None:
    """Fill one cell; columns that a row lacks so far get a dash."""
    cells = rows.setdefault(name, [])
    cells += ["-"] * (column - len(cells)) + [text]


def filled(rows: dict[str, list[str]], plan: Plan) -> Iterator[list[str]]:
    for name, cells in rows.items():
        yield [name, *cells, *["-"] * (len(plan.sizes) - len(cells))]
