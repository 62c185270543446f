"""Timing in turns, growth exponents, tables, and the part of a page that a benchmark may rewrite."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

MISSING = "not measured"
Step = Callable[[], object]


class Span(NamedTuple):
    """Median and quartiles of several measurements."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Span:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high)

    def text(self, digits: int = 3, unit: float = 1.0) -> str:
        middle, low, high = (significant(v * unit, digits) for v in self)
        return middle if low == high else f"{middle} ({low} to {high})"


class Rounds(NamedTuple):
    """Seconds of every step in every round: what was measured in one round saw the same load."""

    seconds: dict[str, list[float]]

    def time(self, name: str) -> Span:
        return Span.of(self.seconds[name])

    def ratio(self, base: str, name: str) -> Span:
        """How many times as fast as ``base``: the quotients of each round."""
        return Span.of([b / n for b, n in zip(self.seconds[base], self.seconds[name], strict=True)])


def interleaved(steps: Mapping[str, Step], budget: float, least: int = 3, most: int = 21) -> Rounds:
    """Run the steps in turns (A, B, A, B, ...) until ``budget`` seconds are over or ``most`` rounds are done.

    The first round warms up and is not counted. Where it took a quarter of the budget, one more is enough;
    where it took half of it, it is the measurement.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}

    def turn() -> None:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)

    begun = time.perf_counter()
    turn()
    warm = time.perf_counter() - begun
    if warm >= budget / 2:
        return Rounds(seconds)
    for times in seconds.values():
        times.clear()
    least = min(most, 1 if warm >= budget / 4 else least)
    done, begun = 0, time.perf_counter()
    while done < least or (done < most and time.perf_counter() - begun < budget):
        turn()
        done += 1
    return Rounds(seconds)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares: 1 is proportional growth."""
    if len(sizes) < 2:
        raise ValueError(f"a slope needs two points or more, not {len(sizes)}")
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in values]
    return statistics.linear_regression(x, y).slope


def significant(value: float, digits: int = 3) -> str:
    """1234.5 -> "1234", 12.345 -> "12.3", 0.012345 -> "0.0123"."""
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table, its columns padded so that it reads well on a screen, too."""
    cells = [[str(c) for c in head], *([str(c) for c in row] for row in rows)]
    if any(len(row) != len(head) for row in cells):
        raise ValueError(f"every row needs {len(head)} cells")
    widths = [max(3, *(len(row[k]) for row in cells)) for k in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def replaced(page: str, part: str, name: str = "bench") -> str:
    """``page`` with what stands between ``<!-- name -->`` and ``<!-- /name -->`` replaced; else appended."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    block = f"{start}\n{part.strip()}\n{end}"
    if page.count(start) != page.count(end) or page.count(start) > 1:
        raise ValueError(f"the page needs one {start} and one {end}, or neither")
    if start not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    before, rest = page.split(start)
    if end not in rest:
        raise ValueError(f"{end} comes before {start}")
    return before + block + rest.split(end)[1]


def copy_bandwidth(device: torch.device, megabytes: int = 256) -> Step:
    """A step that copies ``megabytes`` MB: it reads and writes as many bytes each."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source).zero_()
    return synchronised(lambda: target.copy_(source), device)


def synchronised(step: Step, device: torch.device) -> Step:
    """``step``, which ends when the device has done the work."""
    if device.type != "cuda":
        return step

    def whole() -> None:
        step()
        torch.cuda.synchronize(device)

    return whole


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than by way of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16|svebf16)\b", _read("/proc/cpuinfo")))


def machine(threads: int) -> list[str]:
    """What the figures were measured on."""
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    cpu = found[1].strip() if found else platform.processor() or platform.machine()
    ram = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    memory = f"{round(int(ram[1]) / 2**20)} GB" if ram else "memory unknown"
    release = re.search(r'^PRETTY_NAME="(.+)"$', _read("/etc/os-release"), re.MULTILINE)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cv2 = _cv2_version()
    vector = torch.backends.cpu.get_cpu_capability()
    return [
        f"{cpu}, {cores()} cores ({threads} threads used), {vector}, {memory}",
        f"{release[1] if release else platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, OpenCV {cv2 or 'none'}",
        f"GPU: {gpu}",
    ]


def _cv2_version() -> str | None:
    if importlib.util.find_spec("cv2") is None:
        return None
    import cv2

    return str(cv2.__version__)


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
