"""Several faces in one photo, composited in one pass: every pixel is gathered once.

Face i has a frame, a mask m_i, a displacement D_i in pixels and a correction C_i, as in ``reswarp``. Faces
whose frames overlap divide the photo between them:

    out = W + sum s_i·m_i·C_i,   W(p) = photo(p + sum s_i·D_i(p)),   s_i = prod over j of h_ij

h_ij = w_i / (w_i + w_j) is face i's part beside face j: 1 where i's centre is clearly nearer (each distance
measured in its own frame), 0 where j's is, smooth between. The s_i·m_i never add up to more than 1, and a
face moves nothing of what is clearly another's, not by a bit. Shares depend on where the frames are alone,
not on what moves: a face that starts to move makes its neighbours no jump. A face whose frame meets no other
is written as a single one is, which is faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .frames import FACE_CENTRE
from .reswarp import (
    Correction,
    Residuals,
    ReswarpConfig,
    check_motion,
    correction,
    reswarp,
    warped,
    write_face,
)
from .tiles import Plane, Tile, gather, positions, store, tiles, working_type
from .types import FaceFrame, InputError, Motion, ShapeError
from .warp import feather_mask

BORDER = 0.25  # width of the soft border between two faces, in distances of their centres


def composite(
    faces: Sequence[Residuals],
    motions: Sequence[Motion],
    refined: Sequence[Tensor] | None,
    config: ReswarpConfig | None = None,
    out: Tensor | None = None,
    filled: bool = False,
) -> Iterator[Tensor]:
    """High-resolution frames of one photo with N faces, one by one, as ``reswarp`` gives them of one.

    faces: the photo as ``decompose`` splits it with each face's frame. motions, refined: one a face, in the
    same order, T frames each; a face of weight 0 keeps still. refined None: W alone. filled: see
    ``reswarp``. Their order changes nothing. A single face is ``reswarp`` itself (or ``warped``), bit for
    bit.
    """
    _check(faces, motions, refined)
    if len(faces) == 1 and refined is None:
        return warped(faces[0], motions[0], out, filled)
    if len(faces) == 1 and refined is not None:
        return reswarp(faces[0], motions[0], refined[0], config, out, filled)
    order = sorted(range(len(faces)), key=lambda i: faces[i].frame.matrix)
    given = None if refined is None else [refined[i] for i in order]
    config = config or ReswarpConfig()
    return _frames([faces[i] for i in order], [motions[i] for i in order], given, config, out, filled)


def _check(faces: Sequence[Residuals], motions: Sequence[Motion], refined: Sequence[Tensor] | None) -> None:
    counts = {len(faces), len(motions), len(faces if refined is None else refined)}
    if len(counts) != 1 or not faces:
        painted = "" if refined is None else f", {len(refined)} refined"
        raise ShapeError(f"{len(faces)} faces, but {len(motions)} motions{painted}; give one a face")
    lengths = {len(m) for m in motions}
    if len(lengths) != 1:
        raise ShapeError(
            f"the faces' motions have {', '.join(map(str, sorted(lengths)))} frames; make them equally long"
        )
    photo = faces[0].photo
    for face in faces[1:]:
        if face.photo is not photo and not (
            face.photo.shape == photo.shape and face.photo.data_ptr() == photo.data_ptr()
        ):
            raise InputError("the faces are of different photos; decompose one photo with each face's frame")
    if len(faces) > 1 and any(not f.frame.feather for f in faces):
        raise InputError(
            "several faces were given, one of them the whole image; give each a frame of its own"
        )
    for k, (face, motion) in enumerate(zip(faces, motions, strict=True)):
        if refined is not None:
            check_motion(face, motion, refined[k])


class _Part(NamedTuple):
    """A face that moves, in one frame of a clip; rivals: the faces whose frames overlap its own."""

    plane: Plane
    rivals: Sequence[Plane]
    field: Tensor
    correction: Correction | None

    @property
    def bounds(self) -> Tile:
        return self.plane.frame.bounds()


def _frames(
    faces: Sequence[Residuals],
    motions: Sequence[Motion],
    refined: Sequence[Tensor] | None,
    config: ReswarpConfig,
    buffer: Tensor | None,
    filled: bool,
) -> Iterator[Tensor]:
    photo, kind = faces[0].photo, working_type(faces[0].photo)
    planes = [Plane(f.frame, kind, photo.device) for f in faces]
    rivals = [
        [q for q in planes if q is not p and _common(p.frame.bounds(), q.frame.bounds())] for p in planes
    ]
    # what the buffer holds that is not the photo; None: everything
    stale: list[Tile] | None = [f.frame.bounds() for f in faces] if filled else None
    pixels = faces[0].pixels if config.interleaves(photo) else photo
    for t in range(len(motions[0])):
        out = torch.empty_like(photo) if buffer is None else buffer
        if stale is None or buffer is None:
            out.copy_(photo)
        else:
            for x0, y0, x1, y1 in stale:
                out[..., y0:y1, x0:x1].copy_(photo[..., y0:y1, x0:x1])
        parts, alone = [], []
        for k, (face, motion) in enumerate(zip(faces, motions, strict=True)):
            if float(motion.weight[t]) != 0:
                field = motion.field[t : t + 1].to(photo.device, kind)
                small = None if refined is None else refined[k][t : t + 1].to(photo.device, kind)
                if not rivals[k]:
                    alone.append((face, field, small))
                    continue
                fix = None if small is None else correction(face, field, small, config)
                parts.append(_Part(planes[k], rivals[k], field, fix))
        for at in _covering([p.bounds for p in parts], config.rows):
            _write(photo, [p for p in parts if _common(p.bounds, at)], out, at)
        for face, field, small in alone:  # last: a tile of the others may reach over it
            write_face(face, pixels, field, small, config, out)
        stale = [face.frame.bounds() for face, _, _ in alone] + [p.bounds for p in parts]
        yield out


def _write(photo: Tensor, parts: Sequence[_Part], out: Tensor, at: Tile) -> None:
    """W and the corrections on a tile; ``out`` holds the photo, and keeps it where no mask reaches."""
    x0, y0, x1, y1 = at
    across, down = (
        torch.zeros(y1 - y0, x1 - x0, dtype=parts[0].field.dtype, device=out.device) for _ in "xy"
    )
    reached, masks = torch.zeros_like(across, dtype=torch.bool), []
    for part in parts:
        points = part.plane.points(at)
        mask = share(part.plane, part.rivals, at, points)
        dx, dy = part.plane.shift(at, part.field, points)
        inside = feather_mask(points, part.plane.frame.feather)
        across, down = across + mask * (inside > 0) * dx, down + mask * (inside > 0) * dy
        masks.append((points, mask * inside))
        reached |= masks[-1][1] > 0
    moved = gather(photo, positions(across, down), (x0, y0))
    total = moved
    for part, (points, mask) in zip(parts, masks, strict=True):
        if part.correction is not None:
            total = total + mask * part.correction.on(part.plane, at, points, moved)
    before = photo[..., y0:y1, x0:x1]
    store(out, at, total)
    out[..., y0:y1, x0:x1] = torch.where(reached, out[..., y0:y1, x0:x1], before)


def share(plane: Plane, rivals: Sequence[Plane], at: Tile, points: Tensor) -> Tensor:
    """s_i [h,w] on a tile, of the face of ``plane``; points: ``plane.points(at)``."""
    out = torch.ones_like(points[..., 0])
    for other in rivals:
        nearer = _far(other.points(at)) - _far(points)
        t = (nearer / (2 * BORDER * _apart(plane.frame, other.frame)) + 0.5).clamp(0, 1)
        out = out * (t * t * (3 - 2 * t))
    return out


def _far(points: Tensor) -> Tensor:
    """Squared distance from a face's centre, in its frame."""
    return (points - points.new_tensor(FACE_CENTRE)).square().sum(-1)


def _apart(a: FaceFrame, b: FaceFrame) -> float:
    """Squared distance of two faces' centres over the larger one's side; never 0."""
    (u, v), side = FACE_CENTRE, max(*a.sides, *b.sides)
    (x, y), (z, w) = (
        (m[0][0] * u + m[0][1] * v + m[0][2], m[1][0] * u + m[1][1] * v + m[1][2])
        for m in (a.matrix, b.matrix)
    )
    return max(((x - z) ** 2 + (y - w) ** 2) / side**2, 1e-4)


def _common(a: Tile, b: Tile) -> Tile | None:
    """What two tiles have in common."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _covering(bounds: Sequence[Tile], rows: int) -> Iterator[Tile]:
    """Tiles that cover all of ``bounds``, each pixel once, and little else."""
    if not bounds:
        return
    x0, y0, x1, y1 = zip(*bounds, strict=True)
    for at in tiles((min(x0), min(y0), max(x1), max(y1)), rows):
        cuts = [cut for b in bounds if (cut := _common(b, at))]
        if cuts:
            left, top, right, bottom = zip(*cuts, strict=True)
            yield min(left), min(top), max(right), max(bottom)
