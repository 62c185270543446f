"""Plain types every room shares: motion, face frame, signal, and the errors users see.

Conventions (axes, units, direction of the warp) are stated once, in ``warp.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Row: TypeAlias = "tuple[float, float, float]"
Affine: TypeAlias = "tuple[Row, Row]"  # ((a, b, x0), (c, d, y0))


class AtwError(Exception):
    """Something a user can act on. The message names what was found, what was expected, and the fix."""


class ShapeError(AtwError, ValueError):
    """A tensor has the wrong shape, type or count."""


class InputError(AtwError, ValueError):
    """A photo, a number or a name given by the user cannot be used."""


class OutputError(AtwError, OSError):
    """A result cannot be written where it was asked for."""


class CheckpointError(AtwError, ValueError):
    """A checkpoint is missing, damaged, or made for something else."""


class MissingExtraError(AtwError, ImportError):
    """An optional dependency is not installed; the message gives the command that installs it."""


def check_shape(tensor: Tensor, shape: str, name: str = "image") -> None:
    """Raise ``ShapeError`` unless ``tensor`` matches ``shape``, one character a dimension.

    Digits are fixed sizes, letters are any size; a letter used twice must agree with itself.
    ``check_shape(x, "B3HW")`` accepts any batch of three-channel images.
    """
    sizes = tuple(tensor.shape)
    bound: dict[str, int] = {}
    fits = len(sizes) == len(shape) and all(
        int(want) == have if want.isdigit() else bound.setdefault(want, have) == have
        for want, have in zip(shape, sizes, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name} has shape {list(sizes)}, expected [{', '.join(shape)}]")
    if 0 in sizes:
        raise ShapeError(f"{name} is empty (shape {list(sizes)}); give at least one pixel and one frame")


def check_frame(frame: FaceFrame, size: Sequence[int]) -> None:
    """Raise ``ShapeError`` unless ``frame`` belongs to a photo of ``size``, (height, width)."""
    if (frame.height, frame.width) != tuple(size):
        raise ShapeError(
            f"the frame belongs to a photo of {frame.width}x{frame.height}, this one is "
            f"{size[1]}x{size[0]}; make the frame for this photo"
        )


@dataclass(frozen=True)
class Motion:
    """A motion field for each of T frames.

    field: [T,2,h,w] float, (dx, dy) in fractions of the frame's width and height; out(p) = src(p + d(p)).
    weight: [T] float in 0..1 (beyond 1 = exaggerated): how much of the signal each frame carries.
    A frame of weight 0 is the photo itself.
    """

    field: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        check_shape(self.field, "T2hw", "motion field")
        check_shape(self.weight, "T", "motion weight")
        if len(self.field) != len(self.weight):
            raise ShapeError(
                f"motion has {len(self.field)} fields but {len(self.weight)} weights; give one a frame"
            )

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, index: int | slice) -> Motion:
        at = slice(index, index + 1) if isinstance(index, int) and index != -1 else index
        at = slice(-1, None) if at == -1 else at
        return Motion(self.field[at], self.weight[at])

    def scaled(self, weights: Tensor | Sequence[float]) -> Motion:
        """A clip of ``len(weights)`` frames from a single motion: field and weight scaled together (paper,
        Sec. 4.1).
        """
        if len(self) != 1:
            raise ShapeError(
                f"motion has {len(self)} frames; only a single one can be interpolated into a clip"
            )
        w = torch.as_tensor(weights, dtype=self.field.dtype, device=self.field.device)
        return Motion(w[:, None, None, None] * self.field, w * self.weight)


@dataclass(frozen=True)
class FaceFrame:
    """Where the face is: a 2x3 affine map from the canonical unit square to image pixels.

    matrix: ((a, b, x0), (c, d, y0)); the point (u, v) lies at pixel (a·u + b·v + x0, c·u + d·v + y0), where
        pixel i covers [i, i + 1).
    height, width: the size of the photo the frame belongs to.
    feather: width of the soft edge in fractions of the frame's side; 0 means mask 1 everywhere (whole image).
    """

    matrix: Affine
    height: int
    width: int
    feather: float = 0.08

    def __post_init__(self) -> None:
        (a, b, _), (c, d, _) = self.matrix
        if self.height < 1 or self.width < 1:
            raise InputError(
                f"photo size {self.width}x{self.height} is empty; give a photo of at least 1x1 pixel"
            )
        if not abs(a * d - b * c) > 1e-12:  # also refuses NaN
            raise InputError(
                f"face frame {self.matrix} has no area; give a box with a side of at least 1 pixel"
            )

    @classmethod
    def whole(cls, height: int, width: int) -> FaceFrame:
        """The paper's case: the image itself, evenly divided into cells, mask 1 everywhere."""
        return cls(((float(width), 0.0, 0.0), (0.0, float(height), 0.0)), height, width, 0.0)

    @property
    def is_whole(self) -> bool:
        """True when the frame is the image itself and nothing is feathered."""
        same = ((float(self.width), 0.0, 0.0), (0.0, float(self.height), 0.0))
        return self.feather == 0 and self.matrix == same

    @property
    def sides(self) -> tuple[float, float]:
        """Length in pixels of the frame's horizontal and vertical side."""
        (a, b, _), (c, d, _) = self.matrix
        return (a * a + c * c) ** 0.5, (b * b + d * d) ** 0.5

    def corners(self) -> list[tuple[float, float]]:
        """Pixel positions of the four corners, clockwise from the canonical top left."""
        (a, b, x), (c, d, y) = self.matrix
        return [(a * u + b * v + x, c * u + d * v + y) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))]

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in whole pixels, within the photo: all that an animation may touch."""
        xs, ys = zip(*self.corners(), strict=True)
        left, right = max(0, int(min(xs) // 1)), min(self.width, int(-(-max(xs) // 1)))
        top, bottom = max(0, int(min(ys) // 1)), min(self.height, int(-(-max(ys) // 1)))
        return left, top, right, bottom

    def inverse(self) -> Affine:
        """The 2x3 map from image pixels to the canonical unit square."""
        (a, b, x), (c, d, y) = self.matrix
        k = 1.0 / (a * d - b * c)
        return ((d * k, -b * k, (b * y - d * x) * k), (-c * k, a * k, (c * x - a * y) * k))


class Generated(NamedTuple):
    """What the generator makes of one batch."""

    field: Tensor  # [B,2,S,S] fractions of the frame, mask applied
    coarse: Tensor  # [B,3,S,S] in [0,1], O^w
    refined: Tensor  # [B,3,S,S] near [0,1], O^r


SignalKind = Literal["category", "absolute", "relative"]


@dataclass(frozen=True)
class SignalSpec:
    """What the driving signal of a checkpoint means.

    kind: "category" (one-hot), "absolute" (units of the face as shown) or "relative" (change from the photo).
    names: one an entry. neutral: the values that mean "no expression". low, high: the range seen in training.
    presets: named expressions as {name: {unit: value}}.
    """

    kind: SignalKind
    names: tuple[str, ...]
    neutral: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    presets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.kind not in ("category", "absolute", "relative"):
            raise InputError(f"signal kind {self.kind!r} is unknown; expected category, absolute or relative")
        for key, default in (("neutral", 0.0), ("low", 0.0), ("high", 1.0)):
            values = tuple(float(v) for v in getattr(self, key)) or (default,) * n
            if len(values) != n:
                raise InputError(f"signal {key} has {len(values)} values for {n} names; give one a name")
            object.__setattr__(self, key, values)
        object.__setattr__(self, "names", tuple(self.names))

    def vector(self, values: Mapping[str, float]) -> Tensor:
        """[1,N] signal from named units; units not named stay at neutral. Unknown names are refused."""
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise InputError(
                f"signal {', '.join(unknown)} unknown to this checkpoint; it knows {', '.join(self.names)}"
            )
        base = dict(zip(self.names, self.neutral, strict=True))
        return torch.tensor([[float({**base, **values}[n]) for n in self.names]])

    def preset(self, name: str, strength: float = 1.0) -> Tensor:
        """[1,N] signal of a named expression, scaled by ``strength`` away from neutral."""
        if name not in self.presets:
            known = ", ".join(sorted(self.presets)) or "none"
            raise InputError(f"expression {name!r} is unknown to this checkpoint; it knows {known}")
        neutral = torch.tensor([self.neutral])
        return neutral + strength * (self.vector(self.presets[name]) - neutral)

    def shown(self, estimate: Mapping[str, float]) -> Tensor:
        """[N] what a face counts as showing: estimates below 0.1 as none, so that a calm face is left alone,
        those above 1 as 1, the most that FACS knows; units without an estimate as not shown.
        """
        seen = [min(float(estimate.get(n, 0.0)), 1.0) for n in self.names]
        return torch.tensor([v if v >= 0.1 else 0.0 for v in seen])

    def toward(self, name: str, strength: float, estimate: Mapping[str, float]) -> Tensor:
        """[1,N] change of a face that shows ``estimate`` to a named expression: strength·(target - shown).

        For relative signals; the target of ``neutral`` is no unit at all. Estimates count as ``shown`` says.
        """
        if self.kind != "relative":
            return self.preset(name, strength)
        target = self.preset(name)[0] if name != "neutral" else torch.zeros(len(self.names))
        change = strength * (target - self.shown(estimate))
        return change.clamp(torch.tensor(self.low), torch.tensor(self.high))[None]

    def to_json(self) -> dict[str, Any]:
        """A plain object for a checkpoint's metadata."""
        keys = ("kind", "names", "neutral", "low", "high")
        return {k: getattr(self, k) for k in keys} | {
            "presets": {k: dict(v) for k, v in self.presets.items()}
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SignalSpec:
        """Inverse of ``to_json``; unknown keys are refused by the dataclass."""
        return cls(**data)


@dataclass(frozen=True, eq=False)
class Signal:
    """T steps of named units, e.g. facial action units; 1.0 is FACS intensity E.

    values: [T,N] float32, one column a name; copied to the CPU, so that nobody changes it later.
    fps: steps a second, None where time has no unit.
    absolute: units of the face as shown; else the change from the photo.
    Raises ``ShapeError`` where names and values do not fit, ``InputError`` for NaN, infinity or a name twice.
    """

    values: Tensor
    names: tuple[str, ...]
    fps: float | None = None
    absolute: bool = False

    def __post_init__(self) -> None:
        check_shape(self.values, "TN", "signal values")
        names = tuple(str(n) for n in self.names)
        if len(names) != self.values.shape[1]:
            raise ShapeError(
                f"signal has {self.values.shape[1]} columns but {len(names)} names; give one a column"
            )
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise InputError(f"signal names {', '.join(twice)} more than once; give each unit one column")
        values = self.values.detach().to("cpu", torch.float32, copy=True).contiguous()
        bad = [n for n, fine in zip(names, values.isfinite().all(0).tolist(), strict=True) if not fine]
        if bad:
            raise InputError(
                f"signal has values that are no numbers (NaN or infinite) in {', '.join(bad)}; "
                "fill the gaps between their neighbours"
            )
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise InputError(f"signal fps is {self.fps}; expected more than 0, or None")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, steps: int | slice) -> Signal:
        """A part of it; one step where ``steps`` is a number."""
        at = slice(steps, steps + 1 or None) if isinstance(steps, int) else steps
        if not len(range(*at.indices(len(self)))):
            raise ShapeError(f"signal has {len(self)} steps, none in {steps}")
        return Signal(self.values[at], self.names, self.fps, self.absolute)

    def column(self, name: str) -> Tensor:
        """[T] values of one unit."""
        if name not in self.names:
            raise InputError(f"signal has no {name}; it has {', '.join(self.names)}")
        return self.values[:, self.names.index(name)].clone()

    def onto(self, spec: SignalSpec) -> tuple[Tensor, tuple[str, ...]]:
        """([T, a checkpoint's units], names the checkpoint does not know though they are not 0 throughout).

        Units that the signal does not name are 0.
        """
        out = torch.zeros(len(self), len(spec.names))
        dropped = []
        for name, column in zip(self.names, self.values.unbind(1), strict=True):
            if name in spec.names:
                out[:, spec.names.index(name)] = column
            elif bool(column.any()):
                dropped.append(name)
        return out, tuple(dropped)
