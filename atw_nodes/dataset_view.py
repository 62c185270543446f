"""Data sets as a graph meets them: what a folder offers, a picture of what is inside, a few words."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .manifest import Manifest, Row, Skipped, examine, read_manifest
from .manifest_sources import from_folders
from .pictures import Pictures
from .prepare import SUFFIXES
from .types import InputError

DEEPEST, MOST = 3, 400  # folders looked into, and names offered
SIDE, ACROSS = 128, 8


def listed(root: Path) -> list[str]:
    """Manifests and folders of sorted photos in ``root``, as paths inside it."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        inner = Path(folder).relative_to(root)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if len(inner.parts) < DEEPEST else []
        found += [
            str(inner / f) for f in sorted(files) if f.endswith(".csv") and _is_manifest(Path(folder, f))
        ]
        if inner.parts and sum(_has_photos(Path(folder, f)) for f in folders) > 1:
            found.append(str(inner))
        if len(found) >= MOST:
            break
    return [Path(f).as_posix() for f in found[:MOST]]


def _is_manifest(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as f:
            names = f.readline(4096).lower().replace(";", ",").split(",")
    except OSError:
        return False
    return "image" in [n.strip() for n in names]


def _has_photos(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(e.name.lower().endswith(SUFFIXES) for e in entries)
    except OSError:
        return False


def stamp(place: Path) -> str:
    """Changes when the manifest at ``place`` does, or the files of a folder of sorted photos."""
    file = place / "manifest.csv" if place.is_dir() else place
    if file.is_file():
        stats = [p.stat() for p in (file, file.parent / "landmarks.npy") if p.is_file()]
        return " ".join(f"{s.st_mtime_ns}:{s.st_size}" for s in stats)
    inner = [(os.stat(folder).st_mtime_ns, len(names)) for folder, _, names in os.walk(place)]
    return f"{max((t for t, _ in inner), default=0)}:{sum(n for _, n in inner)}"


def opened(place: Path, progress: Callable[[int, int], None] | None = None) -> Manifest:
    """The manifest at ``place``: a CSV, a folder that holds manifest.csv, or a folder of sorted photos."""
    if place.is_dir() and not (place / "manifest.csv").is_file():
        return _of_folders(place, progress)
    return read_manifest(place, progress=progress)


def _of_folders(place: Path, progress: Callable[[int, int], None] | None) -> Manifest:
    """Photos sorted into folders, as a manifest that is written nowhere."""
    found = from_folders(place)
    rows: list[Row] = []
    skipped = list(found.skipped)
    for done, (row, why) in enumerate(examine(found.rows), 1):
        if why:
            skipped.append(Skipped(row.image.name, why))
        else:
            rows.append(row)
        if progress:
            progress(done, len(found.rows))
    if not rows:
        some = "; ".join(f"{s.file}: {s.reason}" for s in skipped[:3]) or "it has none"
        raise InputError(f"{place}: no photos to train on ({some}); put them into one folder a category")
    return Manifest(place / "manifest.csv", tuple(rows), skipped=tuple(skipped))


def overview(manifest: Manifest) -> Tensor:
    """uint8 [3,h,w]: up to 32 photos spread over the set, each with its label."""
    n = min(4 * ACROSS, len(manifest.rows))
    rows = [k * len(manifest.rows) // n for k in range(n)]
    pictures = Pictures(manifest, SIDE)
    try:
        pixels, used = pictures.get(rows)
    finally:
        pictures.close()
    gap, foot = 4, 18
    page = Image.new(
        "RGB", (min(n, ACROSS) * (SIDE + gap) + gap, -(-n // ACROSS) * (SIDE + foot) + gap), "white"
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for k, (image, row) in enumerate(zip(pixels, used, strict=True)):
        x, y = gap + k % ACROSS * (SIDE + gap), gap + k // ACROSS * (SIDE + foot)
        page.paste(Image.fromarray(image.permute(1, 2, 0).numpy()), (x, y))
        draw.text((x, y + SIDE + 1), _label(manifest, int(row))[:22], fill="black", font=font)
    return (
        torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8)
        .view(page.height, page.width, 3)
        .permute(2, 0, 1)
    )


def _label(manifest: Manifest, index: int) -> str:
    row = manifest.rows[index]
    strong = sorted(((v, n) for n, v in row.units.items() if v >= 0.2), reverse=True)[:2]
    units = " ".join(f"{n[2:]}:{v:.1f}" for v, n in strong)
    return " ".join(x for x in (row.category or "", units) if x) or "-"


def summary(manifest: Manifest) -> str:
    """How many photos of what, and what was left out and why."""
    people = len({r.subject for r in manifest.rows if r.subject})
    lines = [f"{len(manifest.rows)} photos" + (f" of {people} people" if people else "")]
    if manifest.categories:
        count = Counter(r.category for r in manifest.rows)
        lines.append("categories: " + ", ".join(f"{c} {count[c]}" for c in manifest.categories))
    if manifest.units:
        lines.append(f"action units: {', '.join(manifest.units)}")
    if manifest.skipped:
        lines.append(f"{len(manifest.skipped)} left out:")
        lines += [f"  {s.file}: {s.reason}" for s in manifest.skipped[:12]]
        if len(manifest.skipped) > 12:
            lines.append(f"  and {len(manifest.skipped) - 12} more")
    return "\n".join(lines)
