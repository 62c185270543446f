"""A run as a graph meets it: some steps in a thread, watched and cancelled; its losses as series."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from .algorithm import phases
from .manifest import Manifest
from .train_config import RunConfig, begun
from .train_run import Run, read_log

EVERY = 10.0  # seconds between sheets, at least; they take a tenth of the time at most


class Live:
    """``steps`` more of a run, begun where there is none. ``step`` and ``sheet`` are what it came to.

    In a thread of its own: hosts run nodes in inference mode, and no gradient leaves that.
    """

    def __init__(self, config: RunConfig, data: Manifest, steps: int) -> None:
        self.config, self.data, self.steps = config, data, steps
        self.sheet, self.step = torch.zeros(3, 8, 8, dtype=torch.uint8), 0
        self._told: queue.Queue[Tensor | BaseException | None] = queue.Queue()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="atw-train", daemon=True)

    def pictures(self, check: Callable[[], None]) -> Generator[Tensor, None, None]:
        """The newest sheet [1,3,h,w], once a step. check: raises to cancel. However this is left, the thread
        has saved and ended by then.
        """
        self._thread.start()
        try:
            while (told := self._next(check)) is not None:
                if isinstance(told, BaseException):
                    raise told
                yield told
        finally:
            self._cancelled.set()
            self._thread.join()

    def _next(self, check: Callable[[], None]) -> Tensor | BaseException | None:
        while True:
            check()
            with suppress(queue.Empty):
                return self._told.get(timeout=0.1)

    def _work(self) -> None:
        try:
            run = Run(self.config, begun(Path(self.config.out)), self.data)
            try:
                self._train(run)
            finally:
                run.close()
            self._told.put(None)
        except BaseException as error:  # handed on to who waits for it
            self._told.put(error)

    def _train(self, run: Run) -> None:
        due = 0.0
        for _ in run.train(self.steps) if not self._cancelled.is_set() else ():
            if (now := time.monotonic()) >= due:
                self.sheet = run.sheet()
                due = time.monotonic() + max(EVERY, 10 * (time.monotonic() - now))
            self._told.put(self.sheet[None])
            if self._cancelled.is_set():
                break
        run.stop()
        self.step, self.sheet = run.step, run.sheet()


def loss_map(config: RunConfig) -> dict[str, list[float]]:
    """Series of a run from its first step: ``loss``, what the generator is trained on (Eq. 10), and its
    terms.

    ComfyUI's Plot Loss Graph divides by the range of ``loss``, which is therefore never 0.
    """
    log, weights = read_log(Path(config.out)), phases(config.weights())[-1].losses
    terms = {name: log[f"generator/{name}"] for name in weights if f"generator/{name}" in log}
    length = min((len(v) for v in terms.values()), default=0)
    terms = {name: v[-length:] for name, v in terms.items()} if length else {}
    total = [sum(weights[n] * v[k] for n, v in terms.items()) for k in range(length)]
    total = [x for x in total if math.isfinite(x)]
    if len(set(total)) < 2:
        last = total[-1] if total else 0.0
        total = [last + max(1e-6, abs(last) * 1e-6), *(total or [0.0])]
    return {**terms, "loss": total}
