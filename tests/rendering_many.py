"""What the tests of ``render`` share: a folder with a photo and a tiny model, tables, a run to interfere with."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from atw_nodes.checkpoints import save_checkpoint
from atw_nodes.images import write_still
from tests.conftest import ROOT, photo_like, tiny_generator, tiny_spec

COLUMNS = ("photo", "output", "frames", "face", "estimate", "checkpoint")


def furnished(folder: Path) -> Path:
    write_still(folder / "photo.png", (photo_like(121, 97) * 255).round().byte())
    save_checkpoint(folder / "tiny.safetensors", tiny_generator(), tiny_spec(), {"data": "none"})
    return folder


def row(output: str, frames: object = 3, face: str = "whole") -> list[str]:
    return ["photo.png", output, str(frames), face, "no", "tiny.safetensors"]


def table(folder: Path, *rows: list[str], header: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "jobs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def summary(folder: Path) -> dict[str, dict[str, str]]:
    """{output: its row of the summary}."""
    with (folder / "jobs.summary.csv").open(newline="", encoding="utf-8") as file:
        return {r["output"]: r for r in csv.DictReader(file)}


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def listens() -> None:  # whatever started these tests may have told its children to ignore Ctrl+C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begun(jobs: Path, *options: str, **more: str) -> subprocess.Popen[str]:
    """A render of its own; ``more``: into its environment."""
    command = [sys.executable, "-m", "atw_nodes", "render", str(jobs), *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env, preexec_fn=listens)


def until(what: Callable[[], bool], child: subprocess.Popen[str] | None = None, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        assert child is None or child.poll() is None, child.communicate()[1]
        time.sleep(0.02)


def processes(word: str, ancestor: int) -> list[int]:
    """Living processes below ``ancestor`` with ``word`` in their command line (Linux)."""
    parents, words = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                words[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])

    def below(pid: int) -> bool:
        return pid == ancestor or (pid in parents and below(parents[pid]))

    return [pid for pid in parents if pid != ancestor and below(pid) and word in words[pid]]


def at_work(pids: list[int]) -> list[int]:
    """Those of them that hold a file open in the hidden folder of a job (Linux)."""
    busy = []
    for pid in pids:
        try:
            held = [os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        busy += [pid] if any(".partial/" in name for name in held) else []
    return busy
