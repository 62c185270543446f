"""Following faces through a video: who is who, over gaps, up to cuts; steady, but not late.

Pure bookkeeping on landmarks; seeing is left to two functions (``faces.track`` passes the face network's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .pyramid import downsample
from .signals import EYE_CORNERS, eye_centres
from .types import ShapeError, check_shape

Array = NDArray[np.floating]
Seen = tuple[Array, Array, float]  # landmarks [478,2] in pixels, units [N], confidence

BRIDGE = 0.5  # seconds that a face may be out of sight and still be the same
LOOK = 0.5  # seconds between searches of the whole image
LOST = 0.5  # a confidence below this is no sighting
SAME = 0.8  # eye distances between two sightings of one face in consecutive frames, at most
EYE_POINTS = (*EYE_CORNERS[0], *EYE_CORNERS[1])  # landmarks that are enough to place a face: two an eye
CUT, RESTLESS = 0.10, 4.0  # mean grey difference of a cut: at least this, and so many times the usual


@dataclass(frozen=True)
class OneEuro:
    """The one-euro filter (Casiez, Roussel & Vogel 2012): steady when slow, prompt when fast.

    rate: frames a second. min_cutoff: Hz, lower is steadier. beta: how much speed (units a second) raises the
    cut-off. derivative: Hz, cut-off of the speed itself.
    """

    rate: float
    min_cutoff: float = 1.0
    beta: float = 0.0
    derivative: float = 1.0

    def _alpha(self, cutoff: Array | float) -> Array:
        step = 2 * np.pi * np.asarray(cutoff) / self.rate
        return step / (step + 1)

    def __call__(self, values: Array) -> Array:
        """``values`` [T,...] smoothed along the first axis; every entry by itself."""
        out, speed = np.array(values, np.float64), np.zeros_like(np.asarray(values[:1], np.float64))[0]
        for t in range(1, len(out)):
            change = (values[t] - out[t - 1]) * self.rate
            speed = speed + self._alpha(self.derivative) * (change - speed)
            out[t] = out[t - 1] + self._alpha(self.min_cutoff + self.beta * np.abs(speed)) * (
                values[t] - out[t - 1]
            )
        return out


@dataclass(frozen=True)
class Track:
    """One face over T consecutive frames.

    identity: 0, 1, ... in order of appearance. start: index of the first frame. landmarks: [T,478,2] float32
    pixels (or those that were asked for), units: [T,N] float32, both smoothed. confidence: [T] float32, 0
    where the face was out of sight and its place is interpolated.
    """

    identity: int
    start: int
    landmarks: Array
    units: Array
    confidence: Array


@dataclass
class _Open:
    """A track that goes on. last: all landmarks where it was last seen; of each frame those of ``kept``."""

    identity: int
    start: int
    kept: Sequence[int] | slice
    last: Array = field(default_factory=lambda: np.zeros((0, 2)))
    landmarks: list[Array] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    units: list[Array] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    missing: int = 0

    def add(self, seen: Seen) -> None:
        """Enter a sighting, bridging the frames without one before it."""
        marks, units, confidence = seen
        for k in range(self.missing):  # equal steps: the k-th is this share of what is left of the way
            share = 1 / (self.missing + 1 - k)
            between = self.units[-1] + (units - self.units[-1]) * share
            self._append(self.last + (marks - self.last) * share, between, 0.0)
        self.missing = 0
        self._append(marks, units, confidence)

    def _append(self, marks: Array, units: Array, confidence: float) -> None:
        self.last = marks
        self.landmarks.append(np.array(marks[self.kept]))
        self.sizes.append(_place(marks)[1])
        self.units.append(units)
        self.confidence.append(confidence)


def _place(landmarks: Array) -> tuple[Array, float]:
    """(midway between the eyes, eye distance)."""
    left, right = eye_centres(np.asarray(landmarks, np.float64))
    return (left + right) / 2, float(np.linalg.norm(right - left))


def _assign(known: Sequence[Array], seen: Sequence[Seen], reach: float = SAME) -> dict[int, int]:
    """{index of known landmarks: index of sighting}, nearest first; ``reach`` in eye distances."""
    options = []
    for i, marks in enumerate(known):
        (here, size) = _place(marks)
        for j, (other, _, _) in enumerate(seen):
            there, wide = _place(other)
            distance = float(np.linalg.norm(there - here)) / max(size, wide, 1e-6)
            if distance <= reach and 0.5 < size / max(wide, 1e-6) < 2:
                options.append((distance, i, j))
    found: dict[int, int] = {}
    for _, i, j in sorted(options):
        if i not in found and j not in found.values():
            found[i] = j
    return found


class _Cuts:
    """Notices cuts: the picture changes at once, far more than it has been changing."""

    def __init__(self) -> None:
        self.last: Array | None = None
        self.usual = 0.0

    def __call__(self, image: Tensor) -> bool:
        small = downsample(image, (16, 16)).mean(1)[0].cpu().numpy()
        before, self.last = self.last, small
        if before is None:
            return False
        # light that comes and goes everywhere (a flash, a fade) is no cut
        change = float(np.abs((small - small.mean()) - (before - before.mean())).mean())
        cut = change > CUT and change > RESTLESS * self.usual
        self.usual = 0.0 if cut else 0.8 * self.usual + 0.2 * change
        return cut


def follow(
    frames: Iterable[Tensor],
    look: Callable[[Tensor], list[Seen]],
    near: Callable[[Tensor, Sequence[Array]], list[Seen]],
    fps: float,
    points: Sequence[int] | None = None,
) -> list[Track]:
    """Tracks of every face in ``frames`` ([1,3,H,W] each, of one size), the largest face first.

    look: every face of an image. near: faces again, given their landmarks a frame ago; cheaper, and asked
    whenever possible. points: which landmarks to keep of every frame, all if None: in a long video they are
    most of the memory. Frames are read one by one and not kept.
    """
    kept = slice(None) if points is None else list(points)
    tracks: list[_Open] = []
    live: list[_Open] = []
    cuts, size, due = _Cuts(), None, 0
    for index, image in enumerate(frames):
        check_shape(image, "13HW", "video frame")
        if size is not None and image.shape != size:
            raise ShapeError(f"video frame {index} is {list(image.shape)}, the first was {list(size)}")
        size = image.shape
        if cuts(image):
            live, due = [], index
        seen = _sightings(image, live, look, near, index >= due)
        if index >= due or len(seen) < len(live):
            due = index + max(1, round(LOOK * fps))
        _update(live, seen)
        for extra in _unclaimed(live, seen):
            track = _Open(len(tracks), index, kept)
            track.add(extra)
            tracks.append(track)
            live.append(track)
        live = [t for t in live if t.missing <= BRIDGE * fps]
    done = [t for t in tracks if len(t.landmarks) >= 3 or max(t.confidence) >= 0.8]
    return [_finish(t, fps) for t in sorted(done, key=lambda t: -float(np.mean(t.sizes)))]


def _sightings(
    image: Tensor,
    live: Sequence[_Open],
    look: Callable[[Tensor], list[Seen]],
    near: Callable[[Tensor, Sequence[Array]], list[Seen]],
    search: bool,
) -> list[Seen]:
    """Who is in the image: by a look where they were, by a search when that is due or somebody is missing."""
    known = [t.last for t in live]
    seen = [s for s in near(image, known) if s[2] >= LOST] if known and not search else []
    if not search and len(_assign(known, seen)) == len(known):
        return seen
    return [s for s in look(image) if s[2] >= LOST]


def _update(live: Sequence[_Open], seen: Sequence[Seen]) -> None:
    """Give every live track its sighting. Tracks in sight choose first; the lost have a wider reach."""
    there = [t for t in live if not t.missing]
    lost = [t for t in live if t.missing]
    left = list(seen)
    for group, reach in ((there, SAME), (lost, 2 * SAME)):
        found = _assign([t.last for t in group], left, reach)
        for i, track in enumerate(group):
            if i in found:
                track.add(left[found[i]])
            else:
                track.missing += 1
        left = [s for j, s in enumerate(left) if j not in found.values()]


def _unclaimed(live: Sequence[_Open], seen: Sequence[Seen]) -> list[Seen]:
    """Sightings that no live track has just taken, nor sits on."""
    taken = [t.last for t in live if not t.missing]
    return [s for s in seen if not any(s[0] is marks for marks in taken) and not _assign(taken, [s], 0.4)]


def _finish(track: _Open, fps: float) -> Track:
    marks = np.stack(track.landmarks).astype(np.float64)
    apart = float(np.median(track.sizes)) or 1.0
    steady = OneEuro(fps, min_cutoff=0.5, beta=4.0)  # speeds in eye distances a second
    calm = OneEuro(fps, min_cutoff=1.5, beta=3.0)
    return Track(
        track.identity,
        track.start,
        (steady(marks / apart) * apart).astype(np.float32),
        calm(np.stack(track.units)).astype(np.float32),
        np.array(track.confidence, np.float32),
    )
