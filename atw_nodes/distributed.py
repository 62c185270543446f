"""Several processes that train as one, started by PyTorch's own ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from .types import InputError


class Group:
    """This process among ``size`` that train together; alone without ``torchrun``.

    Every process draws the same random numbers for the whole batch and works on its share of the rows, so a
    mean of the shares' gradients is the whole batch's gradient.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @torch.no_grad()
    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients by their mean over all processes, in one message."""
        if self.size == 1:
            return
        some = [p for p in parameters if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in some])
        dist.all_reduce(flat)
        flat /= self.size
        for p, part in zip(some, flat.split([p.numel() for p in some]), strict=True):
            p.grad = part.view(p.shape) if p.grad is None else p.grad.copy_(part.view(p.shape))

    def mean(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars averaged over all processes."""
        if self.size == 1 or not values:
            return values
        stacked = torch.stack([v.detach().float() for v in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, (stacked / self.size).unbind(), strict=True))

    def any(self, asked: bool) -> bool:
        """Whether any of the processes says so."""
        if self.size == 1:
            return asked
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        told = torch.tensor([float(asked)], device=device)
        dist.all_reduce(told)
        return bool(told.item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def joined(device: torch.device) -> Group:
    """The group that ``torchrun`` started this process in, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Group()
    if not dist.is_available():
        raise InputError("this PyTorch has no torch.distributed; start one process, without torchrun")
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Group(dist.get_rank(), dist.get_world_size())


def own_device(device: torch.device) -> torch.device:
    """The graphics card of this process, one a process."""
    if device.type != "cuda":
        return device
    card = int(os.environ.get("LOCAL_RANK", device.index or 0))
    torch.cuda.set_device(card)
    return torch.device("cuda", card)
