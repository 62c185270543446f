"""Published data sets as rows of a manifest, in the formats that they are published in.

Each reader gives the photos it can label and those it leaves out, with the reason; none opens a photo
(``manifest.examine`` does). Expressions get the names of ``expressions.py``: RaFD's "angry" is "anger".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from .expressions import EXPRESSIONS, expression_name
from .files import file_head, reason
from .manifest import Row, Skipped
from .pictures import PHOTOS, photos_in
from .signal_csv import CONFIDENT, _openface, _Row, csv_header, is_openface
from .signals import UNITS
from .types import InputError

UNKNOWN = (999.0, -1.0)  # EmotioNet: nobody said whether; in its file of categories -1 is no
RAFD = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
_RAFD = re.compile(r"rafd(\d{3})_(\d+)_[a-z]+_(?:male|female)_([a-z]+)_([a-z]+)", re.IGNORECASE)


class Found(NamedTuple):
    """The rows of a data set, and what was left out of it."""

    rows: list[Row]
    skipped: list[Skipped]


def _cells(file: Path, mark: str) -> Iterator[list[str]]:
    """Cells of every line that is not blank; ``mark`` " " is any white space."""
    file_head(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as f:
            lines = (line.split() for line in f) if mark == " " else csv.reader(f, delimiter=mark)
            for cells in lines:
                if any(c.strip() for c in cells):
                    yield [c.strip().strip("'\"") for c in cells]
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8; save an Excel file as CSV first") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({reason(error)}); expected a table as text") from error


def _mark(file: Path) -> str:
    """What a table's cells are parted by, from its first line."""
    file_head(file)
    with file.open(encoding="utf-8-sig", errors="replace") as f:
        line = f.readline(65536)
    return max("\t,;", key=line.count) if any(m in line for m in "\t,;") else " "


def from_celeba(
    images: Path,
    attributes: Path,
    attribute: str = "Smiling",
    absent: str | None = None,
    identities: Path | None = None,
) -> Found:
    """CelebA (Liu et al., ICCV 2015): categories "smiling" and "not smiling", or of another attribute.

    attributes: ``list_attr_celeba.txt`` (the number of photos; the attributes; then a file's name and 1 or
    -1 each, a line a photo) or Kaggle's CSV of it (image_id and the attributes first). absent: another name
    for the second category. identities: ``identity_CelebA.txt``, a file's name and a person's number.
    """
    lines, claimed = _cells(attributes, _mark(attributes)), None
    header = next(lines, [])
    if len(header) == 1 and header[0].isdigit():
        claimed, header = int(header[0]), ["image_id", *next(lines, [])]
    if attribute not in header[1:]:
        known = ", ".join(header[1:])[:600] or "none"
        raise InputError(f"{attributes} has no attribute {attribute!r}; it has {known}")
    found, name = Found([], []), attribute.replace("_", " ").lower()
    categories = {"1": name} | dict.fromkeys(("-1", "0"), absent or f"not {name}")
    files = {file.name: file for file in photos_in(images).values()}
    people = {c[0]: c[1] for c in _cells(identities, " ") if len(c) == 2} if identities else {}
    for cells in lines:
        value = cells[header.index(attribute)] if len(cells) == len(header) else "missing"
        file = files.get(cells[0]) or files.get(Path(cells[0]).with_suffix(".png").name)
        if value not in categories:
            found.skipped.append(Skipped(cells[0], f"{attribute} is {value}; expected 1 or -1"))
        elif not file:
            found.skipped.append(Skipped(cells[0], f"is not in {images}"))
        else:
            found.rows.append(Row(file, categories[value], subject=people.get(cells[0], "")))
    listed = len(found.rows) + len(found.skipped)
    if claimed not in (None, listed):
        why = f"says {claimed} photos but lists {listed}; is it whole?"
        found.skipped.append(Skipped(attributes.name, why))
    return found


def from_rafd(
    folder: Path,
    angles: Sequence[str] = ("090",),
    gazes: Sequence[str] = ("frontal", "left", "right"),
) -> Found:
    """RaFD (Langner et al., 2010), whose file names say all: in ``Rafd090_01_Caucasian_female_angry_frontal``
    the camera's angle (090 is from the front), the model, who that is, one of 8 expressions, the gaze.
    """
    found = Found([], [])
    for name, file in photos_in(folder).items():
        code = _RAFD.fullmatch(file.stem)
        angle, person, shown, gaze = (part.lower() for part in code.groups()) if code else ("",) * 4
        if not code:
            why = "its name is none of RaFD's, as Rafd090_01_Caucasian_female_angry_frontal.jpg"
        elif shown not in RAFD:
            why = f"expression {shown} is none of {', '.join(RAFD)}"
        elif angle not in angles:
            why = f"the camera is at {angle}, wanted {', '.join(angles)}"
        elif gaze not in gazes:
            why = f"the gaze is {gaze}, wanted {', '.join(gazes)}"
        else:
            found.rows.append(Row(file, expression_name(shown), subject=person))
            continue
        found.skipped.append(Skipped(name, why))
    return found


def from_folders(folder: Path) -> Found:
    """A folder of folders of photos, each named by the category of what is in and below it."""
    found = Found([], [])
    for name, file in photos_in(folder).items():
        category, _, inner = name.partition("/")
        if not inner:
            found.skipped.append(Skipped(name, "lies in no folder that names its category"))
        elif category.lower() == "unknown":
            found.skipped.append(Skipped(name, "its category is unknown"))
        else:
            found.rows.append(Row(file, category))
    if not found.rows:
        raise InputError(
            f"{folder} has {len(found.skipped)} photos but none in a folder that names its category; "
            "expected happy/1.jpg, sad/2.jpg, ..."
        )
    return found


@dataclass
class _Labels:
    """What the tables of EmotioNet say about one photo."""

    units: dict[str, float] = field(default_factory=dict)
    categories: set[str] = field(default_factory=set)
    fault: str = ""

    def row(self, file: Path) -> Row:
        if self.fault:
            raise InputError(self.fault)
        if len(self.categories) > 1:
            raise InputError(f"has {len(self.categories)} categories, {', '.join(sorted(self.categories))}")
        if not self.categories and not self.units:
            raise InputError("no action unit of ours and no category is known of it")
        return Row(file, next(iter(self.categories), None), self.units)


class _Columns(NamedTuple):
    """Where a table of EmotioNet keeps what: units and one-hot categories by column; a column of names."""

    units: Mapping[int, str]
    categories: Mapping[int, str]
    named: int | None


def from_emotionet(images: Path, *tables: Path) -> Found:
    """EmotioNet (Benitez-Quiroz et al., CVPR 2016): action units, categories, or both where tables overlap.

    tables: its ``dataFile_*.txt`` (tabs, no header: address, original address, AU1 to AU60), its Excel files
    saved as CSV (a header; AU columns, or one column a category, 26 of them), or folders of such. A unit is 1
    (present, taken as 1.0), 0, or 999 (unknown, left out); AU43, eyes closed, is a still photo's AU45. Photos
    are found by the last part of the address, anywhere in ``images``.
    """
    files, labels, found = photos_in(images), {}, Found([], [])
    by_name: dict[str, list[Path]] = {}
    for file in files.values():
        by_name.setdefault(file.name, []).append(file)
    for table in _tables(tables):
        for address, cells, columns in _emotionet(table):
            place = Path(unquote(urlsplit(address).path))
            same = by_name.get(place.name, [])
            same = [f for f in same if f.parent.name == place.parent.name] if len(same) > 1 else same
            if len(same) != 1:
                why = f"{len(same) or 'no'} files of that name in {images}"
                found.skipped.append(Skipped(address, why))
            else:
                _label(labels.setdefault(same[0], _Labels()), cells, columns)
    for file, label in labels.items():
        try:
            found.rows.append(label.row(file))
        except InputError as error:
            found.skipped.append(Skipped(file.relative_to(images).as_posix(), str(error)))
    return found


def _tables(given: Sequence[Path]) -> list[Path]:
    """The tables given, and those in the folders given."""
    inside = [
        sorted(p for p in t.iterdir() if p.suffix in (".txt", ".csv")) if t.is_dir() else [t] for t in given
    ]
    tables = [table for some in inside for table in some]
    if not tables:
        raise InputError(
            "no table of EmotioNet was given; expected dataFile_*.txt, or its Excel files as CSV"
        )
    return tables


def _emotionet(table: Path) -> Iterator[tuple[str, list[str], _Columns]]:
    """(address, cells, columns) of every row."""
    lines = _cells(table, _mark(table))
    first = next(lines, [])
    headed = not ("://" in first[0] or Path(first[0]).suffix.lower() in PHOTOS)
    header = first if headed else [*[""] * (len(first) - 60), *(f"AU{n}" for n in range(1, 61))]
    columns = _columns(table, header)
    if not headed:
        yield first[0], first, columns
    for cells in lines:
        yield cells[0], cells, columns


def _columns(table: Path, header: Sequence[str]) -> _Columns:
    units, categories, named = {}, {}, None
    for k, text in enumerate(header):
        if code := re.fullmatch(r"AU[ _]?0*(\d+)", text, re.IGNORECASE):
            name = f"AU{int(code[1]):02d}"
            if name in UNITS or name == "AU43":
                units[k] = name
        elif expression_name(text) in EXPRESSIONS:
            categories[k] = expression_name(text)
        elif text.lower() in ("category", "emotion", "expression"):
            named = k
    if not units and not categories and named is None:
        raise InputError(
            f"{table} has the columns {', '.join(header)[:200]}; expected an address, then AU1 ..., or the "
            "names of expressions"
        )
    return _Columns(units, categories, named)


def _label(label: _Labels, cells: Sequence[str], columns: _Columns) -> None:
    try:
        known = {name: _flag(cells, k, name) for k, name in columns.units.items()}
        units = {name: value for name, value in known.items() if value is not None}
        closed = units.pop("AU43", None)
        if closed is not None:
            units["AU45"] = max(closed, units.get("AU45", 0.0))
        label.units.update(units)
        label.categories |= {n for k, n in columns.categories.items() if _flag(cells, k, n) == 1}
        if columns.named is not None and columns.named < len(cells) and cells[columns.named]:
            label.categories.add(expression_name(cells[columns.named]))
    except InputError as error:
        label.fault = str(error)


def _flag(cells: Sequence[str], k: int, name: str) -> float | None:
    """1.0, 0.0, or None where it is not known."""
    text = cells[k] if k < len(cells) else "missing"
    try:
        value = float(text or 999)
    except ValueError:
        value = float("nan")
    if value not in (0.0, 1.0, *UNKNOWN):
        raise InputError(f"{name} is {text[:40]}; expected 0, 1 or 999")
    return None if value in UNKNOWN else value


def from_openface(folder: Path, confidence: float = CONFIDENT) -> Found:
    """Photos with what OpenFace 2 measured on them: CSV files with AU01_r ... (0 to 5), all over ``folder``.

    A photo's file has its name (``anna.jpg``; ``anna.csv`` beside it or in ``processed``). A sequence's file
    has the name of a folder of frames: ``clip_aligned``, whose photos end in the frame's number, or ``clip``,
    whose photos count from 1; the subject is then the clip. Faces below ``confidence`` are left out.
    """
    left, found = dict.fromkeys(photos_in(folder).values()), Found([], [])
    places: dict[Path, dict[str, Path]] = {}
    for file in left:
        places.setdefault(file.parent, {}).setdefault(file.stem, file)
    for table in sorted(folder.rglob("*.csv")):
        try:
            if not is_openface(csv_header(table)):
                raise InputError("has no columns AU01_r ...; it is not read")
            units, seen = _openface(table)
            pictures = _measured(table, places)
        except InputError as error:
            why = str(error).removeprefix(f"{table} ")
            found.skipped.append(Skipped(table.relative_to(folder).as_posix(), why))
            continue
        frames: dict[int | None, list[_Row]] = {None: seen}
        for face in seen:
            frames.setdefault(face.frame, []).append(face)
        for frame, file in pictures.items():
            left.pop(file, None)
            try:
                shown = _shown(units, frames.get(frame, []), confidence)
                found.rows.append(Row(file, units=shown, subject="" if frame is None else table.stem))
            except InputError as error:
                found.skipped.append(Skipped(file.relative_to(folder).as_posix(), str(error)))
    lone = [Skipped(f.relative_to(folder).as_posix(), "has no CSV file of OpenFace") for f in left]
    return Found(found.rows, found.skipped + lone)


def _shown(units: Sequence[str], faces: Sequence[_Row], confidence: float) -> dict[str, float]:
    """The units of the one face that was seen well."""
    sure = [face for face in faces if face.confidence >= confidence]
    if len(sure) != 1:
        best = max((face.confidence for face in faces), default=-1.0)
        few = f"no face: OpenFace's confidence is {max(best, 0):g}, {confidence:g} is needed"
        raise InputError(f"{len(sure)} faces; expected one" if sure else few)
    level = {u: min(max(v / 5, 0.0), 1.0) for u, v in zip(units, sure[0].values, strict=True)}
    return {u: level[u] for u in UNITS if u in level}


def _measured(table: Path, places: Mapping[Path, Mapping[str, Path]]) -> dict[int | None, Path]:
    """{frame: photo} that a CSV file is about; a single photo's frame is None. places: photos by name."""
    beside = [table.parent, *([table.parent.parent] if table.parent.name == "processed" else [])]
    for place in beside:
        if table.stem in places.get(place, {}):
            return {None: places[place][table.stem]}
    for place in (*beside, table.parent.parent):
        if numbered := places.get(place / f"{table.stem}_aligned"):
            return {int(end[0]): numbered[name] for name in numbered if (end := re.search(r"\d+$", name))}
        if counted := places.get(place / table.stem):
            return dict(enumerate((counted[name] for name in sorted(counted)), 1))
    raise InputError(f"no photo {table.stem} and no folder of its frames lies beside it")


def aligned(found: Found, images: Path, prepared: Path) -> Found:
    """The same labels on the crops that ``prepare`` made of the folder ``images``, in ``prepared``.

    ``landmarks`` are those beside the crops: right for a manifest that is written into ``prepared``.
    """
    crops = list(_cells(prepared / "manifest.csv", ","))
    if not crops or not {"image", "file"} <= set(crops[0]):
        raise InputError(f"{prepared}/manifest.csv is not what prepare writes; expected columns image, file")
    labels = {row.image.relative_to(images).as_posix(): row for row in found.rows}
    rows, skipped, used = [], list(found.skipped), set()
    for k, cells in enumerate(crops[1:]):
        cell = dict(zip(crops[0], cells, strict=False))
        file = Path(cell.get("file", "").replace("\\", "/")).as_posix()
        if file in labels and cell.get("face", "0") == "0":  # the largest: labels are of the photo
            matte = prepared / cell["matte"] if cell.get("matte") else None
            rows.append(replace(labels[file], image=prepared / cell["image"], matte=matte, landmarks=k))
            used.add(file)
    skipped += [Skipped(f, f"no face: it is not in {prepared}") for f in labels if f not in used]
    return Found(rows, skipped)
