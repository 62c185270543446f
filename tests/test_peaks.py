"""Time and memory of a frame."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
import torch

from atw_nodes.peaks import Cost


def made(*megabytes: int) -> Iterator[torch.Tensor]:
    for size in megabytes:
        held = torch.ones(size * 2**20 // 4)
        yield held[:1].clone()
        del held


def test_frames_are_timed_and_what_is_done_with_them_is_not() -> None:
    def slow() -> Iterator[torch.Tensor]:
        for _ in range(3):
            time.sleep(0.02)
            yield torch.zeros(1)

    cost = Cost(torch.device("cpu"))
    for _ in cost.frames(slow()):
        time.sleep(0.3)
    assert len(cost.seconds) == 3 and all(0.02 <= s < 0.3 for s in cost.seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="a process knows its peak on Linux")
def test_the_peak_is_what_a_frame_adds() -> None:
    cost = Cost(torch.device("cpu"))
    assert len(list(cost.frames(made(1, 64, 8)))) == 3
    if not cost.peaks:
        pytest.skip("the system does not tell")
    assert 60 < cost.peaks[1] < 80 and cost.peaks[0] < 30
