"""The sections of ``bench.py``: each measures, and adds its tables, facts and curves to the report."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from atw_nodes.checkpoints import Checkpoint, bundled, load_checkpoint
from benchmarks import memory, peaks
from benchmarks.cases import MODES, Rrdb, Scene, backends, floor_bytes, generator_step
from benchmarks.report import CPU, Plan, Report, filled, put, sides
from benchmarks.rivals import OURS_SIDE, RIVALS, measure
from benchmarks.stages import Clip, stages
from benchmarks.timing import (
    MISSING,
    Span,
    Step,
    copy_bandwidth,
    exponent,
    has_bf16,
    interleaved,
    significant,
    synchronised,
    table,
)

BOX = 1 / 16
_COPY = 256  # MB


def _cell(ratio: Span, time: Span) -> str:
    spread = 50 * (ratio.high - ratio.low) / ratio.middle
    known = f" ± {spread:.0f} %" if ratio.high > ratio.low else ""  # one round has no spread
    return f"{significant(ratio.middle)}x{known}, {significant(1000 * time.middle)} ms"


def _steps(scene: Scene, device: torch.device) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    for name, backend in backends(device).items():
        for mode in MODES:
            steps[f"{mode}, {name}"] = scene.ours(mode, 1.0, backend)
            steps[f"{mode}, {name}, box of 1/16"] = scene.ours(mode, BOX, backend)
    residual = scene.residual()
    steps["naive vanilla"] = scene.naive(residual)
    steps["grid_sample alone"] = scene.sampling(residual)
    steps["bicubic up-scaling of the small result"] = scene.enlarging()
    remap = scene.opencv()
    if remap is not None:
        steps["OpenCV remap of the photo"] = remap
    steps["copy"] = copy_bandwidth(device, _COPY)
    return {name: synchronised(step, device) for name, step in steps.items()}


def _compare(report: Report, plan: Plan, device: torch.device, side: int) -> tuple[dict, dict]:
    """({row: cell}, {row: cell}) of one size: times naive, and times the floor."""
    rounds = plan.rounds(_steps(Scene.of(side, device), device), side)
    bandwidth = 2 * _COPY * 2**20 / rounds.time("copy").middle
    speeds, floors = {}, {}
    for name in rounds.seconds:
        ratio, time = rounds.ratio("naive vanilla", name), rounds.time(name)
        report.facts[f"{device.type} {name} {side}"] = ratio
        report.curves.setdefault(f"{device.type} {name}", {})[side] = time.middle
        mode = name.split(",")[0]
        if name != "copy":
            speeds[f"{device.type}: {name}"] = _cell(ratio, time)
        if mode in MODES:
            floor = floor_bytes(mode, side * side * (BOX if "box" in name else 1)) / bandwidth
            text = f"{significant(time.middle / floor, 2)}x of {significant(1000 * floor)} ms"
            floors[f"{device.type}: {name}"] = text
    floors[f"{device.type}: copy bandwidth"] = f"{bandwidth / 1e9:.1f} GB/s"
    limit = floor_bytes("vanilla", side * side) / bandwidth
    report.curves.setdefault(f"{device.type} floor", {})[side] = limit
    return speeds, floors


@torch.no_grad()
def reswarp(report: Report, plan: Plan) -> None:
    """A frame of ResWarp at every size, beside what would be used instead, and beside copying its bytes."""
    rows: dict[str, list[str]] = {}
    floors: dict[str, list[str]] = {}
    for column, side in enumerate(plan.sizes):
        for target, cells in zip((rows, floors), _compare(report, plan, plan.device, side), strict=True):
            for name, text in cells.items():
                put(target, name, column, text)
    rows[f"{plan.device.type}: RRDB x4 network"] = _upscaler(report, plan)
    if plan.device == CPU:
        rows.setdefault("cpu: OpenCV remap of the photo", [MISSING] * len(plan.sizes))
    report.add(
        "A frame of ResWarp, and what one would use instead",
        table(["times as fast as naive vanilla, ms a frame", *sides(plan)], filled(rows, plan)),
        "Naive vanilla: motion and small result up-sampled, full grid, `grid_sample` of a float residual,\n"
        "sum; all float32. Ours reads and writes uint8. Everything ran in turns; ± is half the distance of\n"
        "the quartiles; a figure without it is one round, with what is made once a photo in it. OpenCV and\n"
        "`grid_sample` move pixels, but add nothing. RRDB (23 blocks, 64 features) is measured on\n"
        f"{_crop(plan)}², which become {4 * _crop(plan)}², and scaled by pixels.",
    )
    report.add(
        "How far from the memory's limit",
        table(["times its floor", *sides(plan)], filled(floors, plan)),
        "Floor: the bytes a mode must read and write over the bandwidth of a copy in the same rounds. A\n"
        "pixel of vanilla has 6, of multiscale 8; aligned reads 3 more of at most 1024² pixels.",
    )


def _crop(plan: Plan) -> int:
    return 32 if plan.quick else 128


def _upscaler(report: Report, plan: Plan) -> list[str]:
    """The row of the RRDB network."""
    side = _crop(plan)
    net, low = Rrdb().eval().to(plan.device), torch.rand(1, 3, side, side, device=plan.device)
    steps = {"rrdb": synchronised(lambda: net(low), plan.device)}
    rounds = interleaved(steps, plan.seconds(512), most=3)
    pixel = rounds.time("rrdb").middle / (4 * side) ** 2
    times = {s: pixel * s * s for s in plan.sizes}
    kind = plan.device.type
    report.curves[f"{kind} RRDB x4 network"] = times
    naive = report.curves[f"{kind} naive vanilla"]
    return [f"{significant(naive[s] / t, 2)}x, {significant(1000 * t)} ms (scaled)" for s, t in times.items()]


_KINDS = tuple((batch, half) for half in (False, True) for batch in (1, 8))


def _generator_row(plan: Plan, checkpoint: Checkpoint, device: torch.device, refine: bool) -> list[str]:
    """Milliseconds a frame of every kind."""
    use = [kind for kind in _KINDS if not kind[1] or has_bf16(device)]
    steps = {str(kind): generator_step(checkpoint, *kind, device, refine) for kind in use}
    rounds = plan.rounds({name: synchronised(step, device) for name, step in steps.items()}, 512)
    return [
        significant(1000 * rounds.time(str(kind)).middle / kind[0]) if kind in use else MISSING
        for kind in _KINDS
    ]


def generator(report: Report, plan: Plan) -> None:
    """Motion and refinement of one frame, at the generator's own size."""
    head = ["ms a frame", *(f"{'bf16' if half else 'fp32'}, batch {batch}" for batch, half in _KINDS)]
    rows = []
    for name in bundled():
        checkpoint = load_checkpoint(name)
        for refine, what in ((False, "motion + refinement"), (True, "refinement alone")):
            row = _generator_row(plan, checkpoint, plan.device, refine)
            rows.append([f"{plan.device.type}: {name}, {what}", *row])
    note = "Refinement alone is what a frame costs where one motion is scaled through a clip."
    unable = "" if has_bf16(plan.device) else "\nThis processor has no bfloat16 arithmetic."
    report.add("Generator, 128²", table(head, rows), note + unable)


def _over_faces(plan: Plan) -> Iterator[list[str]]:
    """Rows of growth with the pixels of the face, in a photo that stays as it is."""
    side = max((s for s in plan.sizes if s <= 2048), default=min(plan.sizes))
    scene, shares = Scene.of(side, CPU), (1 / 64, 1 / 16, 1 / 4, 9 / 16)
    for mode in MODES:
        rounds = plan.rounds({str(s): scene.ours(mode, s) for s in shares}, 512)
        slope = exponent(shares, [rounds.time(str(s)).middle for s in shares])
        yield [f"{mode}: time over pixels of the face, photo of {side}²", f"{slope:.2f}"]


def _over_frames(plan: Plan) -> list[str]:
    """A row of growth with the frames of a clip."""
    counts = (4, 8, 16) if plan.quick else (8, 16, 32, 64)
    clip = Clip.of(512, 0, CPU)
    steps: dict[str, Step] = {str(n): lambda n=n: sum(1 for _ in clip.frames(count=n)) for n in counts}
    rounds = plan.rounds(steps, 1024)
    slope = exponent(counts, [rounds.time(str(n)).middle for n in counts])
    return [f"time over frames of a clip, 512², {counts[0]} to {counts[-1]} frames", f"{slope:.2f}"]


@torch.no_grad()
def growth(report: Report, plan: Plan) -> None:
    """Exponents: 1 is time in proportion. On the CPU."""
    if plan.device != CPU:
        return
    rows = []
    for mode in MODES:
        curve = report.curves.get(f"cpu {mode}, torch", {})
        slope = exponent([s * s for s in curve], list(curve.values())) if len(curve) > 1 else None
        text = MISSING if slope is None else f"{slope:.2f}"
        rows.append([f"{mode}: time over pixels of the photo, whole", text])
    rows += [*_over_faces(plan), _over_frames(plan)]
    report.add("Growth", table(["exponent (1 is in proportion)", "CPU"], rows))


def peak_memory(report: Report, plan: Plan) -> None:
    """Peaks beyond input and output, each size in a process of its own."""
    rows: dict[str, list[str]] = {}
    for column, side in enumerate(plan.sizes):
        for name, megabytes in peaks.measure(side, plan.threads, plan.device.type).items():
            put(rows, f"{plan.device.type}: {name}", column, f"{megabytes:.0f}")
    note = "A frame of ResWarp is a clip's first, with what is made once a photo.\n"
    if plan.device == CPU:
        note += _clips(plan) if sys.platform == "linux" else f"CPU {MISSING}: needs Linux"
    lines = table(["MB beyond input and output", *sides(plan)], filled(rows, plan))
    report.add("Memory", lines, note)


def _clips(plan: Plan) -> str:
    counts = (8, 32) if plan.quick else (30, 120)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (memory.clip_peak(Path(folder), n, side=1024) for n in counts)
    return (
        f"The whole command line on a photo of 1024²: {few:.0f} MB for {counts[0]} frames, {many:.0f} MB\n"
        f"for {counts[1]}; `python benchmarks/memory.py` has more."
    )


def _rival_row(report: Report, plan: Plan, name: str, device: torch.device) -> list[str]:
    rival, seconds = RIVALS[name], 3.0 if plan.quick else 20.0
    title = f"{device.type}: {rival.title}, {rival.side}²"
    found = measure(name, plan.checkouts.get(name), plan.threads, seconds, device.type)
    if found.rival is None or found.ours is None or found.ratio is None:
        return [title, MISSING, "-", found.reason, "-"]
    report.facts[f"{device.type} {name}"] = found.ratio
    report.curves[f"{device.type} {rival.title}"] = {rival.side: found.rival.middle}
    pixel = found.ratio.middle * (OURS_SIDE / rival.side) ** 2
    times = (found.rival.text(unit=1000), found.ours.text(unit=1000))
    return [title, found.ratio.text(), significant(pixel), *times]


def rivals(report: Report, plan: Plan) -> None:
    """Other methods' networks, where a checkout is given."""
    rows = [_rival_row(report, plan, name, plan.device) for name in RIVALS]
    head = ["rival, its frame", "ours at 1024²: times as fast a frame", "a pixel", "its ms a frame", "ours"]
    report.add(
        "Other methods",
        table(head, rows),
        "Their published networks with random weights, for cost alone: the driving step, the source\n"
        "encoded once where the method allows it. Ours: motion, refinement and ResWarp of a whole frame of\n"
        "1024². In turns, in one process a rival.",
    )


SECTIONS = {
    "reswarp": reswarp,
    "generator": generator,
    "stages": stages,
    "growth": growth,
    "memory": peak_memory,
    "rivals": rivals,
}
