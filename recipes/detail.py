"""How models/atw-detail.safetensors was made: mouths at twice the size, from mouths that were halved.

    python recipes/detail.py DATA FILE [--steps N]

DATA: folder with manifest.csv (see README). One network doubles a picture; a photo's detail takes it twice.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from atw_nodes.checkpoints import weights_sha, write_tensors
from atw_nodes.data import read_faces
from atw_nodes.detail_network import Doubler, consistent
from atw_nodes.signals import OUTER_LIPS

HELD_OUT = tuple(
    f"london/{p}" for p in ("001", "010", "036", "090", "120", "134", "016", "045", "082", "103")
)
SIDE, BATCH, RATE, STEPS = 64, 12, 1e-3, 4000  # SIDE: of the squares to be made
SMILES = 0.8  # of the squares; the others are of anyone's mouth
REACH = 14  # pixels that a square's centre is off the lips' at most
SOFT = 0.35  # of the halves are softer than area averages, as painted mouths are
SLOPES, KEPT = 1.0, 0.1  # weights: of slopes; of what is left once made consistent


class Mouths:
    """Squares around mouths, at 5/8 to all of the data's size, mirrored, lit anew."""

    def __init__(self, data: Path) -> None:
        faces = read_faces(data, 171, exclude=HELD_OUT)  # whose crops are the data's own 256
        self.images = faces.images
        self.centres = faces.landmarks[:, list(OUTER_LIPS)].mean(1) * self.images.shape[-1]
        smiles = [i for i, row in enumerate(faces.rows) if row["expression"] == "smiling"]
        self.smiles = torch.tensor(smiles)

    def batch(self, n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """(half size [n,3,s/2,s/2], full size [n,3,s,s])."""
        smiling = self.smiles[torch.randint(len(self.smiles), (n,), generator=g)]
        anyone = torch.randint(len(self.images), (n,), generator=g)
        rows = torch.where(torch.rand(n, generator=g) < SMILES, smiling, anyone)
        return halved(torch.cat([self._square(int(r), g) for r in rows]), g)

    def _square(self, row: int, g: torch.Generator) -> Tensor:
        half = round(SIDE * _between(1.0, 1.6, g) / 2)
        off = torch.empty(2).uniform_(-REACH, REACH, generator=g)
        centre = (self.centres[row] + off).round().long().tolist()
        x, y = (min(max(v, half), self.images.shape[-1] - half) for v in centre)
        cut = self.images[row : row + 1, :, y - half : y + half, x - half : x + half]
        cut = F.interpolate(cut, (SIDE, SIDE), mode="bicubic", antialias=True)
        if _between(0, 1, g) < 0.5:
            cut = cut.flip(-1)
        gain = torch.empty(1, 3, 1, 1).uniform_(0.9, 1.1, generator=g) * _between(0.7, 1.1, g)
        return (cut * gain).clamp(0, 1)


def _between(low: float, high: float, g: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=g))


def halved(full: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """(area averages, some of them softer; what they are of)."""
    half = F.avg_pool2d(full, 2)
    soft = F.avg_pool2d(F.pad(half, (1, 1, 1, 1), mode="replicate"), 3, 1)
    some, share = torch.rand(2, len(full), 1, 1, 1, generator=g)
    return torch.lerp(half, soft, 0.6 * share * (some < SOFT)), full


def distance(made: Tensor, full: Tensor) -> Tensor:
    """L1 of pixels and of slopes."""
    error = made - full
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + SLOPES * slopes


def train(data: Path, steps: int) -> Doubler:
    """The network, its weights averaged over the last few hundred steps."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    mouths, network = Mouths(data), Doubler()
    mean = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0)
    begun, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = RATE * min(1.0, step / 100) * max(0.02, falling)
        half, full = mouths.batch(BATCH, g)
        made = network(half)
        loss = distance(made, full) + KEPT * distance(consistent(made, half), full)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for k, v in network.state_dict().items():
            mean[k].lerp_(v, max(0.004, 1 / step))
        total += float(loss.detach())
        if step % 100 == 0:
            print(f"step {step}, {time.monotonic() - begun:.0f} s: {total / 100:.4f}", flush=True)
            total = 0.0
    network.load_state_dict(mean)
    return network


def save(path: Path, network: Doubler, steps: int) -> None:
    """In half precision."""
    weights = {k: v.half() for k, v in network.state_dict().items()}
    facts = {
        "data": "Face Research Lab London Set (DeBruine & Jones 2017), "
        "Young adult composite faces (DeBruine 2016), "
        "Young Adult White Faces with Manipulated Versions (DeBruine & Jones 2017); CC BY 4.0",
        "licence": "MIT; training data CC BY 4.0",
        "recipe": "recipes/detail.py",
        "steps": steps,
        "batch": BATCH,
        "held_out": list(HELD_OUT),
    }
    write_tensors(path, weights, {"detail": 1, "training": facts, "sha": weights_sha(weights)})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    save(args.file, train(args.data, args.steps), args.steps)


if __name__ == "__main__":
    main()
