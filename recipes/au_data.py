"""Training data of ``au.py``: what each action unit does to every point of a face; mouths to be painted."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from dense import unit_fields
from pool import Pool
from puppet import UNITS
from torch import Tensor

from atw_nodes.data import Augment, Faces, _around, _Colour, _Crop, _gap_mask, _scene, glasses
from atw_nodes.losses import Batch
from atw_nodes.networks import warped_low
from atw_nodes.pyramid import upsample
from atw_nodes.signals import INNER_LIP_RING
from atw_nodes.warp import identity_points, inverted, sample

BOUND = 0.125
FINE = 2  # cells of the motion a pixel of the small image
LIFT = {"AU45": 1.4}  # a lid's edge between cells is smoothed away: closed at 1 needs more than the opening
POOL, RENEWED = 400, 2  # mouths that batches are drawn from; new ones a batch
REAL, LENT = 0.25, 0.3  # of the mouths: people's own smiles, and their smiles on other faces


class _Grid(NamedTuple):
    """What is needed of a crop on another device: where each pixel of the frame lies in the data's crop."""

    points: Tensor  # [n,S,S,2]

    def cut(self, images: Tensor) -> Tensor:
        return sample(images, self.points)


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().byte()


class Cast:
    """(image, fields of all units in the frame) of random faces, augmented.

    Where batches are for a device that is faster than this process, ``workers`` make the views: use it in a
    with statement, and before CUDA is.
    """

    SIZE, LEAST, EACH = 4096, 512, 16  # views that are held, that a batch waits for, that are made at a time

    def __init__(
        self, faces: Faces, path: Path, workers: int = 0, device: torch.device | None = None
    ) -> None:
        self.faces, self.made = faces, unit_fields(faces, path, workers=workers)
        self.device = device or torch.device("cpu")
        self.ahead = Pool(self.packed, self.SIZE, workers) if workers else None
        for unit, factor in LIFT.items():
            self.made["fields"][:, UNITS.index(unit)] *= factor
        soft = faces.mattes
        for _ in range(2):
            soft = F.avg_pool2d(F.pad(soft, (4, 4, 4, 4), mode="replicate"), 9, 1)
        self.near = (2 * soft).clamp(0, 1)  # the person and a little around

    def __enter__(self) -> Cast:
        if self.ahead is not None:
            self.ahead.__enter__()
        self.made = {k: v.to(self.device) for k, v in self.made.items()}
        self.near = self.near.to(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ahead is not None:
            self.ahead.__exit__(kind, error, trace)

    def packed(self, g: torch.Generator) -> tuple[Tensor, ...]:
        """Some views, small enough to be handed from one process to another."""
        rows, image, crop = self._drawn_views(self.EACH, g, 128)
        return rows, _bytes(image), crop.points

    def _view(self, rows: Tensor, crop: _Crop, g: torch.Generator, a: Augment) -> tuple[Tensor, Tensor]:
        """(image [n,3,S,S], landmarks [n,478,2]) with another background, light and glasses."""
        faces, n, size = self.faces, len(rows), crop.points.shape[1]
        image, matte = crop.cut(torch.cat([faces.images[rows], faces.mattes[rows]], 1)).split((3, 1), 1)
        marks = crop.place(faces.landmarks[rows])
        swap = (torch.rand(n, 1, 1, 1, generator=g) < a.scene).float()
        image = torch.lerp(image, image * matte + _scene(n, size, g) * (1 - matte), swap)
        rings, tint = glasses(image, marks, a.glasses, g), torch.rand(n, 3, 1, 1, generator=g) * 0.4
        return torch.lerp(image, tint.expand_as(image), rings), marks

    def _drawn_views(self, n: int, g: torch.Generator, size: int) -> tuple[Tensor, Tensor, _Crop]:
        a = Augment(bend=0.012)
        rows = torch.randint(len(self.faces.rows), (n,), generator=g)
        crop = _Crop(n, size, a, g)
        image, _ = self._view(rows, crop, g, a)
        return rows, _Colour(n, size, a.colour, g)(image), crop

    def batch(self, n: int, g: torch.Generator, size: int = 128) -> tuple[Tensor, Tensor, Tensor]:
        """(images [n,3,S,S], fields [n,17,2,S,S] in fractions of the frame, how sure each is [n,17])."""
        crop: _Crop | _Grid
        if self.ahead is None:
            rows, image, crop = self._drawn_views(n, g, size)
        else:
            rows, image, points = self.ahead.batch(n, g, self.device, self.LEAST)
            image, crop = image.float() / 255, _Grid(points)
        fields = self.made["fields"][rows].float().flatten(1, 2)
        fields = sample(fields, crop.points) * crop.cut(self.near[rows])
        return image, turned(fields.unflatten(1, (-1, 2)), crop), self.made["sure"][rows]


def turned(fields: Tensor, crop: _Crop | _Grid) -> Tensor:
    """Displacements [n,u,2,S,S] in fractions of the data's crop -> of the frame cut from it by ``crop``."""
    p, size = crop.points, crop.points.shape[1]
    by_x, by_y = (torch.gradient(p, dim=d)[0] * size for d in (2, 1))  # of (x, y)
    a, c = by_x[..., 0][:, None], by_x[..., 1][:, None]
    b, d = by_y[..., 0][:, None], by_y[..., 1][:, None]
    x, y = fields[:, :, 0], fields[:, :, 1]
    det = a * d - b * c
    return torch.stack([(d * x - b * y) / det, (a * y - c * x) / det], 2)


# Where teeth meet, in eye distances from the middle of the face; the last is where the arch turns from sight
UPPER = (0.0, 0.137, 0.237, 0.33, 0.4)
LOWER = (0.0, 0.085, 0.18, 0.27)


def _row(x: Tensor, ends: tuple[float, ...], pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(brightness, how far along its tooth -1..1, 1 within the row) of a row of teeth at ``x``."""
    far, line = x.abs(), torch.ones_like(x)
    for end in ends:
        line = line - 0.2 * torch.exp(-((far - end) / pixel.clamp_min(0.011)).square())
    at = torch.tensor(ends, dtype=x.dtype)
    k = (torch.bucketize(far, at[1:-1], right=True)).clamp(0, len(ends) - 2)
    along = (far - at[k]) / (at[k + 1] - at[k]) * 2 - 1
    return line, along.clamp(-1, 1), ((ends[-1] - far) / pixel + 0.5).clamp(0, 1)


def painted(
    image: Tensor, marks: Tensor, opening: Tensor, shown: Tensor, gap: Tensor, dark: Tensor
) -> Tensor:
    """Mouths [n,3,S,S] with an inside where ``gap`` [n,1,S,S] is 1: dark, with teeth, each of its own.

    marks: landmarks [n,478,2] as they are now; opening [n]: of the inner lips in eye distances; shown [n]:
    height of what is seen of the upper teeth, likewise; dark [n]: how bright the skin is, which the teeth
    follow. One set of teeth for all, fixed to the skull, so that a network can learn it.
    """
    n, size = len(image), image.shape[-1]
    u = identity_points(size, size)
    ring = marks[:, list(INNER_LIP_RING)]
    left, right = ring[:, 0], ring[:, len(INNER_LIP_RING) // 2]
    eyes = marks[:, [362, 263]].mean(1) - marks[:, [33, 133]].mean(1)
    apart = eyes.norm(dim=-1).clamp_min(1e-4)
    ex = (right - left) / (right - left).norm(dim=-1).clamp_min(1e-4)[:, None]
    ey = torch.stack([-ex[:, 1], ex[:, 0]], -1)
    top_at, low_at = marks[:, 13], marks[:, 14]
    middle = (left + right) / 2
    middle = middle + ((top_at - middle) * ex).sum(-1, keepdim=True) * ex  # below the upper lip's own middle
    off = u - middle[:, None, None]
    scale = apart[:, None, None]
    x, down = (off * ex[:, None, None]).sum(-1) / scale, (off * ey[:, None, None]).sum(-1) / scale
    top = ((top_at - middle) * ey).sum(-1)[:, None, None] / scale
    height = (((low_at - top_at) * ey).sum(-1) / apart).clamp_min(1e-3)[:, None, None]
    d, pixel = down - top, 1 / (size * scale)

    black = torch.tensor([0.13, 0.05, 0.05]).view(1, 3, 1, 1)
    tongue = ((d / height - 0.5 - 1.2 * x.square()) * 2.5).clamp(0, 1) * (1 - (x / 0.4).square()).clamp(0, 1)
    flesh = torch.tensor([0.36, 0.13, 0.14]).view(1, 3, 1, 1)
    inside = black + (tongue * (height / 0.3).clamp(0, 1))[:, None] * flesh
    white = torch.tensor([0.98, 0.94, 0.87]).view(1, 3, 1, 1)

    low_line, low_along, low_row = _row(x, LOWER, pixel)
    edge = height - 0.05 + 0.12 * x.square() + 0.008 * low_along.abs() ** 4
    lower = ((d - edge) / pixel + 0.5).clamp(0, 1) * low_row
    shade = 0.74 * low_line * (1 - 2.0 * x.square())
    colour = torch.lerp(inside.expand(n, -1, size, size), white * shade[:, None], lower[:, None])

    line, along, row = _row(x, UPPER, pixel)
    short = 0.008 * ((x.abs() > UPPER[1]) & (x.abs() < UPPER[2]))  # the second tooth is a little shorter
    end = shown[:, None, None] - 0.16 * x.square() - short - 0.008 * along.abs() ** 4
    gloom = 1 - 0.6 * torch.sigmoid((d - end - 0.02) / 0.012)  # the upper teeth's shadow
    under = torch.where(d > end, torch.sigmoid((d - end - 0.012) / (pixel * 0.35)), torch.ones_like(d))
    colour = torch.lerp(black.expand_as(colour), colour, (under * (0.6 + 0.4 * gloom))[:, None])
    upper = ((end - d) / pixel + 0.5).clamp(0, 1) * row
    shade = line * (1 - 2.2 * x.square()) * (0.78 + 0.22 * (d / 0.03).clamp(0, 1))
    colour = torch.lerp(colour, white * shade[:, None], upper[:, None])
    light = (0.58 + 0.66 * dark).clamp(0.58, 1.08)[:, None, None, None]
    return torch.lerp(image, (colour * light).clamp(0, 1), gap)


class Mouths(NamedTuple):
    """What is kept of some mouths; colour and squares are drawn anew each time."""

    source: Tensor  # [n,3,S,S]
    target: Tensor  # [n,3,S,S]
    signal: Tensor  # [n,17]
    old: Tensor  # [n,478,2] landmarks of the source, fractions of the frame
    new: Tensor  # [n,478,2] of the target
    person: Tensor  # [n,1,S,S]
    focus: Tensor  # [n,1,S,S]
    gap: Tensor  # [n,1,S,S]
    paired: Tensor  # [n]
    field: Tensor  # [n,2,kS,kS] backward


PICTURES = ("source", "target", "person", "focus", "gap")


class MouthCast(Cast):
    """(batch, motion, corners of squares) for the Refinement network: real smiles and their undoing, mouths
    that the puppet opened, and faces that it only moved.
    """

    SIZE, LEAST, EACH = 12000, 1500, 8
    pool: Mouths | None = None
    turn = 0

    def packed(self, g: torch.Generator) -> tuple[Tensor, ...]:
        made = self._made(self.EACH, g)._asdict()
        made |= {k: _bytes(made[k]) for k in PICTURES}
        return tuple((made | {"field": made["field"].half()}).values())

    def batch(  # type: ignore[override]
        self, n: int, g: torch.Generator, side: int = 64
    ) -> tuple[Batch, Tensor, Tensor]:
        """(batch of whole faces, fields [n,2,kS,kS], top left corners [n,2] of squares of ``side``)."""
        some = self._drawn(n, g)
        size = some.source.shape[-1]
        colour = _Colour(n, size, 0.6, g)
        vars(colour).update({k: v.to(self.device) for k, v in vars(colour).items()})
        batch = Batch(
            source=colour(some.source),
            target=colour(some.target),
            signal=some.signal,
            source_landmarks=some.old,
            target_landmarks=some.new,
            landmark_weight=some.old.new_ones(n, some.old.shape[1]),
            person=some.person,
            focus=some.focus,
            gap=some.gap,
            paired=some.paired,
            mask=torch.ones_like(some.person),
        )
        return batch, some.field, self._corners(some.new.cpu(), size, side, g)

    @staticmethod
    def _corners(marks: Tensor, size: int, side: int, g: torch.Generator) -> Tensor:
        """Mostly around the mouth, sometimes around an eye and its brow, sometimes anywhere."""
        n = len(marks)
        draw, wild = torch.rand(n, 1, generator=g), torch.rand(n, 2, generator=g) * size
        mouth = (marks[:, 61] + marks[:, 291]) / 2 * size
        left = torch.rand(n, 1, generator=g) < 0.5
        eye = torch.where(left, marks[:, 105], marks[:, 334]) * size
        middle = torch.where(draw < 0.75, mouth, torch.where(draw < 0.88, eye, wild))
        middle = middle + (torch.rand(n, 2, generator=g) - 0.5) * side * 0.4
        return (middle - side / 2).round().clamp(0, size - side).long()

    def _drawn(self, n: int, g: torch.Generator) -> Mouths:
        if self.ahead is not None:
            some = Mouths(*self.ahead.batch(n, g, self.device, self.LEAST))
            seen = {k: getattr(some, k).float() / 255 for k in PICTURES}
            return some._replace(**seen, field=some.field.float())
        if self.pool is None:
            parts = [self._made(25, g) for _ in range(POOL // 25)]
            self.pool = Mouths(*(torch.cat(p) for p in zip(*parts, strict=True)))
        at = (self.turn + torch.arange(RENEWED)) % POOL
        for old, new in zip(self.pool, self._made(RENEWED, g), strict=True):
            old[at] = new
        self.turn = (self.turn + RENEWED) % POOL
        rows = torch.randint(POOL, (n,), generator=g)
        return Mouths(*(t[rows] for t in self.pool))

    def _made(self, n: int, g: torch.Generator, size: int = 128) -> Mouths:
        a = Augment(bend=0.012, glasses=0.0)
        faces, made = self.faces, self.made
        paired_rows = torch.nonzero(made["units"].abs().sum(1) > 0).flatten()
        kind = torch.rand(n, generator=g)
        real, lent = kind < REAL, kind > 1 - LENT
        rows = torch.randint(len(faces.rows), (n,), generator=g)
        some = paired_rows[torch.randint(len(paired_rows), (n,), generator=g)]
        rows = torch.where(real, some, rows)
        closed = torch.tensor([faces.rows[int(r)]["expression"] != "smiling" for r in rows])
        signal = torch.where(real[:, None], made["units"][rows], self._acted(n, closed, g))
        signal = torch.where((lent & closed)[:, None], self._lent(n, g), signal)
        other = self._partners()[rows]
        crop = _Crop(n, size, a, g)
        forward = torch.einsum("nu,nuchw->nchw", signal, made["fields"][rows].float())
        forward = torch.where(real[:, None, None, None], forward + made["rest"][rows].float(), forward)
        forward = sample(forward, crop.points) * crop.cut(self.near[rows])
        forward = BOUND * torch.tanh(turned(forward[:, None], crop)[:, 0] / BOUND)
        field = inverted(upsample(forward, (FINE * size, FINE * size)))
        start = faces.landmarks[rows].float()
        end = start + torch.einsum("nu,nulc->nlc", signal, made["moves"][rows])
        end = torch.where(real[:, None, None], faces.landmarks[other].float(), end)
        old, new = crop.place(start), crop.place(end)
        scene = _scene(n, size, g)
        swap = (torch.rand(n, 1, 1, 1, generator=g) < a.scene).float()

        def seen(index: Tensor) -> tuple[Tensor, Tensor]:
            image, matte = crop.cut(torch.cat([faces.images[index], faces.mattes[index]], 1)).split((3, 1), 1)
            return torch.lerp(image, image * matte + scene * (1 - matte), swap), matte

        (source, matte), (after, matte_after) = seen(rows), seen(other)
        moved, _ = warped_low(source, field)
        opening = (new[:, 14] - new[:, 13]).norm(dim=-1) - (old[:, 14] - old[:, 13]).norm(dim=-1)
        apart = (old[:, [33, 133]].mean(1) - old[:, [362, 263]].mean(1)).norm(dim=-1)
        opening = opening / apart
        opens = (opening > 0.02) & closed & ~real
        gaps = torch.from_numpy(np.stack([_gap_mask(p.numpy(), size) for p in new]))[:, None]
        lifted = signal[:, UNITS.index("AU12")] + 0.7 * signal[:, UNITS.index("AU10")]
        shown = 0.065 + 0.1 * lifted.clamp(0, 1)
        skin = self._skin(source, old)
        target = painted(moved, new, opening, shown, gaps * opens[:, None, None, None], skin)
        target = torch.where(real[:, None, None, None], after, target)
        keep = (real | opens).float()
        person, gap = torch.maximum(matte, matte_after), gaps * keep[:, None, None, None]
        return Mouths(source, target, signal, old, new, person, _around(new, size), gap, keep, field)

    def _partners(self) -> Tensor:
        """[N]: the other photo of the same person, or the photo itself."""
        if not hasattr(self, "_other"):
            self._other = torch.arange(len(self.faces.rows))
            for a, b in self.faces.pairs():
                self._other[a], self._other[b] = b, a
        return self._other

    def _acted(self, n: int, closed: Tensor, g: torch.Generator) -> Tensor:
        """[n,17] sparse random units; closed mouths are mostly opened."""
        count = torch.randint(0, 4, (n, 1), generator=g)
        rank = torch.rand(n, len(UNITS), generator=g).argsort(1).argsort(1)
        amount = torch.rand(n, len(UNITS), generator=g) * 1.1 * (rank < count)
        opened = (torch.rand(n, generator=g) < 0.85) & closed
        for name, most, chance in (("AU25", 1.2, 0.7), ("AU26", 1.0, 0.6)):
            some = (torch.rand(n, generator=g) < chance) & opened
            value = torch.rand(n, generator=g) * most
            amount[:, UNITS.index(name)] = torch.where(some, value, amount[:, UNITS.index(name)] * closed)
        return amount

    def _lent(self, n: int, g: torch.Generator) -> Tensor:
        """[n,17]: what people's smiles were measured to be, weaker or a little stronger, no two alike."""
        smiles = self.made["units"].cpu()[[a for a, _ in self.faces.pairs()]]
        some = smiles[torch.randint(len(smiles), (n,), generator=g)]
        part = 0.3 + torch.rand(n, 1, generator=g)
        return (some * part * (1 + 0.15 * torch.randn(n, some.shape[1], generator=g))).clamp(-1.5, 1.5)

    @staticmethod
    def _skin(image: Tensor, marks: Tensor) -> Tensor:
        """[n] brightness of the cheeks and nose."""
        at = marks[:, [50, 280, 4, 205, 425]][:, :, None]
        return sample(image, at).mean((1, 2, 3))
