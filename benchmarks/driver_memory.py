"""How much memory it takes to follow the face in a long driving video. Linux only.

    [COMFYUI_PATH=~/comfy/ComfyUI] python benchmarks/driver_memory.py [--frames 3600] [--markdown FILE]

A small video of the drawn portrait, which wanders about, is followed at a twelfth of its length and then at
the whole of it, in one process, by each of ``follow_face``, ``watch`` (a video as the photo), the command
line (``animate --drive``, to a still, so that the clip's own memory is left out) and, where there is a
ComfyUI, ATW Signal From Video. Prints the peak of the process while it does, as the table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.host.prompts import node  # noqa: E402
from tests.host.server import Server, installed  # noqa: E402

SIDE, FPS = 192, 30

PEAKS = """
import json, sys
from atw_nodes.cli import main
from atw_nodes.clips import read_frames
from atw_nodes.signal_video import follow_face
from atw_nodes.video_source import watch
def resident(key):
    text = open("/proc/self/status").read()
    return int(text.split(key + ":")[1].split()[0]) / 1024
def follow(path):
    signal, shown = follow_face(read_frames(path), 30.0)
    assert shown > 0.9, shown
    return len(signal)
def look(path):
    return len(watch(read_frames(path), 30.0))
def command(path):
    given = ["animate", "assets/icon.png", "--face", "whole", "--drive", path, "-o", path + ".png", "--quiet"]
    assert main(given) == 0
peaks = []
for path, count in zip(sys.argv[2::2], sys.argv[3::2]):
    open("/proc/self/clear_refs", "w").write("5")
    assert globals()[sys.argv[1]](path) in (None, int(count))
    peaks.append(resident("VmHWM"))
print(json.dumps(peaks))
"""


def wandering(count: int) -> Iterator:  # of [3,SIDE,SIDE] uint8
    """The portrait, moving as somebody in front of a camera does."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as image:
        page = np.asarray(image.convert("RGB").resize((SIDE + 16, SIDE + 16)))
    for t in range(count):
        x, y = (round(8 + 8 * math.sin(t / period)) for period in (17, 29))
        yield torch.from_numpy(page[y : y + SIDE, x : x + SIDE].copy()).movedim(-1, 0)


def written(folder: Path, count: int) -> Path:
    from atw_nodes.video import ClipWriter

    path = folder / f"driver{count}.mp4"
    with ClipWriter(path, SIDE, SIDE, FPS) as clip:
        for frame in wandering(count):
            clip.write(frame)
    return path


def child(what: str, videos: dict[int, Path]) -> list[float]:
    """Peak MB at each length, the first of which warms up."""
    given = [what, *(str(part) for count, path in videos.items() for part in (path, count))]
    done = subprocess.run([sys.executable, "-c", PEAKS, *given], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def server_peaks(comfy: Path, folder: Path, videos: dict[int, Path]) -> list[float]:
    server, peaks = Server(comfy, folder), []
    try:
        server.wait()
        for path in videos.values():
            (server.folder / "input" / path.name).write_bytes(path.read_bytes())
            wires = {"driving": "relative", "gain": 1.0, "smoothing": 0.0, "face": 0}
            prompt = {
                "1": node("LoadVideo", file=path.name),
                "2": node("ATWSignalFromVideo", video=["1", 0], **wires),
                "3": node("ATWSaveSignal", signal=["2", 0], filename_prefix="driver", format="csv"),
            }
            server.reset_peak()
            entry = server.finish(server.start(prompt), 7200)
            assert entry["status"]["status_str"] == "success", entry["status"]
            peaks.append(server.rss() / 2**20)
    finally:
        server.stop()
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=3600)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    counts, comfy = (30, args.frames // 12, args.frames), installed()
    lines = [f"| peak of the process, MB | {counts[1]} frames | {counts[2]} frames |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = {count: written(folder, count) for count in counts}
        names = {"follow": "`follow_face`", "look": "`watch`", "command": "`animate --drive`"}
        rows = [(shown, child(what, videos)) for what, shown in names.items()]
        if comfy is not None:
            rows.append(
                ("ATW Signal From Video, the whole server", server_peaks(comfy, folder / "comfy", videos))
            )
    lines += [f"| {what} | {few:.0f} | {many:.0f} |" for what, (_, few, many) in rows]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
