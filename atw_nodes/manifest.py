"""A table of labelled photos: what Algorithm 1 of the paper is trained on.

A manifest is a CSV file with one row a photo. ``image`` is the file, relative to the table; all other columns
may be missing: ``category`` (or ``expression``; empty or "unknown" is none), action units by the names of
``signals.UNITS`` as a face shows them (``AU12``: 0 to 1; ``AU12_r``: OpenFace's 0 to 5; an empty cell is not
known), ``subject`` (with ``set`` in front where there is one), ``landmarks`` (a row of ``landmarks.npy``,
float [rows,478,2], beside the table; without the column rows follow each other), ``matte`` (a file),
``margin`` (side of the photo's central square over that of the canonical square, the same in all rows).
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from .files import atomic_path, file_head, reason, unwritable
from .pictures import WORKERS, Pictures, Skipped, probe
from .signals import UNITS, unit_name
from .types import InputError, OutputError

__all__ = ["Manifest", "Pictures", "Row", "Skipped", "examine", "read_manifest", "write_manifest"]

SMALLEST = 64  # pixels of a photo's shorter side: what is smaller has nothing to teach
PREPARED = 1.5  # the margin of what ``prepare`` makes, known by its landmarks.npy
HIGHEST = 1.5  # of a unit: our own estimates run past 1, and are cut there
_COLUMNS = ("image", "category", "expression", "subject", "set", "landmarks", "matte", "margin")


@dataclass(frozen=True)
class Row:
    """A labelled photo. units: as the face shows them, 0..1, 1.0 = FACS intensity E; those left out are not
    known. subject: "" where nobody says who it is. landmarks: row of landmarks.npy beside the manifest.
    """

    image: Path
    category: str | None = None
    units: Mapping[str, float] = field(default_factory=dict)
    subject: str = ""
    matte: Path | None = None
    landmarks: int | None = None


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest that can be used.

    margin: side of a photo's central square over that of the canonical square. ignored: columns that mean
    nothing here.
    """

    path: Path
    rows: tuple[Row, ...]
    margin: float = 1.0
    skipped: tuple[Skipped, ...] = ()
    ignored: tuple[str, ...] = ()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Those of any row, sorted."""
        return tuple(sorted({r.category for r in self.rows if r.category}))

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Those known of any row, in the order of ``signals.UNITS``."""
        return tuple(u for u in UNITS if any(u in r.units for r in self.rows))


def read_manifest(
    path: Path, check: bool = True, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """Read a manifest, a CSV file or a folder with ``manifest.csv``. Rows that cannot be used are left out
    and listed in ``skipped``: photos that are missing, damaged, small or there twice, labels that are none.

    check: decode every photo once; without it no photo is opened. progress(done, total): called as that goes
    on; what it raises ends it. ``InputError`` where the table itself is wrong, or no row is left.
    """
    path = Path(path)
    table = _Table.read(path / "manifest.csv" if path.is_dir() else path)
    marks = _landmarks(table)
    margin = _margin(table, marks)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for k, cells in enumerate(table.lines):
        try:
            rows.append(_row(table, k, cells, marks))
        except InputError as error:
            skipped.append(Skipped(table.cell(cells, "image") or f"row {k + 1}", str(error)))
    if check:
        parsed, rows, total = rows, [], len(rows)
        for done, (row, why) in enumerate(examine(parsed), 1):
            if why:
                skipped.append(Skipped(_written(row.image, table.file.parent), why))
            else:
                rows.append(row)
            if progress:
                progress(done, total)
    if not rows:
        raise InputError(_nothing(table, skipped))
    return Manifest(table.file, tuple(rows), margin, tuple(skipped), table.ignored)


def _nothing(table: _Table, skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return f"{table.file} has a header but no rows; expected one a photo"
    some = "; ".join(f"{s.file}: {s.reason}" for s in skipped[:3])
    return (
        f"{table.file}: none of {len(skipped)} rows can be used ({some}); "
        f"expected photos of {SMALLEST} pixels or more, by paths relative to {table.file.parent}"
    )


@dataclass(frozen=True)
class _Table:
    """The text of a manifest. at: column of each name. units: column and divisor of each action unit."""

    file: Path
    at: Mapping[str, int]
    units: Mapping[str, tuple[int, float]]
    ignored: tuple[str, ...]
    width: int
    lines: list[list[str]]

    @classmethod
    def read(cls, file: Path) -> _Table:
        file_head(file)
        try:
            with file.open(encoding="utf-8-sig", newline="") as f:
                first = f.readline()
                f.seek(0)
                mark = ";" if ";" in first and "," not in first else ","
                lines = [line for line in csv.reader(f, delimiter=mark) if any(cell.strip() for cell in line)]
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is no text in UTF-8; expected a CSV file") from error
        except (OSError, csv.Error) as error:
            raise InputError(f"{file} cannot be read ({reason(error)}); expected a CSV file") from error
        header = [name.strip() for name in lines[0]] if lines else []
        names = [name.lower() for name in header]
        at = {name: names.index(name) for name in _COLUMNS if name in names}
        if "image" not in at:
            has = ", ".join(header)[:200] or "none"
            raise InputError(
                f"{file} has no column image; it has {has}. Expected image, and category or AU01 ..."
            )
        units = _unit_columns(file, header)
        used = {*at.values(), *(k for k, _ in units.values())}
        if "category" in at and "expression" in at:
            used.remove(at.pop("expression"))
        ignored = tuple(name for k, name in enumerate(header) if k not in used)
        return cls(file, at, units, ignored, len(header), lines[1:])

    def cell(self, cells: Sequence[str], name: str) -> str:
        k = self.at.get(name, len(cells))
        return cells[k].strip() if k < len(cells) else ""

    def numbers(self, name: str) -> set[float]:
        """What a column holds."""
        texts = {self.cell(cells, name) for cells in self.lines} - {""}
        return {_number(text, f"{self.file}: {name}") for text in texts}


def _unit_columns(file: Path, header: Sequence[str]) -> dict[str, tuple[int, float]]:
    units: dict[str, tuple[int, float]] = {}
    for k, text in enumerate(header):
        rated = text.lower().endswith("_r")
        name = unit_name(text[:-2] if rated else text)
        if name in UNITS:
            if name in units:
                twice = f"{header[units[name][0]]} and {text}"
                raise InputError(f"{file} has {name} in two columns, {twice}; leave one of them out")
            units[name] = (k, 5.0 if rated else 1.0)
    return units


def _row(table: _Table, k: int, cells: Sequence[str], marks: np.ndarray | None) -> Row:
    if len(cells) != table.width:
        raise InputError(f"has {len(cells)} cells for {table.width} columns")
    image, matte = table.cell(cells, "image"), table.cell(cells, "matte")
    if not image:
        raise InputError("names no image")
    if "\0" in image + matte:
        raise InputError("has a null character in a path")
    category = table.cell(cells, "category") or table.cell(cells, "expression")
    who = [part for name in ("set", "subject") if (part := table.cell(cells, name))]
    return Row(
        table.file.parent / image,
        None if category.lower() in ("", "unknown") else category,
        _units(table, cells),
        "/".join(who),
        table.file.parent / matte if matte else None,
        _marks_of(table, k, cells, marks),
    )


def _units(table: _Table, cells: Sequence[str]) -> dict[str, float]:
    units = {}
    for name, (k, most) in table.units.items():
        if text := cells[k].strip():
            value = _number(text, name) / most
            if not -0.02 <= value <= HIGHEST:
                wanted = "0 to 5" if most > 1 else f"0 to 1 (or a column {name}_r of 0 to 5)"
                raise InputError(f"{name} is {text[:40]}; expected {wanted}")
            units[name] = min(max(value, 0.0), 1.0)
    return units


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{what} is {text[:40]!r}; expected a number")
    return value


def _landmarks(table: _Table) -> np.ndarray | None:
    """landmarks.npy beside the manifest, [N,478,2], or None."""
    file = table.file.parent / "landmarks.npy"
    if not file.is_file():
        if any(table.cell(cells, "landmarks") for cells in table.lines):
            raise InputError(f"{table.file} has a column landmarks, but there is no {file}")
        return None
    try:
        marks = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{file} cannot be read ({reason(error)}); expected an array [rows,478,2]"
        ) from error
    rows = marks.shape[0] if marks.ndim and "landmarks" in table.at else len(table.lines)
    if marks.shape != (rows, 478, 2):
        raise InputError(f"{file} has shape {marks.shape}, expected ({rows}, 478, 2)")
    return marks


def _marks_of(table: _Table, k: int, cells: Sequence[str], marks: np.ndarray | None) -> int | None:
    text = table.cell(cells, "landmarks")
    if marks is None or ("landmarks" in table.at and not text):
        return None
    index = _number(text, "landmarks") if text else k
    if index != int(index) or not 0 <= index < len(marks):
        raise InputError(f"landmarks is {text}; expected a row of landmarks.npy, 0 to {len(marks) - 1}")
    if not np.isfinite(marks[int(index)]).all():
        raise InputError("no face: its landmarks are no numbers")
    return int(index)


def _margin(table: _Table, marks: np.ndarray | None) -> float:
    found = sorted(table.numbers("margin"))
    if len(found) > 1:
        raise InputError(
            f"{table.file} has margins of {found[0]:g} and {found[-1]:g}; make a manifest of each"
        )
    margin = found[0] if found else 1.0 if marks is None else PREPARED
    if not 1 <= margin <= 4:
        raise InputError(f"{table.file} has a margin of {margin:g}; expected 1 (no margin) to 4")
    return margin


def _written(image: Path, folder: Path) -> str:
    """A path as a manifest in ``folder`` has it: relative where the file lies inside, else absolute."""
    inner, outer = os.path.abspath(image), os.path.abspath(folder)
    return Path(os.path.relpath(inner, outer) if Path(outer) in Path(inner).parents else inner).as_posix()


def write_manifest(path: Path, rows: Sequence[Row], margin: float | None = None) -> None:
    """Write rows as a manifest, all or nothing; an existing file is refused. Columns that no row fills are
    left out. margin: of all of them, where it is not what a reader assumes.
    """
    path = Path(path)
    if not rows:
        raise InputError(f"{path}: no rows to write; a manifest needs at least one photo")
    with unwritable(path):
        if path.exists():
            raise OutputError(f"{path} already exists; choose another name")
    lines = [
        {"image": _written(r.image, path.parent), "category": r.category or "", "subject": r.subject}
        | {"matte": _written(r.matte, path.parent) if r.matte else ""}
        | {"landmarks": "" if r.landmarks is None else str(r.landmarks)}
        | {"margin": "" if margin is None else f"{margin:g}"}
        | {u: repr(float(v)) for u, v in r.units.items()}
        for r in rows
    ]
    names = [n for n in (*_COLUMNS, *UNITS) if any(line.get(n) for line in lines)]
    with atomic_path(path) as temp, temp.open("w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, names, restval="", extrasaction="ignore")
        out.writeheader()
        out.writerows(lines)


def examine(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Open and decode every photo and matte, several at a time: (row, why it cannot be used, or ""), in the
    order of ``rows``.
    """
    first: dict[bytes, Row] = {}
    pool = ThreadPoolExecutor(WORKERS, "atw-examine")
    try:
        for begin in range(0, len(rows), 1024):
            some = rows[begin : begin + 1024]
            for row, (digest, why) in zip(some, pool.map(_fault, some), strict=True):
                if not why and (other := first.setdefault(digest, row)) is not row:
                    why = f"the same picture as {other.image.name}"
                yield row, why
    finally:
        pool.shutdown(cancel_futures=True)


def _fault(row: Row) -> tuple[bytes, str]:
    """(digest of the file's bytes, what is wrong with the photo or its matte)"""
    try:
        digest, (width, height) = probe(row.image)
        if min(width, height) < SMALLEST:
            raise InputError(f"is {width}x{height} pixels; expected {SMALLEST} or more on the shorter side")
        if row.matte:
            probe(row.matte)
    except InputError as error:
        return b"", str(error).removeprefix(f"{row.image} ")
    return digest, ""
