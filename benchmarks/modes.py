"""Which ResWarp is best, against a truth that favours none of them.

    python benchmarks/modes.py DATA/hd LANDMARKS [--checkpoint FILE] [--markdown FILE]

DATA/hd: NAME_neutral.jpg and NAME_smiling.jpg. LANDMARKS: NAME_neutral.npy and NAME_smiling.npy, [478,2]
pixels of the MediaPipe mesh. Every person's head-shot frame is resampled to 1024² first.

Truths made from one photo: it is moved by a field with detail beyond the low grid (512² cells), the light
changes smoothly, and (second table) the person's own open mouth is pasted in. ResWarp gets the field averaged
to 128² and R = down(truth). Third table: the true smile of the same person; R and motion are the generator's,
driven by the units measured between the two photos.

PSNR in dB: whole image, [band above 9 px: the image minus its 9-px mean], {box around the mouth}.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from atw_nodes.checkpoints import DEFAULT, load_checkpoint
from atw_nodes.frames import frame_from_landmarks
from atw_nodes.images import read_photo
from atw_nodes.pyramid import downsample, upsample
from atw_nodes.reswarp import ReswarpConfig, ReswarpMode, decompose, reswarp, warped
from atw_nodes.signals import LIP_CORNERS, OUTER_LIPS, unit_change
from atw_nodes.tiles import canonical
from atw_nodes.types import Motion
from atw_nodes.warp import backward_warp

SIDE, LOW = 1024, 128


@dataclass(frozen=True)
class Person:
    name: str
    neutral: Tensor  # [1,3,SIDE,SIDE]
    smiling: Tensor
    marks: dict[str, np.ndarray]  # [478,2] pixels of the SIDE² image


def people(folder: Path, landmarks: Path) -> Iterator[Person]:
    for file in sorted(folder.glob("*_neutral.jpg")):
        images, marks, name = {}, {}, file.stem.removesuffix("_neutral")
        for kind in ("neutral", "smiling"):
            photo = read_photo(folder / f"{name}_{kind}.jpg")
            points = np.load(landmarks / f"{name}_{kind}.npy")
            frame = frame_from_landmarks(torch.from_numpy(points), photo.height, photo.width)
            images[kind] = canonical(photo.pixels, frame, SIDE)
            (a, b, x), (c, d, y) = frame.inverse()
            marks[kind] = (points @ np.array([[a, c], [b, d]]) + [x, y]) * SIDE
        yield Person(name, images["neutral"], images["smiling"], marks)


def wild_field(generator: torch.Generator) -> Tensor:
    """[1,2,512,512]: smooth motion of up to 4 % of the frame, and detail finer than a 128² grid can hold."""
    field = torch.zeros(1, 2, 512, 512)
    for cells, amount in ((5, 0.012), (24, 0.002), (200, 0.0004)):
        part = torch.randn(1, 2, cells, cells, generator=generator)
        field += amount * F.interpolate(part, size=(512, 512), mode="bicubic")
    return field


def relit(image: Tensor, generator: torch.Generator) -> Tensor:
    light = F.interpolate(
        torch.randn(1, 1, 4, 4, generator=generator) * 0.1, size=image.shape[-2:], mode="bicubic"
    )
    return (image * (1 + light)).clamp(0, 1)


def paste_mouth(image: Tensor, person: Person) -> Tensor:
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon([tuple(person.marks["smiling"][i]) for i in OUTER_LIPS], fill=255)
    soft = torch.from_numpy(np.asarray(mask, np.float32) / 255)[None, None]
    soft = F.avg_pool2d(F.pad(soft, (6, 6, 6, 6)), 13, 1)
    return torch.lerp(image, person.smiling, soft)


def results(photo: Tensor, motion: Motion, refined: Tensor) -> dict[str, Tensor]:
    """Every way of making the high-resolution frame, by name."""
    residuals = decompose(photo, size=LOW)

    def run(mode: ReswarpMode, gate: bool = False) -> Tensor:
        return next(reswarp(residuals, motion, refined, ReswarpConfig(mode, gate=gate)))

    return {
        "W alone": next(warped(residuals, motion)),
        "up(R)": upsample(refined, (SIDE, SIDE)),
        "vanilla": run(ReswarpMode.VANILLA),
        "multiscale": run(ReswarpMode.MULTISCALE),
        "aligned": run(ReswarpMode.ALIGNED),
        "aligned + gate": run(ReswarpMode.ALIGNED, gate=True),
    }


def high(image: Tensor) -> Tensor:
    return image - F.avg_pool2d(F.pad(image, (4, 4, 4, 4), mode="replicate"), 9, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def score(result: Tensor, truth: Tensor, mouth: tuple[slice, slice]) -> tuple[float, float, float]:
    result, (rows, columns) = result.clamp(0, 1), mouth
    box = psnr(result[..., rows, columns], truth[..., rows, columns])
    return psnr(result, truth), psnr(high(result), high(truth)), box


def mouth_box(marks: np.ndarray) -> tuple[slice, slice]:
    a, b = (marks[i] for i in LIP_CORNERS)
    half = np.linalg.norm(b - a) * 0.7
    x, y = (a + b) / 2
    return slice(int(y - half * 0.6), int(y + half * 0.6)), slice(int(x - half), int(x + half))


def made_truths(
    person: Person, seed: int
) -> Iterator[tuple[str, dict[str, Tensor], Tensor, tuple[slice, slice]]]:
    g = torch.Generator().manual_seed(seed)
    field = wild_field(g)
    moved = relit(backward_warp(person.neutral, upsample(field, (SIDE, SIDE))), g)
    motion = Motion(downsample(field, (LOW, LOW)), torch.ones(1))
    for table, truth in (("no new content", moved), ("open mouth pasted in", paste_mouth(moved, person))):
        found = results(person.neutral, motion, downsample(truth, (LOW, LOW)))
        yield table, found, truth, mouth_box(person.marks["smiling"])


@torch.no_grad()
def generated_truth(
    person: Person, checkpoint: str
) -> tuple[str, dict[str, Tensor], Tensor, tuple[slice, slice]]:
    loaded = load_checkpoint(checkpoint)
    units = unit_change(person.marks["neutral"], person.marks["smiling"], loaded.signal.names)
    out = loaded.generator(downsample(person.neutral, (LOW, LOW)), torch.from_numpy(units)[None])
    found = results(person.neutral, Motion(out.field, torch.ones(1)), out.refined)
    return "true smile, generated R", found, person.smiling, mouth_box(person.marks["smiling"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hd", type=Path)
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    tables: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for seed, person in enumerate(people(args.hd, args.landmarks)):
        cases = [*made_truths(person, seed), generated_truth(person, args.checkpoint)]
        for table, found, truth, mouth in cases:
            for name, image in found.items():
                tables.setdefault(table, {}).setdefault(name, []).append(score(image, truth, mouth))
    lines = []
    for table, rows in tables.items():
        count = len(next(iter(rows.values())))
        lines += [
            f"\n{table} ({count} people, dB)\n",
            "| | whole | above 9 px | mouth |",
            "|---|---|---|---|",
        ]
        lines += [f"| {n} | " + " | ".join(f"{v:.1f}" for v in np.mean(r, 0)) + " |" for n, r in rows.items()]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
