"""The six rows of the paper's Table 2 at small scale: Full, and each loss of Eq. 10 left out in turn.

    python recipes/table2.py DATA RUN [--steps N] [--only ROW ...]

DATA: folder with manifest.csv of the face data (see README). RUN: receives a manifest of the London set,
neutral and smiling, one run a row (``RUN/full``, ``RUN/no-cycle`` ...; an unfinished one goes on),
``RUN/table2.md`` and ``RUN/table2.png``. Same steps, seed and people left out, whose neutral photos are made
to smile and measured:

landmark: squared pixels of 64 between the motion at their landmarks and that to their own smile.
units: sum over AU10, AU12 and AU25 of the squared difference between what our face network reads in the
result and in the photo, the change measured on their own smile added.
still: mean L1 of the result to the photo that it was made from, in 1/255: how much it changes at all.
cycle: mean L1 of the way back to the photo, in 1/255.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from au import HELD_OUT
from torch import Tensor

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.data import Augment, PairSampler, read_faces
from atw_nodes.faces import read
from atw_nodes.images import write_still
from atw_nodes.losses import landmark
from atw_nodes.manifest import Row, write_manifest
from atw_nodes.sheets import contact_sheet
from atw_nodes.train_config import RunConfig, begun
from atw_nodes.train_run import Run, read_log
from atw_nodes.types import FaceFrame

NAMES = ("AU10", "AU12", "AU25")
ROWS = {
    "full": {},
    "no-driving": {"lambda_drv": 0.0},
    "no-adversarial": {"lambda_adv": 0.0},
    "no-cycle": {"lambda_cyc": 0.0},
    "no-refine": {"lambda_ref": 0.0},
    "no-warp": {"lambda_warp": 0.0},
}
SIDE = 64


def labelled(data: Path, out: Path) -> Path:
    """A manifest of the people with two photos."""
    file = out / "manifest.csv"
    if file.exists():
        return file
    faces = read_faces(data, 32, exclude=HELD_OUT)  # nobody who is measured on
    both = [faces.rows[k] for pair in faces.pairs() for k in pair]
    rows = [Row(data.resolve() / r["image"], r["expression"], subject=r["subject"]) for r in both]
    write_manifest(file, rows, margin=1.5)
    return file


def settings(manifest: Path, out: Path, name: str, steps: int) -> RunConfig:
    small = {"size": SIDE, "width": 8, "critic_width": 24, "critic_layers": 4, "batch": 8}
    often = {"rate": 5e-4, "ema": 0.97, "augment": 0.3, "save_every": 50, "sample_every": 0}
    weights = ROWS[name]
    return RunConfig(
        str(manifest), str(out / name), signal="category", steps=steps, **small, **often, **weights
    )


def measure(file: Path, data: Path) -> tuple[dict[str, float], list[list[Tensor]]]:
    """Figures of a model on the people left out, and a row of pictures of three of them."""
    faces = read_faces(data, SIDE, only=HELD_OUT)
    sampler = PairSampler(faces, faces.pairs(), NAMES, SIDE, Augment.none())
    batch, model = sampler.plain(faces.pairs()), load_checkpoint(file)
    smile = model.signal.vector({"smiling": 1.0}).expand(len(batch.signal), -1)
    neutral = model.signal.vector({"neutral": 1.0}).expand(len(batch.signal), -1)
    with torch.no_grad():
        out = model.generator(batch.source, smile, batch.mask)
        back = model.generator(out.refined, neutral, batch.mask).refined
    figures = {
        "landmark": float(landmark(batch, out)),
        "units": _unit_error(batch.source, batch.signal, out.refined),
        "still": 255 * float((out.refined - batch.source).abs().mean()),
        "cycle": 255 * float((back - batch.source).abs().mean()),
    }
    shown = [[v[k : k + 1].clamp(0, 1) for v in (batch.source, out.refined, batch.target)] for k in (0, 3, 7)]
    return figures, shown


def _unit_error(source: Tensor, change: Tensor, made: Tensor) -> float:
    whole = FaceFrame.whole(SIDE, SIDE)
    total = 0.0
    for before, wanted, after in zip(source, change, made.clamp(0, 1), strict=True):
        a, b = (read(x[None], whole).units for x in (before, after))
        total += sum((b[n] - a[n] - float(w)) ** 2 for n, w in zip(NAMES, wanted, strict=True))
    return total / len(source)


def table(out: Path, results: dict[str, dict[str, float]]) -> str:
    heads = ("landmark", "units", "still", "cycle")
    logged = ("generator/driving", "generator/warp", "generator/cycle", "generator/refine")
    lines = ["| row | " + " | ".join((*heads, *(f"loss {n.split('/')[1]}" for n in logged))) + " |"]
    lines.append("|---" * (1 + len(heads) + len(logged)) + "|")
    for name, figures in results.items():
        log = read_log(out / name)
        last = [f"{np.mean(log[n][-50:]):.4f}" if n in log else "-" for n in logged]
        cells = [f"{figures[h]:.3f}" for h in heads] + last
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    manifest = labelled(args.data, args.run)
    results, pictures = {}, []
    for name in args.only:
        config = settings(manifest, args.run, name, args.steps)
        run = Run(config, begun(Path(config.out)))
        for record in run.train():
            if run.step % 25 == 0:
                print(name, json.dumps(record), flush=True)
        run.close()
        results[name], shown = measure(run.out / "model.safetensors", args.data)
        pictures += [sum(shown, [])]
        text = table(args.run, results)
        (args.run / "table2.md").write_text(text, encoding="utf-8")
        titles = ("photo", "result", "true") * 3
        write_still(args.run / "table2.png", contact_sheet(pictures, titles, 128))
    print(text)


if __name__ == "__main__":
    main()
