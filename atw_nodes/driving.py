"""What drives a face: ATW_SIGNAL, and how it becomes a model's vectors. Needs no ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .expressions import EXPRESSIONS, expression, expression_name, with_presets
from .signals import pose
from .types import InputError, Signal, SignalSpec


@dataclass(frozen=True)
class Named:
    """ATW_SIGNAL, one step: a named expression. target: what the face already shows is not added again."""

    expression: str
    strength: float
    target: bool = True

    def __len__(self) -> int:
        return 1


One: TypeAlias = Named | Signal  # of one face, or of every face


@dataclass(frozen=True)
class PerFace:
    """ATW_SIGNAL of several faces, by their order; None keeps a face still, and so are those beyond."""

    signals: tuple[One | None, ...]

    def __len__(self) -> int:
        return max((len(s) for s in self.signals if s is not None), default=1)


Driving: TypeAlias = One | PerFace  # ATW_SIGNAL


def paired(driving: Driving, faces: int) -> list[One | None]:
    """What drives each of so many faces: one signal serves all."""
    if not isinstance(driving, PerFace):
        return [driving] * faces
    if len(driving.signals) > faces:
        raise InputError(
            f"signals for {len(driving.signals)} faces were given, but the frame holds {faces}; connect "
            "fewer, or choose where = all faces in ATW Face Frame"
        )
    return [*driving.signals, *[None] * (faces - len(driving.signals))]


def joined(signals: Sequence[Driving | None]) -> PerFace:
    """Signals one a face in this order; one that is of several faces already counts as so many."""
    flat: list[One | None] = []
    for signal in signals:
        flat.extend(signal.signals if isinstance(signal, PerFace) else [signal])
    return PerFace(tuple(flat))


def rate_of(driving: Driving) -> float | None:
    """Frames a second that it knows; of several faces', the first's that does."""
    some = driving.signals if isinstance(driving, PerFace) else (driving,)
    return next((s.fps for s in some if isinstance(s, Signal) and s.fps), None)


def as_signal(driving: Driving) -> Signal:
    """A signal as it is; a named expression as the change that it adds, whatever the face shows."""
    if isinstance(driving, Signal):
        return driving
    if isinstance(driving, PerFace):
        raise InputError(
            "the signal is of several faces (ATW Signal Per Face), this node takes one; change each face's "
            "signal first, and join them last"
        )
    if driving.expression not in EXPRESSIONS:
        raise InputError(f"{driving.expression!r} is no combination of units, and cannot be mixed with some")
    return pose({n: driving.strength * v for n, v in EXPRESSIONS[driving.expression].items()})


def vectors(driving: One, spec: SignalSpec, shown: Mapping[str, float]) -> tuple[Tensor, tuple[str, ...]]:
    """[T,N] signal for a model, on a face that shows ``shown``; and units that move, which it does not know.

    Units as shown become changes for a relative model, and changes become units for an absolute one; what
    the signal does not name stays as it is. ``InputError`` if the model knows none of the units that move,
    or not the expression.
    """
    if isinstance(driving, Named):
        expression(driving.expression, spec)  # or says what the model knows
        known, name = with_presets(spec), driving.expression
        name = name if name in known.presets else expression_name(name)
        if driving.target:
            return known.toward(name, driving.strength, shown), ()
        return known.preset(name, driving.strength), ()
    values, dropped = driving.onto(spec)
    if dropped and not bool(values.any()):
        raise InputError(
            f"the signal moves {', '.join(dropped)}, this model knows {', '.join(spec.names)} alone; "
            "choose another model or signal"
        )
    now = spec.shown(shown)
    named = torch.tensor([n in driving.names for n in spec.names])
    if spec.kind == "relative" and driving.absolute:
        values = torch.where(named, values - now, values)
    elif spec.kind == "absolute" and not driving.absolute:
        values = values + now
    elif spec.kind == "absolute":
        values = torch.where(named, values, now)
    return values.clamp(torch.tensor(spec.low), torch.tensor(spec.high)), dropped
