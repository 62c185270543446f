"""How models/atw-face-128.safetensors was made: the finder of faces, and the reader of landmarks and units.

    python recipes/face.py DATA RUN --part finder [--steps N]     train one part (goes on where it stopped)
    python recipes/face.py DATA RUN --part reader [--steps N]
    python recipes/face.py DATA RUN --part units [--steps N]      presence and units of the trained reader
    python recipes/face.py DATA RUN --export FILE                 write both, averaged, as one file

DATA: folder with manifest.csv (see README). What it learns from is made by ``face_scenes.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import puppet
import torch
import torch.nn.functional as F
from face_scenes import MIDDLE, SIZE, VIEW, Scenes
from torch import Tensor, nn

from atw_nodes.checkpoints import read_tensors, save_face_network, write_tensors
from atw_nodes.data import read_faces
from atw_nodes.face_network import FaceNetwork, FaceNetworkConfig, face_points
from atw_nodes.signals import EYE_CORNERS
from atw_nodes.training import half_pays

# The people of recipes/smile.py, never trained on.
HELD_OUT = tuple(
    f"london/{p}" for p in ("001", "010", "036", "090", "120", "134", "016", "045", "082", "103")
)
BATCH = {"finder": 24, "reader": 16}
RATE = {"finder": 2e-3, "reader": 2e-3}
STEPS = {"finder": 2400, "reader": 5500, "units": 2000}
SETTLED = 400  # steps after which landmarks are good enough to read units off them
EXAMPLES = 420  # batches that the last part is solved on
AVERAGE = 0.998
BF16 = half_pays()
CONFIG = FaceNetworkConfig(puppet.UNITS, SIZE, view=VIEW, middle=MIDDLE, flat=16, maps=48)
LINES = torch.ones(478)  # what is a line of a pixel or two counts more
for _lid in (*puppet.UPPER_LID, *puppet.LOWER_LID):
    LINES[list(_lid)] = 3.0
for _pair in (*puppet.INNER_BROW, *puppet.OUTER_BROW):
    LINES[list(_pair)] = 2.0
LINES[list(puppet.UPPER_LIP + puppet.LOWER_LIP)] = 2.0


def finder_loss(network: FaceNetwork, scenes: Scenes, n: int) -> dict[str, Tensor]:
    """Penalty-reduced focal loss of the score (Zhou et al. 2019, Eq. 1), L1 of the eyes where a face is."""
    image, heat, eyes, counts = scenes.finder(n)
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):  # positions need all their digits
        maps = network.finder(image.contiguous(memory_format=torch.channels_last)).float()
    p = torch.sigmoid(maps[:, 0]).clamp(1e-4, 1 - 1e-4)
    found = -((1 - p) ** 2 * p.log()) * (heat > 0.999)
    wrong = -((1 - heat) ** 4 * p**2 * (1 - p).log()) * (heat <= 0.999)
    number = (heat > 0.999).sum().clamp_min(1)
    close = (heat > 0.3).float()[:, None]
    position = ((maps[:, 1:] - eyes).abs() * close).sum() / close.sum().clamp_min(1) / 4
    return {"score": ((found + wrong) * counts).sum() / number, "eyes": 8 * position}


def reader_loss(
    network: FaceNetwork, scenes: Scenes, n: int, read_weight: float = 400.0
) -> dict[str, Tensor]:
    """Of the landmarks, in percent of the eye distance, half the wing loss (Feng et al. 2018, Eq. 5) for
    precision and a squared error (Huber's) for what moves; cross-entropy of presence; squared error of the
    units. L1 or the wing alone read no expression: most units are absent, and their median is 0.
    """
    crops, marks, units, presence, moved = scenes.reader(n)
    with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        out = network.reader(crops.contiguous(memory_format=torch.channels_last))
    eyes = [marks[:, list(e)].mean(1) for e in EYE_CORNERS]
    apart = (eyes[0] - eyes[1]).norm(dim=-1).clamp_min(0.05)[:, None, None]
    error = (out.landmarks.float() - marks).abs() / apart * 100
    width, curve = 10.0, 2.0
    offset = width - width * float(np.log(1 + width / curve))
    wing = torch.where(error < width, width * torch.log1p(error / curve), error - offset)
    square = torch.where(error < 20, 0.1 * error.square(), 4 * error - 40)
    there = presence[:, None, None]
    weight = LINES.to(moved) * (1 + 120 * moved)  # brows and lids are few: what moves counts
    weight = (weight / weight.mean())[..., None]
    read = (out.units.float() - units).square()
    sure = F.binary_cross_entropy_with_logits(out.presence.float(), presence)
    return {
        "landmarks": ((0.5 * wing + square) * weight * there).mean(),
        "presence": 2 * sure,
        "units": read_weight * (read * presence[:, None]).mean(),
        "percent": (error * there).mean().detach() / there.mean(),
        "au": ((out.units.detach().float() - units).abs() * presence[:, None]).mean() / presence.mean(),
    }


def _regress(layer: nn.Linear, x: Tensor, y: Tensor, ridge: float) -> None:
    """Set ``layer`` to the ridge regression of ``y`` [n,u] on ``x`` [n,d], float64."""
    mean, shown = x.mean(0), y.mean(0)
    normal = (x - mean).T @ (x - mean) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(normal, (x - mean).T @ (y - shown))
    layer.weight.data.copy_(weight.T)
    layer.bias.data.copy_(shown - mean @ weight)


def begin(network: FaceNetwork, scenes: Scenes, examples: int = 3000) -> None:
    """Start with units read off the landmarks by ridge regression, as if those were known exactly."""
    actors, g = scenes.actors, scenes.random
    rows = torch.randint(len(actors.marks), (examples,), generator=g)
    amount = actors.intensities(examples, g)
    marks = actors.marks[rows] + torch.einsum("nu,nulc->nlc", amount, actors.moves[rows])
    x, y = face_points(marks).double(), (actors.base[rows] + amount).clamp(0, 1.5).double()
    _regress(network.reader.geometry, x, y, 3.0)
    network.reader.face[-1].weight.data[1:] = 0  # type: ignore[index]
    nn.init.zeros_(network.reader.face[-1].bias)  # type: ignore[arg-type]


def train(data: Path, run: Path, part: str, steps: int) -> None:
    torch.manual_seed(0)
    scenes = Scenes(
        read_faces(data, 171, exclude=HELD_OUT),
        seed=0 if part == "finder" else 1,
        fields=run / "fields.safetensors",
    )
    network = FaceNetwork(CONFIG).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if part == "reader":
        begin(network, scenes)
    trained = getattr(network, part)
    average = {k: v.clone() for k, v in trained.state_dict().items()}
    optimizer = torch.optim.AdamW(trained.parameters(), lr=RATE[part], weight_decay=1e-3)
    step, state = 0, run / f"{part}.safetensors"
    if state.exists():
        step = _resume(state, trained, average, optimizer, scenes)
    run.mkdir(parents=True, exist_ok=True)
    begun, log = time.monotonic(), []
    while step < steps:
        rate = (
            RATE[part] * min(1, (step + 1) / 100) * max(0.01, 0.5 + 0.5 * float(np.cos(np.pi * step / steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        if part == "finder":
            values = finder_loss(network, scenes, BATCH[part])
        else:  # units off landmarks that are anywhere kill the layers they share
            values = reader_loss(network, scenes, BATCH[part], 400.0 if step >= SETTLED else 0.0)
        total = sum((v for v in values.values() if v.requires_grad), torch.zeros(()))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(trained.parameters(), 20.0)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        keep = min(AVERAGE, step / (step + 20))
        for k, v in trained.state_dict().items():
            average[k] = average[k].lerp(v, 1 - keep) if v.is_floating_point() else v.clone()
        log.append({k: float(v.detach()) for k, v in values.items()})
        if step % 50 == 0:
            means = {k: round(float(np.mean([r[k] for r in log])), 4) for k in log[-1]}
            print(f"{time.monotonic() - begun:.0f} s, step {step}", json.dumps(means), flush=True)
            log.clear()
        if step % 250 == 0 or step == steps:
            _save(state, step, trained, average, optimizer, scenes)


@torch.no_grad()
def seen(network: FaceNetwork, scenes: Scenes, batches: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the trained reader sees of random crops: (features before ``flat`` [n,C,h,w] in half precision,
    ``face_points`` [n,2L], presence [n], units [n,17]).
    """
    parts, kept = [], {}
    hook = network.reader.flat.register_forward_pre_hook(lambda _, x: kept.update(features=x[0].half()))
    for _ in range(batches):
        crops, _, units, presence, _ = scenes.reader(BATCH["reader"])
        out = network.reader(crops.contiguous(memory_format=torch.channels_last))
        parts.append((kept["features"].contiguous(), face_points(out.landmarks), presence, units))
    hook.remove()
    features, points, presence, units = (torch.cat(p) for p in zip(*parts, strict=True))
    return features, points, presence, units


def solve(data: Path, run: Path, steps: int, ridge: float = 0.1) -> None:
    """Units off the landmarks that the reader really finds, by ridge regression: gradients hardly move 956
    numbers that say much the same. What is left of the units, and presence, off the other features.
    """
    torch.manual_seed(0)
    tensors, meta = read_tensors(run / "reader.safetensors")
    network = FaceNetwork(CONFIG)
    weights = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
    network.reader.load_state_dict(weights)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    people = read_faces(data, 171, exclude=HELD_OUT)
    scenes = Scenes(people, seed=2, fields=run / "fields.safetensors")
    features, points, presence, units = seen(network, scenes, EXAMPLES)
    reader, there = network.reader, presence > 0.5
    x, y = points[there].double(), units[there].double()
    _regress(reader.geometry, x, y, ridge)
    fresh = FaceNetwork(CONFIG).reader  # the two layers' first values
    reader.flat.load_state_dict(fresh.flat.state_dict())
    reader.face.load_state_dict(fresh.face.state_dict())
    with torch.no_grad():
        left = units - reader.geometry(points)
    head = nn.Sequential(reader.flat, nn.Dropout(0.2), reader.face).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.02)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (0.5 + 0.5 * float(np.cos(np.pi * step / steps)))
        rows = torch.randint(len(features), (128,))
        out = head(features[rows].float())
        sure = F.binary_cross_entropy_with_logits(out[:, 0], presence[rows])
        off = ((out[:, 1:] - left[rows]).square() * presence[rows, None]).mean()
        optimizer.zero_grad(set_to_none=True)
        (sure + 20 * off).backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}, presence {float(sure):.3f}, units {float(off):.4f}", flush=True)
    state = {f"average.{k}": v.clone().contiguous() for k, v in reader.state_dict().items()}
    write_tensors(run / "reader.safetensors", tensors | state, {**meta, "units": steps})


def _save(
    path: Path,
    step: int,
    net: nn.Module,
    average: dict[str, Tensor],
    opt: torch.optim.Optimizer,
    scenes: Scenes,
) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    tensors["random"] = scenes.random.get_state()
    for i, entry in opt.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in entry.items()}
    write_tensors(path, {k: v.clone() for k, v in tensors.items()}, {"step": step})


def _resume(
    path: Path, net: nn.Module, average: dict[str, Tensor], opt: torch.optim.Optimizer, scenes: Scenes
) -> int:
    tensors, meta = read_tensors(path)
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    average.update({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, index, name = key.split(".", 2)
            entries.setdefault(int(index), {})[name] = value
    opt.load_state_dict({"state": entries, "param_groups": opt.state_dict()["param_groups"]})
    scenes.random.set_state(tensors["random"])
    return int(meta["step"])


def export(run: Path, file: Path) -> None:
    """Both averaged parts as one file."""
    network, steps = FaceNetwork(CONFIG), {}
    for part in ("finder", "reader"):
        tensors, meta = read_tensors(run / f"{part}.safetensors")
        weights = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
        getattr(network, part).load_state_dict(weights)
        steps |= {part: meta["step"]} | ({"units": meta["units"]} if "units" in meta else {})
    facts = {
        "data": "Face Research Lab London Set (DeBruine & Jones 2017), "
        "Young adult composite faces (DeBruine 2016), "
        "Young Adult White Faces with Manipulated Versions (DeBruine & Jones 2017); CC BY 4.0",
        "licence": "MIT; training data CC BY 4.0",
        "recipe": "recipes/face.py",
        "steps": steps,
        "batch": BATCH,
        "held_out": list(HELD_OUT),
    }
    save_face_network(file, network, facts)
    print(f"{file}: {steps}, {file.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=("finder", "reader", "units"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.export:
        export(args.run, args.export)
    elif args.part == "units":
        solve(args.data, args.run, args.steps or STEPS["units"])
    elif args.part:
        train(args.data, args.run, args.part, args.steps or STEPS[args.part])
    else:
        parser.error("give --part finder, reader or units, or --export FILE")


if __name__ == "__main__":
    main()
