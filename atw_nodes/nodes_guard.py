"""What every node does first: hold its inputs against its own schema.

The host checks neither what comes over a wire nor NaN, and older ones not even the choices of a V3 combo; a
shared workflow is a stranger's input.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from comfy_api.latest import io

from .driving import Named, PerFace
from .host import Model
from .manifest import Manifest
from .sockets import Decomposed, Found, Moved
from .train_config import Training
from .types import InputError, Signal

_SOCKETS: dict[str, tuple[tuple[type, ...], str]] = {
    "ATW_MODEL": ((Model,), "ATW Load Model"),
    "ATW_FRAME": ((Found,), "ATW Face Frame"),
    "ATW_RESIDUALS": ((Decomposed,), "ATW Decompose"),
    "ATW_SIGNAL": ((Named, Signal, PerFace), "ATW Expression"),
    "ATW_MOTION": ((Moved,), "ATW Generator"),
    "ATW_DATASET": ((Manifest,), "ATW Dataset"),
    "ATW_TRAINER": ((Training,), "ATW Trainer"),
}
LONGEST_TEXT = 100_000


def schema(**arguments: Any) -> io.Schema:  # noqa: ANN401
    """``io.Schema`` of what this host knows of ``arguments``; newer ones are left out on older hosts."""
    known = getattr(io.Schema, "__dataclass_fields__", {})
    return io.Schema(**{k: v for k, v in arguments.items() if k in known})


def guarded(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """``execute`` of a node, run once every input is what the node's schema says. For under @classmethod."""

    @functools.wraps(execute)
    def run(cls: type[io.ComfyNode], **given: Any) -> io.NodeOutput:  # noqa: ANN401
        declared = cls.define_schema()
        for wanted in declared.inputs or []:
            value = given.get(wanted.id)
            listed = declared.is_input_list and isinstance(value, list)
            for one in value if listed else [value]:  # type: ignore[union-attr]
                check_input(wanted, one)
        return execute(cls, **given)

    return run


def check_input(wanted: Any, value: Any) -> None:  # noqa: ANN401 (the host's input; anybody's value)
    """``InputError`` unless ``value`` is one that the input ``wanted`` allows."""
    name, kind = wanted.id, str(wanted.get_io_type())
    if value is None:
        if not wanted.optional:
            raise InputError(f"{name} is missing; connect a node that gives it")
    elif kind in _SOCKETS:
        expected, source = _SOCKETS[kind]
        if not isinstance(value, expected):
            raise InputError(f"{name} is {type(value).__name__}; connect what {source} gives")
    elif kind in ("INT", "FLOAT") and not wanted.force_input:
        good = isinstance(value, Integral if kind == "INT" else Real) and math.isfinite(value)
        if not (good and wanted.min <= value <= wanted.max):
            raise InputError(f"{name} is {str(value)[:40]}; expected {wanted.min} to {wanted.max}")
    elif kind == "STRING":
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise InputError(f"{name} is no text, or longer than {LONGEST_TEXT} characters")
    elif kind == "COMBO" and value not in wanted.options:
        known = ", ".join(str(o) for o in wanted.options)
        raise InputError(f"{name} is {str(value)[:200]!r}; expected one of {known}")
