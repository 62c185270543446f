"""Signals as CSV files: what OpenFace 2 writes, and our own.

OpenFace (github.com/TadasBaltrusaitis/OpenFace, wiki Output-Format): a row a frame and face, columns
``frame, face_id, timestamp, confidence, success`` and, among hundreds of others, ``AU01_r`` ... ``AU45_r``,
intensities 0 to 5; header names may begin with a space. Of single images: ``face, confidence`` and the same.
Ours: the column ``time`` (seconds; ``step`` where time has no unit), then one a unit; a column ``absolute``
of ones says that the values are a face as shown, not a change.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .files import atomic_path, file_head, reason, unwritable
from .signal_curves import fill_gaps
from .signals import MAX_FPS, MAX_STEPS, unit_name
from .types import InputError, OutputError, Signal

Floats = NDArray[np.floating]
MAX_LINE, MAX_ROWS, MAX_UNITS = 65_536, 4 * MAX_STEPS, 64
RATES = (*(n * 1000 / 1001 for n in (24, 30, 60, 120)), 12, 12.5, 15, 24, 25, 30, 48, 50, 60, 100, 120)
CONFIDENT = 0.7  # OpenFace's own idea of success is close to it


class _Row(NamedTuple):
    """What is used of one row of an OpenFace file; confidence -1 where it says that it failed."""

    face: int
    frame: int
    time: float
    confidence: float
    values: tuple[float, ...]


def _lines(path: Path) -> Iterator[list[str]]:
    """Cells of every line that is not blank, bounded in length and number."""
    file_head(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number in range(MAX_ROWS + 2):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if len(line) > MAX_LINE:
                    raise InputError(
                        f"{path}, line {number + 1} has more than {MAX_LINE} characters; is it a CSV file?"
                    )
                if line.strip(", \t\r\n"):
                    yield [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; expected a CSV file") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); expected a CSV file") from error
    raise InputError(f"{path} has more than {MAX_ROWS} rows; cut it into parts")


def csv_header(path: str | Path) -> list[str]:
    """The column names of a CSV file."""
    lines = _lines(Path(path))
    header = next(lines, [])
    lines.close()  # type: ignore[attr-defined]
    return header


def is_openface(header: Sequence[str]) -> bool:
    """Whether these are the columns of an OpenFace file with intensities of action units."""
    return any(re.fullmatch(r"AU\d\d_r", name) for name in header)


def openface_faces(path: str | Path, min_confidence: float = CONFIDENT) -> dict[int, int]:
    """{face_id: number of frames in which OpenFace saw it}, most frames first."""
    return dict(_counted(_openface(Path(path))[1], min_confidence).most_common())


def read_openface(
    path: str | Path, face: int | None = None, min_confidence: float = CONFIDENT, fps: float | None = None
) -> Signal:
    """An absolute signal, 0..1, from an OpenFace file: one step a frame of the video, from its first.

    face: the ``face_id`` wanted, by default the one seen in most frames. Frames without success or below
    ``min_confidence`` are interpolated, at the ends they repeat the nearest. fps: instead of what the
    timestamps say (None without timestamps). A file of one image gives one step.
    """
    path = Path(path)
    names, rows = _openface(path)
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise InputError(f"fps is {fps}; expected more than 0, up to {MAX_FPS:g}")
    face = _chosen(path, rows, face, min_confidence)
    first, last = min(r.frame for r in rows), max(r.frame for r in rows)
    if last - first >= MAX_STEPS:
        raise InputError(f"{path} covers {last - first + 1} frames; expected at most {MAX_STEPS}")
    values = np.zeros((last - first + 1, len(names)))
    good = np.zeros(len(values), bool)
    for row in rows:
        if row.face == face and row.confidence >= min_confidence:
            if good[row.frame - first]:
                raise InputError(
                    f"{path} has frame {row.frame} of face {face} twice; is it two files in one?"
                )
            values[row.frame - first], good[row.frame - first] = row.values, True
    filled = fill_gaps(np.clip(values / 5, 0, 1), good)
    times = {r.frame - first: r.time for r in rows if math.isfinite(r.time)}
    if fps is None:
        filled, fps = _even(filled, times, 6e-4, path)
    return Signal(torch.from_numpy(filled).float(), names, fps, True)


def _chosen(path: Path, rows: Sequence[_Row], face: int | None, min_confidence: float) -> int:
    """The ``face_id`` asked for, or the one seen most; ``InputError`` if it is never seen well enough."""
    seen = _counted(rows, min_confidence)
    ids = sorted({r.face for r in rows})
    if face is not None and face not in ids:
        raise InputError(f"{path} has no face {face}; it has {', '.join(map(str, ids))}")
    if not seen or (face is not None and not seen[face]):
        who = f"face {face} was" if face is not None else "a face was"
        best = max((r.confidence for r in rows if face in (None, r.face)), default=0.0)
        raise InputError(
            f"{path} has no frame in which {who} seen with a confidence of {min_confidence:g} or more "
            f"(best {max(best, 0):g}); lower it, or track the video again"
        )
    return seen.most_common(1)[0][0] if face is None else face


def _counted(rows: Sequence[_Row], min_confidence: float) -> Counter[int]:
    return Counter(r.face for r in rows if r.confidence >= min_confidence)


def _openface(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """(units, rows) of an OpenFace file."""
    lines = _lines(path)
    header = next(lines, [])
    where = {name: i for i, name in enumerate(header)}
    units = [n for n in header if re.fullmatch(r"AU\d\d_r", n)]
    if not units:
        extra = "; AU.._c alone say whether, not how much" if any(n.endswith("_c") for n in header) else ""
        raise InputError(
            f"{path} has no columns AU01_r ... AU45_r{extra}; its columns are {', '.join(header)[:200]}. "
            "Run OpenFace's FeatureExtraction with -aus"
        )
    face, still = ("face_id" if "face_id" in where else "face"), not {"frame", "timestamp"} & where.keys()
    rows: list[_Row] = []
    for number, cells in enumerate(lines, 2):
        if len(cells) < len(header):
            raise InputError(
                f"{path}, row {number} has {len(cells)} cells for {len(header)} columns; is the file whole?"
            )

        def cell(name: str, default: float, cells: list[str] = cells, number: int = number) -> float:
            return _number(cells[where[name]], path, number, name) if name in where else default

        values = tuple(cell(n, 0.0) for n in units)
        sure = cell("confidence", 1.0) if cell("success", 1.0) > 0.5 else -1.0
        sure = sure if all(map(math.isfinite, (sure, *values))) else -1.0
        ordinal = 0 if still and face in where else _ordinal(rows, cell("timestamp", math.nan))
        frame, who = cell("frame", ordinal), cell(face, 0.0)
        if not (abs(frame) < 1e9 and abs(who) < 1e9):  # NaN too
            raise InputError(f"{path}, row {number}: frame {frame:g} of face {who:g}; expected whole numbers")
        rows.append(_Row(int(who), int(frame), cell("timestamp", math.nan), sure, values))
    if not rows:
        raise InputError(f"{path} has a header but no rows; did OpenFace find its input?")
    return tuple(n[:-2] for n in units), rows


def _ordinal(rows: Sequence[_Row], time: float) -> int:
    """The frame of a row that does not tell: rows of one timestamp are of one frame."""
    if not rows:
        return 0
    return rows[-1].frame + (time != rows[-1].time)


def _number(text: str, path: Path, row: int, column: str) -> float:
    try:
        return float(text or "nan")
    except ValueError as error:
        raise InputError(f"{path}, row {row}: {column} is {text[:40]!r}; expected a number") from error


def _even(values: Floats, times: dict[int, float], error: float, path: Path) -> tuple[Floats, float | None]:
    """(values at even times, steps a second) from values a step and the seconds known of some steps.

    error: how far a time may be off by rounding. Uneven times (variable frame rate) are resampled.
    """
    steps = np.array(sorted(times), np.float64)
    at = np.array([times[int(s)] for s in steps])
    if len(at) < 2 or not (np.diff(at) >= 0).all() or not at[-1] > at[0]:
        if len(at) > 1:
            raise InputError(f"{path}: times do not grow from row to row; expected seconds from the start")
        return values, None
    fps = _rate(steps, at, error)
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"{path}: the times say {fps:g} fps; expected up to {MAX_FPS:g}")
    off = np.abs(at - at[0] - (steps - steps[0]) / fps).max()
    if off <= max(0.25 / fps, error):
        return values, fps
    even = np.arange(int((at[-1] - at[0]) * fps + 1e-6) + 1) / fps + at[0]
    if len(even) > MAX_STEPS:
        raise InputError(f"{path}: the times span {len(even)} steps; expected at most {MAX_STEPS}")
    known = np.interp(np.arange(len(values)), steps, at)
    return np.stack([np.interp(even, known, column) for column in values.T], 1), fps


def _rate(steps: Floats, at: Floats, error: float) -> float:
    """Steps a second: a usual rate if the times, rounded as they are, agree with it, else their mean."""
    gone, passed = steps - steps[0], at - at[0]
    off = {rate: np.abs(passed - gone / rate).max() for rate in RATES}
    best = min(off, key=lambda rate: off[rate])
    return float(best) if off[best] <= 2 * error else round(float(gone[-1] / passed[-1]), 4)


def check_free(path: Path, overwrite: bool) -> None:
    """``OutputError`` if a file is there that is not to be overwritten."""
    with unwritable(path):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} already exists; choose another name or allow overwriting")


def write_csv(signal: Signal, path: str | Path, overwrite: bool = False) -> None:
    """Write a signal as our CSV; all or nothing. An existing file is refused unless ``overwrite``."""
    path = Path(path)
    check_free(path, overwrite)
    head = "time" if signal.fps else "step"
    with atomic_path(path) as temp, temp.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([head, *signal.names, *(["absolute"] if signal.absolute else [])])
        for k, row in enumerate(signal.values.numpy()):
            moment = f"{k / signal.fps:.9f}".rstrip("0").rstrip(".") if signal.fps else str(k)
            out.writerow([moment, *map(str, row), *(["1"] if signal.absolute else [])])


def read_csv(path: str | Path) -> Signal:
    """A signal from our CSV. Uneven times are resampled to their mean rate."""
    path = Path(path)
    lines = _lines(path)
    header = next(lines, [])
    if not header or header[0] not in ("time", "step"):
        raise InputError(
            f"{path} begins with the columns {', '.join(header)[:200] or '(none)'}; expected time or step, "
            "then units, or a file of OpenFace with AU01_r ..."
        )
    absolute = "absolute" in header[1:]
    names = tuple(unit_name(n) for n in header[1:] if n != "absolute")
    if not names or len(names) > MAX_UNITS or "" in names:
        raise InputError(f"{path} names {len(names)} units; expected 1 to {MAX_UNITS}, none without a name")
    rows = []
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(header):
            raise InputError(f"{path}, row {number} has {len(cells)} cells for {len(header)} columns")
        if len(rows) == MAX_STEPS:
            raise InputError(f"{path} has more than {MAX_STEPS} rows")
        row = [_number(c, path, number, n) for c, n in zip(cells, header, strict=True)]
        if not all(map(math.isfinite, row)):
            raise InputError(f"{path}, row {number} has empty cells, NaN or infinity; expected numbers")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} has a header but no rows")
    table = np.array(rows)
    values, fps = table[:, [i for i, n in enumerate(header) if i and n != "absolute"]], None
    if absolute:
        absolute = bool(table[:, header.index("absolute", 1)].any())
    if header[0] == "time":
        values, fps = _even(values, dict(enumerate(table[:, 0].tolist())), 2e-9, path)
    return Signal(torch.from_numpy(values.copy()).float(), names, fps, absolute)
