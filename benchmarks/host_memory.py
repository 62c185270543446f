"""How much memory ATW Render Video takes in a real ComfyUI, and how soon it stops. Linux only.

    COMFYUI_PATH=~/comfy/ComfyUI python benchmarks/host_memory.py [--side 1350] [--frames 240]

Prints a row for RESULTS.md: the peak resident memory of the whole server while it renders a tenth of the
frames and all of them, and how long it takes from cancelling to the next prompt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.host.prompts import clip, parts, temporary  # noqa: E402
from tests.host.server import Server, installed  # noqa: E402


def peak(server: Server, side: int, frames: int) -> tuple[int, float]:
    """(MB, seconds) of a clip."""
    server.reset_peak()
    begun = time.monotonic()
    entry = server.finish(server.start(clip(parts(n1_size=side, n7_frames=frames))), 7200)
    assert entry["status"]["status_str"] == "success", entry["status"]
    return server.rss() >> 20, time.monotonic() - begun


def cancelled(server: Server, side: int) -> float:
    """Seconds from cancelling a clip until it has stopped and left no file."""
    before = temporary(server)
    number = server.start(clip(parts(n1_size=side, n7_frames=90_000)))
    server.until(lambda: bool(temporary(server) - before), 600)
    time.sleep(2)
    begun = time.monotonic()
    server.post("/interrupt", {})
    server.finish(number)
    took = time.monotonic() - begun
    assert temporary(server) == before, "a partial file was left"
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=1350)
    parser.add_argument("--frames", type=int, default=240)
    args = parser.parse_args()
    comfy = installed()
    if comfy is None:
        sys.exit("no ComfyUI here: set COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(comfy, Path(folder))
        try:
            server.wait()
            version = server.get("/system_stats")["system"]["comfyui_version"]
            peak(server, args.side, 2)  # loads what is loaded once
            (few, _), (many, seconds) = (peak(server, args.side, n) for n in (args.frames // 10, args.frames))
            stop = cancelled(server, args.side)
        finally:
            server.stop()
    print(
        f"| ComfyUI {version}, {args.side}x{args.side} | {few} MB at {args.frames // 10} frames | "
        f"{many} MB at {args.frames} frames, {seconds / args.frames:.2f} s a frame | "
        f"cancelled in {stop:.1f} s |"
    )


if __name__ == "__main__":
    main()
