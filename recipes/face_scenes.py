"""Training images for the face network (``face.py``): faces of the data with expressions of the FACS puppet,
cut out by their mattes and put on other backgrounds at random size, roll, light, colour and quality.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import puppet
import torch
import torch.nn.functional as F
from dense import unit_fields
from PIL import Image
from torch import Tensor

from atw_nodes.data import Faces, glasses
from atw_nodes.face_network import EYES, REACH, STRIDE
from atw_nodes.frames import EYE_X, EYE_Y
from atw_nodes.signals import EYE_CORNERS, INNER_LIP_RING
from atw_nodes.warp import identity_points, inverted, sample

SIZE = 128  # side of what the reader sees
VIEW, MIDDLE = 0.78, (0.5, 0.585)  # of the head-shot frame: brow to chin, and room to be off
CANVAS = 160  # side of the images that the finder learns from
POOL, RENEWED = 600, 2  # faces with expressions that the reader draws from; new ones a batch
AU25 = puppet.UNITS.index("AU25")
PICTURES = (
    *("brick", "cell", "chelsea", "coffee", "coins", "color", "grass", "gravel", "horse"),
    *("hubble_deep_field", "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text"),
)


def _synthetic(n: int, side: int, g: torch.Generator) -> Tensor:
    """[n,3,side,side] patterns without a face: clouds, stripes, checks, discs."""
    u = identity_points(side, side)[0]
    out = torch.zeros(n, 3, side, side)
    for i in range(n):
        image = torch.rand(3, 1, 1, generator=g).expand(3, side, side).clone()
        for cells in (3, 7, 17, 41, 97):
            amount = torch.rand((), generator=g) ** 2 * 0.5
            grey = torch.rand((), generator=g) < 0.6
            noise = torch.randn(1, 1 if grey else 3, cells, cells, generator=g) * amount
            image += F.interpolate(noise, size=(side, side), mode="bicubic")[0]
        angle, period = torch.rand((), generator=g) * 6.3, 2 + 40 * torch.rand((), generator=g) ** 2
        phase = (u[..., 0] * torch.cos(angle) + u[..., 1] * torch.sin(angle)) * side / period
        kind = int(torch.randint(5, (), generator=g))
        if kind == 0:
            image += 0.3 * torch.sign(torch.sin(phase * 6.28))
        elif kind == 1:
            other = (u[..., 1] * torch.cos(angle) - u[..., 0] * torch.sin(angle)) * side / period
            image += 0.3 * torch.sign(torch.sin(phase * 6.28) * torch.sin(other * 6.28))
        elif kind == 2:  # discs, often in pairs, as eyes are
            for _ in range(12):
                at, r = torch.rand(2, generator=g), 0.02 + 0.06 * torch.rand((), generator=g)
                colour = torch.rand(3, 1, 1, generator=g)
                for twin in range(2):
                    d = (u - at - torch.tensor([twin * 4.0, 0.0]) * r).norm(dim=-1)
                    image = torch.lerp(image, colour.expand_as(image), ((r - d) * side).clamp(0, 1) * 0.8)
        out[i] = image
    return out.clamp(0, 1)


def _pictures() -> list[Image.Image]:
    """Photos without people that scikit-image carries, where it is installed."""
    try:
        from skimage import data
    except ImportError:
        return []
    folder = Path(data.__file__).parent
    files = [p for n in PICTURES for p in folder.glob(f"{n}.*") if p.suffix in (".png", ".jpg")]
    return [Image.open(p).convert("RGB") for p in files]


def backgrounds(faces: Faces, g: torch.Generator, count: int = 420, side: int = 256) -> Tensor:
    """[count,3,side,side] uint8: synthetic patterns, pieces of pictures, and pieces of the portraits without
    eyes (hair, ears, a cheek with the mouth, neck, shirt, background).
    """
    made = [(_synthetic(count // 3, side, g) * 255).byte()]
    pictures = _pictures()
    for k in range(count // 3 if pictures else 0):
        im = pictures[k % len(pictures)]
        part = int(min(im.size) * (0.15 + 0.85 * float(torch.rand((), generator=g))))
        x, y = (int(torch.randint(s - part + 1, (), generator=g)) for s in im.size)
        piece = im.crop((x, y, x + part, y + part)).resize((side, side), Image.Resampling.BOX)
        made.append(torch.from_numpy(np.asarray(piece).copy()).permute(2, 0, 1)[None])
    work = faces.images.shape[-1]
    for k in range(count - sum(len(m) for m in made)):
        row = k % len(faces.images)
        eyes = faces.landmarks[row][list(EYE_CORNERS[0] + EYE_CORNERS[1])]
        while True:
            part = int(work * (0.12 + 0.3 * float(torch.rand((), generator=g))))
            x, y = (int(torch.randint(work - part + 1, (), generator=g)) for _ in range(2))
            inside = ((eyes * work - torch.tensor([x, y])) / part - 0.5).abs().amax(-1) < 0.55
            if not bool(inside.any()):
                break
        piece = faces.images[row : row + 1, :, y : y + part, x : x + part]
        made.append((F.interpolate(piece, size=(side, side), mode="bicubic").clamp(0, 1) * 255).byte())
    return torch.cat(made)


class Actors:
    """Every training face with what it needs to take on any expression of the puppet."""

    def __init__(self, faces: Faces, fields: Path, learnt: dict[str, np.ndarray] | None = None) -> None:
        self.faces = faces
        self.marks = faces.landmarks.float()  # fractions of the crop
        made = unit_fields(faces, fields, learnt)
        self.fields, self.moves = made["fields"], made["moves"]  # [N,17,2,G,G], [N,17,478,2]
        smiles = torch.tensor([r["expression"] == "smiling" for r in faces.rows])
        undone = made["units"].neg().clamp(0, 1.5)  # what it takes to undo a smile is what it shows
        self.base = torch.where(smiles[:, None], undone, torch.zeros_like(undone))
        self.levels = [(faces.images, faces.mattes)]
        for _ in range(2):
            self.levels.append(tuple(F.avg_pool2d(x, 2) for x in self.levels[-1]))  # type: ignore[arg-type]

    def intensities(self, n: int, g: torch.Generator) -> Tensor:
        """[n,17]: sparse random units; a fifth of the faces are left alone."""
        count = torch.randint(1, 5, (n, 1), generator=g)
        rank = torch.rand(n, len(puppet.UNITS), generator=g).argsort(1).argsort(1)
        amount = torch.rand(n, len(puppet.UNITS), generator=g) * 1.15 * (rank < count)
        amount = amount * (torch.rand(n, 1, generator=g) > 0.2)
        lids = [puppet.UNITS.index(u) for u in ("AU07", "AU45")]
        over = amount[:, lids].sum(1, keepdim=True).clamp_min(1)
        amount[:, lids] = amount[:, lids] / over  # lids cannot close further than shut
        return amount

    def act(self, rows: Tensor, amount: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(landmarks [n,478,2], units as shown [n,17], way back [n,2,G,G]) in fractions of the crop."""
        new = self.marks[rows] + torch.einsum("nu,nulc->nlc", amount, self.moves[rows])
        ahead = torch.einsum("nu,nucij->ncij", amount, self.fields[rows].float())
        return new, (self.base[rows] + amount).clamp(0, 1.5), inverted(ahead, 8)

    def cut(self, rows: Tensor, points: Tensor, back: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """(image, matte) at ``points`` [n,h,w,2] of the crops, expression applied. Beyond the crop its edge
        goes on, as a body does below the picture.
        """
        images, mattes = self.levels[level]
        where = points + sample(back, points).movedim(1, -1)
        both = sample(torch.cat([images[rows], mattes[rows]], 1), where)
        return both[:, :3], both[:, 3:]


def _mouths(image: Tensor, marks: Tensor, parted: Tensor, g: torch.Generator) -> Tensor:
    """Paint a dark inside with teeth where the puppet has parted lips by ``parted`` [n]."""
    size = image.shape[-1]
    u = identity_points(size, size)[0].reshape(-1, 2)
    for i in torch.nonzero(parted > 0.25).flatten().tolist():
        ring = marks[i][list(INNER_LIP_RING)]
        x, half = u[:, 0], len(ring) // 2
        upper, lower = ring[: half + 1].numpy(), torch.cat([ring[:1], ring[half:].flip(0)]).numpy()
        top, low = (torch.from_numpy(np.interp(x.numpy(), e[:, 0], e[:, 1])) for e in (upper, lower))
        inside = ((u[:, 1] - top) * size).clamp(0, 1) * ((low - u[:, 1]) * size).clamp(0, 1)
        inside = inside * (x > ring[0, 0]) * (x < ring[half, 0])
        dark = torch.tensor([0.25, 0.1, 0.1]) * (0.4 + torch.rand((), generator=g))
        teeth = torch.tensor([0.85, 0.82, 0.76]) * (0.5 + 0.5 * torch.rand((), generator=g))
        depth = (
            (u[:, 1] - top) / (low - top).clamp_min(1e-4) < 0.2 + 0.6 * torch.rand((), generator=g)
        ).float()
        colour = torch.lerp(dark[:, None], teeth[:, None], depth[None] * (torch.rand((), generator=g) < 0.7))
        alpha = inside.float().reshape(1, size, size)
        image[i] = torch.lerp(image[i], colour.reshape(3, size, size), alpha)
    return image


def photographed(x: Tensor, g: torch.Generator) -> Tensor:
    """Random light, colour, blur, noise and JPEG on [n,3,h,w] in [0,1]."""
    n, _, h, w = x.shape

    def one(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=g)

    light = F.interpolate(torch.randn(n, 1, 3, 3, generator=g) * 0.35 * one(), size=(h, w), mode="bicubic")
    tint = torch.exp(torch.randn(n, 3, 1, 1, generator=g) * 0.15)
    dark = torch.where(one() < 0.15, one(0.12, 0.5), one(0.6, 1.35))
    x = (x.clamp_min(1e-4) ** one(0.6, 1.6)) * tint * torch.exp(light) * dark
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * torch.where(one() < 0.15, torch.zeros(n, 1, 1, 1), one(0.4, 1.6))
    flat = (x - 0.5) * one(0.5, 1.15) + 0.5
    x = torch.where(one() < 0.3, flat, x)
    for _ in range(2):
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = torch.lerp(x, soft, torch.where(one() < 0.4, one(), torch.zeros(n, 1, 1, 1)))
    x = (x + torch.randn(x.shape, generator=g) * 0.05 * one() ** 2).clamp(0, 1)
    worse = torch.nonzero(torch.rand(n, generator=g) < 0.3).flatten().tolist()
    for i in worse:
        file = io.BytesIO()
        quality = int(torch.randint(20, 85, (), generator=g))
        Image.fromarray((x[i] * 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        x[i] = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1).float() / 255
    return x


def _similarity(scale: Tensor, angle: Tensor, aspect: Tensor, flip: Tensor) -> Tensor:
    """[n,2,2] from output to input."""
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    return torch.stack(
        [torch.stack([cos * flip * aspect, -sin], -1), torch.stack([sin * flip * aspect, cos], -1)], 1
    )


class Canvas(NamedTuple):
    """What the finder learns from; a cell is 4x4 pixels.

    heat: 1 midway between the eyes, falling off. eyes: as ``Finder`` regresses them. counts: 0 around faces
    too small or too large for one level of the pyramid, which another level sees, and around cut ones.
    """

    image: Tensor  # [n,3,C,C]
    heat: Tensor  # [n,C/4,C/4]
    eyes: Tensor  # [n,4,C/4,C/4]
    counts: Tensor  # [n,C/4,C/4]


class Played(NamedTuple):
    """Faces with expressions, in the data's crop."""

    image: Tensor  # [n,4,S,S] uint8, the fourth is the matte
    marks: Tensor  # [n,478,2] fractions of the crop
    units: Tensor  # [n,17] as shown
    moved: Tensor  # [n,478,2] what the expression did to the landmarks
    parted: Tensor  # [n] AU25 of a mouth that was closed and needs an inside


class Scenes:
    """Batches for both parts."""

    def __init__(self, faces: Faces, seed: int, fields: Path) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.actors = Actors(faces, fields)
        self.pool: Played | None = None
        self.turn = 0
        self.grounds = backgrounds(faces, self.random)
        mean = self.actors.marks.mean(0)
        mirrored = torch.stack([2 * mean[:, 0].mean() - mean[:, 0], mean[:, 1]], -1)
        self.mirror = torch.cdist(mirrored, mean).argmin(1)  # the point that a point becomes in a mirror

    def ground(self, n: int, side: int) -> Tensor:
        """Random squares of random backgrounds."""
        g = self.random
        rows = torch.randint(len(self.grounds), (n,), generator=g)
        scale = 0.3 + 0.9 * torch.rand(n, generator=g)
        turn = _similarity(scale, torch.rand(n, generator=g) * 6.28, torch.ones(n), torch.ones(n))
        shift = torch.rand(n, 1, 1, 2, generator=g) * 0.6 + 0.2
        points = torch.einsum("nij,hwj->nhwi", turn, identity_points(side, side)[0] - 0.5) + shift
        return sample(self.grounds[rows].float() / 255, 1 - (1 - points % 2).abs())

    def _played(self, n: int) -> Played:
        """``n`` of the faces with expressions, a few of which are new each time: acting costs more than
        everything else about a batch.
        """
        if self.pool is None:
            parts = [self._act(50) for _ in range(POOL // 50)]
            self.pool = Played(*(torch.cat(p) for p in zip(*parts, strict=True)))
        count = len(self.pool.image)
        for old, new in zip(self.pool, self._act(RENEWED), strict=True):
            at = (self.turn + torch.arange(RENEWED)) % count
            old[at] = new
        self.turn = (self.turn + RENEWED) % count
        rows = torch.randint(count, (n,), generator=self.random)
        return Played(*(t[rows] for t in self.pool))

    def _act(self, n: int) -> Played:
        g, actors = self.random, self.actors
        rows = torch.randint(len(actors.marks), (n,), generator=g)
        marks, units, back = actors.act(rows, actors.intensities(n, g))
        side = actors.faces.images.shape[-1]
        image = torch.cat(actors.cut(rows, identity_points(side, side).expand(n, -1, -1, -1), back, 0), 1)
        parted = units[:, AU25] * (actors.base[rows, AU25] < 0.1)
        return Played((image * 255).round().byte(), marks, units, marks - actors.marks[rows], parted)

    def _mirrored(self, marks: Tensor, flip: Tensor) -> Tensor:
        return torch.where((flip < 0)[:, None, None], marks[:, self.mirror], marks)

    def reader(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(crops [n,3,S,S], landmarks [n,478,2] in fractions of the crop, units [n,17], presence [n], how far
        the expression moved each landmark [n,478] in fractions of the data's crop).

        Presence 0: background alone, or a face far off its frame (its landmarks and units do not count).
        """
        g = self.random
        played = self._played(n)
        marks, units, moved = played.marks, played.units, played.moved

        near = torch.where(torch.rand(n, generator=g) < 0.6, 0.25, 1.0)  # as in the second reading

        def normal(k: float) -> Tensor:
            return torch.randn(n, generator=g).clamp(-2.2, 2.2) * k * near

        kind = torch.rand(n, generator=g)
        off = kind < 0.1  # a face, but nowhere near its frame: too large, too small, or aside
        aside = off & (torch.rand(n, generator=g) < 0.5)
        wrong = torch.exp((0.5 + 0.7 * torch.rand(n, generator=g)) * torch.sign(torch.randn(n, generator=g)))
        scale = torch.exp(normal(0.13)) * torch.where(off & ~aside, wrong, torch.ones(n))
        turned = 3.1416 * (off & (torch.rand(n, generator=g) < 0.3))
        angle, flip = normal(0.12) + turned, torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0)
        turn = _similarity(scale * VIEW, angle, torch.exp(normal(0.06)), flip)
        way = torch.rand(n, generator=g) * 6.2832
        far = aside * (0.28 + 0.5 * torch.rand(n, generator=g))
        shift = torch.stack([normal(0.05) + far * torch.cos(way), normal(0.05) + far * torch.sin(way)], -1)
        shift = shift + torch.tensor(MIDDLE) - 0.5
        u = identity_points(SIZE, SIZE)
        bend = torch.randn(n, 2, 4, 4, generator=g) * 0.01 * near[:, None, None, None]
        bend = F.interpolate(bend, size=(SIZE, SIZE), mode="bicubic")
        points = torch.einsum("nij,nhwj->nhwi", turn, u + bend.movedim(1, -1) - 0.5) + shift[:, None, None]
        image, matte = sample(played.image.float() / 255, points / 1.5 + 0.5).split((3, 1), 1)
        flat = (marks - 0.5) * 1.5 - shift[:, None]
        straight = flat @ torch.linalg.inv(turn).transpose(1, 2) + 0.5
        placed = straight
        for _ in range(4):
            placed = straight - sample(bend, placed[:, :, None])[..., 0].movedim(1, -1)
        placed, moved = self._mirrored(placed, flip), self._mirrored(moved, flip).norm(dim=-1)
        image = _mouths(image, placed, played.parted, g)
        ground = self.ground(n, SIZE)
        own = (torch.rand(n, 1, 1, 1, generator=g) < 0.25).float()
        alpha = torch.maximum(matte, own)
        alpha = alpha * (kind > 0.2).float()[:, None, None, None] + alpha * off.float()[:, None, None, None]
        image = torch.lerp(ground, image, alpha)
        presence = (kind > 0.2).float()
        rings = glasses(image, placed, 0.15, g)
        image = torch.lerp(image, torch.rand(n, 3, 1, 1, generator=g) * 0.4, rings)
        return photographed(image, g), placed, units, presence, moved

    def finder(self, n: int) -> Canvas:
        """``n`` canvases with up to two faces each."""
        g, cells = self.random, CANVAS // STRIDE
        canvas = Canvas(
            self.ground(n, CANVAS),
            torch.zeros(n, cells, cells),
            torch.zeros(n, 4, cells, cells),
            torch.ones(n, cells, cells),
        )
        near = torch.full((n, cells, cells), 1e9)
        for chance, whole in ((0.8, 0.2), (0.45, 0.0)):
            apart = 4.5 * torch.exp(torch.rand(n, generator=g) * float(np.log(30 / 4.5)))
            there = torch.rand(n, generator=g) < chance
            eyes = self._paste(canvas.image, apart, there, whole)
            self._target(canvas, near, eyes, there)
        return canvas._replace(image=photographed(canvas.image, g))

    def _paste(self, image: Tensor, apart: Tensor, there: Tensor, whole: float) -> Tensor:
        """Put a face with eyes ``apart`` pixels into every image that is ``there``; ``whole`` of them bring
        their background. Returns the eyes [n,2,2] in pixels.
        """
        g, actors, n = self.random, self.actors, len(image)
        rows = torch.randint(len(actors.marks), (n,), generator=g)
        marks, _, back = actors.act(rows, actors.intensities(n, g) * (torch.rand(n, 1, generator=g) < 0.6))
        flip = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0)
        per_pixel = 2 * EYE_X / 1.5 / apart  # fractions of the crop a pixel of the canvas
        aspect = torch.exp(torch.randn(n, generator=g) * 0.06)
        turn = _similarity(per_pixel, torch.randn(n, generator=g).clamp(-2, 2) * 0.33, aspect, flip)
        middle = torch.tensor([0.5, 0.5 + (EYE_Y - 0.5) / 1.5])  # between the eyes, in the crop
        at = torch.rand(n, 2, generator=g) * (CANVAS - 8) + 4
        u = identity_points(CANVAS, CANVAS) * CANVAS - at[:, None, None]
        points = torch.einsum("nij,nhwj->nhwi", turn, u) + middle
        fine, fine_matte = actors.cut(rows, points, back, 0 if float(apart.max()) > 22 else 1)
        rough, rough_matte = actors.cut(rows, points, back, 2)
        small = ((14 - apart) / 6).clamp(0, 1)[:, None, None, None]
        face, matte = torch.lerp(fine, rough, small), torch.lerp(fine_matte, rough_matte, small)
        body = torch.rand(n, 1, 1, 1, generator=g) < 0.6  # goes on below the crop, or ends there
        matte = matte * torch.maximum(body, (points - 0.5).abs().amax(-1)[:, None] < 0.5)
        matte = torch.maximum(matte, (torch.rand(n, 1, 1, 1, generator=g) < whole).float())
        image.copy_(torch.lerp(image, face, matte * there[:, None, None, None]))
        placed = (marks - middle) @ torch.linalg.inv(turn).transpose(1, 2) + at[:, None]
        placed = self._mirrored(placed, flip)
        eyes = torch.stack([placed[:, list(e)].mean(1) for e in EYE_CORNERS], 1)
        return torch.where(eyes[:, :1, :1] > eyes[:, 1:, :1], eyes.flip(1), eyes)

    def _target(self, canvas: Canvas, near: Tensor, eyes: Tensor, there: Tensor) -> None:
        """Enter faces with ``eyes`` [n,2,2] into the targets; ``near`` is how far each cell's face is."""
        cells = canvas.heat.shape[-1]
        centre = identity_points(cells, cells)[0] * CANVAS
        apart = (eyes[:, 0] - eyes[:, 1]).norm(dim=-1)
        away = (centre - eyes.mean(1)[:, None, None]).norm(dim=-1)
        over, there, wide = away / apart[:, None, None], there[:, None, None], apart[:, None, None]
        canvas.heat.masked_fill_(there & (over < 1.6), 0)  # a face behind this one
        visible = ((eyes - CANVAS / 2).abs().amax((1, 2)) < CANVAS / 2 - 1)[:, None, None]
        good = there & visible & (wide > EYES[0]) & (wide < EYES[1])
        canvas.counts.masked_fill_(there & ~good & (over < 1), 0)
        canvas.counts.masked_fill_(good & (over < 1), 1)
        bump = torch.exp(-0.5 * (away / (wide * 0.11).clamp_min(1.6)) ** 2)
        bump = bump / bump.flatten(1).amax(1).clamp_min(1e-6)[:, None, None]
        canvas.heat.copy_(torch.where(good, torch.maximum(canvas.heat, bump), canvas.heat))
        ways = ((eyes[:, :, None, None] - centre) / REACH).permute(0, 1, 4, 2, 3).flatten(1, 2)
        mine = good & (away < near) & (over < 0.6)
        canvas.eyes.copy_(torch.where(mine[:, None], ways, canvas.eyes))
        near.copy_(torch.where(mine, away, near))
