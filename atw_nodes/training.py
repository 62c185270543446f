"""The training loop: phases as data, losses as named weights, a state that resumes.

One step runs every phase that is due. A phase updates one network with a weighted sum of named losses; the
paper's Algorithm 1 and the supervised warm start are both lists of phases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import losses as L
from .checkpoints import read_tensors, write_tensors
from .data import PairSampler
from .networks import Generator, MouthDiscriminator
from .types import CheckpointError, Generated, InputError


@dataclass(frozen=True)
class Phase:
    """One kind of update: which network, which losses at which weight, when, how fast.

    network: "generator" (all of it), "refine" (its second half, motion held) or "mouth" (the discriminator).
    start, stop: the steps between which it runs. rate: Adam's; it falls linearly to 2 % from the share
    ``decay`` of the phase onwards, and rises over the first ``warmup`` steps. refine: False trains motion
    alone, which costs half. crop: side in pixels of a square around the mouth that "refine" is trained on,
    which costs a fraction. anywhere: the share of those squares that lie anywhere; one without the mouth
    counts as unpaired, so that nothing is repainted there. fresh: False takes the batch and the images of the
    phase before it instead of making new ones.
    """

    name: str
    network: str
    losses: Mapping[str, float]
    start: int = 0
    stop: int = 1 << 60
    rate: float = 6e-4
    decay: float = 1.0
    warmup: int = 1
    refine: bool = True
    crop: int = 0
    anywhere: float = 0.0
    fresh: bool = True

    def due(self, step: int) -> bool:
        return self.start <= step < self.stop

    def rate_at(self, step: int) -> float:
        warm = min(1.0, (step - self.start + 1) / self.warmup)
        if self.decay >= 1:
            return self.rate * warm
        done = (step - self.start) / (self.stop - self.start)
        return self.rate * warm * max(0.02, min(1.0, (1 - done) / (1 - self.decay)))


BETAS = {"generator": (0.9, 0.99), "refine": (0.9, 0.99), "mouth": (0.5, 0.999)}


def half_pays() -> bool:
    """Whether this processor computes in bfloat16; one that does not is eight times slower by it."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())


@dataclass(frozen=True)
class TrainConfig:
    """Everything but the data and the phases."""

    steps: int
    batch: int = 12
    seed: int = 0
    clip: float = 2.0
    ema: float = 0.995
    bf16: bool = field(default_factory=half_pays)
    save_every: int = 250


class Trainer:
    """Trains a generator. ``out`` receives the state, the log (JSON lines) and nothing else."""

    def __init__(
        self, generator: Generator, data: PairSampler, phases: Sequence[Phase], config: TrainConfig, out: Path
    ) -> None:
        self.config, self.data, self.phases, self.out = config, data, tuple(phases), Path(out)
        self.networks: dict[str, nn.Module] = {"generator": generator, "mouth": MouthDiscriminator()}
        self.trained: dict[str, nn.Module] = {**self.networks, "refine": generator.refine}
        self.generator, self.ema = generator, Generator(generator.config).requires_grad_(False)
        self.ema.load_state_dict(generator.state_dict())
        for net in self.networks.values():
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), betas=BETAS[name]) for name, net in self.trained.items()
        }
        critic = self.networks["mouth"]
        self.losses: dict[str, L.Loss] = {
            **L.SUPERVISED,
            "mouth_discriminator": partial(L.mouth_discriminator, critic=critic),
            "mouth_adversarial": partial(L.mouth_adversarial, critic=critic),
            "mouth_features": partial(L.mouth_features, critic=critic),
        }
        for phase in self.phases:
            unknown = sorted(set(phase.losses) - set(self.losses))
            if unknown or phase.network not in self.trained:
                raise InputError(
                    f"phase {phase.name}: unknown {unknown or phase.network}; "
                    f"losses: {', '.join(self.losses)}"
                )
        self.random = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self._last: tuple[L.Batch, Generated] | None = None

    def generate(self, batch: L.Batch, phase: Phase) -> tuple[L.Batch, Generated]:
        """G on a batch, in bf16 if the config says so; with ``phase.crop``, around the mouth, motion held."""
        low = batch.source.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            if not phase.crop:
                with torch.set_grad_enabled(phase.network == "generator"):
                    return batch, self.generator(low, batch.signal, batch.mask, refine=phase.refine)
            with torch.no_grad():
                field, coarse, _ = self.generator(low, batch.signal, batch.mask, refine=False)
            corner, holds = self._corner(batch, phase)
            field, coarse = (L.crop(x, corner, phase.crop) for x in (field, coarse))
            batch = replace(batch, paired=batch.paired * holds).crop(corner, phase.crop)
            return batch, Generated(
                field, coarse, self.generator.repaint(coarse, batch.source, batch.signal, field)
            )

    def _corner(self, batch: L.Batch, phase: Phase) -> tuple[Tensor, Tensor]:
        """Top left [B,2] of random squares around (or away from) the target's mouth; 1 where they hold it
        [B].
        """
        size, side, n = batch.source.shape[-1], phase.crop, len(batch.source)
        mouth = (batch.target_landmarks[:, 61] + batch.target_landmarks[:, 291]) / 2 * size
        near = mouth + (torch.rand(n, 2, generator=self.random) - 0.5) * side * 0.4
        wild = torch.rand(n, 2, generator=self.random) * size
        away = torch.rand(n, 1, generator=self.random) < phase.anywhere
        corner = (torch.where(away, wild, near) - side / 2).round().clamp(0, size - side)
        holds = ((corner + side / 2 - mouth).abs().amax(-1) < side * 0.6).float()
        return corner.long(), holds

    def run(self, phase: Phase) -> dict[str, float]:
        """One update. Returns the unweighted losses."""
        if phase.fresh or self._last is None:
            drawn = self.data.batch(self.config.batch, self.random, paired_only=phase.crop > 0)
            batch, out = self.generate(drawn, phase)
            self._last = (batch, Generated(*(x.detach() for x in out)))
        else:
            batch, out = self._last
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            values = {name: self.losses[name](batch, out) for name in phase.losses}
        total = sum((weight * values[name] for name, weight in phase.losses.items()), torch.zeros(()))
        optimizer, network = self.optimizers[phase.network], self.trained[phase.network]
        for group in optimizer.param_groups:
            group["lr"] = phase.rate_at(self.step)
        for net in self.networks.values():
            net.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.config.clip)
        if torch.isfinite(norm):  # a step on NaN would end the run; the next batch goes on
            optimizer.step()
        if phase.network != "mouth":
            self._average()
        return {k: float(v.detach()) for k, v in values.items()}

    @torch.no_grad()
    def _average(self) -> None:
        rate = min(self.config.ema, (self.step + 1) / (self.step + 10))
        for a, b in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            a.lerp_(b, 1 - rate)

    def train(self) -> Iterator[dict[str, Any]]:
        """Run to the end from the current step; yields one log record a step and saves the state at
        intervals.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        begun, first = time.monotonic(), self.step
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            while self.step < self.config.steps:
                record: dict[str, Any] = {"step": self.step}
                for phase in self.phases:
                    if phase.due(self.step):
                        record |= {f"{phase.name}/{k}": round(v, 5) for k, v in self.run(phase).items()}
                self.step += 1
                spent = time.monotonic() - begun
                record["images_per_s"] = round((self.step - first) * self.config.batch / spent, 2)
                log.write(json.dumps(record) + "\n")
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    log.flush()
                    self.save()
                yield record

    def _named(self) -> dict[str, Tensor]:
        """Every tensor of the state by name; networks and averages are the live tensors."""
        tensors: dict[str, Tensor] = {"random": self.random.get_state()}
        for name, net in {**self.networks, "ema": self.ema}.items():
            tensors |= {f"{name}.{k}": v for k, v in net.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for i, state in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        return tensors

    def save(self) -> Path:
        """Write the whole state to ``out``/state.safetensors, atomically; ``resume`` goes on from it."""
        path = self.out / "state.safetensors"
        # "state" marks the file; generator and config are what a resumed run must agree with
        write_tensors(
            path, self._named(), {"state": 1, "step": self.step, "generator": self.generator.config.to_json()}
        )
        return path

    def resume(self) -> int:
        """Continue from ``out``/state.safetensors; returns the step. Same generator only."""
        tensors, meta = read_tensors(self.out / "state.safetensors")
        if meta.get("generator") != json.loads(json.dumps(asdict(self.generator.config))):
            raise CheckpointError(
                f"{self.out}: state of another generator {meta.get('generator')}; use a new folder"
            )
        for name, net in {**self.networks, "ema": self.ema}.items():
            net.load_state_dict(
                {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"adam.{name}."):
                    index, entry = key.removeprefix(f"adam.{name}.").split(".")
                    state.setdefault(int(index), {})[entry] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.random.set_state(tensors["random"])
        self.step = int(meta["step"])
        return self.step
