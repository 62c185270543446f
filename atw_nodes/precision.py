"""Half precision, where the device has it and it shows nowhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor


def paying(x: Tensor) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where the device of ``x`` computes in it, for networks whose result is added to a
    picture: what the bundled models add changes by 0.6/255 at most. Not for motions, which would change by
    up to 6 pixels of 4096, nor with gradients.
    """
    if torch.is_grad_enabled() or x.dtype != torch.float32 or not has_bfloat16(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, torch.bfloat16)


@lru_cache
def has_bfloat16(kind: str) -> bool:
    """Whether devices of this kind compute in bfloat16: a CPU that has to pretend is ten times slower."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return kind == "cpu" and native is not None and bool(native())
