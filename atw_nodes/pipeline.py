"""Stages of a render side by side: what is made next is made in a thread while the last is used.

    with closing(delivered(frames)) as ready:
        for frame in ready: ...

``closing`` stops the thread and waits for it, whatever ended the block: its end, an error, Ctrl+C.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
_POLL = 0.2  # seconds after which a waiting thread looks up, so that Ctrl+C reaches it on every system


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """What ``items`` yields, made in a thread of its own, at most ``depth`` beyond the one in use; 0: none.

    That thread has the grad mode, inference mode, CUDA device and stream, and context variables of whoever
    asks for the first item. An error of ``items`` is raised here, with its traceback. Closing this stops and
    joins the thread, which closes ``items``: it waits for the item that is being made, and for no other.
    """
    if depth < 1:
        yield from items
        return
    line = _Line(items, depth)
    try:
        while line.ready():
            yield line.take()
    finally:
        line.stop()


def depth_on(device: torch.device) -> int:
    """How far ahead frames are best made on ``device``: not at all on a CPU, where they are made beside one
    another already (``animate.beside``), and where a second thread that splits its operators would only make
    others wait.
    """
    return 0 if device.type == "cpu" else 1


def delivered(frames: Iterable[Tensor], depth: int) -> Generator[Tensor, None, None]:
    """``ahead`` of frames [1,C,H,W] that are written into one buffer: copies on the CPU, ``depth`` + 1 of
    them in turn, so use one before the next. Their colours lie side by side, as encoders want them.
    """
    return ahead(_copies(frames, depth + 1), depth)


def _copies(frames: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    ring: deque[Tensor] = deque(maxlen=count)
    for frame in frames:
        pixels = frame.movedim(1, -1)
        pixels = pixels.contiguous() if frame.is_cuda else pixels.cpu()  # turned where it is fast
        slot = ring.popleft() if len(ring) == count else None
        if slot is None or slot.shape != pixels.shape or slot.dtype != pixels.dtype:
            # pinned memory takes a frame from a GPU ten times as fast
            slot = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=frame.is_cuda)
        ring.append(slot.copy_(pixels))
        del frame, pixels
        yield slot.movedim(-1, 1)


class _Line(Generic[T]):
    """The thread and what it has made: ``ready`` waits for an item or the end, ``take`` hands it over."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items, self._depth = items, depth
        self._made: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._change = threading.Condition()
        self._settings = _Settings.here()
        run = copy_context().run
        self._thread = threading.Thread(target=run, args=(self._work,), name="atw-ahead", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Wait; False at the end. Raises what ended it, if that was an error."""
        with self._change:
            while not (self._made or self._ended):
                self._change.wait(_POLL)
            if self._made or self._error is None:
                return bool(self._made)
            error, self._error = self._error, None
        try:
            raise error
        finally:
            del error  # or it and this frame would hold each other, and the tensors in its traceback

    def take(self) -> T:
        with self._change:
            self._change.notify_all()
            return self._made.popleft()

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._made.clear()
            self._change.notify_all()
        self._thread.join()
        self._error = None

    def _work(self) -> None:
        try:
            with self._settings.applied():
                self._make()
        except BaseException as error:  # raised again where the items are used
            self._error = error
        with self._change:
            self._ended = True
            self._change.notify_all()

    def _make(self) -> None:
        source = iter(self._items)
        try:
            while self._wanted():
                try:
                    item = next(source)
                except StopIteration:
                    return
                with self._change:
                    self._made.append(item)
                    self._change.notify_all()
                del item
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def _wanted(self) -> bool:
        """Wait until another item may be made; False when nobody wants any."""
        with self._change:
            while len(self._made) >= self._depth and not self._stopped:
                self._change.wait(_POLL)
            return not self._stopped


class _Settings(NamedTuple):
    """What torch keeps a thread."""

    grad: bool
    inference: bool
    stream: torch.cuda.Stream | None

    @classmethod
    def here(cls) -> _Settings:
        stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None
        return cls(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), stream)

    @contextmanager
    def applied(self) -> Iterator[None]:
        with (
            torch.cuda.stream(self.stream),  # None: nothing to do
            torch.inference_mode(self.inference),
            torch.set_grad_enabled(self.grad),
        ):
            yield
