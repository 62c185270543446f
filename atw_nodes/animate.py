"""The main path: photo and signal in, frames at the photo's resolution out, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .checkpoints import Checkpoint
from .folds import smoothed
from .reswarp import Residuals, ReswarpConfig, decompose
from .several import composite
from .types import FaceFrame, Motion, ShapeError, check_shape
from .warp import feather_mask, identity_points


class Low(NamedTuple):
    """The generator's results for a few consecutive frames, at its own size."""

    motion: Motion  # [b] frames
    coarse: Tensor  # [b,3,S,S]
    refined: Tensor  # [b,3,S,S]


def batch_on(device: torch.device) -> int:
    """Frames that the generator makes at a time: a CPU gains nothing from many, and cancelling waits for
    them; a GPU is done with many as soon as with one.
    """
    return 1 if device.type == "cpu" else 32


@torch.no_grad()
def generate(
    checkpoint: Checkpoint,
    residuals: Residuals,
    signal: Tensor,
    weights: Sequence[float] | None = None,
    batch: int = 8,
    smooth: float = 0.0,
) -> Iterator[Low]:
    """The low-resolution side of a clip, ``batch`` frames at a time; memory does not grow with the clip.

    signal: [1,N], animated by ``weights`` (one a frame): the motion is predicted once and interpolated
    (attribute-driven); or [T,N], one signal a frame, each with its own motion (example-driven). A weight of
    0, and a signal of a relative model that asks for no change, is the photo itself. Of a generator with a
    basis, which costs one pass a clip, each frame's motion is its own sum in either case. smooth: every
    motion after a Gaussian of so many per cent of the frame's side (``folds.smoothed``).
    """
    generator, spec = checkpoint.generator, checkpoint.signal
    check_shape(signal, "TN", "signal")
    if weights is not None and len(signal) != 1:
        raise ShapeError(f"weights were given with {len(signal)} signals; weights interpolate a single one")
    device = next(generator.parameters()).device
    low, mask = residuals.low.to(device, torch.float32), residuals.mask().to(device, torch.float32)
    signal = signal.to(device, torch.float32)
    basis = generator.basis(low) if generator.config.conditioning == "basis" else None  # once a photo
    if basis is not None and weights is not None:  # a share of the sum, inverted, is not that of its inverse
        signal, weights = torch.as_tensor(weights, device=device, dtype=signal.dtype)[:, None] * signal, None
    relative = spec.kind == "relative"
    # a relative signal that asks for no change has weight 0
    asks = (signal != 0).any(1).float() if relative else torch.ones(len(signal), device=device)
    if weights is not None:
        base = _smooth(Motion(generator.predict_motion(low, signal, mask, basis), asks), smooth, residuals)
        for start in range(0, len(weights), batch):
            yield from refine(checkpoint, low, signal, base.scaled(weights[start : start + batch]), batch)
        return
    for start in range(0, len(signal), batch):
        now = signal[start : start + batch]
        image = low.expand(len(now), -1, -1, -1)
        motion = Motion(generator.predict_motion(image, now, mask, basis), asks[start : start + batch])
        motion = _smooth(motion, smooth, residuals)
        yield Low(motion, *generator.refine_warped(image, now, motion.field))


def _smooth(motion: Motion, sigma: float, residuals: Residuals) -> Motion:
    """``smoothed``, and still without a step at the frame's edge."""
    if sigma == 0:
        return motion
    soft, (height, width) = smoothed(motion, sigma), motion.field.shape[-2:]
    mask = feather_mask(identity_points(height, width, like=soft.field)[0], residuals.frame.feather)
    return Motion(soft.field * mask, soft.weight)


@torch.no_grad()
def refine(
    checkpoint: Checkpoint, low: Tensor, signal: Tensor, motion: Motion, batch: int = 8
) -> Iterator[Low]:
    """Coarse and refined images of ``low`` [1,3,S,S] under a motion made before, ``batch`` frames at a time.

    signal: [1,N], of which each frame carries its weight's share, or [T,N], one a frame. Everything on the
    generator's device.
    """
    check_shape(signal, "TN", "signal")
    if len(signal) not in (1, len(motion)):
        raise ShapeError(
            f"motion has {len(motion)} frames but the signal has {len(signal)} steps; "
            "give one step, or one a frame"
        )
    for start in range(0, len(motion), batch):
        part = motion[start : start + batch]
        now = signal[start : start + batch] if len(signal) > 1 else signal.expand(len(part), -1)
        if len(signal) == 1 and checkpoint.signal.kind == "relative":
            now = now * part.weight[:, None]
        image = low.expand(len(part), -1, -1, -1)
        yield Low(part, *checkpoint.generator.refine_warped(image, now, part.field))


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
    ``generate``. watch: is shown the faces' motions, a few frames at a time, before those are made.
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
    made = [generate(checkpoint, f, s, weights, batch, smooth) for f, s in zip(faces, signals, strict=True)]
    for lows in zip(*made, strict=True):
        if watch is not None:
            watch([low.motion for low in lows])
        yield from frames_of(faces, lows, config, colour, alpha)


def frames_of(
    faces: Sequence[Residuals],
    lows: Sequence[Low],
    config: ReswarpConfig | None,
    out: Tensor | None,
    alpha: Tensor | None = None,
) -> Iterator[Tensor]:
    """High-resolution frames of the generator's results, one of ``lows`` a face; ``alpha`` [1,1,H,W] moves
    along and is their fourth channel.
    """
    motions = [Motion(low.motion.field, low.motion.weight.cpu()) for low in lows]  # read one by one
    frames = composite(faces, motions, [low.refined for low in lows], config, out)
    if alpha is None:
        yield from frames
        return
    cut = [replace(f, photo=alpha) for f in faces]
    for rgb, a in zip(frames, composite(cut, motions, None), strict=True):
        yield torch.cat([rgb, a], 1)
