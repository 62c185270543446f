"""The sections of ``bench.py``: each measures, and adds its tables, facts and curves to the report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from atw_nodes.animate import animate
from atw_nodes.checkpoints import DEFAULT, bundled, load_checkpoint
from atw_nodes.faces import find
from atw_nodes.reswarp import decompose
from atw_nodes.video import ClipWriter
from benchmarks import memory, peaks
from benchmarks.cases import FLOOR, LOW, MODES, Rrdb, Scene, backends, box, config, generator_step, photo
from benchmarks.report import CPU, Plan, Report, devices, filled, put, sides
from benchmarks.rivals import RIVALS, measure
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


def _cell(ratio: Span, time: Span) -> str:
    spread = 50 * (ratio.high - ratio.low) / ratio.middle
    return f"{significant(ratio.middle)}x ± {spread:.0f} %, {significant(1000 * time.middle)} ms"


def _steps(scene: Scene, device: torch.device) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    for backend in backends(device):
        for mode in MODES:
            steps[f"{mode}, {backend}"] = scene.ours(mode, 1.0, backend)
            steps[f"{mode}, {backend}, box of 1/16"] = scene.ours(mode, BOX, backend)
    residual = scene.residual()
    steps["naive vanilla"] = scene.naive(residual)
    steps["grid_sample alone"] = scene.sampling(residual)
    steps["bicubic up-scaling of the small result"] = scene.enlarging()
    remap = scene.opencv()
    if remap is not None:
        steps["OpenCV remap of the photo"] = remap
    steps["copy of 256 MB"] = copy_bandwidth(device, 256)
    return {name: synchronised(step, device) for name, step in steps.items()}


@torch.no_grad()
def reswarp(report: Report, plan: Plan) -> None:
    """A frame of ResWarp at every size, beside what would be used instead, and beside copying its bytes."""
    rows: dict[str, list[str]] = {}
    floors: dict[str, list[str]] = {}
    for device in devices():
        for column, side in enumerate(plan.sizes):
            rounds = plan.rounds(_steps(Scene.of(side, device), device), side)
            bandwidth = 2 * 2**28 / rounds.time("copy of 256 MB").middle
            for name in list(rounds.seconds)[:-1]:
                ratio, time = rounds.ratio("naive vanilla", name), rounds.time(name)
                put(rows, f"{device.type}: {name}", column, _cell(ratio, time))
                report.facts[f"{device.type} {name} {side}"] = ratio
                report.curves.setdefault(f"{device.type} {name}", {})[side] = time.middle
                mode = name.split(",")[0]
                if mode in FLOOR:
                    share = BOX if "box" in name else 1
                    floor = FLOOR[mode] * share * side * side / bandwidth
                    text = f"{significant(time.middle / floor, 2)}x of {significant(1000 * floor)} ms"
                    put(floors, f"{device.type}: {name}", column, text)
            put(floors, f"{device.type}: copy bandwidth", column, f"{bandwidth / 1e9:.1f} GB/s")
            least = {m: FLOOR[m] * side * side / bandwidth for m in MODES}
            report.curves.setdefault(f"{device.type} floor", {})[side] = least["vanilla"]
    upscaler = _upscaler(report, plan)
    rows |= {"cpu: RRDB x4 network": [upscaler[side] for side in plan.sizes]}
    if len(devices()) == 1:
        for mode in MODES:
            rows[f"cuda: {mode}"] = floors[f"cuda: {mode}"] = [MISSING] * len(plan.sizes)
    report.add(
        "A frame of ResWarp, and what one would use instead",
        table(["times as fast as naive vanilla, ms a frame", *sides(plan)], filled(rows, plan)),
        "Naive vanilla: motion and small result up-sampled, full grid, `grid_sample` of a float residual,\n"
        "sum; all float32. Ours reads and writes uint8. ± is half the distance of the quartiles over the\n"
        "rounds, in which everything ran in turns. OpenCV and `grid_sample` move pixels, but add nothing.\n"
        f"RRDB (23 blocks, 64 features) is measured on {_crop(plan)}², which become {4 * _crop(plan)}², and\n"
        "scaled by pixels.",
    )
    report.add(
        "How far from the memory's limit",
        table(["times its floor", *sides(plan)], filled(floors, plan)),
        "Floor: the bytes a mode must read and write (a pixel: "
        + ", ".join(f"{mode} {FLOOR[mode]}" for mode in MODES)
        + ") over the bandwidth of a copy in the same rounds.",
    )


def _crop(plan: Plan) -> int:
    return 32 if plan.quick else 128


def _upscaler(report: Report, plan: Plan) -> dict[int, str]:
    """The row of the RRDB network: {side: cell}."""
    side = _crop(plan)
    net, low = Rrdb().eval(), torch.rand(1, 3, side, side)
    rounds = interleaved({"rrdb": lambda: net(low)}, plan.seconds(512), most=3)
    pixel = rounds.time("rrdb").middle / (4 * side) ** 2
    naive, cells = report.curves["cpu naive vanilla"], {}
    for s in plan.sizes:
        report.curves.setdefault("cpu RRDB x4 network", {})[s] = pixel * s * s
        ratio = naive[s] / (pixel * s * s)
        cells[s] = f"{significant(ratio, 2)}x, {significant(1000 * pixel * s * s)} ms (scaled)"
    return cells


def generator(report: Report, plan: Plan) -> None:
    """Motion and refinement of one frame, at the generator's own size."""
    kinds = [(b, half) for half in (False, True) for b in (1, 8)]
    head = ["ms a frame", *(f"{'bf16' if half else 'fp32'}, batch {b}" for b, half in kinds)]
    rows = []
    for name in bundled():
        checkpoint = load_checkpoint(name)
        for device in devices():
            for refine in (False, True):
                use = [(b, half) for b, half in kinds if not half or has_bf16(device)]
                steps = {
                    f"{b} {half}": synchronised(
                        generator_step(checkpoint, b, half, device, refine_only=refine), device
                    )
                    for b, half in use
                }
                rounds = plan.rounds(steps, 512)
                title = f"{device.type}: {name}, {'refinement alone' if refine else 'motion + refinement'}"
                cells = [
                    significant(1000 * rounds.time(f"{b} {half}").middle / b) if (b, half) in use else MISSING
                    for b, half in kinds
                ]
                rows.append([title, *cells])
    if len(devices()) == 1:
        rows.append(["cuda", *[MISSING] * len(kinds)])
    unable = [] if has_bf16(CPU) else ["This processor has no bfloat16 arithmetic."]
    why = "Refinement alone is what a frame costs where one motion is scaled through a clip. "
    report.add("Generator, 128²", table(head, rows), why + " ".join(unable))


def _signals(names: int, count: int) -> Tensor:
    """[count,names]: there and back, every frame another."""
    wave = 0.1 + 0.2 * (1 - torch.cos(torch.arange(count) * (2 * torch.pi / 24)))
    return wave[:, None].expand(-1, names)


def _write(path: Path, frames: Iterator[Tensor], side: int) -> None:
    with ClipWriter(path, side, side, 25) as writer:
        for frame in frames:
            writer.write(frame)


@torch.no_grad()
def stages(report: Report, plan: Plan) -> None:
    """What is done once, encoding, and the whole way, on the CPU."""
    checkpoint, rows = load_checkpoint(DEFAULT), {}
    units = len(checkpoint.signal.names)
    titles = {
        "find": "find the face (once), ms",
        "decompose": "decompose, whole (once), ms",
        "encode": "encode H.264, ms a frame",
        "animate": "whole frame: motion, refinement, ResWarp; frames/s",
        "clip": "the same into an H.264 file, frames/s",
        "box": "a face box of 1/16 into an H.264 file, frames/s",
    }
    for column, side in enumerate(plan.sizes):
        image = photo(side)
        out, count = torch.empty_like(image), max(3, min(8 if plan.quick else 24, 6 * 4096 // side))
        moved = [f.clone() for f in animate(image, checkpoint, _signals(units, 3))]

        def made(
            share: float = 1.0, image: Tensor = image, out: Tensor = out, n: int = count
        ) -> Iterator[Tensor]:
            frame = box(image.shape[-1], share)
            return animate(
                image, checkpoint, _signals(units, n), frame=frame, config=config("aligned"), out=out
            )

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "clip.mp4"
            steps: dict[str, Step] = {
                "find": lambda i=image: find(i),
                "decompose": lambda i=image: decompose(i, size=LOW),
                "encode": lambda f=file, m=moved, n=count, s=side: _write(
                    f, (m[k % len(m)] for k in range(n)), s
                ),
                "animate": lambda f=made: sum(1 for _ in f()),
                "clip": lambda f=file, m=made, s=side: _write(f, m(), s),
                "box": lambda f=file, m=made, s=side: _write(f, m(BOX), s),
            }
            rounds = plan.rounds(steps, side, 0.5)
        for name, title in titles.items():
            time = rounds.time(name)
            if name in ("find", "decompose"):
                text = time.text(unit=1000)
            elif name == "encode":
                text = time.text(unit=1000 / count)
            else:
                report.facts[f"{name} {side}"] = Span(*(count / time[k] for k in (0, 2, 1)))
                report.curves.setdefault(f"cpu {name}", {})[side] = time.middle / count
                text = report.facts[f"{name} {side}"].text()
            put(rows, title, column, text)
    report.add(
        "Stages, CPU",
        table(["median (quartiles)", *sides(plan)], filled(rows, plan)),
        f"`{DEFAULT}`, every frame with its own signal; decomposing the photo, opening and closing the\n"
        "file are part of the frames/s.",
    )


@torch.no_grad()
def growth(report: Report, plan: Plan) -> None:
    """Exponents: 1 is time in proportion."""
    rows = []
    for mode in MODES:
        curve = report.curves.get(f"cpu {mode}, torch", {})
        text = f"{exponent([s * s for s in curve], list(curve.values())):.2f}" if len(curve) > 1 else MISSING
        rows.append([f"{mode}: time over pixels of the photo, whole", text])
    side = max((s for s in plan.sizes if s <= 2048), default=min(plan.sizes))
    shares = (1 / 64, 1 / 16, 1 / 4, 9 / 16)
    scene = Scene.of(side, CPU)
    for mode in MODES:
        rounds = plan.rounds({str(s): scene.ours(mode, s) for s in shares}, 512)
        slope = exponent(shares, [rounds.time(str(s)).middle for s in shares])
        rows.append([f"{mode}: time over pixels of the face, photo of {side}²", f"{slope:.2f}"])
    checkpoint, small = load_checkpoint(DEFAULT), photo(512)
    units, counts = len(checkpoint.signal.names), (4, 8, 16) if plan.quick else (8, 16, 32, 64)
    steps: dict[str, Step] = {
        str(n): lambda n=n: sum(1 for _ in animate(small, checkpoint, _signals(units, n))) for n in counts
    }
    rounds = plan.rounds(steps, 1024)
    slope = exponent(counts, [rounds.time(str(n)).middle for n in counts])
    rows.append([f"time over frames of a clip, 512², {counts[0]} to {counts[-1]} frames", f"{slope:.2f}"])
    report.add("Growth", table(["exponent (1 is in proportion)", "CPU"], rows))


def peak_memory(report: Report, plan: Plan) -> None:
    """Peaks beyond input and output, each size in a process of its own."""
    rows: dict[str, list[str]] = {}
    for column, side in enumerate(plan.sizes):
        for name, megabytes in peaks.measure(side, plan.threads).items():
            put(rows, name, column, f"{megabytes:.0f}")
    if not rows:
        report.add("Memory", [f"{MISSING}: needs Linux"])
        return
    report.add(
        "Memory", table(["MB beyond input and output, CPU", *sides(plan)], filled(rows, plan)), _clips(plan)
    )


def _clips(plan: Plan) -> str:
    counts = (8, 32) if plan.quick else (30, 120)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (memory.clip_peak(Path(folder), n, side=1024) for n in counts)
    return (
        f"The whole command line on a photo of 1024²: {few:.0f} MB for {counts[0]} frames, {many:.0f} MB for "
        f"{counts[1]} (`python benchmarks/memory.py` has more)."
    )


def rivals(report: Report, plan: Plan) -> None:
    """Other methods' networks, where a checkout is given."""
    rows = []
    for name, rival in RIVALS.items():
        limit, pace = 300.0, 3.0 if plan.quick else 30.0
        for device in ("cpu", "cuda"):
            title = f"{device}: {rival.title}, {rival.side}²"
            if device == "cuda" and not torch.cuda.is_available():
                continue
            found = measure(name, plan.checkouts.get(name), plan.threads, pace, device, limit)
            if found.rival is None or found.ours is None or found.ratio is None:
                rows.append([title, MISSING, found.reason, "-"])
                continue
            report.facts[f"{device} {name}"] = found.ratio
            report.curves[f"{device} {rival.title}"] = {rival.side: found.rival.middle}
            times = (found.rival.text(unit=1000), found.ours.text(unit=1000))
            rows.append([title, found.ratio.text(), *times])
    if not torch.cuda.is_available():
        rows.append(["cuda", MISSING, "-", "-"])
    head = ["rival, its frame", "ours at 1024² is times as fast", "its ms a frame", "ours, ms a frame"]
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
