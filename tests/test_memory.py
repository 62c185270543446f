"""No full-size buffer beside input and output (Linux, where a process can read its own peak)."""

from __future__ import annotations

import sys

import pytest

from benchmarks.memory import find_peak, frame_peak
from tests.test_faces import needs_network


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("mode", "megabytes"), [("vanilla", 64), ("aligned", 64), ("multiscale", 160)])
def test_a_4096_frame_stays_within_its_budget(mode: str, megabytes: int) -> None:
    assert frame_peak(mode) <= megabytes


@needs_network
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_finding_a_face_in_a_4096_photo_stays_within_its_budget() -> None:
    assert find_peak() <= 200
