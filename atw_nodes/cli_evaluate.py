"""The command that measures: ``evaluate PAIRS.csv -o OUT``, and the blind comparison by people."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import bounded, pick_device, progress
from .types import InputError, MissingExtraError, OutputError

if TYPE_CHECKING:
    from .evaluate_methods import Method
    from .measuring import Judges

ABOUT = """A row of PAIRS.csv is a clip. Columns: photo; drive (a video, a table of action units, or an
expression); and if need be name, face (auto, whole or X,Y,SIDE) and truth (what the strongest frame, or every
frame, should look like). Relative paths start at the table's folder. What OUT holds already is not measured
again. Exit code 1 if something could not be measured, 2 if the table or an option is wrong."""
ROWS = ("aligned", "vanilla", "multiscale", "paper", "nearest", "bicubic")
READERS = ("units", "landmarks")
RANGES = ("0..255", "0..1", "-1..1")
TOGETHER = 6  # clips side by side on the page


def add_evaluate(commands: Any) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
    """Add ``evaluate`` to the parser's commands."""
    e = commands.add_parser("evaluate", help="measure methods on your own photos", description=ABOUT)
    e.add_argument("pairs", type=Path, nargs="?", metavar="PAIRS.csv")
    e.add_argument("-o", "--output", type=Path, metavar="OUT", help="a folder; with --ab a page, .html")
    e.add_argument("--checkpoint", action="append", metavar="NAME|FILE|hf://...",
                   help="ours to measure, may be given several times (default: atw-au-128)")  # fmt: skip
    e.add_argument("--rows", default=",".join(ROWS), metavar="ROW,...",
                   help=f"of {', '.join(ROWS)} (default: all)")  # fmt: skip
    e.add_argument("--method", action="append", default=[], metavar="NAME=FOLDER",
                   help="another method's frames: a folder, or a video, of each row's name")  # fmt: skip
    e.add_argument("--sr-model", type=Path, metavar="FILE",
                   help="a super-resolution model as one more row (needs spandrel)")  # fmt: skip
    e.add_argument("--frames", type=bounded(int, 1, 100_000), default=24, metavar="N",
                   help="of a clip, at most (default: 24)")  # fmt: skip
    _judges(e)
    e.add_argument("--align-truth", action="store_true",
                   help="the truth is another shot: compare the faces' squares, not pixels")  # fmt: skip
    e.add_argument("--keep", action="store_true", help="also keep the clips, in OUT/clips")
    e.add_argument("--overwrite", action="store_true", help="measure anew what was measured")
    e.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    e.add_argument("--quiet", action="store_true", help="no progress bar")
    e.add_argument("--ab", type=Path, nargs="+", metavar="FOLDER",
                   help=f"2 to {TOGETHER} folders of clips or pictures: a page for blind votes")  # fmt: skip
    e.add_argument("--ab-photos", type=Path, metavar="FOLDER", help="with --ab: the photos, shown beside")
    e.add_argument("--seed", type=bounded(int, 0, 2**31), default=0, help="with --ab: of order and sides")
    e.add_argument("--ab-votes", type=Path, nargs="+", metavar="VOTES.csv", help="count what was voted")
    e.set_defaults(run=_evaluate)


def _judges(e: argparse.ArgumentParser) -> None:
    e.add_argument("--reader", choices=READERS, default="units",
                   help="of units: the face network, or measured landmarks (default: units)")  # fmt: skip
    e.add_argument("--tables", type=Path, metavar="FOLDER",
                   help="action units that OpenFace read from the results: METHOD/NAME.csv")  # fmt: skip
    e.add_argument("--flow-size", type=bounded(int, 64, 4096), default=512, metavar="PX",
                   help="side of the face's square in which flow is looked for (default: 512)")  # fmt: skip
    e.add_argument("--embedder", type=Path, metavar="FILE", help="for CSS: a face recogniser, .onnx or .pt")
    e.add_argument("--embedder-size", type=bounded(int, 16, 1024), default=112, metavar="PX",
                   help="side of what it sees (default: 112)")  # fmt: skip
    e.add_argument("--embedder-range", choices=RANGES, default="0..255",
                   help="of the values it sees (default: 0..255)")  # fmt: skip
    e.add_argument("--fid", action="store_true", help="measure FID (needs torch-fidelity)")
    e.add_argument("--inception-weights", type=Path, metavar="FILE",
                   help="for FID: that library's file (default: it downloads it)")  # fmt: skip
    e.add_argument("--real", type=Path, metavar="FOLDER", help="for FID: more real photos than the rows'")


def _evaluate(args: argparse.Namespace) -> int:
    if args.ab_votes:
        return _votes(args)
    if args.ab:
        return _page(args)
    if args.pairs is None or args.output is None:
        raise InputError("evaluate needs PAIRS.csv and -o OUT, or --ab, or --ab-votes (see --help)")
    from .evaluate import Setup, evaluate
    from .evaluate_pairs import read_pairs
    from .evaluate_report import table
    from .pictures import photos_in

    pairs, methods = read_pairs(args.pairs), _methods(args)
    judges, notes = _looking(args)
    real = tuple(photos_in(args.real).values()) if args.real else ()
    tables, device = args.tables, pick_device(args.device)
    setup = Setup(args.output, args.frames, judges, args.align_truth, device, tables, real, args.keep,
                  args.overwrite)  # fmt: skip
    failed = []
    with closing(evaluate(pairs, methods, setup, notes)) as cells:
        for cell in progress(cells, len(pairs) * len(methods), args.quiet, "cells"):
            failed += [cell] if cell.error else []
    for cell in failed:
        sys.stderr.write(f"failed: {cell.method}, {cell.pair}: {cell.error}\n")
    import json

    report = json.loads((args.output / "results.json").read_text(encoding="utf-8"))
    sys.stdout.write(table(report["rows"]) + "\n")
    return 1 if failed else 0


def _methods(args: argparse.Namespace) -> list[Method]:
    from .checkpoints import load_checkpoint
    from .evaluate_methods import methods_of

    rows = [r.strip() for r in args.rows.split(",") if r.strip()]
    if unknown := [r for r in rows if r not in ROWS]:
        raise InputError(f"--rows {unknown[0]}: unknown; expected some of {', '.join(ROWS)}")
    outside = []
    for text in args.method:
        name, found, folder = text.partition("=")
        if not (found and name.strip() and Path(folder).is_dir()):
            raise InputError(f"--method {text}: expected NAME=FOLDER, a folder that is there")
        outside.append((name.strip(), Path(folder)))
    device = pick_device(args.device)
    checkpoints = [load_checkpoint(c) for c in args.checkpoint or ["atw-au-128"]]
    for checkpoint in checkpoints:
        checkpoint.generator.to(device)
    return methods_of(checkpoints, list(dict.fromkeys(rows)), args.sr_model, outside)


def _looking(args: argparse.Namespace) -> tuple[Judges, list[str]]:
    """(who looks, what is to be said about it)."""
    from .extras import opencv_module
    from .measuring import Judges
    from .metrics_networks import Embedder, Inception

    if args.inception_weights and not args.fid:
        raise InputError("--inception-weights is for --fid; add it")
    flow, notes = args.flow_size, []
    try:
        opencv_module("optical flow")
    except MissingExtraError as error:
        flow, notes = 0, [f"FWE is not measured: {error}"]
    seen = (args.embedder_size, args.embedder_range)
    embedder = Embedder(args.embedder, *seen) if args.embedder else None
    inception = Inception(args.inception_weights) if args.fid else None
    return Judges(args.reader, flow, embedder, inception), notes


def _page(args: argparse.Namespace) -> int:
    from .ab_page import write_page

    if args.output is None or args.output.suffix.lower() not in (".html", ".htm"):
        raise OutputError("--ab needs the page's name: -o page.html")
    if not 2 <= len(args.ab) <= TOGETHER:
        raise InputError(f"--ab got {len(args.ab)} folders; expected 2 to {TOGETHER}")
    if args.output.exists() and not args.overwrite:
        raise OutputError(f"{args.output} exists; choose another name, or --overwrite")
    count = write_page(args.output, args.ab, args.seed, args.ab_photos)
    sys.stderr.write(f"{args.output}: {count} comparisons of {len(args.ab)} methods\n")
    return 0


def _votes(args: argparse.Namespace) -> int:
    from .ab_page import counted_votes

    sys.stdout.write(counted_votes(args.ab_votes) + "\n")
    return 0
