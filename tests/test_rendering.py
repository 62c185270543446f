"""Frames in as much memory as there is: what happens when it runs out; clips that take none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import atw_nodes.rendering as rendering
from atw_nodes import animate
from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.frames import frame_from_box
from atw_nodes.rendering import (
    Room,
    check_faces,
    frames,
    needed,
    painted,
    predicted,
    predicted_all,
    refined,
    refined_all,
)
from atw_nodes.reswarp import ReswarpConfig, decompose
from atw_nodes.sockets import Decomposed, Found, Moved, split
from atw_nodes.types import Motion, ShapeError

from .conftest import photo_like, smooth_field

CPU = Room(torch.device("cpu"), 2)
WEIGHTS = [0.0, 0.3, 0.6, 1.0, 0.6]


class NoMemoryError(Exception):
    pass


def parts(alpha: bool = False) -> Decomposed:
    photo = (photo_like(120, 90) * 255).round().byte()
    residuals = decompose(photo, frame_from_box(10, 20, 64, 120, 90), 32)
    return Decomposed(residuals, photo[:, :1].clone() if alpha else None, {})


def no_room(error: BaseException) -> bool:
    return isinstance(error, NoMemoryError)


def failing(monkeypatch: pytest.MonkeyPatch, fails: list[int]) -> list[int]:
    """Rendering runs out of memory in the frames of those numbers (counting all tries); the rows it was given."""
    true, rows, held = animate.frames_of, [], []
    count = iter(range(10**6))

    def thin(faces, lows, config, buffer, alpha, filled) -> Iterator[Tensor]:
        rows.append(config.rows)
        large = torch.empty(1000)  # what only the exception holds on to
        held.append(weakref.ref(large))
        assert not any(h() is not None for h in held[:-1]), "memory of the failed try is still held"
        for frame in true(faces, lows, config, buffer, alpha, filled):
            if next(count) in fails:
                raise NoMemoryError
            yield frame

    monkeypatch.setattr(animate, "frames_of", thin)
    monkeypatch.setattr(rendering, "beside", lambda photo, batch: 1)
    return rows


def test_less_is_worked_on_when_memory_runs_out(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, held = load_checkpoint(tiny_checkpoint), parts()
    signal = model.signal.preset("smiling")
    lows = predicted(model, held.residuals, signal, WEIGHTS)
    whole = [f.clone() for f in frames(held, [lows], ReswarpConfig(), CPU, no_room, gc.collect)]
    rows, freed = failing(monkeypatch, [2, 3]), []

    def make_room() -> None:
        freed.append(gc.collect())

    got = [f.clone() for f in frames(held, [lows], ReswarpConfig(), CPU, no_room, make_room)]
    assert rows == [256, 256, 128, 64, 64, 64] and len(freed) == 2
    assert len(got) == len(whole) == len(WEIGHTS)
    assert all((a.int() - b.int()).abs().max() <= 1 for a, b in zip(got, whole, strict=True))
    assert torch.equal(got[0], held.residuals.photo)


def test_it_gives_up_when_there_is_nothing_less(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, held = load_checkpoint(tiny_checkpoint), parts()
    rows = failing(monkeypatch, list(range(100)))
    lows = predicted(model, held.residuals, model.signal.preset("smiling"), WEIGHTS)
    with pytest.raises(NoMemoryError):
        list(frames(held, [lows], ReswarpConfig(), CPU, no_room, gc.collect))
    assert rows == [256, 128, 64, 32]
    with pytest.raises(NoMemoryError):  # anything else is not tried again
        list(frames(held, [lows], ReswarpConfig(), CPU, lambda e: False, gc.collect))
    assert len(rows) == 5


def test_room_ends_on_the_cpu() -> None:
    room, seen = Room.on(torch.device("cuda:0")), []
    while room is not None:
        seen.append((room.device.type, room.batch, room.rows))
        room = room.less()
    assert seen[:4] == [("cuda", 32, 256), ("cuda", 16, 128), ("cuda", 8, 64), ("cuda", 4, 32)]
    assert seen[4] == ("cpu", 1, 256) and seen[-1] == ("cpu", 1, 32)


def test_every_step_of_a_signal_is_a_frame(tiny_checkpoint: Path) -> None:
    model, held = load_checkpoint(tiny_checkpoint), parts(alpha=True)
    steps = torch.linspace(0, 1, 5)[:, None] * model.signal.preset("smiling")
    lows = predicted(model, held.residuals, steps, None)
    got = [f.clone() for f in frames(held, [lows], ReswarpConfig(), CPU, no_room, gc.collect)]
    assert len(got) == 5 and got[0].shape == (1, 4, 120, 90)
    assert torch.equal(got[0][:, :3], held.residuals.photo) and torch.equal(got[0][:, 3:], held.alpha)
    assert not torch.equal(got[4][:, :3], held.residuals.photo)
    assert not torch.equal(got[4][:, 3:], held.alpha), "alpha moves along"
    outside = torch.ones(120, 90, dtype=torch.bool)
    outside[20:84, 10:74] = False
    assert torch.equal(got[4][0, :3, outside], held.residuals.photo[0, :, outside])


def test_a_motion_made_before_is_repainted_or_used_as_it_is(tiny_checkpoint: Path) -> None:
    model, held = load_checkpoint(tiny_checkpoint), parts()
    signal = model.signal.preset("smiling")
    moved = Moved(Motion(smooth_field(32), torch.ones(1)), False).scaled(WEIGHTS)
    lows = refined(model, held.residuals, signal, moved)
    images = torch.cat([job().refined for job in lows(0, 2)])
    a = [f.clone() for f in frames(held, [lows], ReswarpConfig(), CPU, no_room, gc.collect)]
    b = [
        f.clone()
        for f in frames(
            held, [painted(held.residuals, moved, images)], ReswarpConfig(), CPU, no_room, gc.collect
        )
    ]
    assert len(a) == 5 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    with pytest.raises(ShapeError, match="5 frames but the signal has 3 steps"):
        refined(model, held.residuals, signal.expand(3, -1), moved)
    with pytest.raises(ShapeError, match="motion is 16 wide, the photo was decomposed to 32"):
        next(painted(held.residuals, Moved(Motion(smooth_field(16), torch.ones(1)), False), images)(0, 1))


def test_a_long_clip_takes_no_memory() -> None:
    moved = Moved(Motion(smooth_field(32), torch.ones(1)), False)
    clip = moved.scaled([0.5] * 50_000)
    assert len(clip) == 50_000 and clip.get_ram_usage() == moved.get_ram_usage()
    assert torch.equal(clip.part(7, 9).field, moved.motion.field.expand(2, -1, -1, -1) * 0.5)
    assert clip.part(7, 9).weight.tolist() == [0.5, 0.5]
    with pytest.raises(ShapeError, match="50000 frames; only a single one"):
        clip.scaled([1.0])


def two(alpha: bool = False) -> Decomposed:
    """Two faces in one photo."""
    photo = (photo_like(80, 150) * 255).round().byte()
    left, right = (Found(frame_from_box(x, 8, 64, 80, 150), {}) for x in (4, 80))
    return split(photo, photo[:, :1].clone() if alpha else None, Found(left.frame, {}, (right,)), 32)


def test_several_faces_each_with_a_signal_of_its_own(tiny_checkpoint: Path) -> None:
    model, held = load_checkpoint(tiny_checkpoint), two(alpha=True)
    assert len(held.faces) == 2 and needed(held) > needed(held.faces[1])
    clip, step = torch.linspace(0, 1, 4)[:, None] * torch.ones(1, 3), torch.ones(1, 3)
    photo = held.residuals.photo
    for signals, moves in (
        ([clip, None], (True, False)),
        ([None, clip], (False, True)),
        ([clip, step], (True, True)),
    ):
        lows, count = predicted_all(model, held, signals, None)
        got = [f.clone() for f in frames(held, lows, ReswarpConfig(), CPU, no_room, gc.collect)]
        assert count == len(got) == 4 and got[3].shape == (1, 4, 80, 150)
        changed = (got[3][:, :3] != photo).any(1)[0]
        assert (bool(changed[:, :72].any()), bool(changed[:, 72:].any())) == moves
        assert torch.equal(got[0][:, :3], photo) == (signals[1] is not step), "a single step holds throughout"
    with pytest.raises(ShapeError, match="signals have 3, 4 steps; make them equally long, or one step"):
        predicted_all(model, held, [clip, clip[:3]], None)
    lows, count = predicted_all(model, held, [step, None], WEIGHTS)
    assert count == len(WEIGHTS) and sum(len(job().motion) for job in lows[1](0, 2)) == count


def test_a_motion_of_several_faces(tiny_checkpoint: Path) -> None:
    model, held, step = load_checkpoint(tiny_checkpoint), two(), torch.ones(1, 3)
    single = Moved(Motion(smooth_field(32), torch.ones(1)), False)
    both = Moved(single.motion, False, more=(Moved(Motion(smooth_field(32), torch.ones(1)), False),))
    clip = both.scaled(WEIGHTS)
    assert [len(m) for m in clip.faces] == [5, 5] and both.get_ram_usage() == 2 * single.get_ram_usage()
    lows = refined_all(model, held, [step, None], clip)
    got = [f.clone() for f in frames(held, lows, ReswarpConfig(), CPU, no_room, gc.collect)]
    assert torch.equal(got[3][..., 72:], held.residuals.photo[..., 72:]) and len(got) == 5
    with pytest.raises(ShapeError, match="motion is of 1 faces, the photo was decomposed for 2"):
        check_faces(single, 2)
