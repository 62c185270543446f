"""How much of a photo's resolution ``lift`` gives back to another animator's small frames.

    python benchmarks/lift.py [DATA] [--people 6] [--sizes 128 256 512] [--markdown docs/lift.md]

DATA: a folder with hd/NAME_neutral.jpg and hd/NAME_smiling.jpg; without it, the drawn portrait alone.

Frames of known truth: the photo is moved by a field with detail beyond any small grid (5, 24 and 200 cells),
the light changes smoothly by 10 %, and, second table, the person's own smiling mouth is pasted in. The truth
is reduced to a small frame, all that ``lift`` sees. Third table: the frame is the same person's other photo,
smiling, as another shot saw it.

Rows: the small frame enlarged (bicubic); the paper's vanilla mode, and aligned with its gate, with the motion
that ``lift`` found; ``lift``; and ``lift`` with the true field, averaged to the frame's grid: the ceiling.
PSNR in dB of the whole image, its band above 9 px, the head, the mouth. fine: how much of the truth's
contrast finer than 9 px the head shows. --sheets FOLDER: pictures to look at.
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

from atw_nodes.faces import Face, find
from atw_nodes.images import read_photo, write_still
from atw_nodes.lift import estimate_motion, lift
from atw_nodes.metrics import Box, high_band_psnr, mouth_box, psnr
from atw_nodes.pyramid import downsample, to_float, upsample
from atw_nodes.reswarp import ReswarpConfig, decompose, reswarp
from atw_nodes.signals import OUTER_LIPS
from atw_nodes.types import Motion
from atw_nodes.warp import backward_warp, identity_points, sample

PORTRAIT = Path(__file__).resolve().parents[1] / "assets" / "portrait-4k.jpg"
TABLES = ("moved and relit", "and a mouth opened", "another photo of the person")


@dataclass(frozen=True)
class Case:
    """photo: uint8. truth: what a small frame is made of. field: the true one, where it is known."""

    table: str
    photo: Tensor
    truth: Tensor
    field: Tensor | None
    head: Box
    mouth: Box


def wild_field(g: torch.Generator) -> Tensor:
    """[1,2,512,512]: motion of up to 4 % of the frame, with detail finer than a 128² grid can hold."""
    field = torch.zeros(1, 2, 512, 512)
    for cells, amount in ((5, 0.012), (24, 0.002), (200, 0.0004)):
        part = torch.randn(1, 2, cells, cells, generator=g)
        field += amount * F.interpolate(part, size=(512, 512), mode="bicubic")
    return field


def relit(image: Tensor, g: torch.Generator) -> Tensor:
    light = torch.randn(1, 1, 4, 4, generator=g) * 0.1
    return (image * (1 + F.interpolate(light, size=image.shape[-2:], mode="bicubic"))).clamp(0, 1)


def head_box(face: Face, height: int, width: int) -> Box:
    (x0, y0), (x1, y1) = face.landmarks.min(0), face.landmarks.max(0)
    w, h = x1 - x0, y1 - y0
    left, top = max(0, int(x0 - 0.15 * w)), max(0, int(y0 - 0.3 * h))
    return left, top, min(width, int(x1 + 0.15 * w)), min(height, int(y1 + 0.1 * h))


def pasted(image: Tensor, face: Face, other: Tensor, its: Face) -> Tensor:
    """``image`` with the mouth of ``other``, brought over by the eyes of both."""
    height, width = image.shape[-2:]
    to_face, from_face = np.array(face.frame.inverse()), np.array(its.frame.matrix)
    turn = from_face[:, :2] @ to_face[:, :2]
    move = from_face[:, :2] @ to_face[:, 2] + from_face[:, 2]
    at = identity_points(height, width).double() * torch.tensor([width, height])
    at = at @ torch.from_numpy(turn).T + torch.from_numpy(move)
    there = sample(other, (at / torch.tensor([other.shape[-1], other.shape[-2]])).float())
    lips = (its.landmarks - move) @ np.linalg.inv(turn).T
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([tuple(lips[i]) for i in OUTER_LIPS], fill=255)
    soft = torch.from_numpy(np.asarray(mask, np.float32) / 255)[None, None]
    return torch.lerp(image, there, F.avg_pool2d(F.pad(soft, (6, 6, 6, 6)), 13, 1))


def made_cases(photo: Tensor, face: Face, other: tuple[Tensor, Face] | None, seed: int) -> Iterator[Case]:
    g = torch.Generator().manual_seed(seed)
    height, width = photo.shape[-2:]
    field = wild_field(g)
    moved = relit(backward_warp(to_float(photo), upsample(field, (height, width))), g)
    head, mouth = head_box(face, height, width), mouth_box(face.landmarks, height, width, 0.15)
    yield Case(TABLES[0], photo, moved, field, head, mouth)
    if other is None:
        return
    yield Case(TABLES[1], photo, pasted(moved, face, to_float(other[0]), other[1]), field, head, mouth)
    boxes = head_box(other[1], height, width), mouth_box(other[1].landmarks, height, width, 0.15)
    yield Case(TABLES[2], photo, to_float(other[0]), None, *boxes)


def cases(data: Path | None, people: int) -> Iterator[tuple[str, Case]]:
    if data is None:
        photo = (downsample(read_photo(PORTRAIT).pixels, (1350, 1350)) * 255).round().byte()
        yield from (("drawn", c) for c in made_cases(photo, find(photo)[0], None, 0))
        return
    files = sorted((data / "hd").glob("*_neutral.jpg"))[:people]
    for seed, file in enumerate(files):
        name = file.stem.removesuffix("_neutral")
        photo, other = (read_photo(data / "hd" / f"{name}_{k}.jpg").pixels for k in ("neutral", "smiling"))
        yield from ((name, c) for c in made_cases(photo, find(photo)[0], (other, find(other)[0]), seed))


def results(case: Case, size: int) -> dict[str, Tensor]:
    """Every way of making the large frame, by name."""
    photo, small = to_float(case.photo), downsample(case.truth, (size, size))
    shape = (photo.shape[-2], photo.shape[-1])
    ((motion, _),) = estimate_motion(photo, [small])
    parts = decompose(photo, size=size)

    def reswarped(config: ReswarpConfig) -> Tensor:
        return next(reswarp(parts, motion, small, config))

    made = {
        "bicubic": upsample(small, shape, "bicubic"),
        "vanilla (paper)": reswarped(ReswarpConfig.paper()),
        "aligned": reswarped(ReswarpConfig()),
        "lift": next(lift(photo, [small])),
    }
    if case.field is not None:
        true = Motion(downsample(case.field, (size, size)), torch.ones(1))
        made["lift, true field"] = next(lift(photo, [small], motion=true))
    return {name: image.clamp(0, 1) for name, image in made.items()}


def within(image: Tensor, box: Box) -> Tensor:
    return image[..., box[1] : box[3], box[0] : box[2]]


def contrast(image: Tensor) -> float:
    return float((image - F.avg_pool2d(F.pad(image, (4, 4, 4, 4), mode="replicate"), 9, 1)).std())


def scores(image: Tensor, case: Case) -> list[float]:
    head, mouth = (psnr(within(image, b), within(case.truth, b)) for b in (case.head, case.mouth))
    fine = contrast(within(image, case.head)) / contrast(within(case.truth, case.head))
    return [psnr(image, case.truth), high_band_psnr(image, case.truth), head, mouth, 100 * fine]


def sheet(folder: Path, name: str, case: Case, size: int, made: dict[str, Tensor]) -> None:
    """The heads side by side, at full resolution, and the mouths below at twice their size."""
    views = [*(made[k] for k in ("bicubic", "vanilla (paper)", "lift")), case.truth]
    head = torch.cat([within(v, case.head) for v in views], -1)
    mouth = torch.cat([within(v, case.mouth) for v in views], -1)
    row = upsample(mouth, (round(mouth.shape[-2] * head.shape[-1] / mouth.shape[-1]), head.shape[-1]))
    path = folder / f"{name}_{TABLES.index(case.table)}_{size}.png"
    write_still(path, torch.cat([head, row], -2).clamp(0, 1))


def table(rows: dict[tuple[int, str], list[list[float]]]) -> list[str]:
    lines = ["| frame | | whole | above 9 px | head | mouth | fine |", "|---|---|---|---|---|---|---|"]
    for (size, name), values in rows.items():
        *decibels, fine = np.mean(values, 0)
        cells = " | ".join(f"{v:.1f}" for v in decibels)
        lines.append(f"| {size} | {name} | {cells} | {fine:.0f} % |")
    return lines


def write(path: Path, text: str) -> None:
    """Into ``path``: between its marks, or all of it where it has none."""
    begin, end = "<!-- measured -->\n", "<!-- end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in old and end in old:
        head, tail = old.split(begin)[0], old.split(end)[1]
        text = f"{head}{begin}\n{text}\n{end}{tail}"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    tables: dict[str, dict[tuple[int, str], list[list[float]]]] = {}
    for name, case in cases(args.data, args.people):
        for size in args.sizes:
            made = results(case, size)
            for row, image in made.items():
                found = scores(image, case)
                tables.setdefault(case.table, {}).setdefault((size, row), []).append(found)
                print(f"{name}; {case.table}; {size}; {row};", *(f"{v:.2f}" for v in found), flush=True)
            if args.sheets:
                args.sheets.mkdir(parents=True, exist_ok=True)
                sheet(args.sheets, name, case, size, made)
    lines = []
    for title, rows in tables.items():
        rows = dict(sorted(rows.items(), key=lambda item: item[0][0]))
        count = len(next(iter(rows.values())))
        lines += [f"\n### {title} ({count} {'photo' if count == 1 else 'people'}, dB)\n", *table(rows)]
    print("\n".join(lines))
    if args.markdown:
        write(args.markdown, "\n".join(lines).strip() + "\n")


if __name__ == "__main__":
    main()
