"""See faces: find them in a photo, read their landmarks and action units, follow them through a video.

    for face in find(read_photo("party.jpg").pixels):
        print(face.confidence, face.frame, face.units["AU12"])

One network that ships with the pack does it (``face_network.py``). Landmarks of another source become the
same ``Face`` with ``face_from_landmarks``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoints import load_face_network
from .face_network import EYES, REACH, STRIDE, FaceNetwork, peaks
from .frames import frame_from_eyes, frame_from_landmarks
from .mediapipe_landmarks import mediapipe_landmarks
from .pyramid import downsample, to_float
from .signals import eye_centres
from .tiles import canonical
from .tracking import Track, follow
from .types import FaceFrame, InputError, check_shape

SMALLEST = 40.0  # pixels across a face
_ACROSS = 2.3  # width of a face in eye distances
_LONGEST = 2048  # pixels: a larger photo is searched at this size
_TILE, _OVERLAP = 512, 64  # of a level of the finder's pyramid; the overlap is more than a cell sees
_PAD = 16  # grey around a level, so that a face may touch the edge
_CANDIDATE = 0.2  # score from which the reader takes a look; no face of the benchmark has less than 0.33
_WEAK = 0.3  # of the best candidate's score: not looked at below; no face of the benchmark has less than 0.58
_GLANCE = -2.2  # logit of presence, 0.1, from which a second look is worth it
_BATCH = 16  # crops that the reader sees at once


@dataclass(frozen=True)
class Face:
    """One face. Positions are pixels of the photo (pixel i covers [i, i + 1)).

    box: (left, top, right, bottom) around the landmarks. confidence: 0..1. eyes: centres of the image-left
    and the image-right eye. landmarks: [478,2] float32, MediaPipe's face mesh. frame: the head-shot frame.
    units: estimated action units as shown, 0..1.5; empty where nobody estimated them.
    """

    box: tuple[float, float, float, float]
    confidence: float
    eyes: tuple[tuple[float, float], tuple[float, float]]
    landmarks: np.ndarray
    frame: FaceFrame
    units: Mapping[str, float]


@lru_cache(maxsize=4)
def _bundled(device: str) -> FaceNetwork:
    return load_face_network().fused().to(device)


def find(
    image: Tensor,
    network: FaceNetwork | None = None,
    smallest: float = SMALLEST,
    threshold: float = 0.9,
    limit: int = 64,
) -> list[Face]:
    """Every face in ``image`` [1,3,H,W] (uint8, or float in [0,1]), largest first; empty where there is none.

    smallest: width in pixels of the smallest face of interest; in photos longer than 4800 pixels it rises
    with their size. threshold: the least confidence. limit: the most faces. Sees frontal faces, tilted by
    up to some 30 degrees.
    """
    check_shape(image, "13HW", "image")
    network = network or _bundled(str(image.device))
    height, width = image.shape[-2:]
    levels = _levels(image, smallest)
    found = _distinct(_candidates(network, levels, width), 0.5)[: 2 * limit]
    eyes = np.array([c[1:] for c in found if c[0] >= _WEAK * found[0][0]]).reshape(-1, 2, 2)
    faces = _read(network, [image, *levels], eyes, threshold)
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.confidence):
        if not any(_apart(face.eyes, other.eyes) < 0.6 or _inside(face, other) for other in kept):
            kept.append(face)
    return sorted(kept[:limit], key=lambda f: -f.frame.sides[0])


def read(image: Tensor, frame: FaceFrame, network: FaceNetwork | None = None) -> Face:
    """The face in ``frame`` of ``image`` [1,3,H,W], wherever the frame came from; its confidence tells
    whether there is one.
    """
    check_shape(image, "13HW", "image")
    network = network or _bundled(str(image.device))
    with torch.no_grad():
        seen = _view(network, frame)
        reading = network.reader(canonical(image, seen, network.config.size).float())
    marks = _to_pixels(reading.landmarks[0], seen).astype(np.float32)
    presence = float(torch.sigmoid(reading.presence[0]))
    return _face(marks, presence, frame, _units(network, reading.units[0]))


def face_from_landmarks(landmarks: np.ndarray, height: int, width: int, image: Tensor | None = None) -> Face:
    """The ``Face`` of landmarks [478,2] (or [468,2]) in pixels, found by anyone; with ``image`` its action
    units are estimated too.
    """
    marks = np.asarray(landmarks, np.float32)
    frame = frame_from_landmarks(torch.from_numpy(marks), height, width)
    units = {} if image is None else read(image, frame).units
    return _face(marks, 1.0, frame, units)


def see(image: Tensor, source: str = "own") -> list[Face]:
    """Faces of ``image`` [1,3,H,W], largest first, by ``source``: "own" (this network) or "mediapipe" (the
    extra ``landmarks``; units are estimated by this network all the same).
    """
    if source == "own":
        return find(image)
    if source != "mediapipe":
        raise InputError(f"landmarks of {source!r} are unknown; expected own or mediapipe")
    height, width = image.shape[-2:]
    found = [face_from_landmarks(m, height, width, image) for m in mediapipe_landmarks(image)]
    return sorted(found, key=lambda f: -f.frame.sides[0])


def largest(image: Tensor, index: int = 0, source: str = "own") -> Face:
    """The face of rank ``index`` by size; ``InputError`` says how to give one where there is none."""
    return chosen(image, [index], source)[0]


def chosen(image: Tensor, ranks: Sequence[int] | None = None, source: str = "own") -> list[Face]:
    """The faces of those ranks by size, in that order; all of them if None. ``InputError`` as ``largest``."""
    faces = see(image, source)
    ranks = range(max(1, len(faces))) if ranks is None else ranks
    if max(ranks) >= len(faces):
        found = f"{len(faces)} face{'s' * (len(faces) != 1)} found"
        raise InputError(
            f"no face number {max(ranks) + 1} in the photo of {image.shape[-1]}x{image.shape[-2]} ({found}); "
            "give its head-shot square as X,Y,SIDE in pixels, or whole for a head shot"
        )
    return [faces[k] for k in ranks]


def track(
    frames: Iterable[Tensor],
    fps: float = 30.0,
    network: FaceNetwork | None = None,
    points: Sequence[int] | None = None,
) -> list[Track]:
    """Follow every face through ``frames`` (each [1,3,H,W], or [3,H,W] as ``read_frames`` yields them); see
    ``tracking.Track``.

    points: which landmarks to keep, all if None. Frames are read one by one and not kept. Landmarks and units
    are smoothed (one-euro filter), gaps of up to half a second are bridged, nothing is carried over a cut.
    """

    def look(image: Tensor) -> list[tuple[np.ndarray, np.ndarray, float]]:
        return [_observed(f) for f in find(image, network)]

    def near(image: Tensor, landmarks: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, float]]:
        net = network or _bundled(str(image.device))
        eyes = np.array([np.stack(eye_centres(p)) for p in landmarks]).reshape(-1, 2, 2)
        frames = [f for e in eyes if (f := _frame(e, *image.shape[-2:]))]
        return [_observed(f) for f in _look(net, [image], frames) if f]

    return follow((f if f.dim() == 4 else f[None] for f in frames), look, near, fps, points)


def _observed(face: Face) -> tuple[np.ndarray, np.ndarray, float]:
    units = np.array(list(face.units.values()), np.float32)
    return face.landmarks, units, face.confidence


def _levels(image: Tensor, smallest: float) -> list[Tensor]:
    """Float copies of the photo in which eyes are as far apart as the finder wants them, halving in size."""
    height, width = image.shape[-2:]
    longest = max(height, width)
    scale = (EYES[0] + 0.5) * _ACROSS / max(smallest, 1.0)
    scale = min(1.0, max(scale, 160 / longest), _LONGEST / longest)
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    levels = [_resized(image, size)]
    while min(levels[-1].shape[-2:]) > 24:
        h, w = levels[-1].shape[-2:]
        levels.append(F.avg_pool2d(levels[-1][..., : h // 2 * 2, : w // 2 * 2], 2))
    return levels


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Float copy of ``image`` at ``size`` (h, w)."""
    if size == tuple(image.shape[-2:]):
        return to_float(image)
    if image.dtype == torch.uint8 and image.device.type != "cpu":
        return downsample(image, size)
    # bytes stay bytes: no float copy of the photo, and five times as fast
    kept = image if image.dtype == torch.uint8 else to_float(image)
    return to_float(F.interpolate(kept, size=size, mode="bilinear", antialias=True))


class _Piece(NamedTuple):
    """A tile of one level, and where it lies."""

    image: Tensor  # [1,3,h,w]
    corner: tuple[int, int]  # of the tile in its level
    whole: tuple[int, int]  # width and height of the level
    at: tuple[int, int] = (0, 0)  # of the tile in a sheet


def _pieces(levels: Sequence[Tensor]) -> Iterator[_Piece]:
    """Tiles of every level, largest first."""
    step = _TILE - 2 * _OVERLAP
    for level in levels:
        h, w = level.shape[-2:]
        for top in range(0, max(1, h - 2 * _OVERLAP), step):
            for left in range(0, max(1, w - 2 * _OVERLAP), step):
                tile = level[..., top : top + _TILE, left : left + _TILE]
                yield _Piece(tile, (left, top), (w, h))


def _sheets(levels: Sequence[Tensor]) -> Iterator[list[_Piece]]:
    """Pieces by sheet, grey between them: a small level alone costs the finder twice its share. The first of
    a sheet is its tallest; the others fill columns beside it.
    """
    sheet: list[_Piece] = []
    x = y = right = bottom = 0
    for piece in _pieces(levels):
        h, w = (s + _PAD + -s % 8 for s in piece.image.shape[-2:])
        if sheet and y + h > bottom:
            x, y = right, _PAD
        if not sheet or x + w > _TILE or y + h > bottom:
            if sheet:
                yield sheet
            sheet, x, y, right, bottom = [], _PAD, _PAD, 0, _PAD + h
        sheet.append(piece._replace(at=(x, y)))
        y, right = y + h, max(right, x + w)
    yield sheet


@torch.no_grad()
def _candidates(network: FaceNetwork, levels: Sequence[Tensor], width: int) -> list[tuple[float, ...]]:
    """(score, left eye x, y, right eye x, y) in pixels of a photo ``width`` wide."""
    found: list[tuple[float, ...]] = []
    for sheet in _sheets(levels):
        ends = [(p.at[0] + p.image.shape[-1] + _PAD, p.at[1] + p.image.shape[-2] + _PAD) for p in sheet]
        w, h = (-(-max(e[k] for e in ends) // 8) * 8 for k in range(2))
        image = sheet[0].image.new_full((1, 3, h, w), 0.5, dtype=torch.float32)
        image = image.contiguous(memory_format=torch.channels_last)
        for piece in sheet:
            (x, y), (th, tw) = piece.at, piece.image.shape[-2:]
            image[..., y : y + th, x : x + tw] = piece.image
        maps = network.finder(image)[0].float()
        score = torch.sigmoid(maps[0])
        cells = peaks(score, _CANDIDATE)
        r, c = cells[:, 0], cells[:, 1]
        centre = torch.stack([c, r], 1) * float(STRIDE) + STRIDE / 2
        eyes = centre[:, None] + maps[1:, r, c].T.reshape(-1, 2, 2) * REACH
        apart = (eyes[:, 1] - eyes[:, 0]).norm(dim=-1)
        good = (apart > EYES[0] * 0.75) & (apart < EYES[1] * 1.3)
        rows = torch.cat([score[r, c][:, None], eyes.flatten(1)], 1)[good].tolist()
        for row, middle in zip(rows, centre[good].tolist(), strict=True):
            found += [_placed(row, piece, width) for piece in sheet if _owns(piece, middle)]
    return found


def _placed(row: Sequence[float], piece: _Piece, width: int) -> tuple[float, ...]:
    """A candidate of a sheet in pixels of a photo ``width`` wide."""
    scale = width / piece.whole[0]
    move = [c - a for c, a in zip(piece.corner, piece.at, strict=True)] * 2
    return row[0], *((v + m) * scale for v, m in zip(row[1:], move, strict=True))


def _owns(piece: _Piece, middle: Sequence[float]) -> bool:
    """Whether a candidate in the ``middle`` is the piece's to report; another tile may see it better."""
    size = piece.image.shape[-1], piece.image.shape[-2]
    for axis in range(2):
        x = middle[axis] - piece.at[axis]
        low = 0.0 if piece.corner[axis] == 0 else _OVERLAP / 2
        end = piece.corner[axis] + size[axis] >= piece.whole[axis]
        if not low <= x <= size[axis] - (0.0 if end else _OVERLAP / 2):
            return False
    return True


def _apart(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    """Distance between the middles of two pairs of eyes, over the wider pair's width."""
    p, q = np.asarray(a, float), np.asarray(b, float)
    wide = max(np.linalg.norm(p[1] - p[0]), np.linalg.norm(q[1] - q[0]), 1e-6)
    return float(np.linalg.norm(p.mean(0) - q.mean(0)) / wide)


def _inside(face: Face, other: Face) -> bool:
    """Whether ``face`` is a part of a larger face taken for one: an eye, a mouth."""
    return _within(face.eyes, other) and face.frame.sides[0] < 0.6 * other.frame.sides[0]


def _within(eyes: Sequence[Sequence[float]], face: Face) -> bool:
    x, y = np.mean(eyes, 0)
    left, top, right, bottom = face.box
    return left < x < right and top < y < bottom


def _agree(a: FaceFrame, b: FaceFrame, share: float) -> bool:
    """Whether the corners of two frames are within ``share`` of a side of each other, on average."""
    apart = np.linalg.norm(np.subtract(a.corners(), b.corners()), axis=1).mean()
    return float(apart) < share * min(a.sides[0], b.sides[0])


def _distinct(candidates: list[tuple[float, ...]], closer: float) -> list[tuple[float, ...]]:
    """The best of every group of candidates that mean the same face."""
    kept: list[tuple[float, ...]] = []
    for c in sorted(candidates, reverse=True):
        if all(_apart((c[1:3], c[3:]), (k[1:3], k[3:])) > closer for k in kept):
            kept.append(c)
    return kept


def _read(network: FaceNetwork, levels: Sequence[Tensor], eyes: np.ndarray, threshold: float) -> list[Face]:
    """Read the faces at ``eyes`` [n,2,2] (pixels of ``levels[0]``, the photo): the eyes alone first, then all
    in the frames that those make. Readings that disagree are of no face: what is none is read anew each time.
    """
    first = [f for e in eyes if (f := _frame(e, *levels[0].shape[-2:]))]
    good = [
        better
        for frame, better in zip(first, _glance(network, levels, first), strict=True)
        if better and _agree(frame, better, 0.4)
    ]
    return [
        face
        for face, before in zip(_look(network, levels, good), good, strict=True)
        if face and face.confidence >= threshold and _agree(before, face.frame, 0.24)
    ]


@torch.no_grad()
def _glance(
    network: FaceNetwork, levels: Sequence[Tensor], frames: Sequence[FaceFrame]
) -> list[FaceFrame | None]:
    """The frame by the eyes that are seen in each frame; None without a face, or beyond the photo."""
    out: list[FaceFrame | None] = []
    for some, crops in _views(network, levels, frames):
        presence, eyes = network.reader.glance(crops, _GLANCE)
        for there, points, frame in zip((presence >= _GLANCE).tolist(), eyes, some, strict=True):
            out.append(_frame(_to_pixels(points, frame), frame.height, frame.width) if there else None)
    return out


@torch.no_grad()
def _look(network: FaceNetwork, levels: Sequence[Tensor], frames: Sequence[FaceFrame]) -> list[Face | None]:
    """The face in each frame; None where the reading makes no frame within the photo."""
    faces: list[Face | None] = []
    for some, crops in _views(network, levels, frames):
        reading = network.reader(crops)
        presence = torch.sigmoid(reading.presence).tolist()
        for points, units, sure, frame in zip(reading.landmarks, reading.units, presence, some, strict=True):
            marks = _to_pixels(points, frame)
            better = _frame(np.stack(eye_centres(marks)), frame.height, frame.width)
            kept = marks.astype(np.float32)
            faces.append(_face(kept, sure, better, _units(network, units)) if better else None)
    return faces


def _frame(eyes: np.ndarray, height: int, width: int) -> FaceFrame | None:
    (a, b), (c, d) = eyes.tolist()
    try:
        return frame_from_eyes((a, b), (c, d), height, width)
    except InputError:
        return None


def _view(network: FaceNetwork, frame: FaceFrame) -> FaceFrame:
    """The part of a head-shot frame that the reader looks at."""
    side, middle = network.config.view, network.config.middle
    (a, b, x), (c, d, y) = frame.matrix
    u, v = (m - side / 2 for m in middle)
    matrix = ((a * side, b * side, a * u + b * v + x), (c * side, d * side, c * u + d * v + y))
    return replace(frame, matrix=matrix)


def _views(
    network: FaceNetwork, levels: Sequence[Tensor], frames: Sequence[FaceFrame]
) -> Iterator[tuple[list[FaceFrame], Tensor]]:
    """What the reader looks at, in batches: (parts of frames, their content [n,3,S,S])."""
    for start in range(0, len(frames), _BATCH):
        some = [_view(network, f) for f in frames[start : start + _BATCH]]
        yield some, torch.cat([_crop(levels, f, network.config.size) for f in some])


def _crop(levels: Sequence[Tensor], frame: FaceFrame, size: int) -> Tensor:
    """The frame's content from the smallest level that has the pixels for it: what the reader was trained on
    had three for every four of its own.
    """
    level, scale = levels[0], 1.0
    for other in levels[1:]:
        ratio = other.shape[-1] / frame.width
        if max(frame.sides) * ratio >= 0.75 * size and ratio < scale:
            level, scale = other, ratio
    h, w = level.shape[-2:]
    sx, sy = w / frame.width, h / frame.height
    (a, b, x), (c, d, y) = frame.matrix
    matrix = ((a * sx, b * sx, x * sx), (c * sy, d * sy, y * sy))
    there = replace(frame, matrix=matrix, height=h, width=w)
    samples = max(1, round(max(there.sides) / size))
    return canonical(level, there, size, samples=samples).float()


def _to_pixels(points: Tensor, frame: FaceFrame) -> np.ndarray:
    (a, b, x), (c, d, y) = frame.matrix
    p = points.double().cpu().numpy()
    return p @ np.array([[a, c], [b, d]]) + np.array([x, y])


def _units(network: FaceNetwork, values: Tensor) -> dict[str, float]:
    clipped = values.clamp(0, 1.5).tolist()
    return {n: round(v, 4) for n, v in zip(network.config.units, clipped, strict=True)}


def _face(marks: np.ndarray, confidence: float, frame: FaceFrame, units: Mapping[str, float]) -> Face:
    (x0, y0), (x1, y1) = marks.min(0).tolist(), marks.max(0).tolist()
    left, right = (tuple(p.tolist()) for p in eye_centres(marks.astype(np.float64)))
    return Face((x0, y0, x1, y1), float(confidence), (left, right), marks, frame, units)
