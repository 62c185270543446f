"""Frames at the photo's size, one at a time, in as much memory as there is.

Where memory runs out, less is worked on at a time; in the end the photo is worked on on the CPU. Needs no
ComfyUI: who calls says what a lack of memory looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor

from .animate import beside, rendered
from .checkpoints import Checkpoint
from .generation import Job, Low, batch_on, generation, refine
from .reswarp import Residuals, ReswarpConfig
from .sockets import Decomposed, Moved, masked
from .tiles import ROWS
from .types import Motion, ShapeError
from .video_source import Cast, animate_video

_FEWEST_ROWS = 32


@dataclass(frozen=True)
class Room:
    """How much is worked on at a time: frames in the generator, rows of the photo; and where the photo is."""

    device: torch.device
    batch: int = 8
    rows: int = ROWS

    @classmethod
    def on(cls, device: torch.device) -> Room:
        """All that the device is good for."""
        return cls(device, batch_on(device))

    def less(self) -> Room | None:
        """Half of it; then the CPU; None when there is nothing less."""
        if self.rows > _FEWEST_ROWS:
            return replace(self, batch=max(1, self.batch // 2), rows=self.rows // 2)
        return None if self.device.type == "cpu" else Room(torch.device("cpu"), 1)


Lows: TypeAlias = Callable[[int, int], Iterator[Job]]  # (first frame, batch) -> the generator's side of it


def needed(parts: Decomposed) -> int:
    """Bytes that frames of this photo take beside it where they are made: photo, frame, tables, tiles."""
    photo, (height, width) = parts.residuals.photo, parts.size
    sides = [f.residuals.frame.sides for f in parts.faces]
    tables = sum(min(across, width) * min(down, height) for across, down in sides) * 10
    return int(2 * photo.numel() * photo.element_size() + tables + 2**26)


def predicted(
    checkpoint: Checkpoint, residuals: Residuals, signal: Tensor, weights: Sequence[float] | None
) -> Lows:
    """The model's own motion: of a single step scaled by ``weights``, or of every step of ``signal``."""

    def lows(start: int, batch: int) -> Iterator[Job]:
        if weights is None:
            return generation(checkpoint, residuals, signal[start:], None, batch)
        return generation(checkpoint, residuals, signal, weights[start:], batch)

    return lows


def predicted_all(
    checkpoint: Checkpoint,
    parts: Decomposed,
    signals: Sequence[Tensor | None],
    weights: Sequence[float] | None,
) -> tuple[list[Lows], int]:
    """(``predicted`` of every face, how many frames). None: that face keeps still. Without weights, a signal
    of one step holds as long as the others last.
    """
    lengths = {len(s) for s in signals if s is not None} - {1}
    if len(lengths) > 1:
        steps = ", ".join(map(str, sorted(lengths)))
        raise ShapeError(f"the faces' signals have {steps} steps; make them equally long, or one step")
    count = max(lengths, default=1) if weights is None else len(weights)
    lows = []
    for face, signal in zip(parts.faces, signals, strict=True):
        if signal is None:
            lows.append(resting(face.residuals, count))
        else:
            held = [1.0] * count if weights is None and len(signal) < count else weights
            lows.append(predicted(checkpoint, face.residuals, signal, held))
    return lows, count


def resting(residuals: Residuals, count: int) -> Lows:
    """A face that keeps still for ``count`` frames."""
    low = residuals.low

    def lows(start: int, batch: int) -> Iterator[Job]:
        for k in range(start, count, batch):
            n = min(batch, count - k)
            some = low.expand(n, -1, -1, -1)
            still = Low(Motion(low.new_zeros(n, 2, *low.shape[-2:]), low.new_zeros(n)), some, some)
            yield lambda still=still: still

    return lows


def refined_all(
    checkpoint: Checkpoint, parts: Decomposed, signals: Sequence[Tensor | None], moved: Moved
) -> list[Lows]:
    """``refined`` of every face; None: that face keeps still, whatever its motion."""
    faces = parts.faces
    check_faces(moved, len(faces))
    return [
        resting(f.residuals, len(moved)) if s is None else refined(checkpoint, f.residuals, s, m)
        for f, s, m in zip(faces, signals, moved.faces, strict=True)
    ]


def check_faces(moved: Moved, faces: int) -> None:
    """Raise ``ShapeError`` unless the motion is of as many faces as the photo was decomposed for."""
    if len(moved.faces) != faces:
        raise ShapeError(
            f"the motion is of {len(moved.faces)} faces, the photo was decomposed for {faces}; connect one "
            "frame to ATW Decompose and ATW Generator"
        )


def refined(checkpoint: Checkpoint, residuals: Residuals, signal: Tensor, moved: Moved) -> Lows:
    """A motion made before, repainted under ``signal``: one step, or one a frame."""
    if len(signal) not in (1, len(moved)):
        raise ShapeError(
            f"motion has {len(moved)} frames but the signal has {len(signal)} steps; give a signal of one "
            "step, or one a frame, or no motion"
        )

    def lows(start: int, batch: int) -> Iterator[Job]:
        device = next(checkpoint.generator.parameters()).device
        low = residuals.low.to(device, torch.float32)
        for k in range(start, len(moved), batch):
            part = masked(moved.part(k, k + batch), moved, residuals)
            now = signal if len(signal) == 1 else signal[k : k + batch]
            field, weight = part.field.to(device), part.weight.to(device)
            yield from refine(checkpoint, low, now.to(device), Motion(field, weight), batch)

    return lows


def painted(residuals: Residuals, moved: Moved, images: Tensor) -> Lows:
    """A motion and its repainted images [T,3,S,S], both made before."""

    def lows(start: int, batch: int) -> Iterator[Job]:
        for k in range(start, len(moved), batch):
            some = images[k : k + batch].float()
            made = Low(masked(moved.part(k, k + batch), moved, residuals), some, some)
            yield lambda made=made: made

    return lows


def frames(
    parts: Decomposed,
    lows: Sequence[Lows],
    config: ReswarpConfig,
    room: Room,
    lacks_memory: Callable[[BaseException], bool],
    make_room: Callable[[], None],
) -> Iterator[Tensor]:
    """Frames [1,3 or 4,H,W] in the photo's type; each is the same buffer, so use it before the next.

    lows: one a face, of as many frames each.
    lacks_memory: whether an exception means that memory ran out. make_room: called before another try.
    """

    def once(room: Room, start: int) -> Iterator[Tensor]:
        return _once(parts, lows, config, room, start)

    return tried(once, room, lacks_memory, make_room)


def video_frames(
    read: Callable[[], Iterator[Tensor]],
    checkpoint: Checkpoint,
    cast: Cast,
    signals: Sequence[Tensor],
    ranks: Sequence[int] | None,
    config: ReswarpConfig,
    room: Room,
    lacks_memory: Callable[[BaseException], bool],
    make_room: Callable[[], None],
) -> Iterator[Tensor]:
    """``animate_video`` in as much memory as there is; lacks_memory, make_room: see ``frames``.

    read: the video's frames from the beginning; where memory runs out they are read again.
    """

    def once(room: Room, start: int) -> Iterator[Tensor]:
        left, fewer = islice(read(), start, None), replace(config, rows=room.rows)
        given = (cast, signals, ranks, None, fewer)
        return animate_video(left, checkpoint, *given, start=start, device=room.device)

    return tried(once, room, lacks_memory, make_room)


def tried(
    once: Callable[[Room, int], Iterator[Tensor]],
    room: Room,
    lacks_memory: Callable[[BaseException], bool],
    make_room: Callable[[], None],
) -> Iterator[Tensor]:
    """What ``once`` yields, which goes on with less room from the frame at which memory ran out.

    once: (room, first frame) -> frames from there on. lacks_memory, make_room: see ``frames``.
    """
    done = 0
    while True:
        try:
            for frame in once(room, done):
                yield frame
                done += 1
            return
        except Exception as error:
            less = room.less() if lacks_memory(error) else None
            if less is None:
                raise
        room = less  # out here the exception is gone, and with it the tensors that it held
        make_room()


def _once(
    parts: Decomposed, lows: Sequence[Lows], config: ReswarpConfig, room: Room, start: int
) -> Iterator[Tensor]:
    photo = parts.residuals.photo.to(room.device)
    alpha = None if parts.alpha is None else parts.alpha.to(room.device)
    given = [f.residuals for f in parts.faces]
    here = [replace(r, photo=photo, low=r.low.to(room.device)) for r in given]
    buffer, config = torch.empty_like(photo), replace(config, rows=room.rows)
    jobs = [make(start, room.batch) for make in lows]
    return rendered(here, jobs, config, buffer, alpha, beside(photo, room.batch))
