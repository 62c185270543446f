"""Training examples made ahead by processes, for a device that learns faster than one can make them."""

from __future__ import annotations

import multiprocessing as mp
import queue
from collections.abc import Callable
from multiprocessing.context import ForkContext
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

Made = tuple[Tensor, ...]  # [n,...] each


def _work(make: Callable[[torch.Generator], Made], seed: int, out: mp.Queue[list[np.ndarray]]) -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    while True:
        out.put([t.numpy() for t in make(random)])


class Pool:
    """The last ``size`` examples of ``workers`` processes, on ``device``; the oldest give way to new ones.

    make: examples from a generator of random numbers; images best as bytes, fields as halves. Each process
    has its own generator, but which example comes when depends on the machine. Begin before CUDA is in use,
    which cannot be forked.
    """

    def __init__(
        self, make: Callable[[torch.Generator], Made], size: int, workers: int, seed: int = 0
    ) -> None:
        context: ForkContext = mp.get_context("fork")
        self.size, self.count, self.at = size, 0, 0
        self.made: mp.Queue[list[np.ndarray]] = context.Queue(4 * workers)
        self.workers = [
            context.Process(target=_work, args=(make, 1000 * seed + k, self.made), daemon=True)
            for k in range(workers)
        ]
        self.held: list[Tensor] = []

    def __enter__(self) -> Pool:
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.terminate()

    def _take(self, made: list[np.ndarray], device: torch.device) -> None:
        new = [torch.from_numpy(a) for a in made]
        if not self.held:
            self.held = [torch.empty(self.size, *t.shape[1:], dtype=t.dtype, device=device) for t in new]
        rows = (self.at + torch.arange(len(new[0]))) % self.size
        for old, t in zip(self.held, new, strict=True):
            old[rows.to(device)] = t.to(device)
        self.at = (self.at + len(rows)) % self.size
        self.count = min(self.size, self.count + len(rows))

    def batch(self, n: int, g: torch.Generator, device: torch.device, least: int) -> Made:
        """``n`` of those at hand, and what is new taken in; waits until there are ``least``."""
        while self.count < least:
            self._take(self.made.get(timeout=300), device)
        for _ in range(4):
            try:
                self._take(self.made.get_nowait(), device)
            except queue.Empty:
                break
        rows = torch.randint(self.count, (n,), generator=g).to(device)
        return tuple(t[rows] for t in self.held)
