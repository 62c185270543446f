"""Frames at the photo's size, one at a time, in as much memory as there is.

Where memory runs out, less is worked on at a time; in the end the photo is worked on on the CPU. Needs no
ComfyUI: who calls says what a lack of memory looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from .animate import Low, generate, refine
from .checkpoints import Checkpoint
from .reswarp import Residuals, ReswarpConfig, reswarp, warped
from .sockets import Decomposed, Moved, masked
from .tiles import ROWS
from .types import Motion, ShapeError

_FEWEST_ROWS = 32


@dataclass(frozen=True)
class Room:
    """How much is worked on at a time: frames in the generator, rows of the photo; and where the photo is."""

    device: torch.device
    batch: int = 8
    rows: int = ROWS

    @classmethod
    def on(cls, device: torch.device) -> Room:
        """A CPU gains nothing from batches, and cancelling has to wait for them."""
        return cls(device, 1 if device.type == "cpu" else 8)

    def less(self) -> Room | None:
        """Half of it; then the CPU; None when there is nothing less."""
        if self.rows > _FEWEST_ROWS:
            return replace(self, batch=max(1, self.batch // 2), rows=self.rows // 2)
        return None if self.device.type == "cpu" else Room(torch.device("cpu"), 1)


Lows: TypeAlias = Callable[[int, int], Iterator[Low]]  # (first frame, batch) -> the generator's side of it


def needed(residuals: Residuals) -> int:
    """Bytes that frames of this photo take beside it where they are made: photo, frame, tables, tiles."""
    height, width = residuals.photo.shape[-2:]
    across, down = residuals.frame.sides
    images = 2 * residuals.photo.numel() * residuals.photo.element_size()
    return int(images + min(across, width) * min(down, height) * 10 + 2**26)


def predicted(
    checkpoint: Checkpoint, residuals: Residuals, signal: Tensor, weights: Sequence[float] | None
) -> Lows:
    """The model's own motion: of a single step scaled by ``weights``, or of every step of ``signal``."""

    def lows(start: int, batch: int) -> Iterator[Low]:
        if weights is None:
            return generate(checkpoint, residuals, signal[start:], None, batch)
        return generate(checkpoint, residuals, signal, weights[start:], batch)

    return lows


def refined(checkpoint: Checkpoint, residuals: Residuals, signal: Tensor, moved: Moved) -> Lows:
    """A motion made before, repainted under ``signal``: one step, or one a frame."""
    if len(signal) not in (1, len(moved)):
        raise ShapeError(
            f"motion has {len(moved)} frames but the signal has {len(signal)} steps; give a signal of one "
            "step, or one a frame, or no motion"
        )

    def lows(start: int, batch: int) -> Iterator[Low]:
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

    def lows(start: int, batch: int) -> Iterator[Low]:
        for k in range(start, len(moved), batch):
            some = images[k : k + batch].float()
            yield Low(masked(moved.part(k, k + batch), moved, residuals), some, some)

    return lows


def frames(
    parts: Decomposed,
    lows: Lows,
    config: ReswarpConfig,
    room: Room,
    lacks_memory: Callable[[BaseException], bool],
    make_room: Callable[[], None],
) -> Iterator[Tensor]:
    """Frames [1,3 or 4,H,W] in the photo's type; each is the same buffer, so use it before the next.

    lacks_memory: whether an exception means that memory ran out. make_room: called before another try.
    """
    done = 0
    while True:
        try:
            for frame in _once(parts, lows, config, room, done):
                yield frame
                done += 1
            return
        except Exception as error:
            less = room.less() if lacks_memory(error) else None
            if less is None:
                raise
        room = less  # out here the exception is gone, and with it the tensors that it held
        make_room()


def _once(parts: Decomposed, lows: Lows, config: ReswarpConfig, room: Room, start: int) -> Iterator[Tensor]:
    residuals, device = parts.residuals, room.device
    here = replace(residuals, photo=residuals.photo.to(device), low=residuals.low.to(device))
    alpha = None if parts.alpha is None else replace(here, photo=parts.alpha.to(device))
    buffer, config = torch.empty_like(here.photo), replace(config, rows=room.rows)
    for some in lows(start, room.batch):
        moved = reswarp(here, some.motion, some.refined, config, buffer)
        if alpha is None:
            yield from moved
        else:
            for colour, a in zip(moved, warped(alpha, some.motion), strict=True):
                yield torch.cat([colour, a], 1)
