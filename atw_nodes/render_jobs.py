"""Many clips: a table with one row a clip, checked as a whole, then made by a pool of workers that may die.

A row is turned into the arguments of ``animate`` and read by its own parser, so whatever ``animate`` knows a
table knows. A job is made in a hidden folder beside its output and takes its name when it is complete; that
folder's name holds a token of the attempt, so whoever gives out jobs can remove what a dead worker left.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import socket
import time
from argparse import Namespace
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from .files import reason, unwritable
from .types import AtwError, OutputError

LOOK = 0.5  # seconds between two looks at the workers, which is how soon Ctrl+C is heard


@dataclass(frozen=True, eq=False)
class Job:
    """One row. photo, output: as the table has them; args: what ``animate`` is given, paths absolute."""

    row: int
    photo: str
    output: str
    args: Namespace

    @property
    def targets(self) -> tuple[Path, ...]:
        """The files and folders that it makes, its output last."""
        return tuple(path for path in (self.args.sheet, self.args.output) if path is not None)

    @property
    def done(self) -> bool:
        """Whether its output is there. An empty folder is none."""
        path: Path = self.args.output
        return any(path.iterdir()) if path.is_dir() else path.exists()


@dataclass(frozen=True, eq=False)
class Attempt:
    """A job as it is given to a worker, for the ``number``-th time."""

    job: Job
    number: int = 1
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    def place(self, target: Path) -> Path:
        """Where ``target`` is made: under its own name, in a hidden folder beside it."""
        return target.parent / f"{_prefix(target)}{self.token}.partial" / target.name

    def discard(self) -> None:
        """Remove what the attempt left. A worker that still works on it, unheard of, fails by this."""
        for target in self.job.targets:
            shutil.rmtree(self.place(target).parent, ignore_errors=True)


@dataclass(frozen=True)
class Result:
    """How an attempt ended. lost: not by the job's own fault, another worker may do better."""

    worker: str
    frames: int = 0
    seconds: float = 0.0
    note: str = ""
    error: str = ""
    lost: bool = False


class Pool(Protocol):
    """Workers, each with one job at most."""

    def free(self) -> bool:
        """Whether another job can be started now."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Give a job to a worker that has none."""
        ...

    def finished(self, seconds: float) -> list[tuple[Attempt, Result]]:
        """What has ended, waiting so long for the first."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...


def _prefix(target: Path) -> str:
    return f".atw-{sha256(target.name.encode()).hexdigest()[:8]}-"


def sweep(jobs: Sequence[Job]) -> None:
    """Remove what a render that was killed as a whole left of these jobs."""
    wanted: dict[Path, set[str]] = {}
    for target in (t for job in jobs for t in job.targets):
        wanted.setdefault(target.parent, set()).add(_prefix(target))
    for folder, prefixes in wanted.items():
        for left in folder.glob(".atw-*.partial"):
            if left.name[: len(".atw-12345678-")] in prefixes:
                shutil.rmtree(left, ignore_errors=True)


def only_frames(folder: Path) -> bool:
    """Whether a folder holds nothing but what ``animate`` writes into one."""
    return all(re.fullmatch(r"frame_\d{5,}\.png", path.name) for path in folder.iterdir())


def run(jobs: Sequence[Job], pool: Pool, retries: int) -> Generator[tuple[Attempt, Result], None, None]:
    """Every job's last attempt, as they end; a lost one is given out again up to ``retries`` times.

    At most as many jobs are under way as the pool has workers. Left early, nothing of them stays.
    """
    sweep(jobs)
    waiting = deque(Attempt(job) for job in jobs)
    under_way: dict[str, Attempt] = {}
    try:
        while waiting or under_way:
            while waiting and pool.free():
                attempt = waiting.popleft()
                under_way[attempt.token] = attempt
                pool.start(attempt)
            for attempt, result in pool.finished(LOOK):
                del under_way[attempt.token]
                attempt.discard()
                if result.lost and attempt.number <= retries:
                    waiting.appendleft(Attempt(attempt.job, attempt.number + 1))
                else:
                    yield attempt, result
    finally:
        pool.close()
        for attempt in under_way.values():
            attempt.discard()


def whoami() -> str:
    """This process, among those of several machines."""
    return f"{socket.gethostname()}:{os.getpid()}"


def perform(attempt: Attempt) -> Result:
    """Make a job in this process. Never raises: what went wrong is in the result, on one line."""
    begun, heard = time.monotonic(), io.StringIO()
    frames, error, lost = 0, "", False
    try:
        with redirect_stderr(heard):
            frames = _make(attempt)
    except Exception as failure:
        lost = _exhausted(failure)
        error = _said(failure, attempt)
    finally:
        attempt.discard()
    notes = "; ".join(line.removeprefix("note: ") for line in heard.getvalue().splitlines() if line)
    return Result(whoami(), frames, time.monotonic() - begun, notes, error, lost)


def _make(attempt: Attempt) -> int:
    """Make the targets in their hidden folders, then let them take their names; the number of frames."""
    given = attempt.job.args
    args = Namespace(**vars(given))
    for target in attempt.job.targets:
        place = attempt.place(target)
        with unwritable(target):
            place.parent.mkdir(exist_ok=True)
            if target.is_dir():
                place.mkdir()  # a name that stands for a folder, whatever its suffix
    args.output = attempt.place(given.output)
    args.sheet = None if given.sheet is None else attempt.place(given.sheet)
    frames = args.produce(args)
    for target in attempt.job.targets:
        _name(attempt.place(target), target)
    return frames


def _name(made: Path, target: Path) -> None:
    """Give ``made`` its name; a folder of frames that has it goes into the hidden folder, and with that."""
    with unwritable(target):
        if target.is_dir():
            if not only_frames(target):
                raise OutputError(f"{target} holds other files than frames; choose another name")
            os.replace(target, made.parent / secrets.token_hex(4))
        os.replace(made, target)


def _exhausted(failure: Exception) -> bool:
    return isinstance(failure, MemoryError) or (
        isinstance(failure, RuntimeError) and "memory" in str(failure) and not isinstance(failure, AtwError)
    )


def _said(failure: Exception, attempt: Attempt) -> str:
    """One line that names what the user named."""
    text = reason(failure) if not isinstance(failure, OSError) else " ".join(str(failure).split())
    for target in attempt.job.targets:
        text = text.replace(str(attempt.place(target)), str(target))
    if _exhausted(failure):
        return f"out of memory ({text[:200]}); use a smaller photo, fewer --workers or another device"
    if not isinstance(failure, (AtwError, OSError)):
        text = f"{type(failure).__name__}: {text}"
    return text[:500]
