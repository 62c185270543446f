"""Stages side by side: order, errors, leaving early; what a thread must take along; frames are the same."""

from __future__ import annotations

import gc
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from contextvars import ContextVar
from pathlib import Path

import pytest
import torch
from torch import Tensor

from atw_nodes import cli, pipeline, video
from atw_nodes.animate import animate
from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.frames import frame_from_box
from atw_nodes.images import read_photo, write_still
from atw_nodes.pipeline import ahead, delivered, depth_on
from tests.conftest import photo_like


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name == "atw-ahead"]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "nothing happened for 10 s"
        time.sleep(0.002)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_everything_comes_in_order(depth: int) -> None:
    assert list(ahead(range(50), depth)) == list(range(50))
    assert list(ahead([], depth)) == []


@pytest.mark.parametrize("depth", [1, 2])
def test_no_more_is_made_than_asked_for(depth: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for k in range(20):
            made.append(k)
            yield k

    with closing(ahead(items(), depth)) as ready:
        for k in ready:
            until(lambda k=k: len(made) == min(20, k + 1 + depth))
            time.sleep(0.01)
            assert len(made) == min(20, k + 1 + depth)


def test_the_next_is_made_while_one_is_used() -> None:
    met = threading.Barrier(2, timeout=10)

    def items() -> Iterator[int]:
        yield 0
        met.wait()  # passes while the consumer holds number 0, or never
        yield 1

    with closing(ahead(items())) as ready:
        assert next(ready) == 0
        met.wait()
        assert next(ready) == 1


def test_nothing_starts_before_the_first_is_asked_for() -> None:
    started: list[int] = []

    def items() -> Iterator[int]:
        started.append(1)
        yield 1

    ahead(items()).close()  # type: ignore[attr-defined]
    assert not started


def test_an_error_comes_where_the_items_are_used() -> None:
    def fails_here() -> Iterator[int]:
        yield 0
        yield 1
        raise MemoryError("full")

    got: list[int] = []
    with pytest.raises(MemoryError, match="full") as caught:  # noqa: SIM117, PT012
        with closing(ahead(fails_here(), 2)) as ready:
            got.extend(ready)
    assert got == [0, 1], "what was made before it is not lost"
    names = [f.name for f in traceback.extract_tb(caught.value.__traceback__)]
    assert "fails_here" in names


def test_an_error_lets_go_of_what_it_held() -> None:
    held: list[weakref.ref[Tensor]] = []

    def fails() -> Iterator[Tensor]:
        large = torch.empty(1000)
        held.append(weakref.ref(large))
        yield torch.empty(1)
        raise MemoryError

    gc.disable()
    try:
        ready = ahead(fails())
        next(ready)
        with suppress(MemoryError):
            next(ready)
        assert held[0]() is None
    finally:
        gc.enable()


def test_items_are_not_kept() -> None:
    held: list[weakref.ref[Tensor]] = []

    def items() -> Iterator[Tensor]:
        for _ in range(20):
            one = torch.empty(1000)
            held.append(weakref.ref(one))
            yield one
            del one

    with closing(ahead(items())) as ready:
        for _ in ready:
            assert sum(h() is not None for h in held) <= 3


class Cancelled(BaseException):
    """As the host's interruption is."""


@pytest.mark.parametrize("kind", [Cancelled, KeyboardInterrupt, ValueError, GeneratorExit])
@pytest.mark.parametrize("full", [True, False])
def test_leaving_stops_what_makes(kind: type[BaseException], full: bool) -> None:
    """With the producer waiting for room, and with it in the midst of an item."""
    state: list[str] = []
    go_on = threading.Event()

    def items() -> Iterator[int]:
        try:
            for k in range(1000):
                if k == 1 and not full:
                    state.append("working")
                    go_on.wait(10)
                state.append(f"made {k}")
                yield k
        finally:
            state.append("closed")

    with pytest.raises(kind):  # noqa: SIM117, PT012
        with closing(ahead(items())) as ready:
            for _ in ready:
                until(lambda: state[-1] == ("made 1" if full else "working"))
                threading.Timer(0.05, go_on.set).start()
                raise kind
    assert state[-1] == "closed" and "made 2" not in state
    until(lambda: not any(isinstance(t, threading.Timer) for t in threading.enumerate()))


def test_breaking_off_stops_what_makes() -> None:
    with closing(ahead(iter(int, 1), 3)) as ready:
        for _ in ready:
            break
    for _ in ahead(iter(int, 1)):  # dropped rather than closed
        break
    gc.collect()


def test_the_thread_works_as_its_caller_would() -> None:
    here: ContextVar[str] = ContextVar("here", default="lost")
    here.set("carried")

    def state() -> Iterator[tuple[object, ...]]:
        while True:
            yield (
                here.get(),
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.get_num_threads(),
            )

    def seen() -> list[tuple[object, ...]]:
        with closing(ahead(state())) as ready:
            return [next(ready), next(ready)]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert seen() == [("carried", True, False, 1)] * 2
        torch.set_num_threads(2)
        with torch.no_grad():
            assert seen() == [("carried", False, False, 2)] * 2
        with torch.inference_mode():
            assert seen() == [("carried", False, True, 2)] * 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_frames_in_one_buffer_are_delivered_unharmed(depth: int, kind: torch.dtype, channels: int) -> None:
    buffer = torch.zeros(1, channels, 5, 7, dtype=kind)

    def frames() -> Iterator[Tensor]:
        for k in range(12):
            yield buffer.copy_(torch.arange(buffer.numel()).reshape(buffer.shape) + k)

    places = set()
    with closing(delivered(frames(), depth)) as ready:
        for k, frame in enumerate(ready):
            time.sleep(0.002)  # so that the next would be written over it, if it were
            expected = (torch.arange(buffer.numel()).reshape(buffer.shape) + k).to(kind)
            assert torch.equal(frame, expected) and frame.dtype == kind
            assert frame.movedim(1, -1).is_contiguous()
            places.add(frame.data_ptr())
    assert k == 11 and len(places) == depth + 1, "memory does not grow with the clip"


def test_frames_may_change_their_size() -> None:
    sizes = [(4, 6), (4, 6), (8, 2), (8, 2), (4, 6)]
    got = [tuple(f.shape[-2:]) for f in delivered((torch.rand(1, 3, *s) for s in sizes), 1)]
    assert got == sizes


@pytest.mark.parametrize("whole", [True, False])
def test_a_clip_is_the_same_with_and_without(tiny_checkpoint: Path, whole: bool) -> None:
    model, photo = load_checkpoint(tiny_checkpoint), (photo_like(90, 70) * 255).byte()
    frame = None if whole else frame_from_box(5, 10, 50, 90, 70)
    weights = [0.0, 0.3, 1.0, 0.0, 0.7, 1.0]

    def clip(depth: int) -> list[Tensor]:
        frames = animate(photo, model, torch.ones(1, 3), weights, frame, None, torch.empty_like(photo))
        return [f.clone() for f in delivered(frames, depth)]

    alone, beside = clip(0), clip(1)
    assert len(alone) == len(beside) == len(weights) and torch.equal(alone[0], photo)
    assert not torch.equal(alone[2], photo)
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


def test_a_cpu_makes_frames_in_one_thread() -> None:
    assert [depth_on(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [0, 1, 1]


@pytest.mark.parametrize("depth", [0, 1])
def test_the_command_writes_the_same_either_way(
    depth: int, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "depth_on", lambda device: depth)
    photo, out = tmp_path / "photo.png", tmp_path / "frames"
    write_still(photo, (photo_like(60, 50) * 255).byte())
    given = ["--checkpoint", tiny_checkpoint, "--face", "whole", "--no-estimate", "--frames", 5, "--quiet"]
    assert cli.main([str(a) for a in ("animate", photo, "-o", out, *given)]) == 0
    assert [p.name for p in sorted(out.iterdir())] == [f"frame_{k:05d}.png" for k in range(5)]
    assert torch.equal(read_photo(out / "frame_00000.png").pixels, read_photo(photo).pixels)
    assert not torch.equal(read_photo(out / "frame_00002.png").pixels, read_photo(photo).pixels)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video.ClipWriter, "write", stop)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert cli.main([str(a) for a in ("animate", photo, "-o", tmp_path / "x.mp4", *given)]) == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == left
