"""The one operation that all modes of ResWarp share (``passes.py``), computed as suits the device."""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from ..tiles import ROWS, Tile
from ..types import InputError
from . import eager
from .passes import IDENTITY, Pass

__all__ = ["BACKENDS", "IDENTITY", "Backend", "Pass", "check_backend", "opencv_works", "run"]

_LOG = logging.getLogger(__name__)


Backend = Literal["auto", "torch", "opencv"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


def check_backend(name: str) -> None:
    """Raise ``InputError`` unless there is a backend of that name."""
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is unknown; expected one of {', '.join(BACKENDS)}")


def run(p: Pass, out: Tensor, box: Tile, rows: int = ROWS, backend: Backend = "auto") -> None:
    """Write ``box`` of ``out`` [1,C,H,W], uint8 (rounded) or float; the rest of it keeps what it holds.

    backend: "torch", its operators alone; "opencv", its remap on CPUs, ``MissingExtraError`` without it;
    "auto", the fused kernel on CUDA devices where it works, OpenCV on CPUs where it is there and as accurate
    as torch. rows: of the tiles that are worked on at a time; fewer need less memory.
    """
    if backend != "torch" and out.is_cuda and p.warped is None and p.fusible and fused_works(out.device):
        from . import fused

        fused.run(p, out, box)
    elif out.device.type == "cpu" and p.fusible and _opencv(backend):
        from . import fast

        fast.run(p, out, box, rows)
    else:
        eager.run(p, out, box, rows)


def _opencv(backend: Backend) -> bool:
    return backend == "opencv" or (backend == "auto" and opencv_works())


@lru_cache
def opencv_works() -> bool:
    """Whether OpenCV is here and samples as finely as torch does. Tried once a process."""
    if find_spec("cv2") is None:
        return False
    try:
        from . import fast

        return fast.accurate()
    except Exception as error:  # a broken or strange build is no reason to stop
        _LOG.warning("OpenCV fails here (%s): torch does its work, slower", _line(error))
        return False


@lru_cache
def fused_works(device: torch.device) -> bool:
    """Whether Triton is here (not with torch for Windows and macOS), finds what it compiles with, and agrees
    with torch's operators on a small picture. Tried once a process.
    """
    if find_spec("triton") is None:
        return False
    try:
        from . import fused

        image = torch.arange(3 * 24 * 40, device=device).remainder(251).byte().view(1, 3, 24, 40)
        field = torch.linspace(-3, 3, 128, device=device).view(1, 2, 8, 8)
        inverse = ((1 / 40, 0.0, 0.0), (0.0, 1 / 24, 0.0))
        p = Pass(image, field, inverse, add=field[:, :1].expand(-1, 3, -1, -1) / 50, feather=0.1)
        want, got = image.clone(), image.clone()
        eager.run(p, want, (0, 0, 40, 24))
        fused.run(p, got, (0, 0, 40, 24))
        apart = int((want.int() - got.int()).abs().max())
        if apart <= 1:
            return True
        why = f"it is {apart}/255 off"
    except Exception as error:  # whatever a compiler on a stranger's machine may say
        why = _line(error)
    _LOG.warning("the fused kernel fails here (%s): torch does it, slower", why)
    return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
