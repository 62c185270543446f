"""Work on tiles with a few threads, each of which runs torch's operators by itself.

Torch splits one operator among its threads and waits for the last of them, dozens of times a tile; where
another program has a core, each wait costs a time slice. Here a thread takes the next tile when it is done
with its last.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")

_LOCK = threading.Lock()
_POOLS: dict[int, ThreadPoolExecutor] = {}
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


def each(work: Callable[[T], None], items: Iterable[T], device: torch.device) -> None:
    """``work(item)`` for each of ``items``, in any order; on a CPU by as many threads as torch uses here. The
    first exception is raised when all threads have stopped.
    """
    todo, count = list(items), torch.get_num_threads()
    if device.type != "cpu" or count < 2 or len(todo) < 2 or not _OPENMP:
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


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_POOLS.clear)
