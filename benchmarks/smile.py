"""How close a smile comes to the person's own, on people never trained on.

    python benchmarks/smile.py DATA/hd LANDMARKS OUT [--judge "python measure_face.py"] [--markdown FILE]

DATA/hd: NAME_neutral.jpg and NAME_smiling.jpg. LANDMARKS: NAME_neutral.npy, NAME_smiling.npy, [478,2] pixels
of the MediaPipe mesh. The judge prints, for ``ratio NEUTRAL TRUE RESULT...``, one line a result: mouth-
landmark distance of the result to the true smile over that of the neutral photo (0 perfect, 1 nothing done).

Every result is rendered at the photo's resolution: the ``smiling`` preset at 0.25 ... 1.5, and the units
measured between the two photos. Pixels outside the face box must be the photo's.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from pathlib import Path

import numpy as np
import torch

from atw_nodes.animate import animate
from atw_nodes.checkpoints import DEFAULT, Checkpoint, load_checkpoint
from atw_nodes.frames import frame_from_landmarks
from atw_nodes.images import read_photo, write_still
from atw_nodes.pyramid import downsample
from atw_nodes.sheets import contact_sheet
from atw_nodes.signals import unit_change
from atw_nodes.tiles import canonical

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def render(name: str, hd: Path, landmarks: Path, model: Checkpoint, out: Path) -> list[torch.Tensor]:
    """Write every result of one person; returns the row of the contact sheet."""
    photo, true = (read_photo(hd / f"{name}_{kind}.jpg").pixels for kind in ("neutral", "smiling"))
    a, b = (np.load(landmarks / f"{name}_{kind}.npy").astype(np.float64) for kind in ("neutral", "smiling"))
    frame = frame_from_landmarks(torch.from_numpy(a), *photo.shape[-2:])
    signals = {f"{s:.2f}": model.signal.preset("smiling", s) for s in STRENGTHS}
    signals["units"] = torch.from_numpy(unit_change(a, b, model.signal.names))[None]
    left, top, right, bottom = frame.bounds()
    row = []
    for key, signal in signals.items():
        result = next(animate(photo, model, signal, [1.0], frame))
        changed = (result != photo).any(1)[0]
        changed[top:bottom, left:right] = False
        assert not bool(changed.any()), f"{name}: pixels outside the face box changed"
        write_still(out / f"{name}_{key}.png", result)
        if key in ("1.00", "units"):
            row.append(result)
    there = frame_from_landmarks(torch.from_numpy(b), *true.shape[-2:])
    views = [
        canonical(x, f, 512) for x, f in ((photo, frame), (row[0], frame), (row[1], frame), (true, there))
    ]
    return [downsample(v, (384, 384)) for v in views]


def judged(judge: str, name: str, hd: Path, out: Path) -> dict[str, float]:
    results = [out / f"{name}_{k}.png" for k in (*(f"{s:.2f}" for s in STRENGTHS), "units")]
    command = [*shlex.split(judge), "ratio", str(hd / f"{name}_neutral.jpg"), str(hd / f"{name}_smiling.jpg")]
    done = subprocess.run([*command, *map(str, results)], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    return {Path(path).stem.split("_")[1]: float(value) for value, path in lines}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("hd", type=Path)
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--judge")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_checkpoint(args.checkpoint)
    names = sorted(p.stem.removesuffix("_neutral") for p in args.hd.glob("*_neutral.jpg"))
    rows = [render(n, args.hd, args.landmarks, model, args.out) for n in names]
    titles = ("photo", "smiling, strength 1", "units of the true smile", "true smile")
    write_still(args.out / "sheet.png", contact_sheet(rows, titles))
    if not args.judge:
        print(f"results in {args.out}; no --judge given")
        return
    keys = [*(f"{s:.2f}" for s in STRENGTHS), "units"]
    lines = ["| person | " + " | ".join(keys) + " | best preset |", "|---" * (len(keys) + 2) + "|"]
    best, given = [], []
    for name in names:
        scores = judged(args.judge, name, args.hd, args.out)
        best.append(min(v for k, v in scores.items() if k != "units"))
        given.append(scores["units"])
        lines.append(f"| {name} | " + " | ".join(f"{scores[k]:.2f}" for k in keys) + f" | {best[-1]:.2f} |")
    lines.append(f"\nmean of the best preset {np.mean(best):.3f}, given the true units {np.mean(given):.3f}")
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
