"""How far a target moves a face that is there already: ``neutral`` on calm faces, ``smiling`` on smiles.

    python benchmarks/targets.py DATA/hd OUT --judge "python measure_face.py" [--markdown FILE]

DATA/hd: NAME_neutral.jpg and NAME_smiling.jpg. The face is found, its units are estimated, and what is left
to do is done. The judge prints, for ``landmarks IMAGE OUT.npy``, nothing, and writes [478,2] pixels. Figures
are the mean distance of all landmarks between photo and result, in percent of the eye distance.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from pathlib import Path

import numpy as np

from atw_nodes.animate import animate
from atw_nodes.checkpoints import DEFAULT, load_checkpoint
from atw_nodes.faces import largest
from atw_nodes.images import read_photo, write_still
from atw_nodes.signals import eye_centres


def landmarks(judge: str, image: Path) -> np.ndarray:
    out = image.with_suffix(".npy")
    subprocess.run([*shlex.split(judge), "landmarks", str(image), str(out)], check=True, capture_output=True)
    return np.load(out).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hd", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_checkpoint(args.checkpoint)
    names = sorted(p.stem.removesuffix("_neutral") for p in args.hd.glob("*_neutral.jpg"))
    kinds = ("neutral", "smiling")
    lines = [
        "| person | neutral on neutral | smiling on smiling | units read on the smile |",
        "|---|---|---|---|",
    ]
    moved: list[list[float]] = []
    for name in names:
        cells, shown = [], ""
        for kind in kinds:
            photo = read_photo(args.hd / f"{name}_{kind}.jpg").pixels
            face = largest(photo)
            signal = model.signal.toward(kind, 1.0, face.units)
            before, after = args.out / f"{name}_{kind}_before.png", args.out / f"{name}_{kind}_after.png"
            write_still(before, photo)
            write_still(after, next(animate(photo, model, signal, [1.0], face.frame)))
            a, b = landmarks(args.judge, before), landmarks(args.judge, after)
            apart = np.linalg.norm(np.subtract(*eye_centres(a)))
            cells.append(float(np.linalg.norm(a - b, axis=1).mean() / apart * 100))
            shown = " ".join(f"{n} {face.units[n]:.2f}" for n in model.signal.names)
        moved.append(cells)
        lines.append(f"| {name} | {cells[0]:.1f} % | {cells[1]:.1f} % | {shown} |")
    mean = np.mean(moved, 0)
    lines.append(f"| mean | {mean[0]:.1f} % | {mean[1]:.1f} % | |")
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
