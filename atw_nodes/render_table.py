"""The tables of ``render``: jobs as a CSV file, read and checked; and what became of them, as another."""

from __future__ import annotations

import argparse
import copy
import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from .checkpoints import bundled
from .files import atomic_path, file_head, reason
from .render_jobs import Job, only_frames
from .types import AtwError, InputError, OutputError

MAX_ROWS = 100_000
_YES, _NO = ("yes", "true", "1", "on"), ("no", "false", "0", "off")
_NOT_A_COLUMN = ("help", "version", "quiet", "output")


class Record(NamedTuple):
    """A row of the summary; its fields are the columns. status: done, skipped or failed."""

    photo: str
    output: str
    status: str
    seconds: str = ""
    frames: str = ""
    attempts: str = ""
    worker: str = ""
    note: str = ""
    error: str = ""


def read_jobs(path: Path, animate: argparse.ArgumentParser, overwrite: bool) -> tuple[list[Job], list[str]]:
    """(jobs, what is wrong with the table: a line each, by row). animate: the parser of that command.

    Raises ``InputError`` where it is no table of jobs at all. Rows count as in a spreadsheet, header first.
    """
    rows = _rows(path)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    options = _options(animate)
    names = _columns(path, header, options)
    jobs, faults = [], []
    for number, cells in rows:
        try:
            if len(cells) > len(names):
                raise InputError(
                    f"{len(cells)} cells for {len(names)} columns; values with commas need quotes: "
                    '"AU12=1,AU25=0.5"'
                )
            values = {n: cell.strip() for n, cell in zip(names, cells, strict=False) if cell.strip()}
            jobs.append(_job(number, values, animate, options, path.absolute().parent, overwrite))
        except (AtwError, OSError) as error:
            faults.append(f"{path}, row {number}: {' '.join(str(error).split())}")
    if not jobs and not faults:
        raise InputError(f"{path} has no row below its header; expected one a clip")
    return jobs, faults + [f"{path}, {fault}" for fault in _clashes(jobs)]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of rows that are not blank."""
    file_head(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.reader(file, strict=True), 1):
                if number > MAX_ROWS:
                    raise InputError(f"{path} has more than {MAX_ROWS} rows; cut it into parts")
                if any(cell.strip() for cell in cells):
                    yield number, cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; expected a CSV file") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); expected a CSV file") from error


def _options(animate: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """{column: option of ``animate``}."""
    found = {}
    for action in animate._actions:
        long = [s[2:] for s in action.option_strings if s.startswith("--") and not s.startswith("--no-")]
        found |= {name: action for name in long if name not in _NOT_A_COLUMN}
    return found


def _columns(path: Path, header: Sequence[str], options: Mapping[str, argparse.Action]) -> list[str]:
    """The header with dashes; ``InputError`` where it is not one of jobs."""
    names = [name.replace("_", "-") for name in header]
    known = ("photo", "output", *options)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError(
            f"{path}: columns are not separated by commas ({header[0][:40]}); save it as a CSV with commas"
        )
    if lost := [name for name in ("photo", "output") if name not in names]:
        raise InputError(
            f"{path}: no column {' and no column '.join(lost)}; expected photo, output and any options"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: column {', '.join(twice)} more than once; keep one")
    if unknown := [repr(name) for name in header if name.replace("_", "-") not in known]:
        raise InputError(f"{path}: unknown column {', '.join(unknown)}; expected any of {', '.join(known)}")
    return names


def _job(
    number: int,
    values: Mapping[str, str],
    animate: argparse.ArgumentParser,
    options: Mapping[str, argparse.Action],
    folder: Path,
    overwrite: bool,
) -> Job:
    """One row, checked as far as that goes without reading its photo."""
    for name in ("photo", "output"):
        if name not in values:
            raise InputError(f"{name} is empty; every row needs one")
    argv = [a for n, v in values.items() if n in options for a in _argument(n, v, options[n], folder)]
    args = _parsed(
        animate, [*argv, "--quiet", f"--output={folder / values['output']}", str(folder / values["photo"])]
    )
    args.examine(args)
    job = Job(number, values["photo"], values["output"], args)
    if overwrite and args.output.is_dir() and not only_frames(args.output):
        raise OutputError(
            f"{args.output} holds other files than frames; --overwrite leaves it alone, choose another name"
        )
    return job


def _argument(name: str, text: str, action: argparse.Action, folder: Path) -> list[str]:
    """The arguments that a cell stands for."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        if text.lower() in _YES:
            return [f"--{name}"]
        if text.lower() not in _NO:
            raise InputError(f"{name} is {text!r}; expected yes or no")
        return [f"--no-{name}"] if isinstance(action, argparse.BooleanOptionalAction) else []
    named = text.startswith("hf://") or text.removesuffix(".safetensors") in bundled()
    if action.type is Path or (name == "checkpoint" and not named):
        text = str(folder / text)
    return [f"--{name}={text}"]


def _parsed(animate: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    def refuse(message: str) -> NoReturn:
        raise InputError(message.replace("argument --", "").replace("argument ", ""))

    parser = copy.copy(animate)
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(argv)


def _clashes(jobs: Sequence[Job]) -> Iterator[str]:
    """Rows that would write what another row writes or reads."""
    written: dict[str, int] = {}
    for job in jobs:
        for target in job.targets:
            other = written.setdefault(_same(target), job.row)
            if other != job.row or job.targets.count(target) > 1:
                yield f"row {job.row}: {target.name} is written by row {other} already; give it another name"
    for job in jobs:
        for source in (job.args.photo, job.args.drive, job.args.keyframes):
            if source is not None and (other := written.get(_same(source))):
                yield (
                    f"row {other}: would be written over {source.name}, which row {job.row} reads; "
                    "give it another name"
                )


def _same(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def check_summary(path: Path, table: Path, jobs: Sequence[Job]) -> None:
    """Refuse to write a summary over anything that is none."""
    if not path.absolute().parent.is_dir():
        raise OutputError(f"--summary {path}: there is no folder {path.absolute().parent}; create it")
    taken = {_same(p) for job in jobs for p in (job.args.photo, *job.targets)} | {_same(table)}
    if _same(path) in taken:
        raise OutputError(f"--summary {path} is the jobs' own file; choose another name")
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            ours = next(csv.reader([file.readline(1000)]), []) == list(Record._fields)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise OutputError(
            f"{path} is there and is no summary of render; move it away, or choose another by --summary FILE"
        )


def write_summary(path: Path, records: Mapping[int, Record]) -> None:
    """Write what became of the rows so far, in their order. records: by row."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Record._fields)
        table.writerows(records[row] for row in sorted(records))
