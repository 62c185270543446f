"""What a frame costs: seconds, and the most memory in use while it is made."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

_PROCESS = Path("/proc/self")


@dataclass
class Cost:
    """seconds: one a frame. peaks: MB by which making each frame raised what was in use, the first of them
    with all that is kept for the others; empty where a process cannot tell (CPUs, but for Linux).
    """

    device: torch.device
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def frames(self, made: Iterator[Tensor]) -> Iterator[Tensor]:
        """``made``, each frame timed and weighed; what the caller does with a frame is not."""
        while True:
            before = _start(self.device)
            _reset(self.device)
            begun = time.perf_counter()
            frame = next(made, None)
            if frame is None:
                return
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds.append(time.perf_counter() - begun)
            most = _most(self.device)
            if before is not None and most is not None:
                self.peaks.append(max(0.0, most - before))
            yield frame


def _start(device: torch.device) -> float | None:
    """MB in use now, after what the allocator kept was given back."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    if sys.platform != "linux":
        return None
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def _most(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _status("VmHWM") if sys.platform == "linux" else None


def _status(key: str) -> float | None:
    with suppress(OSError, IndexError, ValueError):
        text = (_PROCESS / "status").read_text(encoding="ascii", errors="replace")
        return int(text.split(f"{key}:")[1].split()[0]) / 1024
    return None
