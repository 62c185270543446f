"""Peak memory of every stage beyond its input and output, in a process of its own.

    python benchmarks/peaks.py SIDE [--threads N] [--device cpu|cuda]

Linux only, but for a GPU.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from atw_nodes.checkpoints import DEFAULT, load_checkpoint  # noqa: E402
from atw_nodes.faces import find  # noqa: E402
from atw_nodes.kernels import Backend  # noqa: E402
from atw_nodes.reswarp import decompose  # noqa: E402
from benchmarks.cases import MODES, Scene, backends, generator_step  # noqa: E402
from benchmarks.timing import Step  # noqa: E402

_CPU = torch.device("cpu")
_FRAMES = 8  # encoded: the look-ahead fills


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{key}:")[1].split()[0])  # kB


def peak(step: Step, device: torch.device = _CPU) -> float:
    """MB that the process, or what it holds on a GPU, grows by at most while ``step`` runs. What the
    allocator keeps is given back before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        step()
        return (torch.cuda.max_memory_allocated(device) - held) / 2**20
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    step()
    return max(0.0, (_status("VmHWM") - before) / 1024)


def _first(scene: Scene, mode: str, share: float, backend: Backend) -> None:
    scene.ours(mode, share, backend)()


def _encode(scene: Scene) -> None:
    from atw_nodes.video import ClipWriter

    with tempfile.TemporaryDirectory() as folder:
        side = scene.side
        with ClipWriter(Path(folder) / "clip.mp4", side, side, 25) as writer:
            for _ in range(_FRAMES):
                writer.write(scene.photo)


def _steps(scene: Scene, device: torch.device) -> dict[str, Step]:
    checkpoint = load_checkpoint(DEFAULT)
    steps: dict[str, Step] = {
        "find the face": lambda: find(scene.photo),
        "decompose": lambda: decompose(scene.photo),
        "generator, batch 8": generator_step(checkpoint, 8, False, device),
    }
    for name, backend in backends(device).items():
        for mode in MODES:
            for share, where in ((1.0, ""), (1 / 16, ", box of 1/16")):
                steps[f"{mode}, {name}{where}"] = partial(_first, scene, mode, share, backend)
    if device.type == "cpu":
        steps[f"encode H.264, {_FRAMES} frames"] = lambda: _encode(scene)
    return steps


@torch.no_grad()
def measure_here(side: int, device: torch.device) -> dict[str, float]:
    """MB of every stage. Of naive ResWarp the residual counts and the result does not: they are equally
    large.
    """
    for step in _steps(Scene.of(256, device), device).values():
        step()  # loads what is loaded once
    scene = Scene.of(side, device)
    scene.out.zero_()  # pages are there before
    found = {name: peak(step, device) for name, step in _steps(scene, device).items()}
    found["naive vanilla"] = peak(scene.naive(scene.residual()), device)
    return found


def measure(side: int, threads: int, device: str = "cpu") -> dict[str, float]:
    """In a fresh process; empty where a process cannot reset its own peak."""
    if device == "cpu" and sys.platform != "linux":
        return {}
    options = ["--threads", str(threads), "--device", device]
    command = [sys.executable, __file__, str(side), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = measure_here(args.side, torch.device(args.device))
    print(json.dumps({name: round(mb, 1) for name, mb in found.items()}))


if __name__ == "__main__":
    main()
