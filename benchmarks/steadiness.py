"""How steady a clip is: flow warping error of a photo driven by a table of action units.

    python benchmarks/steadiness.py PHOTO TABLE.csv [--checkpoint NAME] [--seconds S] [--markdown FILE]

The flow warping error of Lai et al. (ECCV 2018): the next frame, brought back along the optical flow, minus
this frame, squared, where both flows agree (no occlusion). Flow: OpenCV's DIS (``pip install
opencv-python-headless``). Beside it the small result enlarged, which is what a clip would be without ResWarp,
and a clip whose signal stands still, whose frames must be equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from atw_nodes.animate import animate
from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.faces import largest
from atw_nodes.generation import generate
from atw_nodes.images import read_photo
from atw_nodes.pyramid import to_float
from atw_nodes.reswarp import decompose
from atw_nodes.signal_files import load_signal
from atw_nodes.tiles import canonical


def warping_errors(frames: Iterator[Tensor]) -> tuple[float, float]:
    """(mean over pairs of frames, the largest) of squared differences, images in [0,1]."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors = []
    for a, b in pairwise((f[0].permute(1, 2, 0) * 255).round().byte().numpy() for f in frames):
        grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a, b)]
        there, back = flow.calc(*grey, None), flow.calc(*grey[::-1], None)
        y, x = np.mgrid[: a.shape[0], : a.shape[1]].astype(np.float32)
        at = (x + there[..., 0], y + there[..., 1])
        returned = cv2.remap(back, *at, cv2.INTER_LINEAR)
        length = (there**2).sum(-1) + (returned**2).sum(-1)
        seen = ((there + returned) ** 2).sum(-1) < 0.01 * length + 0.5
        brought = cv2.remap(b, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = ((brought.astype(np.float32) - a) / 255) ** 2
        errors.append(float(error.mean(-1)[seen].mean()))
    return float(np.mean(errors)), float(np.max(errors))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--checkpoint", default="atw-au-128")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    model, photo = load_checkpoint(args.checkpoint), read_photo(args.photo).pixels
    face, driver = largest(photo), load_signal(args.table)
    count = min(len(driver), round(args.seconds * (driver.fps or 25)))
    signal, _ = driver[:count].onto(model.signal)
    frame, size = face.frame, 512

    def framed() -> Iterator[Tensor]:
        for image in animate(photo, model, signal, None, frame):
            yield canonical(image, frame, size)

    parts = decompose(photo, frame, model.generator.config.size)

    def enlarged() -> Iterator[Tensor]:
        for low in generate(model, parts, signal):
            for image in low.refined:
                grown = torch.nn.functional.interpolate(image[None], (size, size), mode="bilinear")
                yield to_float(grown).clamp(0, 1)

    still = torch.cat([signal[len(signal) // 2][None]] * 3)
    frames = [f.clone() for f in animate(photo, model, still, None, frame)]
    same = all(torch.equal(frames[0], f) for f in frames[1:])
    changes = (signal[1:] - signal[:-1]).abs().sum(1)
    ours, alone = warping_errors(framed()), warping_errors(enlarged())
    lines = [
        f"{count} frames of {photo.shape[-1]} x {photo.shape[-2]} (its frame at {size} x {size}), mean "
        f"change of the signal {float(changes.mean()):.3f} units a frame. "
        f"Equal frames at equal signal: {same}.",
        "",
        "| clip | flow warping error, x 1e-4 | its largest |",
        "|---|---|---|",
        f"| ResWarp | {ours[0] * 1e4:.2f} | {ours[1] * 1e4:.2f} |",
        f"| small result, enlarged | {alone[0] * 1e4:.2f} | {alone[1] * 1e4:.2f} |",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
