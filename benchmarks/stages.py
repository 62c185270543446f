"""Stages of a clip: what is done once, encoding, and the whole way from photo to file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from atw_nodes.animate import animate
from atw_nodes.checkpoints import DEFAULT, Checkpoint, load_checkpoint
from atw_nodes.faces import find
from atw_nodes.reswarp import decompose
from atw_nodes.video import ClipWriter
from benchmarks.cases import LOW, box, config, photo
from benchmarks.report import Plan, Report, devices, filled, put, sides
from benchmarks.timing import MISSING, Rounds, Span, Step, synchronised, table

TITLES = {
    "find": "find the face (once), ms",
    "decompose": "decompose, whole (once), ms",
    "encode": "encode H.264, ms a frame",
    "animate": "whole frame: motion, refinement, ResWarp; frames/s",
    "clip": "the same into an H.264 file, frames/s",
    "box": "a face box of 1/16 into an H.264 file, frames/s",
}


def signals(names: int, count: int) -> Tensor:
    """[count,names]: there and back, every frame another."""
    wave = 0.1 + 0.2 * (1 - torch.cos(torch.arange(count) * (2 * torch.pi / 24)))
    return wave[:, None].expand(-1, names)


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
        asked = signals(len(self.checkpoint.signal.names), count or self.count)
        frame = box(self.image.shape[-1], share)
        return animate(
            self.image, self.checkpoint, asked, frame=frame, config=config("aligned"), out=self.out
        )

    def write(self, frames: Iterator[Tensor], folder: Path) -> None:
        side = self.image.shape[-1]
        with ClipWriter(folder / "clip.mp4", side, side, 25) as writer:
            for frame in frames:
                writer.write(frame.cpu())

    def steps(self, folder: Path, share: float) -> dict[str, Step]:
        """By the names of ``TITLES``."""
        moved = [frame.cpu().clone() for frame in self.frames(count=3)]
        return {
            "find": lambda: find(self.image),
            "decompose": lambda: decompose(self.image, size=LOW),
            "encode": lambda: self.write((moved[k % 3] for k in range(self.count)), folder),
            "animate": lambda: sum(1 for _ in self.frames()),
            "clip": lambda: self.write(self.frames(), folder),
            "box": lambda: self.write(self.frames(share), folder),
        }


def measured(plan: Plan, side: int, device: torch.device) -> tuple[Rounds, int]:
    """The rounds, and how many frames a clip has."""
    count = max(3, min(8 if plan.quick else 24, 6 * 4096 // side))
    share = 3.0 if side <= 1024 else 0.5  # of the time for ResWarp alone
    with tempfile.TemporaryDirectory() as folder:
        steps = Clip.of(side, count, device).steps(Path(folder), 1 / 16)
        return plan.rounds({n: synchronised(s, device) for n, s in steps.items()}, side, share), count


@torch.no_grad()
def stages(report: Report, plan: Plan) -> None:
    """What is done once, encoding, and the whole way."""
    rows: dict[str, list[str]] = {}
    for device in devices():
        for column, side in enumerate(plan.sizes):
            rounds, count = measured(plan, side, device)
            for name, title in TITLES.items():
                time, text = rounds.time(name), ""
                if name in ("find", "decompose", "encode"):
                    text = time.text(unit=1000 / (count if name == "encode" else 1))
                else:
                    rate = Span(count / time.middle, count / time.high, count / time.low)
                    report.facts[f"{device.type} {name} {side}"] = rate
                    report.curves.setdefault(f"{device.type} {name}", {})[side] = time.middle / count
                    text = rate.text()
                put(rows, f"{device.type}: {title}", column, text)
    if len(devices()) == 1:
        rows["cuda"] = [MISSING] * len(plan.sizes)
    report.add(
        "Stages",
        table(["median (quartiles)", *sides(plan)], filled(rows, plan)),
        f"`{DEFAULT}`, every frame with its own signal; decomposing the photo, opening and closing the\n"
        "file are part of the frames/s.",
    )
