"""A training run and its folder: settings, state, log, sample sheets, the model and its card.

run.json            the settings
state-*.safetensors what it takes to go on, the last few
log.jsonl           one object a step
sheet-*.png         photo, motion, coarse, refined and cycle of the same few photos
model.safetensors   the averaged generator, a checkpoint like any other, with its card model.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .algorithm import judges, phases
from .checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from .distributed import Group, joined, own_device
from .expressions import presets
from .files import atomic_path, unwritable
from .images import write_still
from .label_sampler import Jitter, LabelSampler, spec_of
from .manifest import Manifest, read_manifest
from .networks import Generator
from .sheets import contact_sheet, motion_view
from .terminal import pick_device
from .train_card import card
from .train_config import RunConfig, begun
from .training import Trainer
from .training_state import last_step
from .types import InputError, SignalSpec

SHOWN = 5  # photos in a sample sheet
COLUMNS = ("photo", "motion", "coarse", "refined", "cycle")


class Run:
    """One run, opened: ``train`` goes on from its last saved step.

    resume: go on with the run that ``config.out`` holds; otherwise that folder must hold none. manifest: the
    data, if it was read before. group: the processes that train together; all open the run, one writes.
    """

    def __init__(
        self,
        config: RunConfig,
        resume: bool = False,
        manifest: Manifest | None = None,
        group: Group | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self.out = config, Path(config.out)
        self.device = own_device(pick_device(config.device))
        self.group = group or joined(self.device)
        if begun(self.out) != resume:
            raise InputError(_confused(self.out, resume))
        if config.batch % self.group.size:
            raise InputError(
                f"batch {config.batch} cannot be shared out to {self.group.size} processes; "
                "make it a multiple"
            )
        self.group.wait()  # all have looked before one begins
        self.manifest = without(
            manifest or read_manifest(Path(config.data), progress=progress), config.exclude
        )
        with torch.random.fork_rng(devices=[]):  # weights from the seed; the caller's randomness stays
            torch.manual_seed(config.seed)
            generator, self.spec = self._generator(resume)
            self.trainer = self._trainer(generator)
        self._board = self._tensorboard()  # before the run is begun: the extra may be missing
        if last_step(self.out) is not None:
            self.trainer.resume()
        else:  # a run that was killed before its first state has nothing to go on from
            self._begin()

    def _start(self, resume: bool) -> str | Path:
        """What a run is fine-tuned from; for one that goes on its own model will do, which is built alike."""
        own = self.out / "model.safetensors"
        return own if resume and own.is_file() else self.config.start

    def _generator(self, resume: bool) -> tuple[Generator, SignalSpec]:
        c = self.config
        if c.start:
            old = load_checkpoint(self._start(resume))
            if c.signal not in ("auto", old.signal.kind):
                raise InputError(
                    f"signal is {c.signal}, but {old.path.name} takes {old.signal.kind}; say auto, or begin "
                    "without start"
                )
            _fits(self.manifest, old)
            return old.generator.train().requires_grad_(True), old.signal
        kind = c.signal if c.signal != "auto" else ("relative" if self.manifest.units else "category")
        spec = spec_of(self.manifest, kind)  # type: ignore[arg-type]
        if kind != "category":
            spec = replace(spec, presets=presets(spec.names))
        return Generator(c.generator(len(spec.names))), spec

    def _trainer(self, generator: Generator) -> Trainer:
        c, w = self.config, self.config.weights()
        jitter = Jitter(**{k: v * c.augment for k, v in vars(Jitter()).items()})
        size = generator.config.size
        data = LabelSampler(self.manifest, self.spec, size, jitter, c.seed, w.supervised)
        made = phases(w, c.n_critic, c.rate, c.steps, c.decay)
        return Trainer(
            generator,
            data,
            made,
            c.trainer(self.device.type),
            self.out,
            judges(generator, self.spec, c.critic_width, c.critic_layers),
            self.group,
            self.device,
        )

    def _begin(self) -> None:
        """Mark the folder as this run's."""
        if self.group.leads:
            with unwritable(self.out):
                self.out.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.out / "run.json") as temporary:
                text = json.dumps(
                    {"settings": self.config.to_json(), "signal": self.spec.to_json()}, indent=1
                )
                temporary.write_text(text, encoding="utf-8")
        self.trainer.save()  # in all processes: they wait for each other there

    @property
    def step(self) -> int:
        return self.trainer.step

    def train(self, steps: int | None = None) -> Iterator[dict[str, Any]]:
        """Go on for ``steps``, or to the end; yields the log record of each step. The state, the sheet and
        the model are saved at their intervals and at the end, and by ``stop``.
        """
        self.config = replace(self.config, steps=self.config.steps if steps is None else self.step + steps)
        self.trainer.config = replace(self.trainer.config, steps=self.config.steps)
        for record in self.trainer.train():
            at, last = self.step, self.step == self.config.steps
            if self._board is not None:
                for key, value in record.items():
                    self._board.add_scalar(key, value, at)
            if self.group.leads:
                if self.config.sample_every and (last or at % self.config.sample_every == 0):
                    write_still(self.out / f"sheet-{at:08d}.png", self.sheet())
                if last or at % self.config.save_every == 0:
                    self.export()
            yield record

    def stop(self) -> None:
        """Save where it is: nothing of what was trained is lost."""
        if last_step(self.out) != self.step:
            self.trainer.save()
            if self.group.leads:
                self.export()

    def close(self) -> None:
        """Let go of pictures, the board and the other processes."""
        self.trainer.data.pictures.close()  # type: ignore[attr-defined]
        if self._board is not None:
            self._board.close()
        self.group.leave()

    @torch.no_grad()
    def sheet(self) -> Tensor:
        """uint8 [3,h,w]: a few photos, what the averaged generator makes of them, and the way back."""
        data: LabelSampler = self.trainer.data  # type: ignore[assignment]
        n = min(SHOWN, len(data.labels))
        rows = [k * len(data.labels) // n for k in range(n)]
        donors = [_other(data.labels, r, k) for k, r in enumerate(rows)]
        batch = data.fixed(rows, donors).to(self.device)
        out = self.trainer.ema(batch.source, batch.signal, batch.mask)
        assert batch.back is not None
        back = self.trainer.ema(out.refined, batch.back, batch.mask).refined
        views = (batch.source, motion_view(out.field.cpu()), out.coarse, out.refined, back)
        lines = [[v[k : k + 1].cpu().clamp(0, 1) for v in views] for k in range(n)]
        return contact_sheet(lines, COLUMNS, 192)

    def export(self) -> Path:
        """Write the averaged generator and its card; returns the checkpoint's path."""
        path, facts = self.out / "model.safetensors", self.facts()
        save_checkpoint(path, self.trainer.ema, self.spec, facts)
        with atomic_path(self.out / "model.md") as temporary:
            temporary.write_text(card(path, self.spec, self.trainer.ema.config, facts), encoding="utf-8")
        return path

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says about how it was made."""
        hidden = ("data", "out", "start", "device")  # somebody's folders are nobody's business
        settings = {k: v for k, v in self.config.to_json().items() if k not in hidden}
        start = self.config.start
        return {
            "data": f"{'/'.join(self.manifest.path.parts[-2:])}: {len(self.manifest.rows)} photos",
            "skipped": len(self.manifest.skipped),
            "licence": self.config.licence or "not stated",
            "from": (start if start.startswith("hf://") else Path(start).stem) if start else "",
            "steps": self.step,
            "settings": settings,
            "losses": self.recent(),
        }

    def recent(self, count: int = 100) -> dict[str, float]:
        """{loss: its mean over the last ``count`` steps of the log}."""
        series = read_log(self.out)
        return {k: round(sum(v[-count:]) / len(v[-count:]), 5) for k, v in series.items() if v}

    def _tensorboard(self) -> Any:  # noqa: ANN401 (an extra's)
        if not (self.config.tensorboard and self.group.leads):
            return None
        from .extras import tensorboard_writer

        return tensorboard_writer(self.out)


def read_log(folder: Path) -> dict[str, list[float]]:
    """{loss: its values step by step} from a run's log."""
    series: dict[str, list[float]] = {}
    with suppress(FileNotFoundError):
        for line in (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                for key, value in json.loads(line).items():
                    if key not in ("step", "images_per_s"):
                        series.setdefault(key, []).append(float(value))
    return series


def without(manifest: Manifest, people: Sequence[str]) -> Manifest:
    """The manifest but for some people's rows. A name that nobody has is an ``InputError``."""
    unknown = sorted(set(people) - {r.subject for r in manifest.rows})
    if unknown:
        some = ", ".join(sorted({r.subject for r in manifest.rows})[:4]) or "nobody"
        raise InputError(f"exclude names {', '.join(unknown)}; {manifest.path} has {some} ...")
    return replace(manifest, rows=tuple(r for r in manifest.rows if r.subject not in people))


def _other(labels: Tensor, row: int, turn: int) -> int:
    """Another row, of a label unlike this row's where there is one."""
    unlike = (labels != labels[row]).any(1).nonzero().flatten()
    return int(unlike[(turn * 7919) % len(unlike)]) if len(unlike) else row


def _fits(manifest: Manifest, old: Checkpoint) -> None:
    """Refuse data that have nothing to say about what a checkpoint is driven by."""
    have = set(manifest.categories if old.signal.kind == "category" else manifest.units)
    missing = [n for n in old.signal.names if n not in have]
    if len(missing) == len(old.signal.names) or (missing and old.signal.kind == "category"):
        raise InputError(
            f"{manifest.path}: no labels for {', '.join(missing[:8])}, which {old.path.name} is driven by; "
            f"it has {', '.join(sorted(have)) or 'none'}"
        )


def _confused(out: Path, resume: bool) -> str:
    if resume:
        return f"{out} holds no run to resume; begin a new one"
    return (
        f"{out} already holds a run, {last_step(out) or 0} steps long; resume it (--resume, or mode resume), "
        "or give the new run another folder"
    )
