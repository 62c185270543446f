"""The pool on a Ray cluster: Ray's actors are the workers, Ray decides where they run and sees them die.

A dead actor is not restarted but replaced: one that restarts refuses calls until it is up, and of one that is
merely out of reach Ray says that it may still be at work. Jobs name files, which every machine has to see.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from .extras import ray_module
from .files import model_folders, reason
from .render_jobs import Attempt, Result, perform
from .types import InputError

STORE = 100 * 2**20  # bytes of shared memory: what is passed around is a few lines


class Renderer:
    """What runs in an actor: one job at a time, its checkpoints stay loaded."""

    def __init__(self, threads: int | None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)

    def perform(self, attempt: Attempt) -> Result:
        return perform(attempt)


class RayPool:
    """``Pool`` of as many actors as the cluster holds: one a graphics card, else one per ``cpus`` cores.

    address: ``local`` begins a cluster on this machine, ``auto`` joins the one that it is part of, else
    host:port or ray://host:port. most: no more actors than that.
    """

    def __init__(self, address: str, most: int | None = None, cpus: int = 1) -> None:
        self._ray = _joined(address, most, cpus)
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Attempt]] = {}  # by the reference of what is awaited
        try:
            resources = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        except BaseException:
            self.close()
            raise
        cards = sum(int(r.get("GPU", 0)) for r in resources)
        held = cards or sum(int(r.get("CPU", 0) // cpus) for r in resources)
        if not held:
            self.close()
            raise InputError(f"--ray {address}: no machine has {cpus} cores; choose fewer --cpus-per-worker")
        self.size, self.on_cards = min(most or held, held), bool(cards)
        self._kind = self._ray.remote(Renderer).options(**({"num_gpus": 1} if cards else {"num_cpus": cpus}))
        self._threads = None if cards else cpus

    def free(self) -> bool:
        return bool(self._idle) or len(self._busy) < self.size

    def start(self, attempt: Attempt) -> None:
        actor = self._idle.pop() if self._idle else self._kind.remote(self._threads)
        self._busy[actor.perform.remote(attempt)] = actor, attempt

    def finished(self, seconds: float) -> list[tuple[Attempt, Result]]:
        if not self._busy:
            return []
        ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=seconds)
        ended = []
        for reference in ready:
            actor, attempt = self._busy.pop(reference)
            result = self._result(reference)
            if result.lost:
                self._ray.kill(actor)
            else:
                self._idle.append(actor)
            ended.append((attempt, result))
        return ended

    def close(self) -> None:
        self._ray.shutdown()  # actors end with it, and a cluster that was begun here

    def _result(self, reference: Any) -> Result:  # noqa: ANN401
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            cause = next((x for x in lines if x.startswith(("ModuleNotFoundError", "ImportError"))), "")
            return Result("", error=f"the actor was lost: {cause or ' '.join(lines)[:400]}", lost=True)


def _joined(address: str, most: int | None, cpus: int) -> Any:  # noqa: ANN401 (the package's types are the extra's)
    """Ray, connected, with this pack on its way to every machine."""
    ray = ray_module()
    _check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"include_dashboard": False, "object_store_memory": STORE}
        options |= {"num_cpus": most * cpus} if most else {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            ray.init(address=address, runtime_env={"py_modules": [str(_package(Path(folder)))]}, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--ray {address}: no cluster to be reached ({reason(error)[:300]}); start one by "
                "ray start --head, set RAY_AUTH_MODE=token if it asks for a token, or give local"
            ) from error
    return ray


def _check_address(address: str) -> None:
    """Fail within seconds where nobody listens; Ray itself takes minutes."""
    if address in ("local", "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray {address}: expected local, auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray {address}: nobody listens there ({reason(error)}); check the address"
        ) from error


def _package(folder: Path) -> Path:
    """This pack as a wheel lays it out, its models inside, so that machines without it have all of it."""
    here = Path(__file__).resolve().parent
    made = folder / "atw_nodes"
    shutil.copytree(here, made, ignore=shutil.ignore_patterns("__pycache__"))
    for models in model_folders():
        shutil.copytree(models, made / "models", dirs_exist_ok=True)
    return made
