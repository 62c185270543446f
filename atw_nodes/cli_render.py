"""The command for many clips: ``render JOBS.csv``, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import bounded
from .types import InputError

if TYPE_CHECKING:
    from .render_jobs import Attempt, Job, Pool, Result
    from .render_table import Record

ABOUT = """A row of JOBS.csv is a clip. Columns: photo, output, and any option of animate without its dashes
(expression, au, frames, face, ...; yes or no where an option takes no value); an empty cell is the default.
Relative paths start at the table's folder. Outputs that are there are skipped. A summary is written beside
the table. Exit code 1 if some clips failed, 2 if the table is wrong: then nothing is begun."""


def add_render(commands: Any) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
    """Add ``render`` to the parser's commands, after ``animate``, whose options are its columns."""
    r = commands.add_parser("render", help="animate many photos, as a table says", description=ABOUT)
    r.add_argument("jobs", type=Path, metavar="JOBS.csv")
    r.add_argument(
        "--check", action="store_true", help="only check the table, list all that is wrong with it"
    )
    r.add_argument("--overwrite", action="store_true", help="make outputs anew that are there")
    r.add_argument("--workers", type=bounded(int, 1, 4096), metavar="N",
                   help="processes (default: one a graphics card, else one per two cores)")  # fmt: skip
    r.add_argument("--retries", type=bounded(int, 0, 100), default=1, metavar="N",
                   help="of a clip whose worker died or lacked memory (default: 1)")  # fmt: skip
    r.add_argument("--summary", type=Path, metavar="FILE.csv", help="default: JOBS.summary.csv")
    r.add_argument("--ray", metavar="ADDRESS",
                   help="on a Ray cluster: local, auto, host:port or ray://host:port. Every machine has "
                   "to see the files under the same paths (a shared file system)")  # fmt: skip
    r.add_argument("--cpus-per-worker", type=bounded(int, 1, 4096), default=1, metavar="N",
                   help="with --ray, on a cluster without graphics cards (default: 1)")  # fmt: skip
    r.add_argument("--quiet", action="store_true", help="no progress line, only the exit code")
    r.set_defaults(run=_render, animate=commands.choices["animate"])


def _render(args: argparse.Namespace) -> int:
    from .render_table import check_summary, read_jobs

    jobs, faults = read_jobs(args.jobs, args.animate, args.overwrite)
    if faults and args.check:
        sys.stderr.writelines(f"atw: {fault}\n" for fault in faults)
        return 2
    if faults:
        more = f" (and {len(faults) - 1} more; --check lists all)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
    summary = args.summary or args.jobs.with_name(f"{args.jobs.stem}.summary.csv")
    check_summary(summary, args.jobs, jobs)
    left = [job for job in jobs if args.overwrite or not job.done]
    if args.check:
        sys.stderr.write(f"{args.jobs}: {len(jobs)} clips, {len(jobs) - len(left)} of them there already\n")
        return 0
    return _run(args, jobs, left, summary)


def _run(args: argparse.Namespace, jobs: list[Job], left: list[Job], summary: Path) -> int:
    from .render_jobs import run
    from .render_table import Record, write_summary

    rows = {job.row for job in left}
    skipped = [job for job in jobs if job.row not in rows]
    records = {job.row: Record(job.photo, job.output, "skipped", note="already there") for job in skipped}
    write_summary(summary, records)
    shown = _Progress(len(left), args.quiet)
    if left:
        with _polite_end(), closing(run(left, _pool(args, len(left)), args.retries)) as ended:
            for attempt, result in ended:
                records[attempt.job.row] = _record(attempt, result)
                write_summary(summary, records)
                shown.ended(attempt, result)
    shown.close(summary, len(skipped))
    return 1 if shown.failed else 0


def _pool(args: argparse.Namespace, jobs: int) -> Pool:
    if args.ray is not None:
        from .ray_pool import RayPool

        return RayPool(args.ray, args.workers, args.cpus_per_worker)
    from .worker_pool import WorkerPool, cards, cores

    found = cards()
    size = min(jobs, args.workers or len(found) or max(1, cores() // 2))
    return WorkerPool(size, max(1, cores() // size), found)


def _record(attempt: Attempt, result: Result) -> Record:
    from .render_table import Record

    job, status = attempt.job, "failed" if result.error else "done"
    seconds, frames = f"{result.seconds:.2f}", str(result.frames)
    return Record(
        job.photo,
        job.output,
        status,
        seconds,
        frames,
        str(attempt.number),
        result.worker,
        result.note,
        result.error,
    )


@contextmanager
def _polite_end() -> Iterator[None]:
    """A polite kill ends like Ctrl+C: workers stop, what they were making is removed."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """A line on stderr: clips done, failed and left, frames a second of all workers, time left."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.quiet, self.begun = total, quiet, time.monotonic()
        self.done = self.failed = self.frames = 0
        self._line()

    def ended(self, attempt: Attempt, result: Result) -> None:
        self.done += not result.error
        self.failed += bool(result.error)
        self.frames += result.frames
        if result.error and not self.quiet:
            clear = "\r\x1b[K" if sys.stderr.isatty() else ""
            sys.stderr.write(f"{clear}failed: row {attempt.job.row}, {attempt.job.output}: {result.error}\n")
        self._line()

    def _line(self) -> None:
        if self.quiet or not sys.stderr.isatty() or not self.total:
            return
        ended, spent = self.done + self.failed, max(time.monotonic() - self.begun, 1e-6)
        bar = "#" * (30 * ended // self.total)
        time_left = f"{spent / ended * (self.total - ended):.0f} s left" if ended else "..."
        sys.stderr.write(
            f"\r\x1b[K[{bar:<30}] {self.done} done, {self.failed} failed, {self.total - ended} left  "
            f"{self.frames / spent:.1f} frames/s  {time_left} "
        )
        sys.stderr.flush()

    def close(self, summary: Path, skipped: int) -> None:
        if not self.quiet:
            end = "\n" if sys.stderr.isatty() and self.total else ""
            spent = time.monotonic() - self.begun
            sys.stderr.write(
                f"{end}{summary}: {self.done} done, {skipped} skipped, {self.failed} failed; "
                f"{self.frames} frames in {spent:.1f} s\n"
            )
