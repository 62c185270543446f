"""Batches for the paper's Algorithm 1: labelled photos, random crops, random driving signals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data import _around
from .losses import Batch
from .manifest import Manifest
from .pictures import Pictures
from .signals import UNITS
from .types import InputError, SignalKind, SignalSpec
from .warp import feather_mask, identity_points, sample

NOISE = 0.1  # added to a borrowed label of units, up or down
WHOLE = 0.3  # share of rows whose frame is not feathered, as a photo that is all frame has it
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class Jitter:
    """How far a training image is moved and recoloured. ``Jitter.none()`` leaves it alone.

    angle: radians. crop: how much of the side may be cut away. flip: chance of a mirror image. brightness,
    contrast, saturation: logarithms. hue: radians on the colour circle.
    """

    angle: float = 0.1
    crop: float = 0.15
    flip: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.25
    hue: float = 0.15

    @classmethod
    def none(cls) -> Jitter:
        return cls(0, 0, 0, 0, 0, 0, 0)


class _View:
    """One random crop and colour a row of a batch of ``n``; a mirror is part of the crop."""

    def __init__(self, n: int, jitter: Jitter, roomy: bool, g: torch.Generator) -> None:
        def spread(amount: float, *shape: int) -> Tensor:
            return (torch.rand(n, *shape, generator=g) * 2 - 1) * amount

        zoom = torch.rand(n, generator=g) * jitter.crop
        # a picture with a margin may be zoomed out of as well; one without may only be cut
        side = 1 + jitter.crop / 2 - zoom if roomy else 1 - zoom
        room = zoom[:, None] / 2
        self.shift = spread(1.0, 2) * (room + jitter.crop / 4 * roomy)
        angle = spread(jitter.angle) * (1.0 if roomy else 0.5)
        mirror = torch.where(torch.rand(n, generator=g) < jitter.flip, -1.0, 1.0)
        cos, sin = angle.cos() * side, angle.sin() * side
        self.matrix = torch.stack(
            [torch.stack([cos * mirror, -sin], -1), torch.stack([sin * mirror, cos], -1)], 1
        )
        self.gain, self.contrast = (
            spread(jitter.brightness, 1, 1, 1).exp(),
            spread(jitter.contrast, 1, 1, 1).exp(),
        )
        hue, chroma = spread(jitter.hue), spread(jitter.saturation).exp()
        self.colour = _recolouring(hue, chroma)

    def part(self, rows: slice) -> _View:
        """The view of some rows alone."""
        other = object.__new__(_View)
        other.__dict__ = {k: v[rows] for k, v in self.__dict__.items()}
        return other

    def points(self, u: Tensor) -> Tensor:
        """Canonical points [1 or B,...,2] -> points of the uncropped canonical square."""
        flat = u.reshape(len(u), -1, 2).expand(len(self.matrix), -1, -1) - 0.5
        return (flat @ self.matrix.transpose(1, 2) + 0.5 + self.shift[:, None]).reshape(-1, *u.shape[1:])

    def place(self, marks: Tensor) -> Tensor:
        """Inverse of ``points`` for landmarks [B,L,2]."""
        return (marks - 0.5 - self.shift[:, None]) @ torch.linalg.inv(self.matrix).transpose(1, 2) + 0.5

    def paint(self, image: Tensor) -> Tensor:
        x = image * self.gain
        grey = x.mean((1, 2, 3), keepdim=True)
        x = grey + (x - grey) * self.contrast
        return torch.einsum("bij,bjhw->bihw", self.colour, x).clamp(0, 1)


def _recolouring(hue: Tensor, chroma: Tensor) -> Tensor:
    """[B,3,3]: RGB turned by ``hue`` around grey in YIQ, its chroma multiplied."""
    turn = torch.zeros(len(hue), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = chroma * hue.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -chroma * hue.sin(), chroma * hue.sin()
    return torch.linalg.inv(_YIQ) @ turn @ _YIQ


class LabelSampler:
    """Draws batches of (photo, c_s, c_t, signal) from a manifest, every photo once an epoch.

    The target label is that of another random row (Algorithm 1's "randomly sample driving signals"); of units
    with a little noise. supervised: where the person has another photo with landmarks, that photo is the
    target, and its label the wanted one, so that losses on pairs have something to say; other rows count as
    unpaired.
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: SignalSpec,
        size: int,
        jitter: Jitter | None = None,
        seed: int = 0,
        supervised: bool = False,
        pictures: Pictures | None = None,
    ) -> None:
        self.manifest, self.spec, self.size = manifest, spec, size
        self.jitter, self.seed = jitter or Jitter(), seed
        self.labels = labels_of(manifest, spec)  # [M,N]
        self.marks = _marks_of(manifest) if supervised else None
        self.others = _others(manifest) if supervised else {}
        self.pictures = pictures or Pictures(manifest, math.ceil(size * manifest.margin))
        self.cursor = 0

    def state(self) -> dict[str, Any]:
        """Where in the data it is; ``restore`` goes on from there."""
        return {"cursor": self.cursor}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved place. The order of an epoch depends on the seed and on the number of rows."""
        self.cursor = int(state["cursor"])

    def _next(self, n: int) -> Tensor:
        """[n] rows, going on where the last batch ended; the photos of as many more are decoded meanwhile."""
        rows = self._rows_at(self.cursor, n)
        self.cursor += n
        self.pictures.ahead(self._rows_at(self.cursor, n))
        return torch.tensor(rows)

    def _rows_at(self, cursor: int, n: int) -> list[int]:
        """``n`` rows from a place in the endless row of epochs, each an order of its own."""
        rows: list[int] = []
        while len(rows) < n:
            epoch, at = divmod(cursor + len(rows), len(self.labels))
            order = torch.randperm(
                len(self.labels), generator=torch.Generator().manual_seed(self.seed * 100_003 + epoch)
            )
            rows += order[at : at + n - len(rows)].tolist()
        return rows

    def batch(self, n: int, g: torch.Generator, part: tuple[int, int] = (0, 1)) -> Batch:
        """Everything is drawn for ``n`` rows; images are made for the ``part`` (which, of how many) of
        them, so that several processes together see what one would.
        """
        rows, m = self._next(n), len(self.labels)
        donors = torch.randint(m, (n,), generator=g)
        paired = self._paired(rows, donors, g)
        noise = (torch.rand(n, len(self.spec.names), generator=g) * 2 - 1) * NOISE
        view = _View(n, self.jitter, self.manifest.margin > 1, g)
        whole, alpha = torch.rand(n, 1, 1, 1, generator=g) < WHOLE, torch.rand(n, 1, 1, 1, generator=g)
        which, count = part
        if n % count:
            raise InputError(f"batch {n} cannot be shared out to {count} processes; make it a multiple")
        mine = slice(which * (n // count), (which + 1) * (n // count))
        some = (
            rows[mine],
            donors[mine],
            paired[mine],
            noise[mine],
            view.part(mine),
            whole[mine],
            alpha[mine],
        )
        return self._made(*some)

    def fixed(self, rows: list[int], donors: list[int]) -> Batch:
        """The given photos as they are, each with the label of its donor, for sheets and measuring."""
        n, g = len(rows), torch.Generator().manual_seed(0)
        view = _View(n, Jitter.none(), False, g)
        zero, whole = torch.zeros(n, len(self.spec.names)), torch.zeros(n, 1, 1, 1, dtype=torch.bool)
        no = torch.zeros(n, dtype=torch.bool)
        alpha = torch.full((n, 1, 1, 1), 0.5)
        return self._made(torch.tensor(rows), torch.tensor(donors), no, zero, view, whole, alpha)

    def _paired(self, rows: Tensor, donors: Tensor, g: torch.Generator) -> Tensor:
        """[n] whether a row's donor is another photo of the same person; ``donors`` changes: half are."""
        draw = torch.rand(len(rows), 2, generator=g)
        paired = torch.zeros(len(rows), dtype=torch.bool)
        for k, row in enumerate(rows.tolist()):
            if (mates := self.others.get(row)) and draw[k, 0] < 0.5:
                donors[k] = mates[int(float(draw[k, 1]) * len(mates))]
                paired[k] = True
        return paired

    def _signals(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(signal, wanted label, signal back) from the labels c_s and c_j [n,N]."""
        if self.spec.kind == "relative":
            change = end - start
            return change, (start + change).clamp(0, 1), -change
        return end, end, start

    def _made(
        self,
        rows: Tensor,
        donors: Tensor,
        paired: Tensor,
        noise: Tensor,
        view: _View,
        whole: Tensor,
        alpha: Tensor,
    ) -> Batch:
        source, rows = self._pictured(rows, view)
        target = source
        if bool(paired.any()):
            other, found = self._pictured(donors, view)
            paired, donors = paired & (found == donors), found
            target = torch.where(paired[:, None, None, None], other, source)
        start, end = self.labels[rows], self.labels[donors]
        if self.spec.kind != "category":
            end = torch.where(paired[:, None], end, (end + noise).clamp(0, 1))
        signal, wanted, back = self._signals(start, end)
        n, size = len(rows), self.size
        old, new, weight = self._landmarks(rows, donors, paired, view)
        mask = feather_mask(identity_points(size, size), 0.08)[:, None].expand(n, -1, -1, -1)
        blank = torch.zeros(n, 1, size, size)
        focus = _around(new, size) * paired[:, None, None, None] if new.shape[1] else blank
        return Batch(
            source=source,
            target=target,
            signal=signal,
            source_landmarks=old,
            target_landmarks=new,
            landmark_weight=weight,
            person=torch.ones_like(blank),
            focus=focus,
            gap=blank,
            paired=paired.float(),
            mask=torch.where(whole, torch.ones_like(mask), mask),
            label=start,
            wanted=wanted,
            back=back,
            alpha=alpha,
        )

    def _pictured(self, rows: Tensor, view: _View) -> tuple[Tensor, Tensor]:
        """(images [n,3,S,S] as seen by ``view``, the rows they are of: a lost picture has a stand-in)."""
        pixels, used = self.pictures.get(rows.tolist())
        points = view.points(identity_points(self.size, self.size))
        image = sample(pixels.float() / 255, (points - 0.5) / self.manifest.margin + 0.5)
        return view.paint(image), torch.as_tensor(used)

    def _landmarks(
        self, rows: Tensor, donors: Tensor, paired: Tensor, view: _View
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Canonical landmarks before and after [n,L,2], weights [n,L]; L is 0 without supervision."""
        if self.marks is None:
            none = torch.zeros(len(rows), 0, 2)
            return none, none, none[..., 0]
        margin = self.manifest.margin
        old, new = (view.place((self.marks[r] - 0.5) * margin + 0.5) for r in (rows, donors))
        return old, new, paired.float()[:, None].expand(-1, old.shape[1])


def spec_of(manifest: Manifest, kind: SignalKind) -> SignalSpec:
    """What a generator trained on these labels is driven by."""
    if kind == "category":
        if len(manifest.categories) < 2:
            raise InputError(
                f"{manifest.path}: {len(manifest.categories)} categories "
                f"({', '.join(manifest.categories) or 'none'}); "
                'expected at least 2 in the column category, or AU columns and signal = "relative"'
            )
        neutral = tuple(float(c.lower() == "neutral") for c in manifest.categories)
        return SignalSpec("category", manifest.categories, neutral=neutral)
    if not manifest.units:
        raise InputError(
            f'{manifest.path}: no AU columns; expected some of {", ".join(UNITS)}, or signal = "category"'
        )
    if kind == "absolute":
        return SignalSpec("absolute", manifest.units)
    n = len(manifest.units)
    return SignalSpec("relative", manifest.units, low=(-1.0,) * n, high=(1.0,) * n)


def labels_of(manifest: Manifest, spec: SignalSpec) -> Tensor:
    """[M,N] absolute labels of every row: one-hot, or units, of which one that a row lacks is 0."""
    if spec.kind == "category":
        bare = [r for r in manifest.rows if r.category not in spec.names]
        if bare:
            raise InputError(
                f"{manifest.path}: {len(bare)} of {len(manifest.rows)} rows have no category, "
                f"{bare[0].image} is one; give them one or leave them out"
            )
        return torch.tensor([[float(r.category == c) for c in spec.names] for r in manifest.rows])
    return torch.tensor([[float(r.units.get(u, 0.0)) for u in spec.names] for r in manifest.rows])


def _marks_of(manifest: Manifest) -> Tensor:
    """[M,478,2] landmarks in fractions of the picture, from landmarks.npy beside the manifest."""
    from PIL import Image

    file = manifest.path.parent / "landmarks.npy"
    if not file.is_file() or any(r.landmarks is None for r in manifest.rows):
        raise InputError(
            f"{file}: losses on landmarks or pairs need it, with a row for every image; "
            "`python -m atw_nodes prepare` makes it, or set those weights to 0"
        )
    points = np.load(file, allow_pickle=False).astype(np.float32)
    sides = []
    for row in manifest.rows:
        with Image.open(row.image) as im:
            sides.append(im.width)
    index = [int(r.landmarks or 0) for r in manifest.rows]
    return torch.from_numpy(points[index]) / torch.tensor(sides)[:, None, None]


def _others(manifest: Manifest) -> dict[int, list[int]]:
    """{row: other rows of the same person}."""
    people: dict[str, list[int]] = {}
    for k, row in enumerate(manifest.rows):
        if row.subject:
            people.setdefault(row.subject, []).append(k)
    return {k: [o for o in rows if o != k] for rows in people.values() if len(rows) > 1 for k in rows}
