"""Measure a clip as it streams: frame by frame, in as much memory as two frames take.

meter = Meter(photo, face, wanted)
for frame in frames:
    meter.add(frame)
meter.table()   # {"fwe": [...], "au_error": [...], ...}, a value a frame
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from .evaluate_pairs import looked_at, reading
from .faces import Face, find
from .metrics import (
    au_errors,
    detail,
    flow_warping_error,
    high_band_psnr,
    mouth_box,
    psnr,
    similarity,
    ssim,
)
from .metrics_networks import Embedder, Inception
from .pyramid import to_float
from .signals import MEASURES, unit_change
from .tiles import canonical
from .types import FaceFrame, InputError, ShapeError, Signal

READERS = ("units", "landmarks")  # of action units: the face network's own estimate, or our table's measures
FLOW_SIDE = 512  # of the face's square in which flow is looked for
MOST_SIDE = 1024  # of the square in which detail is compared
Values: TypeAlias = "dict[str, list[float]]"


@dataclass(frozen=True)
class Judges:
    """Who looks at frames. reader: one of ``READERS``. flow: side of the square flow is looked for in; 0: no
    FWE. Without a network its metric is not measured.
    """

    reader: str = "units"
    flow: int = FLOW_SIDE
    embedder: Embedder | None = None
    inception: Inception | None = None

    def __post_init__(self) -> None:
        if self.reader not in READERS:
            raise InputError(f"reader {self.reader!r} is unknown; expected one of {', '.join(READERS)}")


@dataclass
class Meter:
    """Measures frames [1,3,H,W] of one clip against the photo they were made from, what was asked for, and,
    where there is one, the truth.

    wanted: changes, a step a frame; None where nobody knows. truths: (frame, what it should look like) in the
    order of the frames, read one ahead.
    aligned: the truth is another shot: its own face is looked for, and squares are compared, not pixels.
    """

    photo: Tensor
    face: Face
    wanted: Signal | None
    judges: Judges = field(default_factory=Judges)
    truths: Iterable[tuple[int, Tensor]] = ()
    aligned: bool = False
    features: list[Tensor] = field(default_factory=list)
    units: list[list[float]] = field(default_factory=list)
    values: Values = field(default_factory=dict)
    count: int = 0
    _before: Tensor | None = None

    def __post_init__(self) -> None:
        known = self.wanted.names if self.wanted else ()
        estimated = MEASURES if self.judges.reader == "landmarks" else self.face.units
        self.names = tuple(n for n in estimated if n in known)
        embedder = self.judges.embedder
        self._side = round(min(MOST_SIDE, max(self.face.frame.sides)))
        self._square = canonical(self.photo, self.face.frame, self._side)
        self._identity = embedder(self.photo, self.face.eyes) if embedder else None
        self._left = iter(self.truths)
        self._truth = next(self._left, None)

    def add(self, frame: Tensor) -> None:
        """Look at the next frame; it is not kept."""
        index, self.count = self.count, self.count + 1
        if self.judges.flow:
            square = canonical(frame, self.face.frame, self.judges.flow).float()
            if self._before is not None:
                self._note("fwe", flow_warping_error(self._before, square))
            self._before = square
        self._note("detail", detail(canonical(frame, self.face.frame, self._side), self._square))
        face = reading(frame, self.face.frame) if self.names or self._identity is not None else None
        if face is not None and self.names:
            self.units.append(self._change(face))
        if face is not None and self._identity is not None and self.judges.embedder:
            seen = self.judges.embedder(frame, face.eyes)
            self._note("css", similarity(self._identity, seen))
        if self.judges.inception:
            self.features.append(self.judges.inception(canonical(frame, self.face.frame, 299)))
        if self._truth is not None and self._truth[0] == index:
            self._compare(frame, self._truth[1])
            self._truth = next(self._left, None)

    def table(self) -> Values:
        """A value a frame (of ``fwe`` a pair, of the truth those frames that have one)."""
        found = {k: list(v) for k, v in self.values.items()}
        if self.units and self.wanted is not None:
            shown = Signal(torch.tensor(self.units), self.names)
            wanted = self.wanted if len(self.wanted) == 1 else self.wanted[: len(shown)]
            found["au_error"] = au_errors(shown, wanted).tolist()
        return found

    def _note(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def _change(self, face: Face) -> list[float]:
        """What the face shows more than the photo's."""
        if self.judges.reader == "landmarks":
            before, now = (f.landmarks.astype(np.float64) for f in (self.face, face))
            return unit_change(before, now, self.names).tolist()
        return [float(face.units[n]) - float(self.face.units[n]) for n in self.names]

    def _compare(self, frame: Tensor, truth: Tensor) -> None:
        images, box = self._beside(frame, truth)
        for name, measure in (("psnr", psnr), ("ssim", ssim), ("high_band", high_band_psnr)):
            self._note(name, measure(*images))
            left, top, right, bottom = box
            mouth = [x[..., top:bottom, left:right] for x in images]
            if min(mouth[0].shape[-2:]) >= 11:  # SSIM's window
                self._note(f"mouth_{name}", measure(mouth[0], mouth[1]))

    def _beside(
        self, frame: Tensor, truth: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int, int, int]]:
        """(result and truth, of one size; the box of the mouth in them, empty without a face)."""
        place, height, width = self.face.frame, *frame.shape[-2:]
        if not self.aligned:
            if truth.shape[-2:] != frame.shape[-2:]:
                raise InputError(
                    f"the truth is {truth.shape[-1]}x{truth.shape[-2]}, the photo {width}x{height}; give one "
                    "of its size, or align it (--align-truth)"
                )
            seen = self.face.confidence > 0  # else there is no mouth
            lips = mouth_box(reading(truth, place).landmarks, height, width) if seen else (0, 0, 0, 0)
            return (to_float(frame), to_float(truth)), lips
        side = round(min(2048, max(place.sides)))
        there = looked_at(truth, "auto")
        images = canonical(frame, place, side), canonical(truth, there.frame, side)
        (a, b, x), (c, d, y) = there.frame.inverse()
        marks = there.landmarks @ np.array([[a, c], [b, d]]) + np.array([x, y])
        return images, mouth_box(marks * side, side, side)


def summary(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of every metric over what it was measured on; of memory the most."""
    kept = {k: [v for v in some if math.isfinite(v)] for k, some in values.items()}
    return {k: float(np.max(v) if k == "memory" else np.mean(v)) for k, v in kept.items() if v}


def face_in(photo: Tensor) -> Face:
    """The largest face of [1,3,H,W]; where nobody is seen, one of confidence 0 whose frame is the photo, and
    of which no unit is known.
    """
    found = find(photo)
    if found:
        return looked_at(photo, "auto")
    height, width = photo.shape[-2:]
    nowhere = (0.0, 0.0)
    marks = np.zeros((478, 2), np.float32)
    return Face((0.0, 0.0, 0.0, 0.0), 0.0, (nowhere, nowhere), marks, FaceFrame.whole(height, width), {})


def measured(
    frames: Sequence[Tensor],
    reference: Sequence[Tensor],
    wanted: Signal | None,
    judges: Judges,
    seen: Callable[[Tensor], None] | None = None,
) -> Values:
    """Measures of a clip of frames [1,3,H,W]. reference: nothing; the photo; or as many frames as the clip
    has, the truth. wanted: the change that was asked for, in one step or one a frame, or units as shown.

    Changes count from the photo, else from the clip's first frame. seen: called after each frame.
    """
    if len(reference) not in (0, 1, len(frames)):
        raise ShapeError(
            f"{len(reference)} reference images for {len(frames)} frames; give the photo, or one a frame"
        )
    if any(r.shape != frames[0].shape for r in reference):
        (h, w), (y, x) = reference[0].shape[-2:], frames[0].shape[-2:]
        raise ShapeError(f"the reference is {w}x{h}, the result {x}x{y}; bring both to one size")
    photo = reference[0] if len(reference) == 1 else frames[0]
    face = face_in(photo)
    if wanted is not None and wanted.absolute:
        now = torch.tensor([float(face.units.get(n, 0.0)) for n in wanted.names])
        wanted = Signal(wanted.values - now, wanted.names, wanted.fps)
    if wanted is not None and len(wanted) not in (1, len(frames)):
        raise ShapeError(
            f"the signal has {len(wanted)} steps, the result {len(frames)} frames; give one step, or as many"
        )
    truth = enumerate(reference) if len(reference) == len(frames) else ()
    meter = Meter(photo, face, wanted, judges, truth)
    for frame in frames:
        meter.add(frame)
        if seen is not None:
            seen(frame)
    return meter.table()
