"""How models/atw-au-128.safetensors was made: 17 action units, each a field that the photo's points follow.

    python recipes/au.py DATA RUN --part motion [--steps N]     the Motion network (goes on where it stopped)
    python recipes/au.py DATA RUN --part refine [--steps N]     the Refinement network, beside it or after it
    python recipes/au.py DATA RUN --part motion --start FILE    from a checkpoint that this recipe made
    python recipes/au.py DATA RUN --export FILE                 both, averaged, as one checkpoint
        [--device cuda --workers N]     on a GPU, with N processes that make the examples

DATA: folder with manifest.csv (see README). The Motion network learns the fields of the FACS puppet
(``dense.py``) from the image alone, all units of a face at once. The Refinement network learns what no warp
can bring: real smiles, and mouths that the puppet opened, on squares around the mouth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from au_data import FINE, Cast, MouthCast
from dense import FIT
from puppet import UNITS
from torch import Tensor, nn

from atw_nodes import losses as L
from atw_nodes.checkpoints import load_checkpoint, read_tensors, save_checkpoint, write_tensors
from atw_nodes.data import read_faces
from atw_nodes.expressions import presets
from atw_nodes.networks import Generator, GeneratorConfig, MouthDiscriminator, warped_low
from atw_nodes.types import Generated, SignalSpec

HELD_OUT = tuple(
    f"london/{p}" for p in ("001", "010", "036", "090", "120", "134", "016", "045", "082", "103")
)
CONFIG = GeneratorConfig(
    len(UNITS),
    conditioning="basis",
    field_scale=FINE,
    neutral_paint=True,
    paint_box=(0.1875, 0.5, 0.8125, 0.9375),
)
BATCH = {"motion": 8, "refine": 12}
BATCH_GPU = {"motion": 32, "refine": 48}
RATE = {"motion": 8e-4, "refine": 4e-4}
STEPS = {"motion": 750, "refine": 1050}
SIDE = 48  # of the squares around the mouth
PAINT = {"photometric": 4.0, "edges": 4.0, "gap_paint": 3.0, "refine": 1.0}
PAINT |= {"refine_unpaired": 16.0, "tint": 6.0}
SHARP = {"mouth_adversarial": 0.1, "mouth_features": 2.0}
SHARP_FROM, SHARP_FROM_GPU = 0.85, 0.4  # share of the training after which the critic has a say
# A judge of landmarks reads a moved mouth as less, or more, than it moved: gains that bring other people's
# smiles to what is meant by them, on people of whom there is one photo (whose own cannot be known by heart)
READ = {"AU15": 1.1, "AU25": 0.92, "AU26": 1.1}
FROM = "atw-smile-128"  # whose convolutions both networks start from


def begin(start: str | None) -> Generator:
    """Networks to train on: from checkpoint ``start``, or from the smile checkpoint."""
    generator = Generator(CONFIG)
    if start is None:
        warm(generator)
    else:
        generator.load_state_dict(load_checkpoint(start).generator.state_dict())
    return generator


def warm(generator: Generator) -> None:
    """Start from the smile checkpoint: convolutions as they are; its norms as they are without a signal; new
    entries of the signal at zero.
    """
    old = load_checkpoint(FROM)
    have, want = old.generator.state_dict(), generator.state_dict()
    for name, value in want.items():
        if name in have and have[name].shape == value.shape:
            value.copy_(have[name])
        elif name.startswith("motion.") and ".norm.norm." in name:
            bias = have[name.split(".norm.norm.")[0] + ".norm.map.bias"].chunk(2)
            value.copy_(1 + bias[0] if name.endswith("weight") else bias[1])
        elif name == "refine.layers.0.conv.weight":
            value.zero_()
            value[:, :8] = have[name][:, :8]
            for k, unit in enumerate(old.signal.names):
                value[:, 8 + UNITS.index(unit)] = have[name][:, 8 + k]
        elif name == "motion.last.weight":
            value.mul_(0.1)


def motion_loss(generator: Generator, cast: Cast, n: int, g: torch.Generator) -> dict[str, Tensor]:
    """Squared error of every unit's field and of its slopes, each over the unit's own energy: a lid counts as
    much as a jaw.
    """
    image, target, sure = cast.batch(n, g)
    made = generator.basis(image.contiguous(memory_format=torch.channels_last))
    scale = float(image.shape[-1])
    error, truth = (made - target) * scale, target * scale
    most = truth.abs().amax((2, 3, 4), keepdim=True).clamp_min(1e-3)
    weight = 1 + 5 * truth.norm(dim=2, keepdim=True) / most
    energy = truth.square().sum((2, 3, 4)) + 40.0
    field = (weight * error.square()).sum((2, 3, 4)) / energy
    slope = torch.zeros_like(field)
    for dim in (-1, -2):
        slope = slope + error.diff(dim=dim).square().sum((2, 3, 4))
        energy = truth.diff(dim=dim).square().sum((2, 3, 4)) + 20.0 + (energy if dim == -2 else 0 * energy)
    plain = error.square().sum((2, 3, 4)) / (truth.square().sum((2, 3, 4)) + 1.0)
    return {
        "field": (sure * field).mean(),
        "slope": 0.3 * (sure * slope / energy).mean(),
        "relative": plain.mean().detach(),
        **{u: plain[:, UNITS.index(u)].mean().detach() for u in ("AU01", "AU12", "AU25", "AU26", "AU45")},
    }


def refine_losses(
    generator: Generator, critic: MouthDiscriminator, cast: MouthCast, n: int, g: torch.Generator
) -> tuple[L.Batch, Generated]:
    batch, field, corner = cast.batch(n, g, SIDE)
    with torch.no_grad():
        coarse, field = warped_low(batch.source, field)
    small = batch.crop(corner, SIDE)
    field, coarse = L.crop(field, corner, SIDE), L.crop(coarse, corner, SIDE)
    made = generator.repaint(coarse, small.source, small.signal, field)
    return small, Generated(field, coarse, made)


def tint(batch: L.Batch, out: Generated) -> Tensor:
    """L1 of green against magenta, around mouth and eyes: half-painted teeth on red lips turn green."""
    aim = torch.where(batch.paired[:, None, None, None] > 0, batch.target, out.coarse.detach())
    off = out.refined - aim
    return ((off[:, 1] - (off[:, 0] + off[:, 2]) / 2).abs() * (1 + 8 * batch.focus[:, 0])).mean()


class State:
    """What a part of the training needs to go on."""

    def __init__(
        self, path: Path, nets: dict[str, nn.Module], opts: dict[str, torch.optim.Optimizer]
    ) -> None:
        self.path, self.nets, self.opts, self.step = path, nets, opts, 0
        first = next(iter(nets.values()))
        self.average = {k: v.clone() for k, v in first.state_dict().items()}
        self.random = torch.Generator().manual_seed(0)

    def ahead(self, rate: float = 0.997) -> None:
        self.step += 1
        keep = min(rate, self.step / (self.step + 20))
        for k, v in next(iter(self.nets.values())).state_dict().items():
            self.average[k].lerp_(v, 1 - keep)

    def save(self) -> None:
        tensors = {f"average.{k}": v for k, v in self.average.items()} | {"random": self.random.get_state()}
        for name, net in self.nets.items():
            tensors |= {f"{name}.{k}": v for k, v in net.state_dict().items()}
        for name, opt in self.opts.items():
            for i, entry in opt.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{i}.{k}": torch.as_tensor(v) for k, v in entry.items()}
        write_tensors(
            self.path, {k: v.detach().cpu().clone() for k, v in tensors.items()}, {"step": self.step}
        )

    def load(self) -> None:
        if not self.path.exists():
            return
        tensors, meta = read_tensors(self.path)
        self.step = int(meta["step"])
        held = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
        self.average = {k: v.to(self.average[k].device) for k, v in held.items()}
        for name, net in self.nets.items():
            own = f"{name}."
            net.load_state_dict({k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)})
        for name, opt in self.opts.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for key in tensors:
                if key.startswith(f"adam.{name}."):
                    index, entry = key.removeprefix(f"adam.{name}.").split(".")
                    entries.setdefault(int(index), {})[entry] = tensors[key]
            opt.load_state_dict({"state": entries, "param_groups": opt.state_dict()["param_groups"]})
        self.random.set_state(tensors["random"])


def _steps(state: State, args: argparse.Namespace) -> Iterator[None]:
    """One turn a step: sets the rate, averages, logs, saves. Ends after ``--minutes``, however far it is."""
    begun, part, steps = time.monotonic(), args.part, args.steps or STEPS[args.part]
    every, start = (100, state.step) if args.device.type == "cpu" else (1000, state.step)
    while state.step < steps:
        spent = (time.monotonic() - begun) / 60
        done = max(state.step / steps, spent / args.minutes if args.minutes else 0.0)
        if done >= 1:
            break
        args.done = done
        warm = min(1, (state.step - start + 1) / 50)
        rate = (args.rate or RATE[part]) * warm * max(0.01, 0.5 + 0.5 * float(np.cos(np.pi * done)))
        for group in state.opts[part].param_groups:
            group["lr"] = rate
        yield
        state.ahead(0.997 if args.device.type == "cpu" else 0.999)
        if state.step % (every // 5) == 0:
            print(f"{60 * spent:.0f} s, step {state.step}", flush=True)
        if state.step % every == 0:
            state.save()
    state.save()


def _optimized(opt: torch.optim.Optimizer, total: Tensor) -> None:
    opt.zero_grad(set_to_none=True)
    total.backward()
    params = [p for group in opt.param_groups for p in group["params"]]
    if torch.isfinite(nn.utils.clip_grad_norm_(params, 2.0)):
        opt.step()


def _log(run: Path, part: str, step: int, values: dict[str, Tensor], every: int = 1) -> None:
    if step % every:  # reading a figure waits for the device
        return
    record = {"step": step, **{k: round(float(v.detach()), 5) for k, v in values.items()}}
    with (run / f"{part}.jsonl").open("a", encoding="utf-8") as f:
        f.write(json.dumps(record) + "\n")


def train_motion(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    faces = read_faces(args.data, CONFIG.size, exclude=HELD_OUT)
    with Cast(faces, args.run / "fields.safetensors", args.workers, args.device) as cast:
        generator = begin(args.start).to(args.device)
        net = generator.motion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        opt = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99))
        state = State(args.run / "motion.safetensors", {"motion": net}, {"motion": opt})
        state.load()
        for _ in _steps(state, args):
            values = motion_loss(generator, cast, args.batch, state.random)
            _optimized(opt, values["field"] + values["slope"])
            _log(args.run, "motion", state.step, values, args.every)


def train_refine(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    faces = read_faces(args.data, CONFIG.size, exclude=HELD_OUT)
    with MouthCast(faces, args.run / "fields.safetensors", args.workers, args.device) as cast:
        generator, critic = begin(args.start).to(args.device), MouthDiscriminator().to(args.device)
        net = generator.refine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        opts = {
            "refine": torch.optim.Adam(net.parameters(), betas=(0.9, 0.99)),
            "critic": torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999)),
        }
        state = State(args.run / "refine.safetensors", {"refine": net, "critic": critic}, opts)
        state.load()
        for _ in _steps(state, args):
            _refine_step(generator, critic, cast, opts, state, args)


def _refine_step(
    generator: Generator,
    critic: MouthDiscriminator,
    cast: MouthCast,
    opts: dict[str, torch.optim.Optimizer],
    state: State,
    args: argparse.Namespace,
) -> None:
    terms = {**L.SUPERVISED, "tint": tint}
    batch, out = refine_losses(generator, critic, cast, args.batch, state.random)
    values = {k: terms[k](batch, out) for k in PAINT}
    total = sum((w * values[k] for k, w in PAINT.items()), torch.zeros((), device=args.device))
    sharp = SHARP_FROM if args.device.type == "cpu" else SHARP_FROM_GPU
    if args.done > sharp:
        values["mouth_adversarial"] = L.mouth_adversarial(batch, out, critic)
        values["mouth_features"] = L.mouth_features(batch, out, critic)
        total = total + sum(w * values[k] for k, w in SHARP.items())
    _optimized(opts["refine"], total)
    if args.done > sharp - 0.1:
        values["critic"] = L.mouth_discriminator(batch, Generated(*(x.detach() for x in out)), critic)
        _optimized(opts["critic"], values["critic"])
    _log(args.run, "refine", state.step, values, args.every)


def assembled(run: Path, start: str | None) -> tuple[Generator, dict[str, int]]:
    """The averaged generator; a part that was not trained here is that of ``start``."""
    generator, steps = begin(start), {}
    for part in ("motion", "refine"):
        if (run / f"{part}.safetensors").exists():
            tensors, meta = read_tensors(run / f"{part}.safetensors")
            weights = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
            getattr(generator, part).load_state_dict(weights)
            if part == "motion":
                for unit, gain in READ.items():
                    rows = slice(2 * UNITS.index(unit), 2 * UNITS.index(unit) + 2)
                    generator.motion.last.weight.data[rows] *= gain
                    generator.motion.last.bias.data[rows] *= gain  # type: ignore[union-attr]
            steps[part] = meta["step"]
    return generator, steps


def export(run: Path, file: Path, start: str | None) -> None:
    generator, steps = assembled(run, start)
    n = len(UNITS)
    spec = SignalSpec("relative", UNITS, low=(-1.5,) * n, high=(1.5,) * n, presets=presets(UNITS))
    facts = {
        "data": "Face Research Lab London Set (DeBruine & Jones 2017), "
        "Young adult composite faces (DeBruine 2016), "
        "Young Adult White Faces with Manipulated Versions (DeBruine & Jones 2017); CC BY 4.0",
        "licence": "MIT; training data CC BY 4.0",
        "recipe": "recipes/au.py",
        "from": Path(start).stem if start else FROM,
        "steps": steps,
        "batch": BATCH,
        "held_out": list(HELD_OUT),
        "measured": list(FIT),
    }
    save_checkpoint(file, generator, spec, facts)
    print(f"{file}: {steps}, {file.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=("motion", "refine"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--start", help="a checkpoint of this recipe to go on from")
    parser.add_argument("--export", type=Path)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="end after so long, whatever --steps says")
    parser.add_argument("--rate", type=float)
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True  # every batch is like the last
    if args.export:
        export(args.run, args.export, args.start)
    elif args.part:
        args.run.mkdir(parents=True, exist_ok=True)
        args.batch = (BATCH if args.device.type == "cpu" else BATCH_GPU)[args.part]
        args.every = 1 if args.device.type == "cpu" else 50
        {"motion": train_motion, "refine": train_refine}[args.part](args)
    else:
        parser.error("give --part motion, --part refine or --export FILE")


if __name__ == "__main__":
    main()
