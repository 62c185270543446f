"""A bounded pool of processes that make clips, each with one job at most; one that dies loses that alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from .render_jobs import Attempt, Result, perform, whoami


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cards() -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` has to be for a process that sees one graphics card, a card each."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if len(named) >= count else [str(i) for i in range(count)]


class _Worker:
    def __init__(self, threads: int, card: str | None) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, card), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is the end of the pipe
        self.card, self.attempt = card, None
        self.attempt: Attempt | None

    def start(self, attempt: Attempt) -> None:
        self.attempt = attempt
        with suppress(OSError):  # dead already: the end of its pipe says so
            self.pipe.send(attempt)

    def result(self) -> Result:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            return Result(f"{whoami().split(':')[0]}:{self.process.pid}", error=self._end(), lost=True)

    def _end(self) -> str:
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"the worker ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"the worker was ended by {name}" + " (out of memory?)" * (name == "SIGKILL")

    def end(self) -> None:
        self.process.kill()
        self.process.join(10)
        self.pipe.close()


class WorkerPool:
    """``Pool`` of up to ``size`` processes, started as they are needed, each with ``threads`` threads.

    cards: graphics cards to deal out, one a worker; none: the CPU.
    """

    def __init__(self, size: int, threads: int, cards: Sequence[str] = ()) -> None:
        self.size, self.threads, self.cards = size, threads, list(cards)
        self._workers: list[_Worker] = []

    def free(self) -> bool:
        return len(self._workers) < self.size or any(w.attempt is None for w in self._workers)

    def start(self, attempt: Attempt) -> None:
        idle = next((w for w in self._workers if w.attempt is None), None)
        if idle is None:
            idle = _Worker(self.threads, self._least_used())
            self._workers.append(idle)
        idle.start(attempt)

    def finished(self, seconds: float) -> list[tuple[Attempt, Result]]:
        busy: dict[Any, _Worker] = {w.pipe: w for w in self._workers if w.attempt is not None}
        ended = []
        for pipe in wait(list(busy), seconds):
            worker = busy[pipe]
            attempt, worker.attempt = worker.attempt, None
            result = worker.result()
            if result.lost:
                self._workers.remove(worker)
                worker.end()
            assert attempt is not None
            ended.append((attempt, result))
        return ended

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _least_used(self) -> str | None:
        used = [w.card for w in self._workers]
        return min(self.cards, key=used.count, default=None)


def _serve(pipe: Connection, threads: int, card: str | None) -> None:
    """A worker's life: jobs until the pipe ends, or until it lacks memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all; who gives out jobs decides
    threading.Thread(target=_follow_parent, daemon=True).start()
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card  # read when CUDA is first used
    import torch

    torch.set_num_threads(threads)
    with suppress(EOFError):
        while True:
            result = perform(pipe.recv())
            pipe.send(result)
            if result.lost:
                return


def _follow_parent() -> None:
    """End with the process that gives out jobs, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
