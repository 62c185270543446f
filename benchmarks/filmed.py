"""``lift`` on filmed faces: how much of a video its own small frames and its first frame give back.

    python benchmarks/filmed.py CLIP [CLIP ...] [--frames 24] [--every 3] [--sizes 128 256] [--sheets FOLDER]

The photo is the first frame; every ``--every``-th frame is reduced so that its longer side is as given,
which is all that ``lift`` sees; the frame itself is the truth. Nothing is made up: people talk and turn,
light and compression change. Rows and columns: see ``lift.py``; trembling: flow warping error of the
result, times 1e4, beside the truth's own. That the frames show the whole photo is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lift import contrast, head_box, within
from torch import Tensor

from atw_nodes.clips import read_frames
from atw_nodes.faces import find
from atw_nodes.images import write_still
from atw_nodes.lift import estimate_motion, lift
from atw_nodes.metrics import flow_warping_error, high_band_psnr, mouth_box, psnr
from atw_nodes.pyramid import downsample, to_float, upsample
from atw_nodes.reswarp import ReswarpConfig, decompose, reswarp
from atw_nodes.types import Motion

ROWS = ("bicubic", "vanilla (paper)", "lift")


def made(photo: Tensor, small: list[Tensor]) -> dict[str, list[Tensor]]:
    """Every row's frames, [1,3,H,W] float each. Vanilla works on squares: it gets the motion that was found,
    and the frames, at the size of its square.
    """
    height, width = photo.shape[-2:]
    side = max(small[0].shape[-2:])
    found = [motion for motion, _ in estimate_motion(photo, small)]
    square = [downsample(upsample(s, (4 * side, 4 * side)), (side, side)) for s in small]
    field = torch.cat([downsample(upsample(m.field, (4 * side, 4 * side)), (side, side)) for m in found])
    parts = decompose(photo, size=side)
    motion = Motion(field, torch.ones(len(field)))
    return {
        "bicubic": [upsample(s, (height, width), "bicubic") for s in small],
        "vanilla (paper)": list(reswarp(parts, motion, torch.cat(square), ReswarpConfig.paper())),
        "lift": list(lift(photo, small)),
    }


def measured(clip: Path, size: int, frames: int, every: int, sheets: Path | None) -> dict[str, list[float]]:
    """{row: [whole, above 9 px, head, mouth, fine, trembling]}, mean over the frames."""
    truth = [to_float(f[None]) for f in islice(read_frames(clip), 0, frames * every, every)]
    height, width = truth[0].shape[-2:]
    by = size / max(height, width)
    small = [downsample(t, (round(height * by), round(width * by))) for t in truth]
    found = {name: [x.clamp(0, 1) for x in images] for name, images in made(truth[0], small).items()}
    faces = [find(t)[0] for t in truth]
    heads = [head_box(f, height, width) for f in faces]
    mouths = [mouth_box(f.landmarks, height, width, 0.15) for f in faces]
    rows = {}
    for name, images in [*found.items(), ("truth", truth)]:
        values = []
        for x, t, head, mouth in zip(images[1:], truth[1:], heads[1:], mouths[1:], strict=True):
            if name == "truth":
                values.append([np.nan] * 4 + [100.0])
                continue
            parts = [psnr(within(x, b), within(t, b)) for b in (head, mouth)]
            fine = 100 * contrast(within(x, head)) / contrast(within(t, head))
            values.append([psnr(x, t), high_band_psnr(x, t), *parts, fine])
        shaken = [flow_warping_error(a, b) for a, b in zip(images, images[1:], strict=False)]
        rows[name] = [*np.mean(values, 0).tolist(), 1e4 * float(np.mean(shaken))]
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        for k in range(1, len(truth)):
            views = [within(found[name][k], heads[k]) for name in ROWS] + [within(truth[k], heads[k])]
            write_still(sheets / f"{clip.stem}_{size}_{k:02d}.png", torch.cat(views, -1))
    return rows


def lines(results: list[tuple[Path, int, dict[str, list[float]]]]) -> Iterator[str]:
    yield "| clip | frame | | whole | above 9 px | head | mouth | fine | trembling |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for clip, size, rows in results:
        for name, (*decibels, fine, shaken) in rows.items():
            cells = " | ".join("-" if np.isnan(v) else f"{v:.1f}" for v in decibels)
            yield f"| {clip.stem} | {size} | {name} | {cells} | {fine:.0f} % | {shaken:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    results = []
    for clip in args.clips:
        for size in args.sizes:
            results.append((clip, size, measured(clip, size, args.frames, args.every, args.sheets)))
            print(*list(lines(results[-1:]))[2:], sep="\n", flush=True)
    print("\n".join(lines(results)))


if __name__ == "__main__":
    main()
