"""Signals and expressions in JSON files, and one door to every kind of file.

A signal, or with a single step an expression of one's own:

    {"format": "atw-signal", "version": 1, "fps": 30, "absolute": false,
     "units": ["AU12", "AU45"], "values": [[0.0, 0.0], [0.1, 0.0], ...]}

Keyframes (see ``keyframes.py``):

    {"format": "atw-keyframes", "version": 1, "keyframes": [{"time": 0.5, "units": {"AU12": 0.8}}, ...]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from .files import atomic_path, file_head, reason
from .keyframes import Expressions, Keyframe, keyframes_from_json, keyframes_to_json, sequence
from .signal_csv import (
    CONFIDENT,
    MAX_UNITS,
    check_free,
    csv_header,
    is_openface,
    read_csv,
    read_openface,
    write_csv,
)
from .signal_curves import relative as change_of
from .signals import MAX_FPS, MAX_STEPS, UNITS
from .types import InputError, OutputError, Signal

SIGNAL, KEYFRAMES, VERSION = "atw-signal", "atw-keyframes", 1
MAX_BYTES = 32 * 2**20
FPS = 25.0  # of keyframes, unless asked otherwise


def signal_to_json(signal: Signal) -> dict[str, Any]:
    """A plain object; ``signal_from_json`` gives the same signal to the bit."""
    values = [
        [float(str(v)) for v in row] for row in signal.values.numpy()
    ]  # str: the shortest that is exact
    head = {"format": SIGNAL, "version": VERSION, "fps": signal.fps, "absolute": signal.absolute}
    return {**head, "units": list(signal.names), "values": values}


def signal_from_json(data: Any) -> Signal:  # noqa: ANN401
    """Inverse of ``signal_to_json``, for objects from anywhere; ``InputError`` says what is wrong."""
    _head(data, SIGNAL, {"fps", "absolute", "units", "values"})
    names, rows = data.get("units"), data.get("values")
    fps, absolute = data.get("fps"), data.get("absolute", False)
    if not (isinstance(names, list) and 1 <= len(names) <= MAX_UNITS and all(_word(n) for n in names)):
        raise InputError(f"units are {str(names)[:80]}; expected a list of 1 to {MAX_UNITS} names")
    if not (isinstance(rows, list) and 1 <= len(rows) <= MAX_STEPS):
        found = f"{len(rows)} rows" if isinstance(rows, list) else type(rows).__name__
        raise InputError(f"values are {found}; expected a list of 1 to {MAX_STEPS} rows")
    for k, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == len(names) and all(_real(v) for v in row)):
            raise InputError(f"values, row {k}: {str(row)[:80]}; expected {len(names)} numbers, one a unit")
    if fps is not None and not (_real(fps) and 0 < fps <= MAX_FPS):
        raise InputError(f"fps is {str(fps)[:40]}; expected null or more than 0, up to {MAX_FPS:g}")
    if not isinstance(absolute, bool):
        raise InputError(f"absolute is {str(absolute)[:40]}; expected true or false")
    values = torch.from_numpy(np.array(rows, np.float64)).float()
    return Signal(values, tuple(names), None if fps is None else float(fps), absolute)


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64


def _head(data: object, kind: str, keys: set[str]) -> None:
    """Check format, version and that there is nothing unknown."""
    found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
    if not isinstance(data, Mapping) or found != kind:
        raise InputError(f"format is {str(found)[:40]!r}; expected {kind!r}")
    if data.get("version") != VERSION:
        raise InputError(
            f"version is {str(data.get('version'))[:40]}; this release reads {VERSION}; update the pack or "
            "save the file anew"
        )
    extra = ", ".join(str(k) for k in data if k not in keys | {"format", "version"})
    if extra:
        raise InputError(f"{extra[:80]} is unknown in {kind}; expected {', '.join(sorted(keys))}")


def save_signal(signal: Signal, path: str | Path, overwrite: bool = False) -> None:
    """Write a signal as .json (exact) or .csv (for spreadsheets); all or nothing.

    An existing file is refused unless ``overwrite``.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".csv":
            write_csv(signal, path, overwrite)
        case ".json":
            _write(signal_to_json(signal), path, overwrite)
        case other:
            raise OutputError(f"{path} ends in {other or 'nothing'}; expected .json or .csv")


def save_keyframes(keys: Sequence[Keyframe], path: str | Path, overwrite: bool = False) -> None:
    """Write keyframes as .json; all or nothing. An existing file is refused unless ``overwrite``."""
    data = {"format": KEYFRAMES, "version": VERSION, "keyframes": keyframes_to_json(keys)}
    if Path(path).suffix.lower() != ".json":
        raise OutputError(f"{path} ends in {Path(path).suffix or 'nothing'}; expected .json")
    _write(data, Path(path), overwrite)


def _write(data: Mapping[str, Any], path: Path, overwrite: bool) -> None:
    check_free(path, overwrite)
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8") as file:
        json.dump(data, file, allow_nan=False)
        file.write("\n")


def _read(path: Path) -> Any:  # noqa: ANN401
    """What a JSON file holds, bounded."""
    file_head(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES // 2**20} MB; expected a signal or keyframes")
        return json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({reason(error)[:120]})") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def load_keyframes(
    path: str | Path, names: Sequence[str] = tuple(UNITS), expressions: Expressions | None = None
) -> tuple[Keyframe, ...]:
    """Keyframes from a JSON file: ours, a bare list, or {"seconds": {"unit": value}}."""
    path = Path(path)
    return _keyframes(_read(path), path, names, expressions)


def _keyframes(
    data: Any,  # noqa: ANN401
    path: Path,
    names: Sequence[str],
    expressions: Expressions | None,
) -> tuple[Keyframe, ...]:
    try:
        if isinstance(data, Mapping) and "format" in data:
            _head(data, KEYFRAMES, {"keyframes"})
        return keyframes_from_json(data, names, expressions)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def load_signal(
    path: str | Path,
    relative: bool = True,
    fps: float | None = None,
    face: int | None = None,
    min_confidence: float = CONFIDENT,
    names: Sequence[str] = tuple(UNITS),
    expressions: Expressions | None = None,
) -> Signal:
    """A signal from any file we read: ours (.json, .csv), keyframes (.json), OpenFace (.csv).

    relative: a file that holds a face as shown gives its change from the first step; one of a single step
    stays as shown. fps: of keyframes (25 if None), or instead of what an OpenFace file's times say. face,
    min_confidence: of OpenFace files. names, expressions: what keyframes may name.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".csv":
            known = is_openface(csv_header(path)) or csv_header(path)[:1] not in (["time"], ["step"])
            signal = read_openface(path, face, min_confidence, fps) if known else read_csv(path)
        case ".json":
            data = _read(path)
            if isinstance(data, Mapping) and data.get("format") == SIGNAL:
                try:
                    signal = signal_from_json(data)
                except InputError as error:
                    raise InputError(f"{path}: {error}") from error
            else:
                keys = _keyframes(data, path, names, expressions)
                signal = sequence(keys, fps or FPS, names=names)
        case other:
            raise InputError(f"{path} ends in {other or 'nothing'}; expected .csv or .json")
    return change_of(signal) if relative and signal.absolute and len(signal) > 1 else signal
