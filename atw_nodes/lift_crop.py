"""What of a photo small frames show: given as text, or found by matching one of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .faces import find
from .lift_motion import Estimator, reduced
from .pyramid import blurred, downsample, to_float, upsample
from .types import FaceFrame, InputError
from .warp import identity_points

FEATHER = 0.08
_SIDE = 64  # cells at which places are compared
_SEEK = 24  # cells of the shorter side of the frame while it is sought everywhere
_SCALES = [1.0 / 1.12**k for k in range(17)]  # of the largest crop that fits
_ENOUGH = 0.45  # correlation from which a place is believed
_PLAIN = 0.8  # and the photo as a whole, which is looked at first


def crop_from_text(text: str, size: tuple[int, int], height: int, width: int) -> FaceFrame:
    """``whole``, ``X,Y,SIDE`` or ``X,Y,WIDTH,HEIGHT`` in pixels of a photo of ``height`` x ``width``.

    size: (h, w) of the small frames, whose shape ``X,Y,SIDE`` takes, SIDE being its width.
    """
    if text == "whole":
        return FaceFrame.whole(height, width)
    try:
        left, top, across, *rest = (float(v) for v in text.split(","))
        down = rest[0] if rest else across * size[0] / size[1]
        good = len(rest) < 2 and all(math.isfinite(v) for v in (left, top, across, down))
    except ValueError:
        good = False
    if not good:
        raise InputError(
            f"--crop {text}: expected auto, whole, X,Y,SIDE or X,Y,WIDTH,HEIGHT in pixels, as 120,40,300"
        )
    return crop_of(left, top, across, down, height, width)


def crop_of(left: float, top: float, across: float, down: float, height: int, width: int) -> FaceFrame:
    """An upright rectangle in pixels; the whole photo where it is that to a pixel."""
    if min(across, down) < 8 or left >= width or top >= height or left + across <= 0 or top + down <= 0:
        raise InputError(
            f"crop {left:g},{top:g},{across:g},{down:g} does not lie in the photo of {width}x{height}; "
            "give one of at least 8 pixels that does"
        )
    off = (abs(left), abs(top), abs(left + across - width), abs(top + down - height))
    if max(off) < 1:
        return FaceFrame.whole(height, width)
    matrix = ((float(across), 0.0, float(left)), (0.0, float(down), float(top)))
    return FaceFrame(matrix, height, width, FEATHER)


def find_crop(photo: Tensor, image: Tensor) -> FaceFrame:
    """Where in ``photo`` [1,3,H,W] the small frame ``image`` [1,3,h,w] was taken, best a clip's first.

    The photo as a whole where that fits; else by the faces in both, or by looking everywhere at every size;
    then fitted to what has not moved. ``InputError`` where nothing fits.
    """
    photo, image = photo[:, :3], to_float(image).float()
    height, width = photo.shape[-2:]
    whole, size = FaceFrame.whole(height, width), (image.shape[-2], image.shape[-1])
    shape = math.log(size[1] / size[0] * height / width)
    if abs(shape) < 0.03 and _likeness(photo, whole, image) > _PLAIN:
        return whole
    places = [*_by_faces(photo, image), *_everywhere(photo, image)]
    tried = [
        (_likeness(photo, f, image), f) for place in places for f in (place, _fitted(photo, place, image))
    ]
    if abs(shape) < 0.03:
        tried.append((_likeness(photo, whole, image), whole))
    score, best = max(tried, key=lambda t: t[0], default=(0.0, whole))
    if score < _ENOUGH:
        raise InputError(
            f"the frames of {size[1]}x{size[0]} show nothing of the photo of {width}x{height} that can be "
            "found; say where they were cut out: X,Y,SIDE in pixels, or whole"
        )
    return _upright(best)


def _likeness(photo: Tensor, frame: FaceFrame, image: Tensor) -> float:
    """Correlation of the textures of the frame's content and of ``image``, both blurred a little."""
    size = _fewer((image.shape[-2], image.shape[-1]), _SIDE)
    a, b = (_plain(x) for x in (reduced(photo, frame, size, 1), downsample(image, size)))
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt().clamp_min(1e-9))


def _plain(x: Tensor) -> Tensor:
    """[1,1,h,w]: grey without slow changes of light, and without what a small motion undoes."""
    grey = blurred(x.mean(1, keepdim=True), 1.0)
    return grey - blurred(grey, 8.0)


def _fewer(size: tuple[int, int], most: int) -> tuple[int, int]:
    """``size`` made so small that its longer side is ``most``."""
    times = min(1.0, most / max(size))
    return max(8, round(size[0] * times)), max(8, round(size[1] * times))


def _by_faces(photo: Tensor, image: Tensor) -> Iterator[FaceFrame]:
    """The place at which the eyes of the largest face in ``image`` lie on those of a face in the photo."""
    times = max(1, round(256 / min(image.shape[-2:])))
    h, w = image.shape[-2:]
    seen = find(upsample(image, (h * times, w * times), "bicubic").clamp(0, 1).cpu())
    for face in find(photo.cpu()) if seen else []:
        (a, b, x), (c, d, y) = face.frame.matrix
        (p, q, u), (r, s, v) = seen[0].frame.inverse()  # of the enlarged image; here of its unit square
        p, q, r, s = p * w * times, q * h * times, r * w * times, s * h * times
        matrix = (
            (a * p + b * r, a * q + b * s, a * u + b * v + x),
            (c * p + d * r, c * q + d * s, c * u + d * v + y),
        )
        yield FaceFrame(matrix, photo.shape[-2], photo.shape[-1], FEATHER)


def _everywhere(photo: Tensor, image: Tensor) -> Iterator[FaceFrame]:
    """The most likely upright place of all sizes, by normalised correlation."""
    h, w = image.shape[-2:]
    height, width = photo.shape[-2:]
    most = min(height / h, width / w)  # pixels of the photo a pixel of the frame
    template, best = _plain(downsample(image, _times((h, w), _SEEK / min(h, w)))), (-1.0, 0.0, 0.0, 0.0)
    th, tw = template.shape[-2:]
    template = template - template.mean()
    for scale in _SCALES:
        across, down = w * most * scale, h * most * scale
        size = max(th, round(height * th / down)), max(tw, round(width * tw / across))
        if max(size) > 512:
            break
        there = _plain(downsample(photo, size))
        match, ones = F.conv2d(there, template), torch.ones_like(template)
        mean = F.conv2d(there, ones) / ones.sum()
        spread = (F.conv2d(there.square(), ones) / ones.sum() - mean.square()).clamp_min(1e-6).sqrt()
        likely = match / (spread * template.norm() * ones.sum().sqrt())
        at = int(likely.argmax())
        y, x = divmod(at, likely.shape[-1])
        found = float(likely.flatten()[at]), x * width / size[1], y * height / size[0], across
        best = max(best, found)
    if best[0] > 0:
        yield crop_of(best[1], best[2], best[3], best[3] * h / w, height, width)


def _times(size: tuple[int, int], times: float) -> tuple[int, int]:
    return round(size[0] * min(times, 1)), round(size[1] * min(times, 1))


def _fitted(photo: Tensor, frame: FaceFrame, image: Tensor, tries: int = 3) -> FaceFrame:
    """``frame`` moved, turned and scaled as most of ``image`` says: a mouth that opens is outvoted."""
    size = _fewer((image.shape[-2], image.shape[-1]), 2 * _SIDE)
    small = downsample(image, size)
    for _ in range(tries):
        estimate = Estimator(photo, frame, size)(small)
        frame = _turned(frame, estimate.field[0], estimate.confidence[0, 0] * _told(small))
    return frame


def _told(image: Tensor) -> Tensor:
    """[h,w]: where an image has texture."""
    fine = (image - blurred(image, 1.5)).square().mean(1)[0]
    return fine / (fine + 0.01**2)


def _turned(frame: FaceFrame, field: Tensor, weight: Tensor) -> FaceFrame:
    """``frame`` after the similarity that explains ``field`` [2,h,w] best; what disagrees counts less."""
    a, b, c, d = (frame.matrix[k][j] for k in range(2) for j in range(2))
    to_pixels = torch.tensor([[a, b], [c, d]], dtype=torch.float64)
    points = identity_points(field.shape[-2], field.shape[-1]).reshape(-1, 2).double() - 0.5
    at = points @ to_pixels.T  # pixels from the frame's centre
    goal = (points + field.reshape(2, -1).T.cpu().double()) @ to_pixels.T
    counts = weight.flatten().cpu().double()
    for _ in range(10):
        turn, move = _similarity(at, goal, counts)
        off = (at @ turn.T + move - goal).norm(dim=1)
        scale = max(frame.sides) / 128
        counts = weight.flatten().cpu().double() / (1 + (off / scale) ** 2)
    matrix = turn @ to_pixels
    centre = to_pixels @ torch.tensor([0.5, 0.5], dtype=torch.float64)
    x, y = (centre + torch.tensor([frame.matrix[0][2], frame.matrix[1][2]]) + move).tolist()
    (a, b), (c, d) = matrix.tolist()
    return replace(
        frame,
        matrix=((a, b, x - (a + b) / 2), (c, d, y - (c + d) / 2)),
        feather=FEATHER,
    )


def _similarity(at: Tensor, goal: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(turn and scale [2,2], shift [2]) that bring ``at`` [N,2] to ``goal``, least squares."""
    w = (weight / weight.sum().clamp_min(1e-12))[:, None]
    p, q = (w * at).sum(0), (w * goal).sum(0)
    u, v = at - p, goal - q
    size = (w * u.square()).sum().clamp_min(1e-12)
    cos = (w * u * v).sum() / size
    sin = (w[:, 0] * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])).sum() / size
    turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    return turn, q - turn @ p


def _upright(frame: FaceFrame) -> FaceFrame:
    """``frame`` without a turn too small to be meant; the whole photo where it is that almost."""
    (a, b, x), (c, d, y) = frame.matrix
    if max(abs(b / d), abs(c / a)) > 0.004:
        return frame
    cx, cy = x + (a + b) / 2, y + (c + d) / 2
    left, top = cx - a / 2, cy - d / 2
    off = (abs(left), abs(top), abs(left + a - frame.width), abs(top + d - frame.height))
    if max(off) < 0.004 * max(frame.width, frame.height):
        return FaceFrame.whole(frame.height, frame.width)
    return FaceFrame(((a, 0.0, left), (0.0, d, top)), frame.height, frame.width, FEATHER)
