"""The command that trains: ``train CONFIG.toml`` runs Algorithm 1, alone or in each process of torchrun."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import bounded, progress

if TYPE_CHECKING:
    from .train_run import Run


def add_train(commands: Any) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
    """Add ``train`` to the parser's commands."""
    t = commands.add_parser(
        "train",
        help="train or fine-tune a generator",
        description="Trains by the settings of a TOML file: flat keys, only data and out are needed. Ctrl+C "
        "saves and stops; --resume goes on. Several processes: "
        "torchrun --nproc-per-node N -m atw_nodes train CONFIG.toml",
    )
    t.add_argument("config", type=Path, metavar="CONFIG.toml")
    t.add_argument("--resume", action="store_true", help="go on with the run in the config's folder")
    t.add_argument("--steps", type=bounded(int, 1, 1e9), help="instead of the config's")
    t.add_argument("--quiet", action="store_true", help="no progress bar and no losses")
    t.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from .train_config import read_config
    from .train_run import Run

    config = read_config(args.config, **({"steps": args.steps} if args.steps else {}))
    run = Run(config, resume=args.resume)
    quiet = args.quiet or not run.group.leads
    left = max(0, config.steps - run.step)
    if not quiet:
        sys.stderr.write(_greeting(run, left))
    try:
        with _asked_to_stop() as asked:
            for _ in progress(_spoken(run, quiet), left, quiet, "steps"):
                if run.group.any(bool(asked)):
                    run.stop()
                    if not quiet:
                        sys.stderr.write(f"\nsaved at step {run.step}; --resume goes on from there\n")
                    return 130
    finally:
        run.close()
    if not quiet:
        sys.stderr.write(f"{run.out / 'model.safetensors'}: {run.step} steps\n")
    return 0


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Receives Ctrl+C and polite kills. A step is finished first: half of one cannot be gone on from. A
    second Ctrl+C ends at once.
    """
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greeting(run: Run, left: int) -> str:
    rows, skipped = len(run.manifest.rows), len(run.manifest.skipped)
    kind, names = run.spec.kind, ", ".join(run.spec.names)
    several = f", {run.group.size} processes" if run.group.size > 1 else ""
    return (
        f"{rows} photos ({skipped} left out), {kind}: {names}\n"
        f"{left} steps from step {run.step}, batch {run.config.batch}, on {run.device}{several}\n"
    )


def _spoken(run: Run, quiet: bool) -> Iterator[object]:
    """Steps as they are made, a line of losses now and then."""
    every = max(1, min(50, run.config.save_every))
    for record in run.train():
        if not quiet and (run.step % every == 0 or run.step == run.config.steps):
            losses = "  ".join(f"{k.split('/')[-1]} {v:.3g}" for k, v in record.items() if "/" in k)
            sys.stderr.write(f"\rstep {run.step}: {losses}\n")
        yield record
