"""How motion and image are up-sampled in ResWarp (the paper's ablation, its Fig. 11), and which mode.

    python benchmarks/upsampling.py [DATA/hd] [--out docs/study.md]

The drawn portrait at 4096², and, where a folder with NAME_neutral.jpg is given, each person's head-shot frame
at 1024². The truth favours no mode: the photo moved by a field with detail beyond the low grid (512² cells),
in another light (``modes.py``). ResWarp gets the field averaged to 128² and R = down(truth).

Tables go between the marks in --out, crops of the portrait alone beside it into ``figures``.
whole, fine (the band that a grid of 128² cannot hold), mouth: PSNR in dB. seams: how much more the error
changes across the borders of the 128² cells than elsewhere; 1 is no seam.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from atw_nodes.faces import find  # noqa: E402
from atw_nodes.images import read_photo  # noqa: E402
from atw_nodes.pyramid import Upsampling, downsample, to_float, upsample  # noqa: E402
from atw_nodes.reswarp import ReswarpConfig, ReswarpMode, decompose, reswarp, warped  # noqa: E402
from atw_nodes.sheets import contact_sheet  # noqa: E402
from atw_nodes.tiles import canonical  # noqa: E402
from atw_nodes.types import Motion  # noqa: E402
from atw_nodes.warp import backward_warp  # noqa: E402
from benchmarks.modes import mouth_box, psnr, relit, wild_field  # noqa: E402

LOW, SIDE, CROP = 128, 1024, 288
MARKS = ("<!-- study -->\n", "<!-- /study -->")
WAYS: tuple[tuple[Upsampling, Upsampling], ...] = (  # of the motion, of the image
    ("nearest", "nearest"),
    ("nearest", "bilinear"),
    ("bilinear", "nearest"),
    ("bilinear", "bilinear"),
    ("bilinear", "bicubic"),
    ("bicubic", "bilinear"),
    ("bicubic", "bicubic"),
)
PLACES = {"eye": (2190, 1630), "mouth": (2050, 2300), "jaw": (2270, 2370)}  # crops of the drawn portrait


class Score(NamedTuple):
    whole: float
    fine: float
    mouth: float
    seams: float


@dataclass(frozen=True)
class Case:
    """A photo [1,3,H,H] uint8, what it is to become, and what ResWarp is given for it."""

    photo: Tensor
    mouth: tuple[slice, slice]
    truth: Tensor  # float
    field: Tensor  # [1,2,LOW,LOW]
    refined: Tensor
    fine: Tensor  # of the truth


def case_of(photo: Tensor, mouth: tuple[slice, slice], seed: int) -> Case:
    g = torch.Generator().manual_seed(seed)
    field, size = wild_field(g), (photo.shape[-2], photo.shape[-1])
    truth = relit(backward_warp(to_float(photo), upsample(field, size)), g)
    low = (LOW, LOW)
    return Case(photo, mouth, truth, downsample(field, low), downsample(truth, low), fine(truth))


def portrait() -> Case:
    photo = read_photo(ROOT / "assets" / "portrait-4k.jpg").pixels
    return case_of(photo, mouth_box(find(photo)[0].landmarks), 0)


def people(folder: Path) -> Iterator[Case]:
    for seed, file in enumerate(sorted(folder.glob("*_neutral.jpg"))):
        photo = read_photo(file).pixels
        face = find(photo)[0]
        (a, b, x), (c, d, y) = face.frame.inverse()
        marks = (face.landmarks @ np.array([[a, c], [b, d]]) + [x, y]) * SIDE
        square = (canonical(photo, face.frame, SIDE).clamp(0, 1) * 255).round().byte()
        yield case_of(square, mouth_box(marks), seed)


def made(case: Case, mode: ReswarpMode, way: tuple[Upsampling, Upsampling]) -> Tensor:
    """A frame. The motion is up-sampled beforehand: at pixel centres ResWarp's own bilinear reading is
    exact.
    """
    field = upsample(case.field, (case.photo.shape[-2], case.photo.shape[-1]), way[0])
    motion = Motion(field, torch.ones(1))
    config = ReswarpConfig(mode, upsample=way[1])
    return to_float(next(reswarp(decompose(case.photo, size=LOW), motion, case.refined, config)))


def anchors(case: Case) -> Iterator[tuple[str, Tensor]]:
    """What is no ResWarp: the warped photo alone, and the small result enlarged."""
    motion = Motion(case.field, torch.ones(1))
    yield "W alone", to_float(next(warped(decompose(case.photo, size=LOW), motion)))
    for way in ("nearest", "bilinear", "bicubic"):
        yield f"up(R), {way}", upsample(case.refined, (case.photo.shape[-2], case.photo.shape[-1]), way)


def fine(image: Tensor) -> Tensor:
    """The residual band: what a grid of 128² cannot hold."""
    return image - upsample(downsample(image, (LOW, LOW)), (image.shape[-2], image.shape[-1]))


def seams(error: Tensor) -> float:
    cell = error.shape[-1] // LOW
    step = (error[..., 1:] - error[..., :-1]).abs().mean((0, 1, 2))
    border = torch.arange(1, error.shape[-1]) % cell == 0
    return float(step[border].mean() / step[~border].mean())


def score(case: Case, result: Tensor) -> Score:
    rows, columns = case.mouth
    result = result.clamp(0, 1)
    mouth = psnr(result[..., rows, columns], case.truth[..., rows, columns])
    band = psnr(fine(result), case.fine)
    return Score(psnr(result, case.truth), band, mouth, seams(result - case.truth))


def scored(case: Case) -> dict[str, dict[str, Score]]:
    """{mode: {how it was up-sampled: score}}."""
    table = {"no residuals": {name: score(case, image) for name, image in anchors(case)}}
    for mode in ReswarpMode:
        table[mode.value] = {f"{m}, {i}": score(case, made(case, mode, (m, i))) for m, i in WAYS}
    return table


def mean(tables: list[dict[str, dict[str, Score]]]) -> dict[str, dict[str, Score]]:
    return {
        mode: {row: Score(*np.mean([t[mode][row] for t in tables], 0).tolist()) for row in rows}
        for mode, rows in tables[0].items()
    }


def markdown(title: str, table: dict[str, dict[str, Score]]) -> list[str]:
    lines = [f"### {title}", ""]
    for mode, rows in table.items():
        head = mode if mode == "no residuals" else f"{mode}: motion, image"
        lines += [f"| {head} | whole | fine | mouth | seams |", "|---|---|---|---|---|"]
        best = max(s.whole for s in rows.values())
        for name, s in rows.items():
            shown = f"**{name}**" if s.whole > best - 0.05 else name
            lines.append(f"| {shown} | {s.whole:.1f} | {s.fine:.1f} | {s.mouth:.1f} | {s.seams:.2f} |")
        lines.append("")
    return lines


def crop(image: Tensor, place: str) -> Tensor:
    x, y = PLACES[place]
    return image[..., y : y + CROP, x : x + CROP]


def sheet(case: Case, columns: dict[str, Tensor], place: str, out: Path) -> None:
    """Crops pixel by pixel, below them their error four times amplified on grey. Columns are whole images."""
    truth, cut = crop(case.truth, place), {k: crop(v, place) for k, v in columns.items()}
    errors = [(0.5 + 4 * (image - truth)).clamp(0, 1) for image in cut.values()]
    rows = [[truth, *cut.values()], [crop(to_float(case.photo), place), *errors]]
    page = contact_sheet(rows, ["truth; the photo below", *cut], CROP)
    Image.fromarray(page.permute(1, 2, 0).numpy()).save(out, quality=85, optimize=True)
    print(out, flush=True)


def figures(case: Case, folder: Path) -> None:
    """Both up-sampled alike, as in the paper's Fig. 11, in vanilla; then the modes."""
    folder.mkdir(parents=True, exist_ok=True)
    alike: dict[str, Tensor] = {}
    for way in ("nearest", "bilinear", "bicubic"):
        alike[way] = made(case, ReswarpMode.VANILLA, (way, way))
    found = dict(anchors(case))
    kinds = {"W alone": found["W alone"], "up(R)": found["up(R), bilinear"]}
    kinds |= {m.value: made(case, m, ("bilinear", "bilinear")) for m in ReswarpMode}
    for place in PLACES:
        sheet(case, alike, place, folder / f"upsampling-{place}.jpg")
        sheet(case, kinds, place, folder / f"modes-{place}.jpg")


def put(path: Path, lines: list[str]) -> None:
    """``lines`` in place of what is between the marks."""
    text = path.read_text(encoding="utf-8") if path.exists() else "".join(MARKS)
    head, rest = text.split(MARKS[0], 1)
    tail = rest.split(MARKS[1], 1)[1]
    path.write_text(head + MARKS[0] + "\n".join(lines) + MARKS[1] + tail, encoding="utf-8")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hd", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "study.md")
    args = parser.parse_args()
    drawn = portrait()
    figures(drawn, args.out.parent / "figures")
    lines = markdown("The drawn portrait, 4096²", scored(drawn))
    if args.hd is not None:
        tables = [scored(case) for case in people(args.hd)]
        lines += markdown(f"{len(tables)} people, head-shot frames at 1024², means", mean(tables))
    put(args.out, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
