"""The length of a clip costs no memory. The full size is in benchmarks/host_memory.py."""

from __future__ import annotations

from .prompts import clip, parts
from .server import Server


def test_three_times_the_frames_in_the_same_memory(server: Server) -> None:
    """As an IMAGE batch the longer clip would be 170 MB larger. The shorter fills what the encoder looks ahead."""
    peaks = []
    for frames in (7, 48, 144):  # the first warms up
        server.reset_peak()
        server.good(clip(parts(n1_size=384, n7_frames=frames), n8_fps=30.0 + len(peaks)))
        peaks.append(server.rss())
    assert peaks[2] - peaks[1] < 50 * 2**20, [p >> 20 for p in peaks]
