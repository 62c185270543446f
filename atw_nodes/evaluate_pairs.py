"""The table of an evaluation: a photo and what drives it a row, as in the paper's 4.3, read and looked at.

    photo,drive,name,face,truth
    a.jpg,talk.mp4,,auto,
    a.jpg,aus.csv,,auto,a_smiling.jpg
    b.png,happiness,,"120,40,300",

drive: a video, a table of action units (.csv of OpenFace or ours, .json), or an expression's name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .clips import probe, read_frames
from .driving import Named, vectors
from .expressions import expression_name, presets, with_presets
from .faces import Face, chosen, read
from .files import STILL_SUFFIXES, file_head, reason
from .frames import frame_from_landmarks, frame_from_text
from .images import read_photo
from .signal_curves import along, relative
from .signal_files import load_signal
from .signal_video import follow_face
from .signals import UNITS, curve
from .types import FaceFrame, InputError, Signal, SignalSpec

COLUMNS = ("photo", "drive", "name", "face", "truth")
MOST_ROWS = 10_000
TABLES = (".csv", ".json")
_SPEC = SignalSpec("relative", tuple(UNITS), low=(-1.5,) * len(UNITS), high=(1.5,) * len(UNITS))


@dataclass(frozen=True)
class Pair:
    """A row. drive: a file, or an expression's name. face: auto, whole or X,Y,SIDE. truth: what the strongest
    frame (an image), or every frame (a video), should look like.
    """

    name: str
    photo: Path
    drive: Path | str
    face: str = "auto"
    truth: Path | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A row as it is measured. photo: [1,3,H,W]. face: in the photo. wanted: the change that is asked for, a
    step a frame, in the 17 units, whichever of them a model knows.
    """

    pair: Pair
    photo: Tensor
    face: Face
    wanted: Signal

    @property
    def frame(self) -> FaceFrame:
        """The head-shot frame that everything is animated and measured in."""
        return self.face.frame

    @property
    def strongest(self) -> int:
        """The frame that moves most."""
        return int(self.wanted.values.square().sum(1).argmax())


def read_pairs(path: Path) -> list[Pair]:
    """The rows of a table; relative paths start at its folder. ``InputError`` names the row that is wrong."""
    file_head(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restkey="more")
            rows, header = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); expected a CSV file") from error
    if not rows or len(rows) > MOST_ROWS or {"photo", "drive"} - set(header):
        raise InputError(
            f"{path} has {len(rows)} rows and the columns {', '.join(header) or 'none'}; expected 1 to "
            f"{MOST_ROWS} rows with photo and drive, and perhaps {', '.join(COLUMNS[2:])}"
        )
    if unknown := [c for c in header if c not in COLUMNS]:
        raise InputError(f"{path}: unknown column {unknown[0]!r}; expected {', '.join(COLUMNS)}")
    pairs = [_pair(path, number, row) for number, row in enumerate(rows, 2)]
    names = [p.name for p in pairs]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"{path}: several rows are called {twice[0]!r}; give each a name of its own")
    return pairs


def _pair(path: Path, number: int, row: dict[str, str | None]) -> Pair:
    cells = {k: (row.get(k) or "").strip() for k in COLUMNS}
    at = f"{path}, row {number}"
    if row.get("more") or not (cells["photo"] and cells["drive"]):
        raise InputError(f"{at}: expected a photo and a drive, and quotes around values with commas")
    folder = path.absolute().parent
    photo, truth = folder / cells["photo"], folder / cells["truth"] if cells["truth"] else None
    drive: Path | str = folder / cells["drive"]
    if not Path(drive).suffix:
        drive = expression_name(cells["drive"])
        if drive not in presets():
            raise InputError(
                f"{at}: drive {cells['drive']!r} is neither a file with a suffix nor an expression; expected "
                f"a video, a table of units, or one of {', '.join(presets())}"
            )
    try:
        for file in (photo, drive, truth):
            if isinstance(file, Path):
                file_head(file)
        if cells["face"] not in ("", "auto"):
            frame_from_text(cells["face"], 2**20, 2**20)
    except InputError as error:
        raise InputError(f"{at}: {error}") from error
    name = cells["name"] or f"{photo.stem}-{drive.stem if isinstance(drive, Path) else drive}"
    return Pair(re.sub(r"[^\w.+-]+", "_", name)[:120], photo, drive, cells["face"] or "auto", truth)


def case_of(pair: Pair, frames: int) -> Case:
    """A row's photo, face and signal: ``frames`` steps of an expression, at most so many of a driver."""
    photo = read_photo(pair.photo).pixels
    try:
        face = looked_at(photo, pair.face)
        return Case(pair, photo, face, _wanted(pair.drive, face, frames))
    except InputError as error:
        raise InputError(f"{pair.name}: {error}") from error


def looked_at(photo: Tensor, where: str) -> Face:
    """The face of ``photo`` as ``reading`` sees it, in the frame that ``where`` says: auto finds it."""
    if where == "auto":
        frame = chosen(photo, [0])[0].frame
    else:
        frame = frame_from_text(where, photo.shape[-2], photo.shape[-1])
    return replace(reading(photo, frame), frame=frame)


def reading(image: Tensor, frame: FaceFrame) -> Face:
    """The face in ``frame``, looked at once more in the frame that its own eyes make: photo and result are
    read alike, though the face may have moved.
    """
    first = read(image, frame)
    try:
        marks = torch.from_numpy(np.ascontiguousarray(first.landmarks))
        better = frame_from_landmarks(marks, image.shape[-2], image.shape[-1])
    except InputError:
        return first
    return read(image, better) if first.confidence >= 0.5 else first


def _wanted(drive: Path | str, face: Face, frames: int) -> Signal:
    if isinstance(drive, str):
        change, _ = vectors(Named(drive, 1.0), with_presets(_SPEC), face.units)
        return along(Signal(change, _SPEC.names), curve("pulse", frames))
    if drive.suffix.lower() in TABLES:
        signal = load_signal(drive)
    else:
        signal, _ = follow_face(read_frames(drive, max_frames=frames), float(probe(drive).fps))
        signal = relative(signal) if len(signal) > 1 else signal
    values, _ = vectors(signal[:frames], _SPEC, face.units)
    made = Signal(values, _SPEC.names, signal.fps)
    return along(made, curve("pulse", frames)) if len(made) == 1 else made


def truths(pair: Pair, count: int, strongest: int) -> Iterator[tuple[int, Tensor]]:
    """(frame, what it should look like, [1,3,H,W]) of a row's truth, read one by one; nothing without one."""
    if pair.truth is None:
        return
    if pair.truth.suffix.lower() in STILL_SUFFIXES:
        yield strongest, read_photo(pair.truth).pixels
    else:
        yield from enumerate(frame[None] for frame in read_frames(pair.truth, max_frames=count))
