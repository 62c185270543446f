"""Work by a few threads, each of which runs torch's operators by itself: tiles (``each``) or whole frames
(``in_order``).

Torch splits one operator among its threads and waits for the last of them, dozens of times a tile; where
another program has a core, each wait costs a time slice. Here a thread takes the next piece when it is done
with its last.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

import torch

T = TypeVar("T")

_LOCK = threading.Lock()
_POOLS: dict[int, ThreadPoolExecutor] = {}
_POLL = 0.2  # seconds after which a waiting thread looks up, so that Ctrl+C reaches it on every system
_OPENMP = "OpenMP" in torch.__config__.parallel_info().split("ATen parallel backend:")[-1][:40]


def _pool(count: int) -> ThreadPoolExecutor:
    """``count`` threads whose operators do not split; they wait, and cost nothing, between frames."""
    with _LOCK:
        if count not in _POOLS:
            ready = threading.Barrier(count + 1)

            def alone() -> None:
                torch.get_num_threads()  # or torch would give it its number later, on first use
                torch.set_num_threads(1)  # of this thread, and what threads to come begin with
                ready.wait()

            pool = ThreadPoolExecutor(count, "atw-tiles", initializer=alone)
            for _ in range(count):
                pool.submit(int)
            ready.wait()
            torch.set_num_threads(count)  # of this thread, as it was, and of those to come
            _POOLS[count] = pool
        return _POOLS[count]


def separate(device: torch.device) -> int:
    """How many threads can work by themselves: on a CPU as many as torch uses here, else 1."""
    return torch.get_num_threads() if device.type == "cpu" and _OPENMP else 1


def each(work: Callable[[T], None], items: Iterable[T], device: torch.device) -> None:
    """``work(item)`` for each of ``items``, in any order; on a CPU by as many threads as torch uses here. The
    first exception is raised when all threads have stopped.
    """
    todo, count = list(items), separate(device)
    if count < 2 or len(todo) < 2:
        for item in todo:
            work(item)
        return
    inference, left, failed = torch.is_inference_mode_enabled(), iter(todo), threading.Event()

    def run() -> None:
        with torch.inference_mode(inference), torch.no_grad():
            while not failed.is_set():
                with lock:
                    item = next(left, None)
                if item is None:
                    return
                try:
                    work(item)
                except BaseException:
                    failed.set()
                    raise

    lock, pool = threading.Lock(), _pool(count)
    futures = [pool.submit(run) for _ in range(min(count, len(todo)))]
    try:
        wait(futures)
    except BaseException:
        failed.set()
        wait(futures)
        raise
    for future in futures:
        future.result()


def in_order(jobs: Iterable[Callable[[], T]], count: int) -> Generator[T, None, None]:
    """What ``jobs`` return, in their order; beside the one in use up to ``count`` are at work or done, each
    in a thread of its own with the grad mode, inference mode and context variables of whoever asks.

    The first is done at once, by all threads: nothing is won by doing a single one by itself. So are all of
    them where ``count`` is below 2. An error of a job is raised when its turn comes. Closing this waits for
    the jobs at work, and for no others.
    """
    line: deque[Future[T]] = deque()
    todo = iter(jobs)
    try:
        for first in todo:
            yield first()
            if count > 1:
                break
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        for job in todo:
            pool = _pool(torch.get_num_threads())
            line.append(pool.submit(copy_context().run, _within, modes, job))
            del job
            if len(line) > count:
                yield _result(line)
        while line:
            yield _result(line)
    finally:
        for future in line:
            future.cancel()
        wait(line)
        line.clear()
        close = getattr(todo, "close", None)
        if close is not None:
            close()


def _result(line: deque[Future[T]]) -> T:
    """Of the first in the line, when it is done."""
    while not wait((line[0],), _POLL).done:
        pass
    return line.popleft().result()


def _within(modes: tuple[bool, bool], job: Callable[[], T]) -> T:
    inference, grad = modes
    with torch.inference_mode(inference), torch.set_grad_enabled(grad):
        return job()


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_POOLS.clear)
