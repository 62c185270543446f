"""Detail where the mouth opens, against people's own smiles.

    python benchmarks/new_content.py DATA OUT --judge "PYTHON measure_face.py" [--markdown FILE]

DATA, the judge: see ``units.py``. Six people never trained on, at 1350 x 1350. Every neutral photo is given
the units measured on the person's smile. The truth is the smile, brought by an affine map from its lips to
the result's. Painted: what the generator makes of it. Pasted: the truth's own mouth reduced to 128 x 128 in
its place, which is what a perfect generator would paint. Measured where the gate is mostly shut, pixels
there alone. Sheets (photo, every kind of detail, truth) go to OUT.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor
from units import MEASURED, RIDGE, Judge, photos

from atw_nodes.checkpoints import Checkpoint, load_checkpoint
from atw_nodes.data import read_faces
from atw_nodes.detail import DETAILS, Detail
from atw_nodes.frames import frame_from_landmarks
from atw_nodes.generation import Low, generate
from atw_nodes.images import read_photo, write_still
from atw_nodes.pyramid import to_float
from atw_nodes.reswarp import Residuals, ReswarpConfig, correction, decompose, reswarp, warped
from atw_nodes.sheets import contact_sheet
from atw_nodes.signals import INNER_LIP_RING, OUTER_LIPS
from atw_nodes.tiles import Plane, Tile, canonical
from atw_nodes.types import Motion
from atw_nodes.warp import identity_points, sample

from au import HELD_OUT  # isort: skip  (recipes, on the path since units)
from dense import Actor, _base_units, learn  # isort: skip
from puppet import UNITS  # isort: skip

LIPS = sorted({*OUTER_LIPS, *INNER_LIP_RING})
SIZE = 128  # of what is painted
SHUT = 0.3  # of the residual is dropped at least, where it is measured
LEAST = 500  # pixels, or there is no new content
BANDS = ((0.0, 0.7), (0.7, 1.4), (1.4, 2.8), (2.8, 5.6))  # sigmas: pixels of periods to 3, 6, 12, 25
COLUMNS = ("PSNR", "high band", "SSIM", "GMSD", *(f"energy {i}" for i in range(1, 5)), "ms")


@dataclass(frozen=True)
class Case:
    """One person: photo, motion, truth in the result's pixels; what is painted, and what is pasted."""

    parts: Residuals
    motion: Motion
    truth: Tensor  # [1,3,H,W]
    refined: dict[str, Tensor]  # [1,3,S,S]
    box: Tile

    def cut(self, image: Tensor) -> Tensor:
        x0, y0, x1, y1 = self.box
        return to_float(image[..., y0:y1, x0:x1])

    def shut(self, refined: Tensor) -> Tensor:
        """[1,1,h,w] of the box: 1 where the gate is mostly shut."""
        drop = correction(self.parts, self.motion.field, refined, ReswarpConfig(detail="none")).drop
        assert drop is not None
        plane = Plane(self.parts.frame, torch.float32, torch.device("cpu"))
        return (plane.table(drop, self.box) > SHUT).float()

    def made(self, refined: Tensor, detail: Detail) -> Tensor:
        return next(reswarp(self.parts, self.motion, refined, ReswarpConfig(detail=detail)))


def brought(image: Tensor, source: np.ndarray, target: np.ndarray, size: tuple[int, int]) -> Tensor:
    """``image`` under the affine map that takes landmarks ``source`` to ``target``: [1,3,H,W] float."""
    back, *_ = np.linalg.lstsq(np.c_[target, np.ones(len(target))], source, rcond=None)
    height, width = size
    places = identity_points(height, width) * torch.tensor([width, height])
    places = places @ torch.from_numpy(back[:2]).float() + torch.from_numpy(back[2]).float()
    return sample(to_float(image), places / torch.tensor([image.shape[-1], image.shape[-2]]))


def around_lips(marks: np.ndarray, size: tuple[int, int], margin: float = 0.2) -> tuple[Tensor, Tile]:
    """([1,1,H,W] soft mask of the mouth, the box around it)."""
    big = Image.new("L", (2 * size[1], 2 * size[0]))
    lips = marks[list(OUTER_LIPS)]
    ImageDraw.Draw(big).polygon([tuple(2 * p) for p in lips], fill=255)
    mask = torch.from_numpy(np.asarray(big.resize(size[::-1]), np.float32) / 255)[None, None]
    (x0, y0), (x1, y1) = lips.min(0), lips.max(0)
    more = margin * (x1 - x0)
    return mask, (int(x0 - more), int(y0 - more), int(x1 + more), int(y1 + more))


def case(parts: Residuals, smile: Tensor, marks: tuple[np.ndarray, np.ndarray], low: Low) -> Case:
    """marks: the judge's landmarks of the smile, and of what is made without detail."""
    size = (parts.photo.shape[-2], parts.photo.shape[-1])
    truth = brought(smile, marks[0][LIPS], marks[1][LIPS], size)
    mask, box = around_lips(marks[1], size)
    mask = F.max_pool2d(canonical(mask.expand(-1, 3, -1, -1), parts.frame, SIZE)[:, :1], 5, 1, 2)
    for _ in range(2):
        mask = F.avg_pool2d(mask, 3, 1, 1)
    moved = canonical(next(warped(parts, low.motion)), parts.frame, SIZE)
    pasted = torch.lerp(moved, canonical(truth, parts.frame, SIZE), mask)
    return Case(parts, low.motion, truth, {"painted": low.refined, "pasted": pasted}, box)


def cases(data: Path, out: Path, judge: Judge, model: Checkpoint) -> dict[str, Case]:
    """Of every person with photos of full size; files of what was judged stay in ``out``."""
    people = [p.name.split("_")[0] for p in sorted((data / "hd").glob("*_neutral.jpg"))]
    files = {e: photos(data, out, e) for e in ("neutral", "smiling")}
    marks = judge([f for some in files.values() for f in some.values()])
    faces = read_faces(data / "faces", 32, exclude=HELD_OUT)
    learnt = learn(faces.landmarks.numpy(), faces.pairs(), _base_units(faces))
    made, results = {}, []
    for p in people:
        photo = read_photo(files["neutral"][p]).pixels
        frame = frame_from_landmarks(torch.from_numpy(marks[p].astype(np.float32)), *photo.shape[-2:])
        change = Actor(marks[p], marks[p][:1], learnt).fit(marks[f"{p}_true"], MEASURED, RIDGE)
        signal = model.signal.vector({u: float(v) for u, v in zip(UNITS, change, strict=True)})
        parts = decompose(photo, frame, SIZE)
        low = next(generate(model, parts, signal, [1.0]))
        results.append(out / f"{p}_made.png")
        write_still(results[-1], next(reswarp(parts, low.motion, low.refined, ReswarpConfig(detail="none"))))
        made[p] = parts, low
    seen = judge(results)
    found = {}
    for p, (parts, low) in made.items():
        smile = read_photo(files["smiling"][p]).pixels
        found[p] = case(parts, smile, (marks[f"{p}_true"], seen[f"{p}_made"]), low)
    return found


def light(image: Tensor) -> Tensor:
    return (image * image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blurred(x: Tensor, sigma: float) -> Tensor:
    if not sigma:
        return x
    reach = int(3 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, kernel, groups=x.shape[1]), kernel.mT, groups=x.shape[1])


def gradients(x: Tensor) -> Tensor:
    """Prewitt magnitude at half size."""
    x = F.pad(F.avg_pool2d(x, 2), (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[1.0, 0.0, -1.0]] * 3)[None, None] / 3
    return (F.conv2d(x, kernel) ** 2 + F.conv2d(x, kernel.mT) ** 2).sqrt()


def measured(made: Tensor, truth: Tensor, where: Tensor) -> list[float]:
    """The first of ``COLUMNS``, over ``where`` [1,1,h,w]. SSIM of a Gaussian window of 1.5; GMSD of Xue et
    al. (2014): 0 of equal images; energy: amplitude in each of ``BANDS`` over the truth's.
    """
    weight = where / where.sum()

    def mean(x: Tensor) -> float:
        return float((x.mean(1, keepdim=True) * weight).sum())

    def fine(x: Tensor) -> Tensor:
        return x - F.avg_pool2d(F.pad(x, (4, 4, 4, 4), mode="replicate"), 9, 1)

    decibels = [-10 * np.log10(mean((f(made) - f(truth)) ** 2)) for f in (lambda x: x, fine)]
    a, b = blurred(made, 1.5), blurred(truth, 1.5)
    va, vb = blurred(made**2, 1.5) - a**2, blurred(truth**2, 1.5) - b**2
    both = blurred(made * truth, 1.5) - a * b
    ssim = (2 * a * b + 1e-4) * (2 * both + 9e-4) / ((a**2 + b**2 + 1e-4) * (va + vb + 9e-4))
    x, y, c = gradients(light(made)), gradients(light(truth)), 170 / 255**2
    similar, half = (2 * x * y + c) / (x**2 + y**2 + c), F.avg_pool2d(where, 2)
    middle = (similar * half).sum() / half.sum()
    spread = float((((similar - middle) ** 2 * half).sum() / half.sum()).sqrt())
    return [*decibels, mean(ssim), spread, *(_energy(made, truth, weight, *band) for band in BANDS)]


def _energy(made: Tensor, truth: Tensor, weight: Tensor, low: float, high: float) -> float:
    a, b = (blurred(light(x), low) - blurred(light(x), high) for x in (made, truth))
    return float(((a**2 * weight).sum() / (b**2 * weight).sum()).sqrt())


def rows(found: dict[str, Case], kind: str) -> tuple[list[str], list[list[Tensor]]]:
    """Lines of a table, and of a sheet."""
    values: dict[str, list[list[float]]] = {d: [] for d in DETAILS}
    pictures, used = [], []
    for person, one in found.items():
        refined, truth = one.refined[kind], one.cut(one.truth)
        where, views = one.shut(refined), [one.cut(one.parts.photo)]
        for d in DETAILS:
            one.made(refined, d)  # what is made once a clip
            begun = time.perf_counter()
            views.append(one.cut(one.made(refined, d)))
            spent = 1000 * (time.perf_counter() - begun)
            if where.sum() >= LEAST:
                values[d].append([*measured(views[-1], truth, where), spent])
        used += [person] * bool(where.sum() >= LEAST)
        pictures.append([*views, truth])
    lines = [f"{kind}, mean of {len(used)} ({', '.join(used)}):", "", f"| detail | {' | '.join(COLUMNS)} |"]
    lines.append("|---" * (len(COLUMNS) + 1) + "|")
    for d, some in values.items():
        digits = (2, 2, 3, 3, 2, 2, 2, 2, 0)
        means = [f"{m:.{n}f}" for m, n in zip(np.mean(some, 0), digits, strict=True)]
        lines.append(f"| {d} | {' | '.join(means)} |")
    return [*lines, ""], pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--checkpoint", default="atw-au-128")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, judge = load_checkpoint(args.checkpoint), Judge(args.judge, args.out)
    found, lines = cases(args.data, args.out, judge, model), []
    for kind in ("painted", "pasted"):
        more, pictures = rows(found, kind)
        lines += more
        views = [[F.interpolate(v, (240, 360), mode="bicubic").clamp(0, 1) for v in r] for r in pictures]
        write_still(args.out / f"{kind}.png", contact_sheet(views, ("photo", *DETAILS, "truth"), 360))
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
