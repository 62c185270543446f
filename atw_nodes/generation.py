"""The low-resolution side of a clip: what the generator makes of a small photo and a signal, as jobs that can
be done side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .checkpoints import Checkpoint
from .folds import smoothed
from .reswarp import Residuals
from .types import Motion, ShapeError, check_shape
from .warp import feather_mask, identity_points


class Low(NamedTuple):
    """The generator's results for a few consecutive frames, at its own size."""

    motion: Motion  # [b] frames
    coarse: Tensor  # [b,3,S,S]
    refined: Tensor  # [b,3,S,S]

    def frame(self, k: int) -> Low:
        """The ``k``-th alone."""
        return Low(self.motion[k : k + 1], self.coarse[k : k + 1], self.refined[k : k + 1])


Job: TypeAlias = Callable[[], Low]  # makes it, in any thread


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
    """What ``generation`` has done, one job after the other."""
    for job in generation(checkpoint, residuals, signal, weights, batch, smooth):
        yield job()


@torch.no_grad()
def generation(
    checkpoint: Checkpoint,
    residuals: Residuals,
    signal: Tensor,
    weights: Sequence[float] | None = None,
    batch: int = 8,
    smooth: float = 0.0,
) -> Iterator[Job]:
    """The low-resolution side of a clip, ``batch`` frames a job; memory does not grow with the clip.

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
        yield from refine(checkpoint, low, signal, base, batch, weights)
        return

    def made(start: int) -> Job:
        now = signal[start : start + batch]
        image = low.expand(len(now), -1, -1, -1)

        @torch.no_grad()
        def job() -> Low:
            motion = Motion(generator.predict_motion(image, now, mask, basis), asks[start : start + batch])
            motion = _smooth(motion, smooth, residuals)
            return Low(motion, *generator.refine_warped(image, now, motion.field))

        return job

    for start in range(0, len(signal), batch):
        yield made(start)


def _smooth(motion: Motion, sigma: float, residuals: Residuals) -> Motion:
    """``smoothed``, and still without a step at the frame's edge."""
    if sigma == 0:
        return motion
    soft, (height, width) = smoothed(motion, sigma), motion.field.shape[-2:]
    mask = feather_mask(identity_points(height, width, like=soft.field)[0], residuals.frame.feather)
    return Motion(soft.field * mask, soft.weight)


def refine(
    checkpoint: Checkpoint,
    low: Tensor,
    signal: Tensor,
    motion: Motion,
    batch: int = 8,
    weights: Sequence[float] | None = None,
) -> Iterator[Job]:
    """Coarse and refined images of ``low`` [1,3,S,S] under a motion made before, ``batch`` frames a job.

    signal: [1,N], of which each frame carries its weight's share, or [T,N], one a frame. weights: of a motion
    of one frame, which is scaled by them into a clip. Everything on the generator's device.
    """
    check_shape(signal, "TN", "signal")
    count = len(motion) if weights is None else len(weights)
    if len(signal) not in (1, count):
        raise ShapeError(
            f"motion has {count} frames but the signal has {len(signal)} steps; give one step, or one a frame"
        )
    shared = len(signal) == 1 and checkpoint.signal.kind == "relative"

    def made(start: int) -> Job:
        @torch.no_grad()
        def job() -> Low:
            now = slice(start, min(start + batch, count))
            part = motion[now] if weights is None else motion.scaled(weights[now])
            asked = signal[now] if len(signal) > 1 else signal.expand(len(part), -1)
            asked = asked * part.weight[:, None] if shared else asked
            image = low.expand(len(part), -1, -1, -1)
            return Low(part, *checkpoint.generator.refine_warped(image, asked, part.field))

        return job

    return map(made, range(0, count, batch))
