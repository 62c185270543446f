"""Jobs side by side: order, errors, leaving early, what a thread takes along; a clip made so is the same clip."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from atw_nodes import animate as A
from atw_nodes.animate import animate, animate_all, beside
from atw_nodes.checkpoints import Checkpoint, load_checkpoint
from atw_nodes.frames import frame_from_box
from atw_nodes.reswarp import ReswarpConfig, ReswarpMode
from atw_nodes.threads import in_order, separate
from atw_nodes.types import Motion
from tests.conftest import photo_like

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the caller's threads are as they were"
    torch.set_num_threads(before)


@pytest.fixture
def model(tiny_checkpoint) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


def sleeping(k: int) -> int:
    time.sleep(0.003 * (k * 7 % 4))
    return k


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_everything_comes_in_order(count: int) -> None:
    assert list(in_order((partial(sleeping, k) for k in range(30)), count)) == list(range(30))
    assert list(in_order([], count)) == []
    assert list(in_order([lambda: 7], count)) == [7]


def test_jobs_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Callable[[], int]]:
        for k in range(40):
            taken.append(k)
            yield partial(sleeping, k)

    with closing(in_order(jobs(), 3)) as ready:
        for k in ready:
            assert len(taken) <= min(40, k + 1 + 3)
            time.sleep(0.004)


def test_the_first_is_done_by_the_caller_and_others_are_not() -> None:
    def who() -> tuple[bool, int]:
        time.sleep(0.01)
        return threading.current_thread() is caller, torch.get_num_threads()

    caller = threading.current_thread()
    assert list(in_order([who] * 4, 2)) == [(True, 2)] + [(False, 1)] * 3
    assert list(in_order([who] * 4, 1)) == [(True, 2)] * 4


def test_two_are_at_work_at_a_time() -> None:
    meet = threading.Barrier(2)
    assert list(in_order([lambda: 0] + [lambda: meet.wait(10) >= 0] * 6, 2)) == [0] + [True] * 6


def test_an_error_comes_when_its_turn_comes_and_leaves_nothing_behind() -> None:
    held: list[weakref.ref[Tensor]] = []
    done: list[int] = []

    def job(k: int) -> int:
        large = torch.empty(1000)
        held.append(weakref.ref(large))
        if k == 3:
            raise MemoryError("the fourth")
        time.sleep(0.01)
        done.append(k)
        return k

    got = []
    ready = in_order((partial(job, k) for k in range(20)), 2)
    try:
        for k in ready:
            got.append(k)
    except MemoryError as error:
        assert str(error) == "the fourth"
    assert got == [0, 1, 2]
    before = list(done)
    time.sleep(0.05)
    assert done == before and len(held) <= 6, "nobody works on"
    gc.collect()
    assert not any(h() is not None for h in held)


def test_closing_waits_for_those_at_work_alone() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def job(k: int) -> int:
        begun.append(k)
        time.sleep(0.03)
        ended.append(k)
        return k

    ready = in_order((partial(job, k) for k in range(50)), 4)
    assert [next(ready), next(ready)] == [0, 1]
    ready.close()
    assert begun and sorted(begun) == sorted(ended) and len(begun) <= 5
    time.sleep(0.08)
    assert len(begun) <= 5


def test_a_thread_works_as_its_caller_would() -> None:
    here: ContextVar[str] = ContextVar("here", default="lost")

    def state() -> tuple[str, bool, bool]:
        return here.get(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    here.set("carried")
    assert list(in_order([state] * 3, 2)) == [("carried", True, False)] * 3
    with torch.no_grad():
        assert list(in_order([state] * 3, 2)) == [("carried", False, False)] * 3
    with torch.inference_mode():
        assert list(in_order([state] * 3, 2)) == [("carried", False, True)] * 3


def test_how_many_frames_lie_beside_one_another() -> None:
    small, large = torch.empty(1, 3, 64, 64, dtype=torch.uint8), torch.empty(1, device="meta")
    assert beside(small) == separate(CPU) == 2
    assert beside(large.expand(1, 3, 64, 64)) == 1, "not on a CPU"
    assert beside(small.expand(1, 3, 64, 64), batch=32) == 2
    assert beside(small[..., :1, :1].expand(1, 3, 8192, 8192)) == 1, "8K frames are made one by one"
    assert beside(small[..., :1, :1].expand(1, 3, 4096, 4096)) == 2
    torch.set_num_threads(1)
    assert beside(small) == 1
    torch.set_num_threads(2)


def clips(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Iterator[Tensor]]) -> list[list[Tensor]]:
    """The clip made by two threads, and frame by frame."""
    made = [[f.clone() for f in make()]]
    monkeypatch.setattr(A, "beside", lambda photo, batch: 1)
    made.append([f.clone() for f in make()])
    monkeypatch.undo()
    return made


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Sums of networks may be in another order by another number of threads."""
    return len(a) == len(b) and all(
        int((x.int() - y.int()).abs().max()) <= 1 for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("mode", list(ReswarpMode))
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("whole", [True, False])
def test_a_clip_is_the_same_either_way(
    model: Checkpoint, mode: ReswarpMode, channels: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = (photo_like(90, 70) * 255).byte()
    photo = torch.cat([photo, photo[:, :1]], 1)[:, :channels]
    frame = None if whole else frame_from_box(5, 10, 50, 90, 70)
    weights = [0.0, 0.3, 1.0, 0.0, 0.7, 1.0, 0.2, 0.9]
    for buffer in (None, torch.full_like(photo, 9)):

        def make(buffer: Tensor | None = buffer) -> Iterator[Tensor]:
            return animate(photo, model, torch.ones(1, 3), weights, frame, ReswarpConfig(mode), buffer)

        two, one = clips(monkeypatch, make)
        assert same(two, one)
        assert torch.equal(two[0], photo) and torch.equal(two[3], photo) and not torch.equal(two[2], photo)
        if not whole:  # what is around the face is the photo's own
            assert all(torch.equal(f[..., 61:, :], photo[..., 61:, :]) for f in two)


def test_several_faces_are_the_same_either_way(model: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = (photo_like(60, 120) * 255).byte()
    frames = [frame_from_box(x, 5, 50, 60, 120) for x in (2, 60)]
    full, weights = torch.tensor([[0.5, 0.8, -0.4]]), [0.0, 0.6, 1.0, 0.0, 0.3]
    for buffer in (None, torch.full_like(photo, 9)):
        two, one = clips(
            monkeypatch, lambda b=buffer: animate_all(photo, model, [full], frames, weights, None, b)
        )
        assert same(two, one) and torch.equal(two[3], photo)


def test_one_buffer_is_shown_and_few_are_made(model: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the clip, and what is shown stays until the next is asked for."""
    photo = (photo_like(90, 70) * 255).byte()
    made, true = [], torch.empty_like

    def counted(like: Tensor, **options: Any) -> Tensor:  # noqa: ANN401
        place = true(like, **options)
        if place.shape == photo.shape and place.dtype == photo.dtype:
            made.append(weakref.ref(place))
        return place

    out = torch.empty_like(photo)
    monkeypatch.setattr(torch, "empty_like", counted)
    frames = animate(photo, model, torch.ones(1, 3), [k / 40 for k in range(40)], None, None, out)
    for k, frame in enumerate(frames):
        assert frame.data_ptr() == out.data_ptr()
        before = frame.clone()
        time.sleep(0.002)
        assert torch.equal(frame, before), k
        assert sum(ref() is not None for ref in made) <= 5, "two at work, two done, and W of one at work"


def test_motions_are_watched_in_order(model: Checkpoint) -> None:
    seen: list[float] = []

    def watch(motions: Sequence[Motion]) -> None:
        assert threading.current_thread() is caller
        seen.extend(float(m.weight[0]) for m in motions)

    caller, weights = threading.current_thread(), [0.1, 0.5, 0.9, 0.4]
    photo, frame = (photo_like(90, 70) * 255).byte(), frame_from_box(5, 10, 50, 90, 70)
    for count, _ in enumerate(
        animate_all(photo, model, [torch.ones(1, 3)], [frame], weights, watch=watch), 1
    ):
        assert len(seen) == count
    assert seen == pytest.approx(weights)
