"""The one operation that all modes of ResWarp share (``passes.py``), computed as suits the device."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

from torch import Tensor

from . import eager
from .passes import IDENTITY, Pass, Tile

__all__ = ["IDENTITY", "Pass", "Tile", "run"]


@lru_cache(1)
def _triton() -> bool:
    """Whether this torch came with Triton (not on Windows and macOS)."""
    return find_spec("triton") is not None


def run(p: Pass, out: Tensor, box: Tile, rows: int = eager.ROWS) -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float; the rest of it keeps what it holds.

    By the fused kernel on CUDA devices, else by torch's operators. rows: of the tiles that these work on at a
    time; fewer need less memory.
    """
    if out.device.type == "cuda" and _triton():
        from . import fused

        if fused.able(p):
            fused.run(p, out, box)
            return
    eager.run(p, out, box, rows)
