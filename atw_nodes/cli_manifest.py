"""The commands of training: ``manifest`` makes a table of labelled photos of a published data set."""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import bounded, progress
from .types import InputError, OutputError

if TYPE_CHECKING:
    from .manifest import Row, Skipped
    from .manifest_sources import Found


def add_manifest(commands: Any) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
    """Add ``manifest`` and its five kinds of data set to the parser's commands."""
    m = commands.add_parser("manifest", help="make a table of labelled photos of a data set, to train on")
    sources = m.add_subparsers(dest="source", required=True, metavar="SOURCE")
    p = sources.add_parser("celeba", help="CelebA: an attribute, Smiling for example")
    p.add_argument("images", type=Path, metavar="IMAGES", help="its folder img_align_celeba")
    p.add_argument("attributes", type=Path, metavar="TABLE", help="list_attr_celeba.txt, or Kaggle's .csv")
    p.add_argument("--attribute", default="Smiling", metavar="NAME", help="which (default: Smiling)")
    p.add_argument("--absent", metavar="CATEGORY", help="name of those without it (default: not smiling)")
    p.add_argument("--identities", type=Path, metavar="FILE", help="identity_CelebA.txt: who is who")
    _common(p)
    p = sources.add_parser("rafd", help="RaFD: 8 expressions, by the names of its files")
    p.add_argument("images", type=Path, metavar="FOLDER")
    p.add_argument("--angles", type=_names, default=("090",), metavar="A[,A...]",
                   help="of the camera: 000 to 180 (default: 090, the front)")  # fmt: skip
    p.add_argument("--gazes", type=_names, default=("frontal", "left", "right"), metavar="G[,G...]",
                   help="where they look (default: frontal,left,right)")  # fmt: skip
    _common(p)
    p = sources.add_parser("emotionet", help="EmotioNet: action units, 26 categories, or both")
    p.add_argument("images", type=Path, metavar="IMAGES")
    p.add_argument("tables", type=Path, nargs="+", metavar="TABLE",
                   help="dataFile_*.txt, its Excel files saved as CSV, or folders of them")  # fmt: skip
    _common(p)
    p = sources.add_parser("openface", help="photos with OpenFace's CSV files beside them")
    p.add_argument("images", type=Path, metavar="FOLDER")
    p.add_argument("--confidence", type=bounded(float, 0, 1), default=0.7, metavar="C",
                   help="the least that OpenFace had to be sure (default: 0.7)")  # fmt: skip
    _common(p)
    p = sources.add_parser("folders", help="folders of photos, each named by its category")
    p.add_argument("images", type=Path, metavar="FOLDER")
    _common(p)


def _common(p: argparse.ArgumentParser) -> None:
    p.add_argument("-o", "--output", type=Path, required=True, metavar="MANIFEST.csv", help="a new file")
    p.add_argument("--aligned", type=Path, metavar="DATASET",
                   help="what prepare made of these photos: take its crops")  # fmt: skip
    p.add_argument("--check", action=argparse.BooleanOptionalAction, default=True,
                   help="open every photo, leave out damaged, small and double ones (default)")  # fmt: skip
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=_manifest)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _manifest(args: argparse.Namespace) -> int:
    from .manifest import Skipped, examine, write_manifest

    beside = _free(args.output)
    found = _found(args)
    rows, skipped = list(found.rows), list(found.skipped)
    if args.check:
        seen = list(progress(examine(rows), len(rows), args.quiet, "photos"))
        rows = [row for row, why in seen if not why]
        skipped += [Skipped(str(row.image), why) for row, why in seen if why]
    if not rows:
        some = "; ".join(f"{s.file}: {s.reason}" for s in skipped[:3])
        raise InputError(f"{args.images}: none of {len(skipped)} entries can be used ({some})")
    margin = None
    if args.aligned:
        margin = 1.5
        if args.output.resolve().parent != args.aligned.resolve():
            rows = [replace(row, landmarks=None) for row in rows]
    if skipped:
        _write_skipped(beside, skipped)
    write_manifest(args.output, rows, margin)
    sys.stderr.write(f"{args.output}: {_summary(rows)}; {len(skipped)} skipped")
    sys.stderr.write(f", see {beside.name}\n" if skipped else "\n")
    return 0


def _free(output: Path) -> Path:
    """Fail before the work rather than after it; where the list of what was skipped will go."""
    beside = output.with_name("skipped.csv" if output.stem == "manifest" else f"{output.stem}.skipped.csv")
    if output.suffix.lower() != ".csv":
        raise OutputError(f"-o {output}: expected a name that ends in .csv, for example manifest.csv")
    if not output.resolve().parent.is_dir():
        raise OutputError(f"-o {output}: there is no folder {output.resolve().parent}; create it first")
    for file in (output, beside):
        if file.exists():
            raise OutputError(f"-o {output}: {file} already exists; choose another name")
    return beside


def _found(args: argparse.Namespace) -> Found:
    from . import manifest_sources as sources

    if args.source == "celeba":
        found = sources.from_celeba(
            args.images, args.attributes, args.attribute, args.absent, args.identities
        )
    elif args.source == "rafd":
        found = sources.from_rafd(args.images, args.angles, args.gazes)
    elif args.source == "emotionet":
        found = sources.from_emotionet(args.images, *args.tables)
    elif args.source == "openface":
        found = sources.from_openface(args.images, args.confidence)
    else:
        found = sources.from_folders(args.images)
    return sources.aligned(found, args.images, args.aligned) if args.aligned else found


def _write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    from .files import atomic_path

    with atomic_path(path) as temp, temp.open("w", newline="", encoding="utf-8", errors="replace") as f:
        csv.writer(f).writerows([("file", "reason"), *skipped])


def _summary(rows: Sequence[Row]) -> str:
    """``7 photos (3 anger, 4 happiness; AU12, AU25)``"""
    from .signals import UNITS

    counts = Counter(row.category for row in rows if row.category)
    units = [u for u in UNITS if any(u in row.units for row in rows)]
    parts = [", ".join(f"{counts[c]} {c}" for c in sorted(counts)), ", ".join(units)]
    return f"{len(rows)} photos ({'; '.join(p for p in parts if p)})"
