"""Stages of a clip: what is done once, encoding, and the whole way from photo to file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from atw_nodes.animate import animate
from atw_nodes.checkpoints import DEFAULT, Checkpoint, load_checkpoint
from atw_nodes.faces import find
from atw_nodes.pipeline import delivered, depth_on
from atw_nodes.reswarp import decompose
from benchmarks.cases import LOW, box, config, photo
from benchmarks.report import Plan, Report, filled, put, sides
from benchmarks.timing import Rounds, Span, Step, synchronised, table

TITLES = {
    "find": "find the face (once), ms",
    "decompose": "decompose, whole (once), ms",
    "encode": "encode H.264, ms a frame",
    "animate": "whole frame: motion, refinement, ResWarp; frames/s",
    "clip": "the same into an H.264 file, frames/s",
    "box": "a face box of 1/16 into an H.264 file, frames/s",
    "host": "whole frame, brought to the CPU; frames/s",
}


def signals(checkpoint: Checkpoint, count: int) -> Tensor:
    """[count,N]: a smile that comes and goes, every frame another."""
    wave = 0.1 + 0.45 * (1 - torch.cos(torch.arange(count) * (2 * torch.pi / 24)))
    return wave[:, None] * checkpoint.signal.preset("smiling").view(1, -1)


@dataclass(frozen=True)
class Clip:
    """A short clip of ``count`` frames, each with its own signal, in the default mode."""

    image: Tensor
    out: Tensor
    checkpoint: Checkpoint
    count: int

    @classmethod
    def of(cls, side: int, count: int, device: torch.device) -> Clip:
        checkpoint, image = load_checkpoint(DEFAULT), photo(side).to(device)
        checkpoint.generator.to(device)
        return cls(image, torch.empty_like(image), checkpoint, count)

    def frames(self, share: float = 1.0, count: int | None = None) -> Iterator[Tensor]:
        """Every frame is the same buffer."""
        asked = signals(self.checkpoint, count or self.count)
        frame = box(self.image.shape[-1], share)
        return animate(
            self.image, self.checkpoint, asked, frame=frame, config=config("aligned"), out=self.out
        )

    def write(self, frames: Iterator[Tensor], folder: Path) -> None:
        from atw_nodes.video import ClipWriter

        side, depth = self.image.shape[-1], depth_on(self.image.device)
        with (
            ClipWriter(folder / "clip.mp4", side, side, 25) as writer,
            closing(delivered(frames, depth)) as ready,
        ):
            for frame in ready:
                writer.write(frame)

    def bring(self) -> None:
        with closing(delivered(self.frames(), depth_on(self.image.device))) as ready:
            for _ in ready:
                pass

    def steps(self, folder: Path, share: float) -> dict[str, Step]:
        """By the names of ``TITLES``."""
        moved = [frame.cpu().clone() for frame in self.frames(count=3)]
        steps: dict[str, Step] = {
            "find": lambda: find(self.image),
            "decompose": lambda: decompose(self.image, size=LOW),
            "animate": lambda: sum(1 for _ in self.frames()),
        }
        if self.image.is_cuda:
            steps["host"] = self.bring
        if find_spec("av") is not None:
            steps |= {
                "encode": lambda: self.write((moved[k % 3] for k in range(self.count)), folder),
                "clip": lambda: self.write(self.frames(), folder),
                "box": lambda: self.write(self.frames(share), folder),
            }
        return steps


def measured(plan: Plan, side: int, device: torch.device) -> tuple[Rounds, int]:
    """The rounds, and how many frames a clip has."""
    count = max(
        4, min(8 if plan.quick else 48, 12 * 4096 // side)
    )  # more than an encoder looks ahead, if small
    if device.type == "cuda":
        count = 64 if side <= 2048 else 32
    share = 3.0 if side <= 1024 else 0.5  # of the time for ResWarp alone
    with tempfile.TemporaryDirectory() as folder:
        steps = Clip.of(side, count, device).steps(Path(folder), 1 / 16)
        return plan.rounds({n: synchronised(s, device) for n, s in steps.items()}, side, share), count


@torch.no_grad()
def stages(report: Report, plan: Plan) -> None:
    """What is done once, encoding, and the whole way."""
    rows: dict[str, list[str]] = {}
    kind = plan.device.type
    for column, side in enumerate(plan.sizes):
        rounds, count = measured(plan, side, plan.device)
        for name in [n for n in TITLES if n in rounds.seconds]:
            time, text = rounds.time(name), ""
            if name in ("find", "decompose", "encode"):
                text = time.text(unit=1000 / (count if name == "encode" else 1))
            else:
                rate = Span(count / time.middle, count / time.high, count / time.low)
                report.facts[f"{kind} {name} {side}"] = rate
                report.curves.setdefault(f"{kind} {name}", {})[side] = time.middle / count
                text = rate.text()
            put(rows, f"{kind}: {TITLES[name]}", column, text)
    report.add(
        "Stages",
        table(["median (quartiles)", *sides(plan)], filled(rows, plan)),
        f"`{DEFAULT}`, a smile that comes and goes, every frame with its own motion; decomposing the photo,\n"
        "opening and closing the file are part of the frames/s.",
    )
