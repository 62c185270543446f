"""The one operation that all modes of ResWarp share (``passes.py``), computed as suits the device."""

from __future__ import annotations

from torch import Tensor

from . import eager
from .passes import IDENTITY, Pass, Tile

__all__ = ["IDENTITY", "Pass", "Tile", "run"]


def run(p: Pass, out: Tensor, box: Tile, rows: int = eager.ROWS) -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float; the rest of it keeps what it holds.

    rows: of the tiles worked on at a time; fewer need less memory.
    """
    eager.run(p, out, box, rows)
