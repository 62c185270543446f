"""A video as the photo: each frame is a photo of its own, whose faces are followed, steadied and animated.

    cast = watch(read_frames("talk.mp4"), fps=25)
    for frame in animate_video(read_frames("talk.mp4"), model, cast, [smile] * len(cast.shown)):
        ...  # [1,3,H,W]; frames in which nobody is seen pass as they are

The video is read twice and never kept: memory grows by where the faces are alone, not by frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .animate import animate_all
from .checkpoints import Checkpoint, load_face_network
from .faces import track
from .frames import frame_from_landmarks
from .reswarp import ReswarpConfig
from .signal_video import counted
from .tracking import EYE_POINTS
from .types import FaceFrame, InputError, Motion, ShapeError


@dataclass(frozen=True)
class Cast:
    """Who is where in a video.

    places: for each frame the faces in sight, (number, where), the largest face of the video first.
    shown: by number, what that face shows at rest (the median of its action units).
    A person who comes back after a cut, or after being out of sight for long, has a new number.
    """

    places: tuple[tuple[tuple[int, FaceFrame], ...], ...]
    shown: tuple[Mapping[str, float], ...]

    def __len__(self) -> int:
        """How many frames the video has."""
        return len(self.places)

    def at(self, index: int, ranks: Sequence[int] | None = None) -> list[tuple[int, FaceFrame]]:
        """The faces of those ranks in a frame, as far as they are in sight; all of them if None."""
        there = self.places[index]
        return [there[k] for k in (range(len(there)) if ranks is None else ranks) if k < len(there)]


def watch(frames: Iterable[Tensor], fps: float) -> Cast:
    """Follow every face through ``frames`` ([3,H,W] each); ``InputError`` where nobody is seen at all."""
    network, count, size = load_face_network().fused(), [0], [(0, 0)]

    def sized() -> Iterator[Tensor]:
        for frame in counted(frames, count):
            size[0] = (frame.shape[-2], frame.shape[-1])
            yield frame

    tracks = track(sized(), fps, network, EYE_POINTS)
    if not tracks:
        raise InputError(
            f"nobody is seen in the video's {count[0]} frames; a frontal face of at least 40 pixels is seen "
            "best, or give its head-shot square"
        )
    places: list[list[tuple[int, FaceFrame]]] = [[] for _ in range(count[0])]
    for number, one in enumerate(tracks):
        for k, marks in enumerate(one.landmarks):
            if (frame := _frame(marks, size[0])) is not None:
                places[one.start + k].append((number, frame))
    names = network.config.units
    middle = [dict(zip(names, np.median(t.units, 0).tolist(), strict=True)) for t in tracks]
    return Cast(tuple(map(tuple, places)), tuple(middle))


def fixed(count: int, frame: FaceFrame, shown: Mapping[str, float]) -> Cast:
    """One face that keeps its place for ``count`` frames."""
    return Cast((((0, frame),),) * count, (shown,))


def _frame(marks: np.ndarray, size: tuple[int, int]) -> FaceFrame | None:
    try:
        return frame_from_landmarks(torch.from_numpy(marks), *size, (0, 1), (2, 3))  # of EYE_POINTS
    except InputError:  # it left the picture
        return None


@torch.no_grad()
def animate_video(
    frames: Iterable[Tensor],
    checkpoint: Checkpoint,
    cast: Cast,
    signals: Sequence[Tensor],
    ranks: Sequence[int] | None = (0,),
    weights: Sequence[float] | None = None,
    config: ReswarpConfig | None = None,
    start: int = 0,
    device: torch.device | None = None,
    smooth: float = 0.0,
    watch: Callable[[Sequence[Motion]], None] | None = None,
) -> Iterator[Tensor]:
    """Frames [1,3,H,W] of a video, animated; the next may be written over one, so use it at once.

    frames: as ``watch`` saw them, from number ``start`` on. signals: by the number of a face, [1,N] for the
    whole video or [T,N], a step a frame, whose last holds. ranks: which faces of each frame, 0 being the
    largest; None: all. weights: one a frame. device: where photos are worked on, the generator's if not
    given. smooth, watch: see ``animate_all``. Where nobody is seen, or nothing is asked for, a frame passes
    bit for bit.
    """
    if len(signals) != len(cast.shown):
        raise ShapeError(f"{len(signals)} signals for {len(cast.shown)} faces in the video; give one a face")
    device = device or next(checkpoint.generator.parameters()).device
    relative, buffer = checkpoint.signal.kind == "relative", None
    for index, frame in enumerate(frames, start):
        if index >= len(cast):
            raise ShapeError(f"the video has more than the {len(cast)} frames that were watched")
        photo, there = frame[None], cast.at(index, ranks)
        now = [signals[n][min(index, len(signals[n]) - 1)][None] for n, _ in there]
        weight = None if weights is None else [weights[min(index, len(weights) - 1)]]
        asked = weight != [0.0] and any(bool(s.any()) for s in now) if relative else weight != [0.0]
        if not there or not asked:
            yield photo
            continue
        photo = photo.to(device)
        buffer = torch.empty_like(photo) if buffer is None else buffer
        where = [f for _, f in there]
        yield from animate_all(photo, checkpoint, now, where, weight, config, buffer, smooth, watch)
