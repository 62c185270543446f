"""The training loop: phases as data, losses as named weights, a state that resumes.

One step runs every phase that is due. A phase updates one network with a weighted sum of named losses; the
paper's Algorithm 1 (``algorithm.py``) and the supervised warm start are both lists of phases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from . import losses as L
from .discriminators import Remembered, frozen
from .distributed import Group
from .networks import Generator, GeneratorConfig, MouthDiscriminator
from .training_state import (
    adam_tensors,
    read_state,
    restore_adam,
    restore_network,
    rewind_log,
    sweep,
    write_state,
)
from .types import CheckpointError, Generated, InputError

PATIENCE = 25  # updates in a row without a finite gradient before a run gives up


@dataclass(frozen=True)
class Phase:
    """One kind of update: which network, which losses at which weight, when, how fast.

    network: "generator" (all of it), "refine" (its second half, motion held), or one of the judges' networks.
    start, stop: the steps between which it runs. rate: Adam's; it falls linearly to 2 % from the share
    ``decay`` of the phase onwards, and rises over the first ``warmup`` steps. refine: False trains motion
    alone, which costs half. crop: side in pixels of a square around the mouth that "refine" is trained on,
    which costs a fraction. anywhere: the share of those squares that lie anywhere; one without the mouth
    counts as unpaired, so that nothing is repainted there. fresh: False takes the batch and the images of the
    phase before it instead of making new ones. repeat: updates a step, each on a batch of its own.
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
    repeat: int = 1

    def due(self, step: int) -> bool:
        return self.start <= step < self.stop

    def rate_at(self, step: int) -> float:
        warm = min(1.0, (step - self.start + 1) / self.warmup)
        if self.decay >= 1:
            return self.rate * warm
        done = (step - self.start) / (self.stop - self.start)
        return self.rate * warm * max(0.02, min(1.0, (1 - done) / (1 - self.decay)))


def half_pays() -> bool:
    """Whether this processor computes in bfloat16; one that does not is eight times slower by it."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())


@dataclass(frozen=True)
class TrainConfig:
    """Everything but the data and the phases.

    clip: most that a gradient's norm may be, 0 for no bound. betas: Adam's, of the generator. bf16: half
    precision where it is safe. keep: how many states stay.
    """

    steps: int
    batch: int = 12
    seed: int = 0
    clip: float = 2.0
    ema: float = 0.995
    betas: tuple[float, float] = (0.9, 0.99)
    bf16: bool = field(default_factory=half_pays)
    save_every: int = 250
    keep: int = 2


class Sampler(Protocol):
    """Where batches come from: ``batch(n, g)``, all randomness from ``g``."""

    @property
    def batch(self) -> Callable[..., L.Batch]: ...


@dataclass(frozen=True)
class Judges:
    """Networks trained beside the generator, and every loss by its name."""

    networks: Mapping[str, nn.Module]
    losses: Mapping[str, L.Loss]
    betas: tuple[float, float] = (0.5, 0.999)
    remembered: tuple[Remembered, ...] = ()


def supervised() -> Judges:
    """A discriminator of mouths, and the losses on pairs of photos."""
    mouth = MouthDiscriminator()
    own = (L.mouth_discriminator, L.mouth_adversarial, L.mouth_features)
    return Judges({"mouth": mouth}, {**L.SUPERVISED, **{f.__name__: partial(f, critic=mouth) for f in own}})


class Trainer:
    """Trains a generator. ``out`` receives the state, the log (JSON lines) and nothing else."""

    def __init__(
        self,
        generator: Generator,
        data: Sampler,
        phases: Sequence[Phase],
        config: TrainConfig,
        out: Path,
        judges: Judges | None = None,
        group: Group | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.data, self.phases, self.out = config, data, tuple(phases), Path(out)
        self.judges, self.group, self.device = judges or supervised(), group or Group(), torch.device(device)
        self.networks: dict[str, nn.Module] = {"generator": generator, **self.judges.networks}
        self.trained: dict[str, nn.Module] = {**self.networks, "refine": generator.refine}
        self.generator, self.ema = generator, Generator(generator.config).requires_grad_(False)
        self.ema.load_state_dict(generator.state_dict())
        for net in (*self.networks.values(), self.ema):
            net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._check()
        used = {p.network for p in self.phases}
        self.optimizers = {
            name: torch.optim.Adam(
                net.parameters(), betas=self.judges.betas if name in self.judges.networks else config.betas
            )
            for name, net in self.trained.items()
            if name in used
        }
        self.random = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.failed = dict.fromkeys(used, 0)  # updates in a row that were none, of each network
        self._last: tuple[L.Batch, Generated] | None = None

    def _check(self) -> None:
        for phase in self.phases:
            unknown = sorted(set(phase.losses) - set(self.judges.losses))
            if unknown or phase.network not in self.trained:
                raise InputError(
                    f"phase {phase.name}: unknown {', '.join(unknown) or phase.network}; "
                    f"losses: {', '.join(self.judges.losses)}; networks: {', '.join(self.trained)}"
                )

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def generate(self, batch: L.Batch, phase: Phase) -> tuple[L.Batch, Generated]:
        """G on a batch, in bf16 if the config says so; with ``phase.crop``, around the mouth, motion held."""
        low = batch.source.contiguous(memory_format=torch.channels_last)
        with self._half():
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
        near = mouth + (self._rand(n, 2) - 0.5) * side * 0.4
        wild = self._rand(n, 2) * size
        away = self._rand(n, 1) < phase.anywhere
        corner = (torch.where(away, wild, near) - side / 2).round().clamp(0, size - side)
        holds = ((corner + side / 2 - mouth).abs().amax(-1) < side * 0.6).float()
        return corner.long(), holds

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random).to(self.device)

    def _drawn(self, phase: Phase) -> L.Batch:
        how: dict[str, Any] = {"paired_only": True} if phase.crop else {}
        if self.group.size > 1:
            how["part"] = (self.group.rank, self.group.size)
        return self.data.batch(self.config.batch, self.random, **how).to(self.device)

    def run(self, phase: Phase) -> dict[str, Tensor]:
        """One update. Returns the unweighted losses, means over the whole batch."""
        network = self.trained[phase.network]
        for name, net in self.networks.items():
            frozen(net, name != ("generator" if phase.network == "refine" else phase.network))
        if phase.fresh or self._last is None:
            batch, out = self.generate(self._drawn(phase), phase)
            self._last = (batch, Generated(*(x.detach() for x in out)))
        else:
            batch, out = self._last
        with self._half():
            values = {name: self.judges.losses[name](batch, out) for name in phase.losses}
        total = sum(
            (weight * values[name] for name, weight in phase.losses.items()),
            torch.zeros((), device=self.device),
        )
        for net in self.networks.values():
            net.zero_grad(set_to_none=True)
        total.backward()
        for memory in self.judges.remembered:
            memory.forget()
        self._update(phase, network)
        return self.group.mean({k: v.detach() for k, v in values.items()})

    def _update(self, phase: Phase, network: nn.Module) -> None:
        """Adam's step, the same in every process; none on a gradient that is not finite."""
        optimizer = self.optimizers[phase.network]
        for group in optimizer.param_groups:
            group["lr"] = phase.rate_at(self.step)
        self.group.average(network.parameters())
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.config.clip or float("inf"))
        if torch.isfinite(norm):
            self.failed[phase.network] = 0
            optimizer.step()
            if network is self.generator or network is self.generator.refine:
                self._average()
            return
        self.failed[phase.network] += 1
        if self.failed[phase.network] >= PATIENCE:
            raise InputError(
                f"step {self.step}: the gradients of {phase.network} were not finite {PATIENCE} times "
                f"in a row; lower the rate ({phase.rate:g}) or the weights, and go on from an earlier state"
            )

    @torch.no_grad()
    def _average(self) -> None:
        rate = min(self.config.ema, (self.step + 1) / (self.step + 10))
        for a, b in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            a.lerp_(b, 1 - rate)

    def one(self) -> dict[str, Any]:
        """One step: every phase that is due, as often as it repeats. Returns its log record."""
        record: dict[str, Any] = {"step": self.step}
        for phase in self.phases:
            if phase.due(self.step):
                made = [self.run(phase) for _ in range(phase.repeat)]
                mean = {k: torch.stack([m[k] for m in made]).mean() for k in made[0]}
                record |= {f"{phase.name}/{k}": round(float(v), 5) for k, v in mean.items()}
        self.step += 1
        return record

    def train(self) -> Iterator[dict[str, Any]]:
        """Run to the end from the current step; yields one log record a step and saves the state at
        intervals. Who stops early and wants to lose nothing calls ``save``.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        begun, first = time.monotonic(), self.step
        path = self.out / "log.jsonl"
        log = path.open("a", 1, encoding="utf-8") if self.group.leads else None  # line by line, to be watched
        try:
            while self.step < self.config.steps:
                record = self.one()
                spent = time.monotonic() - begun
                record["images_per_s"] = round((self.step - first) * self.config.batch / spent, 2)
                if log:
                    log.write(json.dumps(record) + "\n")
                if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                    self.save()
                yield record
        finally:
            if log:
                log.close()

    def named(self) -> dict[str, Tensor]:
        """Every tensor of the state by name; networks and averages are the live tensors."""
        tensors: dict[str, Tensor] = {"random": self.random.get_state()}
        for name, net in {**self.networks, "ema": self.ema}.items():
            tensors |= {f"{name}.{k}": v for k, v in net.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            tensors |= dict(adam_tensors(name, optimizer))
        return tensors

    def save(self) -> None:
        """Write the whole state into ``out``, atomically; ``resume`` goes on from it. One process does."""
        if self.group.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            place = getattr(self.data, "state", dict)()
            facts = {"generator": self.generator.config.to_json(), "data": place}
            write_state(self.out, self.step, self.named(), facts, self.config.keep)
        self.group.wait()

    def resume(self) -> int:
        """Continue from the newest state in ``out``; returns the step. Same networks only."""
        tensors, facts, path = read_state(self.out)
        same = {
            **GeneratorConfig(1).to_json(),
            **facts.get("generator", {}),
        }  # fields that came later at rest
        if same != json.loads(json.dumps(asdict(self.generator.config))):
            raise CheckpointError(
                f"{path}: state of another generator {facts.get('generator')}; use a new folder"
            )
        for name, net in {**self.networks, "ema": self.ema}.items():
            restore_network(name, net, tensors, path)
        for name, optimizer in self.optimizers.items():
            restore_adam(name, optimizer, tensors)
        self.random.set_state(tensors["random"])
        if restore := getattr(self.data, "restore", None):
            restore(facts["data"])
        self.step = int(facts["step"])
        if self.group.leads:
            sweep(self.out)
            rewind_log(self.out / "log.jsonl", self.step)
        self.group.wait()
        return self.step
