"""Training data: a manifest CSV of aligned face crops -> augmented batches.

The manifest has one row an image (columns image, matte, set, subject, expression); ``landmarks.npy`` beside
it is float32 [rows,478,2] in pixels of the crop. The canonical square is the central 2/3 of each crop; the
rest is margin.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from .losses import Batch
from .signals import INNER_LIP_RING, unit_change
from .types import InputError
from .warp import feather_mask, identity_points, sample

MARGIN = 1.5  # side of the crop over side of the canonical square


@dataclass(frozen=True)
class Faces:
    """Every face of a manifest, in memory at working size W = 1.5 S."""

    images: Tensor  # [N,3,W,W] float in [0,1]
    mattes: Tensor  # [N,1,W,W] 1 on the person
    gaps: Tensor  # [N,1,W,W] 1 between the inner lips
    landmarks: Tensor  # [N,478,2] float64, fractions of the crop
    rows: tuple[dict[str, str], ...]

    def pairs(self, first: str = "neutral", second: str = "smiling") -> list[tuple[int, int]]:
        """Indices (first, second) of every person who has both expressions."""
        at = {(r["set"], r["subject"], r["expression"]): i for i, r in enumerate(self.rows)}
        people = sorted({(s, p) for s, p, e in at if e == first})
        return [(at[s, p, first], at[s, p, second]) for s, p in people if (s, p, second) in at]


def _gap_mask(landmarks: np.ndarray, work: int) -> np.ndarray:
    """Soft mask [W,W] of the polygon of the inner lips; ``landmarks`` in fractions of the crop."""
    big = Image.new("L", (work * 4, work * 4))
    ImageDraw.Draw(big).polygon([tuple(p * work * 4) for p in landmarks[list(INNER_LIP_RING)]], fill=255)
    return np.asarray(big.resize((work, work), Image.Resampling.BOX), np.float32) / 255


def read_faces(folder: Path, size: int, exclude: Collection[str] = (), only: Collection[str] = ()) -> Faces:
    """Read ``folder``/manifest.csv for a generator of side ``size``; ``exclude`` and ``only`` name
    "set/subject".
    """
    manifest = Path(folder) / "manifest.csv"
    if not manifest.is_file():
        raise InputError(
            f"{manifest}: no such manifest; expected a folder with manifest.csv and landmarks.npy"
        )
    with manifest.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    points = np.load(Path(folder) / "landmarks.npy", allow_pickle=False).astype(np.float64)
    if points.shape != (len(rows), 478, 2):
        raise InputError(f"{folder}/landmarks.npy has shape {points.shape}, expected ({len(rows)}, 478, 2)")
    who = [f"{r['set']}/{r['subject']}" for r in rows]
    keep = [i for i, w in enumerate(who) if w not in exclude and (not only or w in only)]
    if not keep:
        raise InputError(f"{manifest}: no rows are left of {len(rows)}; exclude fewer people")
    work, images, mattes, gaps, landmarks = round(size * MARGIN), [], [], [], []
    for i in keep:
        with Image.open(Path(folder) / rows[i]["image"]) as im:
            landmarks.append(points[i] / im.width)
            images.append(np.asarray(im.convert("RGB").resize((work, work), Image.Resampling.BOX)))
        with Image.open(Path(folder) / rows[i]["matte"]) as im:
            mattes.append(np.asarray(im.convert("L").resize((work, work), Image.Resampling.BOX)))
        gaps.append(_gap_mask(landmarks[-1], work))
    return Faces(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(np.stack(mattes))[:, None].float() / 255,
        torch.from_numpy(np.stack(gaps))[:, None],
        torch.from_numpy(np.stack(landmarks)),
        tuple(rows[i] for i in keep),
    )


@dataclass(frozen=True)
class Augment:
    """How far a crop may be moved and recoloured. ``Augment.none()`` leaves it alone."""

    angle: float = 0.28  # radians
    scale: float = 0.2  # log
    aspect: float = 0.12  # log
    shift: float = 0.06  # of the canonical side
    bend: float = 0.02  # smooth random deformation of the face, of the canonical side
    colour: float = 1.0
    scene: float = 0.7  # chance of another background
    glasses: float = 0.12  # chance of a drawn pair
    whole: float = 0.3  # chance that the frame is not feathered

    @classmethod
    def none(cls) -> Augment:
        """No augmentation, for measuring."""
        return cls(0, 0, 0, 0, 0, 0, 0, 0, 0)


class _Crop:
    """A random similarity, flip and smooth bend of the canonical square: canonical (u, v) -> fractions of the
    crop.
    """

    def __init__(self, n: int, size: int, a: Augment, g: torch.Generator) -> None:
        def spread(k: float) -> Tensor:
            return (torch.rand(n, generator=g) - 0.5) * 2 * k

        angle, scale, aspect = spread(a.angle), torch.exp(spread(a.scale)), torch.exp(spread(a.aspect))
        flip = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0) if a.scale else torch.ones(n)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        self.matrix = torch.stack(
            [torch.stack([cos * flip * aspect, -sin], -1), torch.stack([sin * flip * aspect, cos], -1)], 1
        )
        self.shift = torch.stack([spread(a.shift), spread(a.shift)], -1)
        bend = torch.randn(n, 2, 5, 5, generator=g) * a.bend
        self.bend = F.interpolate(bend, size=(size, size), mode="bicubic", align_corners=False)
        u = identity_points(size, size)
        self.points = self._affine(u + self.bend.movedim(1, -1))

    def _affine(self, u: Tensor) -> Tensor:
        flat = (u.reshape(len(self.matrix), -1, 2) - 0.5) @ self.matrix.transpose(1, 2) + self.shift[:, None]
        return (flat / MARGIN + 0.5).reshape(u.shape)

    def cut(self, images: Tensor) -> Tensor:
        return sample(images, self.points)

    def place(self, landmarks: Tensor) -> Tensor:
        """Landmarks [B,L,2] in fractions of the crop -> canonical, inverting the bend by fixed-point
        iteration.
        """
        flat = (landmarks.float() - 0.5) * MARGIN - self.shift[:, None]
        straight = flat @ torch.linalg.inv(self.matrix).transpose(1, 2) + 0.5
        u = straight
        for _ in range(5):
            u = straight - sample(self.bend, u[:, :, None])[..., 0].movedim(1, -1)
        return u


def _scene(n: int, size: int, g: torch.Generator) -> Tensor:
    """Random backgrounds [n,3,S,S]: smooth colours with noise."""
    blobs = torch.randn(n, 3, 4, 4, generator=g) * torch.rand(n, 1, 1, 1, generator=g)
    smooth = F.interpolate(
        blobs + torch.randn(n, 3, 1, 1, generator=g) * 0.5, size=(size, size), mode="bicubic"
    )
    noise = torch.randn(n, 3, size, size, generator=g) * 0.1 * torch.rand(n, 1, 1, 1, generator=g)
    return ((smooth + noise) / 2 + 0.5).clamp(0, 1)


class _Colour:
    """One random change of colour and light an example, the same for source and target."""

    def __init__(self, n: int, size: int, amount: float, g: torch.Generator) -> None:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g) * amount

        self.gain = torch.exp(normal(n, 3, 1, 1) * 0.12 + normal(n, 1, 1, 1) * 0.18)
        self.offset = normal(n, 1, 1, 1) * 0.05
        self.saturation = 1 + (torch.rand(n, 1, 1, 1, generator=g) * 1.4 - 1) * amount
        light = F.interpolate(
            normal(n, 1, 3, 3) * 0.25, size=(size, size), mode="bilinear", align_corners=True
        )
        self.light = 1 + light
        self.soft = (torch.rand(n, 1, 1, 1, generator=g) < 0.2 * amount).float()

    def __call__(self, x: Tensor) -> Tensor:
        x = x * self.gain * self.light + self.offset
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * self.saturation
        blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.lerp(x, blurred, self.soft).clamp(0, 1)


def glasses(source: Tensor, landmarks: Tensor, chance: float, g: torch.Generator) -> Tensor:
    """Opacity [B,1,S,S] of drawn glasses: two rings around the eyes of ``landmarks``."""
    n, size = len(source), source.shape[-1]
    eyes = torch.stack([landmarks[:, [33, 133]].mean(1), landmarks[:, [362, 263]].mean(1)], 1)  # [B,2,2]
    distance = (eyes[:, 0] - eyes[:, 1]).norm(dim=-1)[:, None, None]
    u = identity_points(size, size, like=source)
    radius = torch.rand(n, 1, 1, generator=g) * 0.1 + 0.34
    thick = torch.rand(n, 1, 1, generator=g) * 0.03 + 0.02
    ring = torch.zeros(n, size, size)
    for k in range(2):
        r = (u - eyes[:, k, None, None]).norm(dim=-1) / distance
        ring = torch.maximum(ring, ((thick - (r - radius).abs()) / 0.02 + 0.5).clamp(0, 1))
    worn = (torch.rand(n, 1, 1, generator=g) < chance).float()
    return (ring * worn)[:, None]


def _around(landmarks: Tensor, size: int) -> Tensor:
    """Soft ellipses [B,1,S,S] around the mouth and, at half weight, the eyes of canonical ``landmarks``."""
    u = identity_points(size, size, like=landmarks)
    total = torch.zeros(len(landmarks), size, size)
    for a, b, grow, flat, weight in (
        (61, 291, 0.6, 0.6, 1.0),
        (33, 133, 0.7, 0.6, 0.5),
        (362, 263, 0.7, 0.6, 0.5),
    ):
        centre = (landmarks[:, a] + landmarks[:, b]) / 2
        half = (landmarks[:, a] - landmarks[:, b]).norm(dim=-1) * grow + 1e-3
        d = (u - centre[:, None, None]) / half[:, None, None, None] / torch.tensor([1.0, flat])
        total = torch.maximum(total, weight * torch.exp(-d.square().sum(-1).square()))
    return total[:, None]


class PairSampler:
    """Draws batches of (photo, signal, target) from pairs of photos of one person.

    A share of the rows asks for the true target at its measured units; the others ask for a part of that
    change, or for it on another person's face (landmarks moved alike), and have landmarks but no true photo.
    """

    def __init__(
        self,
        faces: Faces,
        pairs: Sequence[tuple[int, int]],
        names: Sequence[str],
        size: int,
        augment: Augment | None = None,
        partial: float = 0.2,
        transfer: float = 0.15,
    ) -> None:
        self.faces, self.names, self.size = faces, tuple(names), size
        self.pairs = [tuple(p) for p in pairs] + [(b, a) for a, b in pairs]
        if not pairs:
            raise InputError("no pairs to train on: the manifest has nobody with both expressions")
        self.augment, self.partial, self.transfer = augment or Augment(), partial, transfer
        self.neutral = [i for i, r in enumerate(faces.rows) if r["expression"] == "neutral"]
        marks = faces.landmarks.numpy()
        self.units = torch.from_numpy(
            np.stack([unit_change(marks[a], marks[b], self.names) for a, b in self.pairs])
        )
        moved = np.stack([np.linalg.norm(marks[b] - marks[a], axis=-1) for a, b in pairs]).mean(0)
        self.weight = torch.from_numpy(1 + 4 * (moved / moved.max()) ** 2).float()  # [L]

    def _rows(
        self, n: int, g: torch.Generator, paired_only: bool
    ) -> tuple[list[int], list[int], Tensor, Tensor, Tensor, Tensor]:
        """(source, target image, source and target landmarks, signal, paired) of ``n`` random examples."""
        marks = self.faces.landmarks
        sources, targets, ends, signals, paired = [], [], [], [], []
        for _ in range(n):
            k = int(torch.randint(len(self.pairs), (), generator=g))
            (s, t), kind = self.pairs[k], 1.0 if paired_only else float(torch.rand((), generator=g))
            change, units = marks[t] - marks[s], self.units[k]
            if kind < self.transfer and self.faces.rows[s]["expression"] == "neutral":
                s = self.neutral[int(torch.randint(len(self.neutral), (), generator=g))]
            if kind < self.transfer + self.partial:
                part = float(torch.rand((), generator=g)) * 1.3
                change, units, t = change * part, units * part, s
            sources.append(s)
            targets.append(t)
            ends.append(marks[s] + change)
            signals.append(units)
            paired.append(float(kind >= self.transfer + self.partial))
        return sources, targets, marks[sources], torch.stack(ends), torch.stack(signals), torch.tensor(paired)

    def batch(self, n: int, g: torch.Generator, paired_only: bool = False) -> Batch:
        """``n`` random augmented examples from ``g`` alone. paired_only: each has a true photo."""
        s, t, start, end, signal, paired = self._rows(n, g, paired_only)
        return self._make(s, t, start, end, signal, paired, self.augment, g)

    def plain(self, pairs: Sequence[tuple[int, int]]) -> Batch:
        """The given pairs without augmentation, for sheets and measuring."""
        s, t = [a for a, _ in pairs], [b for _, b in pairs]
        marks = self.faces.landmarks
        units = np.stack([unit_change(marks[a].numpy(), marks[b].numpy(), self.names) for a, b in pairs])
        quiet = torch.Generator().manual_seed(0)
        return self._make(
            s, t, marks[s], marks[t], torch.from_numpy(units), torch.ones(len(s)), Augment.none(), quiet
        )

    def _make(
        self,
        s: list[int],
        t: list[int],
        start: Tensor,
        end: Tensor,
        signal: Tensor,
        paired: Tensor,
        a: Augment,
        g: torch.Generator,
    ) -> Batch:
        faces, n = self.faces, len(s)
        crop, colour = _Crop(n, self.size, a, g), _Colour(n, self.size, a.colour, g)
        old, new = crop.place(start), crop.place(end)
        matte_s, matte_t = crop.cut(faces.mattes[s]), crop.cut(faces.mattes[t])
        scene = _scene(n, self.size, g)
        swap = (torch.rand(n, 1, 1, 1, generator=g) < a.scene).float()
        rings, tint = None, torch.rand(n, 3, 1, 1, generator=g) * 0.4
        views = []
        for rows, matte, marks in ((s, matte_s, old), (t, matte_t, new)):
            image = crop.cut(faces.images[rows])
            image = torch.lerp(image, image * matte + scene * (1 - matte), swap)
            if rings is None:
                rings = glasses(image, marks, a.glasses, g)
            views.append(colour(torch.lerp(image, tint.expand_as(image), rings)))
        feathered = (torch.rand(n, 1, 1, 1, generator=g) >= a.whole).float()
        mask = feather_mask(identity_points(self.size, self.size), 0.08)[:, None]
        return Batch(
            source=views[0],
            target=views[1],
            signal=signal,
            source_landmarks=old,
            target_landmarks=new,
            landmark_weight=self.weight.expand(n, -1),
            person=torch.maximum(matte_s, matte_t),
            focus=_around(new, self.size),
            gap=crop.cut(faces.gaps[t]) * paired[:, None, None, None],
            paired=paired,
            mask=torch.lerp(torch.ones_like(mask), mask, feathered),
        )
