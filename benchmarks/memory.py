"""How much memory a frame and a clip need. Linux only (reads the peak resident size of a process of its own).

    python benchmarks/memory.py [--markdown FILE]

Frame: the peak beyond input and output of one ResWarp frame at 4096², uint8 photo. Clip: the peak of the
whole command line for 30 and 300 frames at 2048². Finding: the peak beyond a photo of 4096² with a face.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FRAME = """
import sys, torch
from atw_nodes.reswarp import ReswarpConfig, decompose, reswarp
from atw_nodes.types import FaceFrame, Motion
torch.set_num_threads(2)
mode, side, amount = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
photo = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8).movedim(-1, 1)  # as photos are read
cells = torch.randn(1, 2, 6, 6) * amount
field = torch.nn.functional.interpolate(cells, size=(128, 128), mode="bicubic")
motion, refined, out = Motion(field, torch.ones(1)), torch.rand(1, 3, 128, 128), torch.zeros_like(photo)
small = decompose(photo[..., :512, :512].clone())
next(reswarp(small, motion, refined, ReswarpConfig(mode)))  # loads what is loaded once
residuals = decompose(photo)
def resident(key):
    text = open("/proc/self/status").read()
    return int(text.split(key + ":")[1].split()[0]) / 1024
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
next(reswarp(residuals, motion, refined, ReswarpConfig(mode), out=out))
print(round(resident("VmHWM") - before, 1))
"""

FIND = """
import sys, numpy, torch
from PIL import Image
from atw_nodes.faces import find
torch.set_num_threads(2)
with Image.open("assets/portrait-4k.jpg") as im:
    photo = torch.from_numpy(numpy.asarray(im.convert("RGB")).copy()).permute(2, 0, 1)[None].contiguous()
find(photo[..., ::16, ::16])  # loads what is loaded once
def resident(key):
    text = open("/proc/self/status").read()
    return int(text.split(key + ":")[1].split()[0]) / 1024
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
assert len(find(photo)) == 1
print(round(resident("VmHWM") - before, 1))
"""

CLIP = """
import sys
from atw_nodes.cli import main
code = main(sys.argv[1:])
# not ru_maxrss, which begins with the size of the process that started this one
print(round(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024))
sys.exit(code)
"""


def child(code: str, *args: object) -> float:
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def frame_peak(mode: str, side: int = 4096, amount: float = 0.03) -> float:
    """MB beyond input and output of one frame; ``amount`` is the size of the motion in fractions of the
    frame.
    """
    return child(FRAME, mode, side, amount)


def find_peak() -> float:
    """MB beyond the photo that finding the face of a 4096² photo takes."""
    return child(FIND)


def clip_peak(folder: Path, frames: int, side: int = 2048) -> float:
    """Peak MB of a whole run of the command line on a made-up photo."""
    import numpy as np
    from PIL import Image

    photo = folder / "photo.png"
    if not photo.exists():
        ramp = np.linspace(0, 255, side, dtype=np.uint8)
        noise = np.random.default_rng(0).integers(0, 40, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise + (ramp[:, None, None] // 2 + ramp[None, :, None] // 3)).save(photo)
    options = [
        "animate",
        photo,
        "-o",
        folder / f"clip{frames}.mp4",
        "--frames",
        frames,
        "--quiet",
        "--face",
        "whole",
    ]
    return child(CLIP, *options)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    lines = [
        "| frame at 4096², MB beyond input and output | smooth motion of 3 % | of 10 % |",
        "|---|---|---|",
    ]
    for mode in ("vanilla", "aligned", "multiscale"):
        lines.append(f"| {mode} | {frame_peak(mode):.0f} | {frame_peak(mode, amount=0.1):.0f} |")
    lines += ["", f"Finding the face of a photo of 4096²: {find_peak():.0f} MB beyond the photo."]
    with tempfile.TemporaryDirectory() as name:
        few, many = (clip_peak(Path(name), n) for n in (30, 300))
    lines += ["", "| clip at 2048², peak of the process | MB |", "|---|---|"]
    lines += [f"| 30 frames | {few:.0f} |", f"| 300 frames | {many:.0f} |"]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
