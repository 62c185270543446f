"""All that a training needs to go on, as files: safetensors with one JSON object, the last few kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import read_tensors, write_tensors
from .files import atomic_path
from .types import CheckpointError, InputError

_NAME = re.compile(r"state-(\d{8})\.safetensors")


def states(folder: Path) -> dict[int, Path]:
    """{step: file} of the states in a run's folder, oldest first."""
    found = {int(m[1]): p for p in Path(folder).glob("state-*.safetensors") if (m := _NAME.fullmatch(p.name))}
    return dict(sorted(found.items()))


def last_step(folder: Path) -> int | None:
    """The step of a run's newest state, None where there is none."""
    return max(states(folder), default=None)


def write_state(
    folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int
) -> Path:
    """Write the state of ``step`` under a temporary name, rename it, then drop all but the last ``keep``."""
    path = Path(folder) / f"state-{step:08d}.safetensors"
    write_tensors(path, tensors, {"state": 1, "step": step, **facts})
    for old in list(states(folder).values())[:-keep]:
        with suppress(OSError):  # open elsewhere, on Windows: it goes next time
            old.unlink()
    return path


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], Path]:
    """The newest state that can be read, (tensors, facts, file); ``InputError`` where there is none."""
    found = list(states(folder).values())
    if not found:
        raise InputError(
            f"{folder} holds no state to go on from; start a new run there, or name another folder"
        )
    failed: CheckpointError | None = None
    for path in reversed(found):
        try:
            tensors, facts = read_tensors(path)
        except CheckpointError as error:
            failed = failed or error
            continue
        if facts.get("state") != 1:
            raise CheckpointError(
                f"{path}: state of version {facts.get('state')}, expected 1; update the pack"
            )
        return tensors, facts, path
    raise CheckpointError(
        f"{folder}: none of {len(found)} states can be read; the newest: {failed}"
    ) from failed


def sweep(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for leftover in Path(folder).glob(".*.partial*"):
        with suppress(OSError):
            leftover.unlink()


def rewind_log(path: Path, step: int) -> None:
    """Keep the records before ``step``: what came after was lost and is made again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line that was cut short
            if json.loads(line)["step"] < step:
                kept.append(line + "\n")
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def adam_tensors(name: str, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """(key, tensor) of an optimiser's memory."""
    for i, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            yield f"adam.{name}.{i}.{key}", torch.as_tensor(value)


def restore_adam(name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of ``adam_tensors``."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"adam.{name}."):
            index, entry = key.removeprefix(f"adam.{name}.").split(".")
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def restore_network(name: str, network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Fill ``network`` with the tensors under its name, strictly."""
    own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        what = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{source}: the state of another {name} ({what}); use the settings it was begun with, or a new "
            "folder"
        ) from error
