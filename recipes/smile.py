"""How models/atw-smile-128.safetensors was made: real smile pairs, landmark supervision, a discriminator for
the mouth.

    python recipes/smile.py DATA RUN [--steps N] [--resume]      train (DATA: folder with manifest.csv, see
    README)
    python recipes/smile.py DATA RUN --export FILE               write the averaged weights as a checkpoint

The signal is a change of three action units (AU10, AU12, AU25), measured on the landmarks of each pair.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atw_nodes.checkpoints import save_checkpoint
from atw_nodes.data import Faces, PairSampler, read_faces
from atw_nodes.losses import landmark
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.training import Phase, TrainConfig, Trainer
from atw_nodes.types import SignalSpec

NAMES = ("AU10", "AU12", "AU25")
SIZE = 128
# Never trained on. The first six also have high-resolution photos.
HELD_OUT = tuple(
    f"london/{p}" for p in ("001", "010", "036", "090", "120", "134", "016", "045", "082", "103")
)

STEPS = 6000

MOTION = {"landmark": 1.0, "smooth": 0.05, "still": 0.1, "photometric_coarse": 4.0}
PAINT = {"photometric": 8.0, "edges": 8.0, "refine": 0.6, "refine_unpaired": 2.0}
SHARP = {"mouth_adversarial": 0.1, "mouth_features": 2.0}
MOUTH = {"photometric": 2.0, "edges": 2.0, "gap_paint": 3.0, "refine": 1.0, "refine_unpaired": 1.0}
CALM = MOUTH | SHARP | {"refine_unpaired": 6.0, "mouth_adversarial": 0.2}
PHASES = (
    Phase("motion", "generator", MOTION, 0, 1232, refine=False),
    Phase("joint", "generator", MOTION | PAINT, 1232, 1640),
    Phase("sharp", "generator", MOTION | PAINT | SHARP, 1640, 2000),
    Phase("critic", "mouth", {"mouth_discriminator": 1.0}, 1476, 2000, rate=2e-4, fresh=False),
    Phase("settle", "generator", MOTION, 2000, 2350, decay=0.0, refine=False),
    # Refinement alone, on squares around the mouth: several times the images a second, all worth painting
    Phase("paint", "refine", MOUTH, 2350, 3600, crop=64, rate=4e-4, warmup=100),
    Phase("teeth", "refine", MOUTH | SHARP, 3600, 5200, crop=64, rate=4e-4, decay=0.4),
    # Squares from elsewhere too, where nothing is to be repainted: without them the hair takes a tint.
    Phase("calm", "refine", CALM, 5200, STEPS, crop=64, anywhere=0.4, rate=3e-4, decay=0.3),
    Phase("teeth critic", "mouth", {"mouth_discriminator": 1.0}, 3500, STEPS, rate=2e-4, fresh=False),
)


def sampler(data: Path) -> PairSampler:
    faces = read_faces(data, SIZE, exclude=HELD_OUT)
    return PairSampler(faces, faces.pairs(), NAMES, SIZE)


def held_out(data: Path) -> tuple[Faces, PairSampler]:
    faces = read_faces(data, SIZE, only=HELD_OUT)
    return faces, PairSampler(faces, faces.pairs(), NAMES, SIZE)


def presets(train: PairSampler) -> dict[str, dict[str, float]]:
    """``smiling``: the mean measured change of those who smile; ``neutral``: its inverse, which undoes a
    smile.
    """
    opening = train.units[
        : len(train.units) // 2
    ].numpy()  # the first half of the pairs is neutral -> smiling
    mean = opening.mean(0)
    smile = {n: round(float(v), 3) for n, v in zip(NAMES, mean, strict=True)}
    return {"smiling": smile, "neutral": {n: -v for n, v in smile.items()}}


@torch.no_grad()
def sheet(generator: Generator, faces: Faces, test: PairSampler, path: Path) -> float:
    """Rows: photo, O^w, O^r, true target, for both directions of held-out people. Returns the landmark error
    in pixels.
    """
    lines, errors = [], []
    for pairs in (faces.pairs(), [(b, a) for a, b in faces.pairs()]):
        batch = test.plain(pairs)
        out = generator(batch.source, batch.signal, batch.mask)
        lines += [batch.source, out.coarse, out.refined, batch.target]
        errors.append(float(landmark(batch, out)))
    rows = torch.cat([torch.cat(list(x), 2) for x in lines], 1).clamp(0, 1)
    Image.fromarray((rows * 255).byte().permute(1, 2, 0).numpy()).save(path)
    return float(np.mean(errors))


def train(data: Path, run: Path, steps: int, resume: bool) -> None:
    torch.manual_seed(0)
    trainer = Trainer(
        Generator(GeneratorConfig(len(NAMES), SIZE)), sampler(data), PHASES, TrainConfig(steps), run
    )
    if resume:
        print(f"resumed at step {trainer.resume()}")
    faces, test = held_out(data)
    begun = time.monotonic()
    for record in trainer.train():
        step = trainer.step
        if step % 50 == 0:
            print(f"{time.monotonic() - begun:.0f} s", record, flush=True)
        if step % 500 == 0 or step == steps:
            error = sheet(trainer.ema, faces, test, run / f"sheet-{step:06d}.png")
            print(f"step {step}: held-out landmark error {error:.3f}", flush=True)


def export(data: Path, run: Path, file: Path) -> None:
    train_set = sampler(data)
    config = GeneratorConfig(len(NAMES), SIZE)
    trainer = Trainer(Generator(config), train_set, PHASES, TrainConfig(1), run)
    step = trainer.resume()
    spec = SignalSpec(
        "relative", NAMES, low=(-1.5,) * len(NAMES), high=(1.5,) * len(NAMES), presets=presets(train_set)
    )
    facts = {
        "data": "Face Research Lab London Set (DeBruine & Jones 2017), "
        "Young adult composite faces (DeBruine 2016), "
        "Young Adult White Faces with Manipulated Versions (DeBruine & Jones 2017); CC BY 4.0",
        "licence": "MIT; training data CC BY 4.0",
        "recipe": "recipes/smile.py",
        "steps": step,
        "batch": trainer.config.batch,
        "phases": {p.name: dict(p.losses) for p in PHASES},
        "held_out": list(HELD_OUT),
    }
    save_checkpoint(file, trainer.ema, spec, facts)
    print(f"{file}: step {step}, {file.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.export:
        export(args.data, args.run, args.export)
    else:
        train(args.data, args.run, args.steps, args.resume)


if __name__ == "__main__":
    main()
