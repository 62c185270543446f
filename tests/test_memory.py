"""No full-size buffer beside input and output (Linux, where a process can read its own peak)."""

from __future__ import annotations

import sys

import pytest

from benchmarks.memory import frame_peak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("mode", "megabytes"), [("vanilla", 64), ("aligned", 64), ("multiscale", 160)])
def test_a_4096_frame_stays_within_its_budget(mode: str, megabytes: int) -> None:
    assert frame_peak(mode) <= megabytes
