"""Keyframes: the face at a few moments, and all that lies between. As text:

    # seconds, how it goes on to the next (linear, ease or hold; may be left out): units and expressions
    0.5:       AU12=0.8, AU45=1
    1.2 hold:  happiness=0.7
    2:

or as JSON: [{"time": 0.5, "units": {"AU12": 0.8}, "interpolation": "hold"}, ...], also as the value of
"keyframes" in an object; or for short {"0.5": {"AU12": 0.8}, ...}.

A keyframe says what the whole face does: units that it does not name are 0 there. Before the first keyframe
the face comes from rest at 0 s, after the last it stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .expressions import expression_name
from .signals import CURVES, MAX_FPS, MAX_SECONDS, MAX_STEPS, MAX_VALUE, UNITS, unit_name
from .types import InputError, Signal

INTERPOLATIONS = ("linear", "ease", "hold")
MAX_KEYS, MAX_TEXT = 2000, 200_000
Expressions = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Keyframe:
    """Units at a moment. time: seconds from the start. interpolation: how it goes on to the next keyframe
    ("" = as ``sequence`` is told).
    """

    time: float
    units: Mapping[str, float]
    interpolation: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.time <= MAX_SECONDS:
            raise InputError(f"keyframe at {self.time} s; expected 0 to {MAX_SECONDS:g} s")
        if self.interpolation not in ("", *INTERPOLATIONS):
            raise InputError(
                f"keyframe at {self.time:g} s: interpolation {self.interpolation!r} is unknown; "
                f"expected {', '.join(INTERPOLATIONS)}"
            )


def parse_units(
    text: str, names: Sequence[str] = tuple(UNITS), expressions: Expressions | None = None
) -> dict[str, float]:
    """``AU12=0.8, AU25=0.5`` -> {"AU12": 0.8, "AU25": 0.5}; ``au1`` is AU01; an empty text is {}.

    expressions: {name: {unit: value}}, e.g. ``expressions.presets_of(spec)``: ``happiness`` and
    ``happiness=0.5`` then add the units of that expression, times the strength. Names that are neither in
    ``names`` nor there, values that are no numbers or beyond ±2 and units given twice are refused.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"text of {len(text)} characters; expected at most {MAX_TEXT}")
    given: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (s.strip() for s in part.partition("="))
        name = _name(name, names, expressions or {})
        if name in given:
            raise InputError(f"{name} is given twice; give it once")
        given[name] = 1.0 if not equals and name not in names else _number(value, name)
    return _expanded(given, names, expressions or {})


def _name(text: str, names: Sequence[str], expressions: Expressions) -> str:
    """A unit or an expression, however it is spelt; ``InputError`` if it is neither."""
    for name in (text, unit_name(text), expression_name(text)):
        if name in names or name in expressions:
            return name
    more = f"; or an expression: {', '.join(expressions)}" if expressions else ""
    raise InputError(f"{text[:40]!r} is unknown; expected one of {', '.join(names)}{more}")


def _number(value: object, name: str) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} has the value {str(value)[:40]!r}; expected a number, as in {name}=0.8")
    if abs(number) > MAX_VALUE:
        raise InputError(
            f"{name} is {number:g}; expected {-MAX_VALUE:g} to {MAX_VALUE:g}, where 1 is FACS intensity E "
            "(OpenFace's 0 to 5 and percent have to be divided first)"
        )
    return number


def _expanded(given: Mapping[str, float], names: Sequence[str], expressions: Expressions) -> dict[str, float]:
    """Expressions replaced by their units; what several name adds up."""
    units: dict[str, float] = {}
    for name, value in given.items():
        parts = {name: 1.0} if name in names else expressions[name]
        for unit, share in parts.items():
            units[unit] = units.get(unit, 0.0) + value * share
    return units


def parse_keyframes(
    text: str, names: Sequence[str] = tuple(UNITS), expressions: Expressions | None = None
) -> tuple[Keyframe, ...]:
    """Keyframes in the text form above, in order of time; lines or ``;`` between them, comments after #."""
    if len(text) > MAX_TEXT:
        raise InputError(f"keyframes of {len(text)} characters; expected at most {MAX_TEXT}")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].split(";"):
            if not entry.strip():
                continue
            head, colon, units = entry.partition(":")
            found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*s?(?:\s+([A-Za-z]+))?\s*", head)
            if not colon or not found:
                raise InputError(
                    f"keyframes, line {number}: {entry.strip()[:60]!r} is none; expected seconds, a colon "
                    "and units, as in 0.5: AU12=0.8, AU45=1"
                )
            try:
                time = _time(found[1])
                keys.append(Keyframe(time, parse_units(units, names, expressions), (found[2] or "").lower()))
            except InputError as error:
                raise InputError(f"keyframes, line {number}: {error}") from error
    return _ordered(keys)


def keyframes_from_json(
    data: Any,  # noqa: ANN401
    names: Sequence[str] = tuple(UNITS),
    expressions: Expressions | None = None,
) -> tuple[Keyframe, ...]:
    """Keyframes from what a JSON file of one of the forms above holds."""
    rows = data.get("keyframes", data) if isinstance(data, Mapping) else data
    if isinstance(rows, Mapping):
        rows = [{"time": time, "units": units} for time, units in rows.items()]
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise InputError('keyframes are no list; expected [{"time": 0.5, "units": {"AU12": 0.8}}, ...]')
    keys = []
    for number, row in enumerate(rows[: MAX_KEYS + 1], 1):
        if not isinstance(row, Mapping) or not {"time"} <= row.keys() <= {"time", "units", "interpolation"}:
            found = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
            raise InputError(
                f"keyframe {number} has {found[:80] or 'nothing'}; expected time, units and, if you like, "
                "interpolation"
            )
        units = row.get("units", {})
        if not isinstance(units, Mapping):
            raise InputError(f'keyframe {number}: units are no object; expected {{"AU12": 0.8}}')
        known = expressions or {}
        given = {_name(str(n), names, known): _number(v, str(n)[:40]) for n, v in units.items()}
        if len(given) < len(units):
            raise InputError(f"keyframe {number} names a unit twice: {', '.join(map(str, units))[:80]}")
        kind = str(row.get("interpolation", ""))
        keys.append(Keyframe(_time(row["time"]), _expanded(given, names, known), kind))
    return _ordered(keys)


def keyframes_to_json(keys: Sequence[Keyframe]) -> list[dict[str, Any]]:
    """The long form; inverse of ``keyframes_from_json``."""
    rows = [{"time": k.time, "units": dict(k.units), "interpolation": k.interpolation} for k in keys]
    return [{name: value for name, value in row.items() if value != ""} for row in rows]


def _time(value: object) -> float:
    try:
        return float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a keyframe's time is {str(value)[:40]!r}; expected seconds") from error


def _ordered(keys: Sequence[Keyframe]) -> tuple[Keyframe, ...]:
    if not keys:
        raise InputError("there are no keyframes; give at least one, as in 0.5: AU12=0.8")
    if len(keys) > MAX_KEYS:
        raise InputError(f"more than {MAX_KEYS} keyframes; a signal of so many moments belongs in a CSV file")
    ordered = tuple(sorted(keys, key=lambda k: k.time))
    for a, b in zip(ordered, ordered[1:], strict=False):
        if a.time == b.time:
            raise InputError(f"two keyframes at {a.time:g} s; give one a moment")
    return ordered


def sequence(
    keys: Sequence[Keyframe],
    fps: float,
    seconds: float | None = None,
    names: Sequence[str] = tuple(UNITS),
    interpolation: str = "ease",
    keep: bool = False,
) -> Signal:
    """The signal through ``keys``, ``fps`` steps a second: seconds·fps steps, or up to the last keyframe.

    interpolation: linear, ease or hold, for keyframes that do not say. keep: units that a keyframe does not
    name go on from those that do, instead of being 0 there.
    """
    ordered = _ordered(keys)
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"interpolation {interpolation!r} is unknown; expected {', '.join(INTERPOLATIONS)}")
    unknown = sorted({n for k in ordered for n in k.units} - set(names))
    if unknown:
        raise InputError(f"keyframes name {', '.join(unknown)}; expected {', '.join(names)}")
    steps = _steps(ordered[-1].time, fps, seconds)
    if ordered[0].time > 0:
        ordered = (Keyframe(0.0, dict.fromkeys(names, 0.0)), *ordered)
    at = np.arange(steps) / fps
    columns = []
    for name in names:
        mine = [k for i, k in enumerate(ordered) if i == 0 or not keep or name in k.units]
        columns.append(_sampled(mine, name, at, interpolation))
    return Signal(torch.from_numpy(np.stack(columns, 1)).float(), tuple(names), fps)


def _steps(last: float, fps: float, seconds: float | None) -> int:
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"fps is {fps}; expected more than 0, up to {MAX_FPS:g}")
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"the signal is to last {seconds} s; expected more than 0, up to {MAX_SECONDS:g} s")
    steps = math.ceil(last * fps - 1e-6) + 1 if seconds is None else max(1, round(seconds * fps))
    if steps > MAX_STEPS:
        raise InputError(f"the signal would have {steps} steps; expected at most {MAX_STEPS}")
    return steps


def _sampled(keys: Sequence[Keyframe], name: str, at: np.ndarray, interpolation: str) -> np.ndarray:
    """[T] one unit at the seconds ``at``."""
    times = np.array([k.time for k in keys])
    values = np.array([k.units.get(name, 0.0) for k in keys])
    before = np.clip(np.searchsorted(times, at, "right") - 1, 0, len(keys) - 1)
    after = np.minimum(before + 1, len(keys) - 1)
    share = (at - times[before]) / np.where(after > before, times[after] - times[before], 1)
    out = values[before]
    for i, kind in enumerate(k.interpolation or interpolation for k in keys[:-1]):
        if kind != "hold":
            here = before == i
            out[here] += (values[i + 1] - values[i]) * np.array([CURVES[kind](t) for t in share[here]])
    return out
