"""The paper's 4.3 on anybody's material: every method on every row of a table, measured, kept and resumed.

In the output folder: ``cells/METHOD/ROW.json`` with every frame's measures, ``results.json``, ``table.md``,
``plot.png``, and with ``keep`` the clips themselves, ``clips/METHOD/ROW.mp4``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .evaluate_methods import Method
from .evaluate_pairs import Case, Pair, case_of, looked_at, truths
from .evaluate_report import FORMAT, VERSION, write_report
from .files import atomic_path, unwritable
from .images import read_photo
from .measuring import Judges, Meter, Values, summary
from .metrics import ENOUGH, au_errors, fid
from .peaks import Cost
from .signal_files import load_signal
from .tiles import canonical
from .types import AtwError, InputError, OutputError
from .video import ClipWriter

Json = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """How an evaluation is made. frames: of a clip at most. aligned: see ``Meter``. tables: a folder with the
    action units that OpenFace read, METHOD/ROW.csv. real: more photos for FID. keep: also write the clips.
    """

    output: Path
    frames: int = 24
    judges: Judges = field(default_factory=Judges)
    aligned: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tables: Path | None = None
    real: tuple[Path, ...] = ()
    keep: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Cell:
    """One method on one row: a value a frame of every measure, and features for FID; or what went wrong."""

    method: str
    pair: str
    values: Values
    error: str = ""


def slug(name: str) -> str:
    """A method's name as a folder's."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "method"


def prepare(output: Path, overwrite: bool) -> None:
    """Make the folder; ``OutputError`` where it holds what no evaluation made."""
    with unwritable(output):
        if output.exists() and not output.is_dir():
            raise OutputError(f"{output} is a file; give the name of a folder")
        report = output / "results.json"
        ours = report.is_file() and f'"{FORMAT}"' in report.read_text(encoding="utf-8", errors="replace")
        if output.exists() and any(output.iterdir()) and not ours and not overwrite:
            raise OutputError(
                f"{output} holds files that no evaluation made; choose another folder, or --overwrite"
            )
        output.mkdir(parents=True, exist_ok=True)
    if not ours:
        write_json(report, {"format": FORMAT, "version": VERSION, "unfinished": True})


def evaluate(
    pairs: Sequence[Pair], methods: Sequence[Method], setup: Setup, notes: Sequence[str] = ()
) -> Generator[Cell, None, None]:
    """Every cell, as it is there: measured now, or kept from before. What cannot be measured is a cell with
    an error. At the end the report is written; ``notes`` stand in it. Closed early, it keeps what is there.
    """
    folders = [slug(m.name) for m in methods]
    if twice := sorted({f for f in folders if folders.count(f) > 1}):
        raise InputError(f"two methods make the folder {twice[0]!r}; rename one of them")
    prepare(setup.output, setup.overwrite)
    cells: list[Cell] = []
    for pair in pairs:
        ready = _Ready(pair, setup)
        for method in methods:
            try:
                cell = _cell(ready, method, setup)
            except OutputError:
                raise
            except AtwError as error:
                cell = Cell(method.name, pair.name, {}, " ".join(str(error).split()))
            cells.append(cell)
            yield cell
    write_report(setup.output, results(pairs, methods, cells, setup, notes))


class _Ready:
    """A row, read once it is needed."""

    def __init__(self, pair: Pair, setup: Setup) -> None:
        self.pair, self.setup = pair, setup
        self._case: Case | None = None
        self._error: AtwError | None = None
        self._digest = ""

    @property
    def case(self) -> Case:
        if self._error is not None:
            raise self._error
        if self._case is None:
            try:
                found = case_of(self.pair, self.setup.frames)
            except AtwError as error:
                self._error = error
                raise
            self._case = replace(found, photo=found.photo.to(self.setup.device))
        return self._case

    def digest(self) -> str:
        """Of the row's files."""
        if not self._digest:
            sha = hashlib.sha256()
            for part in (self.pair.photo, self.pair.drive, self.pair.truth):
                data = part.read_bytes() if isinstance(part, Path) else str(part).encode()
                sha.update(hashlib.sha256(data).digest())
            self._digest = sha.hexdigest()
        return self._digest


def _made_by(ready: _Ready, method: Method, setup: Setup) -> Json:
    """What a cell depends on."""
    judges, tables = setup.judges, setup.tables
    read = tables / slug(method.name) / f"{ready.pair.name}.csv" if tables else None
    return {
        "version": __version__,
        "row": ready.digest(),
        "face": ready.pair.face,
        "method": method.made_by(ready.pair),
        "frames": setup.frames,
        "reader": judges.reader,
        "flow": judges.flow,
        "aligned": setup.aligned,
        "embedder": None if judges.embedder is None else f"{judges.embedder.file.absolute()}",
        "features": judges.inception is not None,
        "table": f"{read.absolute()}" if read and read.is_file() else None,
        "kept": setup.keep,
    }


def _cell(ready: _Ready, method: Method, setup: Setup) -> Cell:
    """From its file where that was made in the same way; ``OutputError`` where it was made in another."""
    path = setup.output / "cells" / slug(method.name) / f"{ready.pair.name}.json"
    made_by = _made_by(ready, method, setup)
    if path.is_file() and not setup.overwrite:
        kept = _read(path)
        if kept.get("made_by") == made_by:
            return Cell(method.name, ready.pair.name, kept["values"])
        other = [k for k, v in made_by.items() if kept.get("made_by", {}).get(k) != v]
        raise OutputError(
            f"{path} was made otherwise ({', '.join(other)} differ); choose another folder, or --overwrite"
        )
    values, features = _measured(ready.case, method, setup)
    with unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if features is not None:
        with atomic_path(path.with_suffix(".npy")) as temp:
            np.save(temp, features)
    write_json(path, {"made_by": made_by, "method": method.name, "row": ready.pair.name, "values": values})
    return Cell(method.name, ready.pair.name, values)


def _measured(case: Case, method: Method, setup: Setup) -> tuple[Values, np.ndarray | None]:
    pair, cost = case.pair, Cost(setup.device)
    true = truths(pair, len(case.wanted), case.strongest)
    meter = Meter(case.photo, case.face, case.wanted, setup.judges, true, setup.aligned)
    with torch.no_grad(), closing(_kept(cost.frames(method.frames(case)), case, method, setup)) as frames:
        for frame in frames:
            meter.add(frame)
    values = meter.table()
    if method.folds:
        values["folds"] = list(method.folds)
    values["seconds"] = cost.seconds[1:] or cost.seconds  # the first one decomposes, and loads what is loaded
    if cost.peaks:
        values["memory"] = cost.peaks
    if setup.tables and (read := setup.tables / slug(method.name) / f"{pair.name}.csv").is_file():
        shown = load_signal(read)
        values["au_error"] = au_errors(shown, case.wanted[: len(shown)]).tolist()
    features = torch.stack(meter.features).numpy() if meter.features else None
    clean = {k: [v for v in some if math.isfinite(v)] for k, some in values.items()}
    return {k: v for k, v in clean.items() if v}, features


def _kept(
    frames: Iterator[Tensor], case: Case, method: Method, setup: Setup
) -> Generator[Tensor, None, None]:
    """``frames``, written into a clip on their way where the setup says so."""
    if not setup.keep:
        yield from frames
        return
    path = setup.output / "clips" / slug(method.name) / f"{case.pair.name}.mp4"
    with unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    height, width = case.photo.shape[-2:]
    with ClipWriter(path, width, height, case.wanted.fps or 24, quality=95) as writer:
        for frame in frames:
            writer.write(frame.cpu())
            yield frame


def _read(path: Path) -> Json:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} is damaged ({error}); remove it, or --overwrite") from error
    if not isinstance(data, dict) or not isinstance(data.get("values"), dict):
        raise OutputError(f"{path} is no cell of an evaluation; choose another folder, or --overwrite")
    return data


def write_json(path: Path, data: Json) -> None:
    """All or nothing, under its name."""
    with atomic_path(path) as temp, unwritable(path):
        temp.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


# --- the result


def results(
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    cells: Sequence[Cell],
    setup: Setup,
    notes: Sequence[str] = (),
) -> Json:
    """What results.json holds: a row a method, its means over pairs of the means over frames."""
    said, rows = list(notes), []
    distances, note = _distances(pairs, methods, cells, setup)
    said += [note] if note else []
    for method in methods:
        own = [c for c in cells if c.method == method.name and not c.error]
        by_pair = {c.pair: summary(c.values) for c in own}
        names = dict.fromkeys(n for means in by_pair.values() for n in means)
        mean = {n: float(np.mean([m[n] for m in by_pair.values() if n in m])) for n in names}
        mean |= distances.get(method.name, {})
        rows.append({"method": method.name, "mean": mean, "pairs": by_pair})
    failed = {f"{c.method}: {c.pair}": c.error for c in cells if c.error}
    size = {"pairs": len(pairs), "frames": setup.frames, "flow": setup.judges.flow}
    about = {"device": str(setup.device), "threads": torch.get_num_threads(), "reader": setup.judges.reader}
    head = {"format": FORMAT, "version": VERSION, "made_by": __version__, **size, **about}
    return {**head, "aligned": setup.aligned, "rows": rows, "failed": failed, "notes": said}


def _distances(
    pairs: Sequence[Pair], methods: Sequence[Method], cells: Sequence[Cell], setup: Setup
) -> tuple[dict[str, dict[str, float]], str]:
    """({method: {"fid": ...}}, what to mind)."""
    inception = setup.judges.inception
    if inception is None:
        return {}, ""
    seen = [inception(x) for x in _real(pairs, setup)]
    if len(seen) < 2:
        return {}, f"FID is not measured: {len(seen)} real photos with a face; give more with --real"
    real = torch.stack(seen)
    found, sizes = {}, [len(real)]
    for method in methods:
        files = [
            setup.output / "cells" / slug(method.name) / f"{c.pair}.npy"
            for c in cells
            if c.method == method.name and not c.error
        ]
        made = [torch.from_numpy(np.load(f)) for f in files if f.is_file()]
        if made and min(len(real), sum(map(len, made))) >= 2:
            features = torch.cat(made)
            sizes.append(len(features))
            found[method.name] = {"fid": fid(features, real)}
    few = f"; below {ENOUGH} FID depends on the number of images: compare rows, not papers"
    size = f"FID of {max(sizes[1:], default=0)} frames against {len(real)} photos"
    return found, size + (few if min(sizes) < ENOUGH else "")


def _real(pairs: Sequence[Pair], setup: Setup) -> Iterator[Tensor]:
    """The faces' squares of the rows' photos, each once, and of the photos given, as far as one is seen."""
    places = {p.photo: p.face for p in pairs} | dict.fromkeys(setup.real, "auto")
    for path, where in places.items():
        with suppress(InputError):
            photo = read_photo(path).pixels
            yield canonical(photo, looked_at(photo, where).frame, 299)
