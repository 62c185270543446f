"""The report of an evaluation: JSON, a table in Markdown, and bars."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .files import atomic_path, unwritable
from .images import write_still
from .metrics import RISING, SCALE, TITLES

FORMAT, VERSION = "atw-evaluation", 1
NOT_MEASURED = {
    "fid": "needs torch-fidelity and its weights: add `--fid` (`pip install torch-fidelity`)",
    "css": "needs a face recogniser: add `--embedder FILE.onnx`",
    "fwe": "needs optical flow: `pip install opencv-python-headless`",
    "au_error": "no unit is both asked for and read",
    "folds": "no row has a motion field",
    "psnr": "needs a truth: a column `truth` in the table",
    "memory": "the system does not tell a process its peak",
}
_DIGITS = {
    "fid": 1,
    "css": 3,
    "fwe": 3,
    "au_error": 3,
    "folds": 3,
    "detail": 2,
    "ssim": 3,
    "mouth_ssim": 3,
    "seconds": 3,
}
_ROW, _NAME, _BAR, _HEAD, _ZOOM = 22, 210, 250, 30, 2


def write_report(folder: Path, results: Mapping[str, Any]) -> None:
    """results.json, table.md and plot.png."""
    for name, text in (("results.json", json.dumps(results, indent=1) + "\n"), ("table.md", page(results))):
        path = folder / name
        with atomic_path(path) as temp, unwritable(path):
            temp.write_text(text, encoding="utf-8")
    write_still(folder / "plot.png", bars(results["rows"]))


def shown(name: str, value: float | None) -> str:
    """A mean as the tables print it."""
    if value is None:
        return "-"
    return f"{value * SCALE.get(name, 1.0):.{_DIGITS.get(name, 1)}f}"


def measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which metrics any row has, in the table's order."""
    return [n for n in TITLES if any(n in r["mean"] for r in rows)]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a method, a column a metric."""
    names = measured(rows)
    lines = [
        "| method | " + " | ".join(TITLES[n] for n in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [
        f"| {r['method']} | " + " | ".join(shown(n, r["mean"].get(n)) for n in names) + " |" for r in rows
    ]
    return "\n".join(lines)


def page(results: Mapping[str, Any]) -> str:
    """The whole of table.md."""
    rows = results["rows"]
    names = measured(rows)
    missing = [f"- {TITLES[n]}: not measured; {why}." for n, why in NOT_MEASURED.items() if n not in names]
    notes = [f"- {note}." for note in results["notes"]]
    failed = [f"- {where}: {why}" for where, why in results["failed"].items()]
    parts = [
        f"{results['pairs']} pairs, up to {results['frames']} frames each; on {results['device']}, "
        f"{results['threads']} thread{'s' * (results['threads'] != 1)}.",
        table(rows),
        "\n".join(notes + missing),
        "Failed:\n\n" + "\n".join(failed) if failed else "",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def bars(rows: Sequence[Mapping[str, Any]], across: int = 3) -> Tensor:
    """[1,3,H,W] uint8: a panel a metric, a bar a method; the best one is dark."""
    names = measured(rows) or ["seconds"]
    wide, high = _NAME + _BAR + 80, _HEAD + _ROW * len(rows) + 16
    across = min(across, len(names))
    down = -(-len(names) // across)
    image = Image.new("RGB", (wide * across * _ZOOM, high * down * _ZOOM), "white")
    draw = ImageDraw.Draw(image)
    for k, name in enumerate(names):
        _panel(draw, (k % across * wide, k // across * high), name, rows)
    return torch.from_numpy(np.asarray(image).copy()).movedim(-1, 0)[None]


def _panel(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    x, y = corner
    better = "more is better" if name in RISING else "less is better"
    better = "1: the photo's" if name == "detail" else better
    _write(draw, (x + 10, y + 15), f"{TITLES[name]} ({better})", 14)
    found = {k: float(r["mean"][name]) for k, r in enumerate(rows) if name in r["mean"]}
    rivals = {k: v for k, v in found.items() if not rows[k]["method"].startswith("photo")} or found
    best = (max if name in RISING else min)(rivals.values(), default=0.0)
    best = min(rivals.values(), key=lambda v: abs(v - 1), default=0.0) if name == "detail" else best
    most = max(found.values(), default=0.0) or 1.0
    for k, row in enumerate(rows):
        middle = y + _HEAD + _ROW * k + _ROW / 2
        _write(draw, (x + _NAME - 8, middle), row["method"][:32], 12, "rm")
        if k not in found:
            _write(draw, (x + _NAME, middle), "-", 12)
            continue
        length = max(1.0, _BAR * max(found[k], 0.0) / most)
        colour = "#1f5fa8" if found[k] == best and k in rivals else "#9fc0e4"
        box = (x + _NAME, middle - 7, x + _NAME + length, middle + 7)
        draw.rectangle(tuple(v * _ZOOM for v in box), fill=colour)
        _write(draw, (x + _NAME + length + 6, middle), shown(name, found[k]), 12)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, anchor: str = "lm"
) -> None:
    font = ImageFont.load_default(size * _ZOOM)
    draw.text((at[0] * _ZOOM, at[1] * _ZOOM), text, fill="#222222", font=font, anchor=anchor)
