"""Where we stand: time and memory of every stage, beside what people would use instead. ``make bench``.

    python benchmarks/bench.py [--quick] [--sizes 512 1024 ...] [--threads N] [--repeat N] [--only SECTION]
        [--device cpu|cuda]
        [--liveportrait PATH] [--fomm PATH] [--ganimation PATH] [--x2face PATH] [--vid2vid PATH]

Prints its tables. A full run also writes them into benchmarks/RESULTS.md, between two marks, and the plot
beside it; with --quick or --only nothing is written unless --results names the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from benchmarks.bench_plot import Curve, draw  # noqa: E402
from benchmarks.cases import backends  # noqa: E402
from benchmarks.report import CPU, Plan, Report  # noqa: E402
from benchmarks.rivals import RIVALS  # noqa: E402
from benchmarks.sections import SECTIONS  # noqa: E402
from benchmarks.timing import MISSING, Span, cores, machine, replaced, table  # noqa: E402

SIZES = (512, 1024, 2048, 4096, 8192)
PAGE = Path(__file__).with_name("RESULTS.md")


class Target(NamedTuple):
    text: str
    fact: str
    least: float


def targets() -> list[Target]:
    fast = next((b for b in backends(torch.device("cpu")) if b != "torch"), "fast path")
    return [
        Target("vanilla, 4096²: times naive", "cpu vanilla, torch 4096", 1.7),
        Target("aligned, 4096²: times naive", "cpu aligned, torch 4096", 1.2),
        Target("optional fast path, vanilla, 4096²: times naive", f"cpu vanilla, {fast} 4096", 3),
        Target("optional fast path, aligned, 4096²: times naive", f"cpu aligned, {fast} 4096", 3),
        Target("aligned, box of 1/16, 4096²: times naive", "cpu aligned, torch, box of 1/16 4096", 8),
        Target("whole frame of 1024²: times LivePortrait's speed", "cpu liveportrait", 80),
        Target("whole frame of 1024²: frames/s", "cpu animate 1024", 15),
        Target("whole frame of 1024² into an H.264 file: frames/s", "cpu clip 1024", 15),
    ]


def judged(facts: dict[str, Span]) -> list[str]:
    """The table of targets: met or missed by the median."""
    rows = []
    for text, fact, least in targets():
        found = facts.get(fact)
        verdict = MISSING if found is None else "met" if found.middle >= least else "**missed**"
        rows.append([text, f"{least:g}", MISSING if found is None else found.text(), verdict])
    return table(["target, CPU", "at least", "measured (quartiles)", ""], rows)


# name of a curve, its label, its colour, whether it is dashed
_SHOWN = (
    ("cpu RRDB x4 network", "RRDB x4 network (scaled)", "#8c564b", True),
    ("cpu animate", "our whole frame, with generator", "#9467bd", False),
    ("cpu naive vanilla", "naive vanilla", "#7f7f7f", False),
    ("cpu multiscale, torch", "multiscale alone", "#2ca02c", False),
    ("cpu aligned, torch", "aligned alone", "#1f77b4", False),
    ("cpu vanilla, torch", "vanilla alone", "#ff7f0e", False),
    ("cpu aligned, torch, box of 1/16", "aligned alone, face box of 1/16", "#17becf", False),
    ("cpu aligned, opencv", "aligned alone, OpenCV", "#e377c2", False),
    ("cpu aligned, opencv, box of 1/16", "aligned alone, OpenCV, box of 1/16", "#bcbd22", False),
    ("cpu floor", "copying vanilla's bytes (limit)", "#000000", True),
    *((f"cpu {r.title}", r.title, "#d62728", False) for r in RIVALS.values()),
)


def curves(report: Report) -> list[Curve]:
    return [
        Curve(label, {s: 1000 * t for s, t in report.curves[name].items()}, colour, dashed)
        for name, label, colour, dashed in _SHOWN
        if name in report.curves
    ]


def page_part(report: Report, threads: int, picture: str | None, device: torch.device = CPU) -> str:
    """What goes between the marks of RESULTS.md."""
    if device.type == "cuda":
        lines = ['## On a GPU (`make bench BENCH="--device cuda"`)', ""]
    else:
        lines = ["## Time and memory (`make bench`)", ""]
    lines += [*(f"- {line}" for line in machine(threads)), ""]
    if device.type == "cpu":
        lines += ["### Targets", "", *judged(report.facts), ""]
    if picture:
        lines += [f"![Time of a frame over the side of the photo, CPU]({picture})", ""]
    return "\n".join(lines + report.lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look: up to 2048², a few rounds")
    parser.add_argument("--sizes", type=int, nargs="+", help="sides of the photo in pixels")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--device", type=torch.device, default=CPU, help="cuda: the GPU, into a part of the page of its own"
    )
    parser.add_argument("--repeat", type=int, help="at most so many rounds")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS))
    parser.add_argument("--results", type=Path, help="the page to write into; the plot lies beside it")
    for name, rival in RIVALS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"a checkout of {rival.title}")
    args = parser.parse_args(argv)
    if args.results is None and not args.quick and set(args.only) == set(SECTIONS):
        args.results = PAGE
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    plan = Plan(
        sizes=tuple(sorted(args.sizes or (SIZES[:3] if args.quick else SIZES))),
        threads=args.threads,
        device=args.device,
        repeat=args.repeat or (3 if args.quick else 21),
        quick=args.quick,
        checkouts={name: getattr(args, name) for name in RIVALS},
    )
    report = Report()
    for name, section in SECTIONS.items():
        if name in args.only:
            sys.stderr.write(f"{name} ...\n")
            section(report, plan)
    shown = curves(report) if args.device == CPU else []
    picture = args.results.with_name("bench.png") if args.results and shown else None
    part = page_part(report, args.threads, picture.name if picture else None, args.device)
    print(part)
    if picture:
        draw(picture, shown)
    if args.results:
        page = args.results.read_text(encoding="utf-8") if args.results.is_file() else "# Measured\n"
        name = "bench" if args.device == CPU else "bench-gpu"
        args.results.write_text(replaced(page, part, name), encoding="utf-8")


if __name__ == "__main__":
    main()
