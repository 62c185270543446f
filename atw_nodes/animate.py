"""The main path: photo and signal in, frames at the photo's resolution out, one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .checkpoints import Checkpoint
from .generation import Job, Low, batch_on, generation
from .reswarp import Residuals, ReswarpConfig, decompose
from .several import composite
from .threads import in_order, separate
from .types import FaceFrame, Motion, ShapeError, check_shape

_BESIDE = 1 << 29  # bytes that frames made beside one another may take
_MOST = 8  # of them: each also needs some 50 MB to be made in, and Python serves one thread at a time


def beside(photo: Tensor, batch: int = 1) -> int:
    """How many jobs of ``batch`` frames of ``photo`` are best done at a time, each by a thread of its own.

    On a CPU as many as there are threads, up to eight, since no operator waits for the others then; where
    frames are large, one by one. A GPU has no use for threads.
    """
    count = min(separate(photo.device), _MOST)
    return count if (count + 1) * batch * photo.numel() * photo.element_size() <= _BESIDE else 1


def animate(
    photo: Tensor,
    checkpoint: Checkpoint,
    signal: Tensor,
    weights: Sequence[float] | None = None,
    frame: FaceFrame | None = None,
    config: ReswarpConfig | None = None,
    out: Tensor | None = None,
) -> Iterator[Tensor]:
    """Animate ``photo`` [1,3,H,W] (uint8, or float in [0,1]): yields frames [1,3,H,W] in the photo's type.

    A fourth channel (alpha) is moved along and comes back as the fourth channel of every frame. signal,
    weights: see ``generate``. frame: where the face is, the whole image if not given. out: a buffer like the
    photo that every frame is written into (see ``reswarp``). Raises ``ShapeError`` before any work on bad
    shapes.
    """
    check_shape(photo, "1CHW", "photo")
    residuals = decompose(photo[:, :3], frame, checkpoint.generator.config.size)
    return _render(photo, checkpoint, [residuals], [signal], weights, config, out)


def animate_all(
    photo: Tensor,
    checkpoint: Checkpoint,
    signals: Sequence[Tensor],
    frames: Sequence[FaceFrame],
    weights: Sequence[float] | None = None,
    config: ReswarpConfig | None = None,
    out: Tensor | None = None,
    smooth: float = 0.0,
    watch: Callable[[Sequence[Motion]], None] | None = None,
) -> Iterator[Tensor]:
    """``animate`` of several faces in one photo, each in its frame, in one pass (``several.composite``).

    signals: one a face, in the order of ``frames``, all equally long; or one for all faces. smooth: see
    ``generate``. watch: is shown the faces' motions, a few frames at a time, before those are yielded.
    """
    check_shape(photo, "1CHW", "photo")
    if not frames or len(signals) not in (1, len(frames)):
        raise ShapeError(
            f"{len(signals)} signals for {len(frames)} faces; give one a face, or one for all of them"
        )
    lengths = {len(s) for s in signals}
    if len(lengths) != 1:
        raise ShapeError(
            f"the faces' signals have {', '.join(map(str, sorted(lengths)))} steps; make them equally long"
        )
    colour = photo[:, :3]
    faces = [decompose(colour, f, checkpoint.generator.config.size) for f in frames]
    paired = list(signals) * (len(frames) if len(signals) == 1 else 1)
    return _render(photo, checkpoint, faces, paired, weights, config, out, smooth, watch)


def _render(
    photo: Tensor,
    checkpoint: Checkpoint,
    faces: Sequence[Residuals],
    signals: Sequence[Tensor],
    weights: Sequence[float] | None,
    config: ReswarpConfig | None,
    out: Tensor | None,
    smooth: float = 0.0,
    watch: Callable[[Sequence[Motion]], None] | None = None,
) -> Iterator[Tensor]:
    colour = None if out is None else out[:, :3]
    alpha = photo[:, 3:] if photo.shape[1] == 4 else None
    batch = batch_on(next(checkpoint.generator.parameters()).device)
    made = [generation(checkpoint, f, s, weights, batch, smooth) for f, s in zip(faces, signals, strict=True)]
    steps = len(signals[0]) if weights is None else len(weights)
    count = min(beside(photo, batch), math.ceil(steps / batch))
    return rendered(faces, made, config, colour, alpha, count, watch)


def rendered(
    faces: Sequence[Residuals],
    jobs: Sequence[Iterator[Job]],
    config: ReswarpConfig | None,
    out: Tensor | None,
    alpha: Tensor | None = None,
    count: int = 1,
    watch: Callable[[Sequence[Motion]], None] | None = None,
) -> Iterator[Tensor]:
    """``frames_of`` what the ``jobs`` make, an iterator a face, all in step. count: jobs at a time
    (``beside``). watch: see ``animate_all``.
    """
    steps = zip(*jobs, strict=True)
    if count < 2:
        yield from _one_by_one(faces, steps, config, out, alpha, watch)
        return
    config = config or ReswarpConfig()
    if config.interleaves(faces[0].photo):  # turned once, not once a face
        faces = [replace(face, photo=faces[0].pixels) for face in faces]
    for face in faces:
        face.prepare(config)
    places = _Places(faces, config, out, alpha)
    with closing(in_order((partial(places.made, step) for step in steps), count)) as ready:
        for motions, frames in ready:
            if watch is not None:
                watch(motions)
            yield from map(places.shown, frames)


def _one_by_one(
    faces: Sequence[Residuals],
    steps: Iterator[Sequence[Job]],
    config: ReswarpConfig | None,
    out: Tensor | None,
    alpha: Tensor | None,
    watch: Callable[[Sequence[Motion]], None] | None,
) -> Iterator[Tensor]:
    """``rendered``, each frame by all threads."""
    filled = False
    for step in steps:
        lows = [job() for job in step]
        if watch is not None:
            watch([low.motion for low in lows])
        yield from frames_of(faces, lows, config, out, alpha, filled)
        filled = out is not None


class _Places:
    """Where frames are made beside one another: each in a place of its own, which is used again."""

    def __init__(
        self,
        faces: Sequence[Residuals],
        config: ReswarpConfig,
        out: Tensor | None,
        alpha: Tensor | None,
    ) -> None:
        self.faces, self.config, self.out, self.alpha = faces, config, out, alpha
        interleaved = config.interleaves(faces[0].photo)
        self.layout = torch.channels_last if interleaved else torch.preserve_format
        self.free: list[Tensor] = []  # every one holds a frame of this clip

    def made(self, step: Sequence[Job]) -> tuple[list[Motion], list[Tensor]]:
        """The faces' motions and their frames; in any thread."""
        lows = [job() for job in step]
        each = ([low.frame(k) for low in lows] for k in range(len(lows[0].motion)))
        return [low.motion for low in lows], list(map(self._frame, each))

    def _frame(self, lows: Sequence[Low]) -> Tensor:
        try:
            used = self.free.pop()
        except IndexError:
            used = None
        place = used
        if used is None and self.out is not None:
            place = torch.empty_like(self.out, memory_format=self.layout)
        (frame,) = frames_of(self.faces, lows, self.config, place, self.alpha, used is not None)
        if self.alpha is not None and place is not None:
            self.free.append(place)
        return frame

    def shown(self, frame: Tensor) -> Tensor:
        """``frame``, in ``out`` if that was given and has as many channels."""
        if self.out is None or self.alpha is not None:
            return frame
        if frame.stride() == self.out.stride() and frame.dtype in (torch.uint8, torch.float32):
            # torch would call its threads for it, which then wait, at work, for more
            np.copyto(self.out.permute(0, 2, 3, 1).numpy(), frame.permute(0, 2, 3, 1).numpy())
        else:
            self.out.copy_(frame)
        self.free.append(frame)
        return self.out


def frames_of(
    faces: Sequence[Residuals],
    lows: Sequence[Low],
    config: ReswarpConfig | None,
    out: Tensor | None,
    alpha: Tensor | None = None,
    filled: bool = False,
) -> Iterator[Tensor]:
    """High-resolution frames of the generator's results, one of ``lows`` a face; ``alpha`` [1,1,H,W] moves
    along and is their fourth channel. filled: see ``composite``.
    """
    motions = [Motion(low.motion.field, low.motion.weight.cpu()) for low in lows]  # read one by one
    frames = composite(faces, motions, [low.refined for low in lows], config, out, filled)
    if alpha is None:
        yield from frames
        return
    cut = [replace(f, photo=alpha) for f in faces]
    for rgb, a in zip(frames, composite(cut, motions, None), strict=True):
        yield torch.cat([rgb, a], 1)
