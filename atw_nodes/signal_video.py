"""Signals from videos: our own face network follows a face, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from .checkpoints import load_face_network
from .faces import track
from .signal_sources import from_track
from .signals import MAX_STEPS
from .tracking import EYE_POINTS, Track
from .types import InputError, Signal


def follow_face(frames: Iterable[Tensor], fps: float, face: int = 0) -> tuple[Signal, float]:
    """(an absolute signal with a step a frame, the share of frames in which the face was in sight).

    frames: [3,H,W] each, read one by one and not kept. face: 0 is the one in sight most often; before it
    comes and after it goes its first and last step are repeated. ``InputError`` where nobody is seen, or
    where there are more than ``MAX_STEPS`` frames.
    """
    network, seen = load_face_network().fused(), [0]
    tracks = sorted(track(counted(frames, seen), fps, network, EYE_POINTS), key=_hidden)
    if face >= len(tracks):
        found = f"{len(tracks)} face{'s' * (len(tracks) != 1)}" if tracks else "no face"
        raise InputError(
            f"the video has no face number {face + 1} to be driven by ({found} in {seen[0]} frames); "
            "a frontal face of at least 40 pixels is seen best"
        )
    one = tracks[face]
    shown = float((one.confidence > 0).sum()) / seen[0]
    return from_track(one, network.config.units, fps, seen[0]), shown


def _hidden(one: Track) -> float:
    return -float((one.confidence > 0).sum())


def counted(frames: Iterable[Tensor], count: list[int]) -> Iterator[Tensor]:
    """``frames``, counted in ``count[0]``; ``InputError`` beyond ``MAX_STEPS``."""
    for frame in frames:
        count[0] += 1
        if count[0] > MAX_STEPS:
            raise InputError(f"the video has more than {MAX_STEPS} frames; cut it into parts")
        yield frame
