"""A folder of photos -> a training set in our frame: the front door of training.

The set is what ``data.read_faces`` reads: square crops whose central two thirds are the head-shot frame,
``manifest.csv`` with one row a face, ``landmarks.npy`` [rows,478,2] in pixels of the crop; and
``skipped.csv`` with the photos left out and why.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .faces import Face, see
from .files import atomic_path
from .images import read_photo, write_still
from .tiles import canonical
from .types import InputError, OutputError

MARGIN = 1.5  # side of a crop over the side of the head-shot frame
SMALLEST = 64.0  # pixels: a frame of less has nothing to teach
EXPRESSIONS = ("neutral", "smiling", "happy", "sad", "angry", "surprised", "afraid", "disgusted")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".avif")


def who(file: Path, folder: Path) -> tuple[str, str, str]:
    """(set, subject, expression) from a photo's place: a known expression at the end of its name or as a
    folder, the subject from the rest of the name, the set from the folder's own name.
    """
    inner = file.relative_to(folder)
    stem, expression = inner.stem, "unknown"
    for part in (*inner.parts[:-1], stem.replace("-", "_").rsplit("_", 1)[-1]):
        if part.lower() in EXPRESSIONS:
            expression = part.lower()
    if stem.lower().endswith(expression) and stem.lower() != expression:
        stem = stem[: -len(expression)].rstrip("_- ")
    elif stem.lower() == expression:
        stem = inner.parts[-2] if len(inner.parts) > 1 else folder.name
    return folder.resolve().name, stem, expression


class Preparation:
    """One run of ``prepare``. Interrupted, it goes on where it stopped when asked for the same again.

    Every photo leaves its crops, mattes and a JSON note; the manifest is written last, so a set with a
    manifest is a whole one. Mattes are white: there is no network here that cuts out a head, and a
    wrong matte teaches more than none.
    """

    def __init__(
        self, folder: Path, out: Path, size: int = 256, all_faces: bool = False, source: str = "own"
    ) -> None:
        self.folder, self.out, self.size, self.all_faces, self.source = folder, out, size, all_faces, source
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; expected one with photos")
        inside = (Path(d) / f for d, _, names in os.walk(folder) for f in names)
        self.files = sorted(p for p in inside if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not self.files:
            raise InputError(f"{folder} holds no photos; expected files ending in {', '.join(SUFFIXES)}")
        self.settings = {
            "folder": str(folder.resolve()),
            "size": size,
            "all_faces": all_faces,
            "source": source,
            "files": [str(p.relative_to(folder)) for p in self.files],
        }
        self._open()

    def _open(self) -> None:
        """A new folder, or an unfinished one of the same settings."""
        if self.out.resolve() == self.folder.resolve() or self.folder.resolve() in self.out.resolve().parents:
            raise OutputError(
                f"{self.out} lies in {self.folder}; its crops would be read as photos, choose another"
            )
        mark = self.out / "unfinished.json"
        if mark.is_file():
            if json.loads(mark.read_text(encoding="utf-8")) != self.settings:
                raise OutputError(f"{self.out} was begun with other settings or photos; give a new folder")
        elif self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise OutputError(f"{self.out} is there already and not empty; give a new folder")
        else:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                with atomic_path(mark) as temporary:
                    temporary.write_text(json.dumps(self.settings), encoding="utf-8")
            except OSError as e:
                raise OutputError(
                    f"{self.out} cannot be written ({e.strerror}); choose another folder"
                ) from e

    def run(self) -> Iterator[Path]:
        """Work through the photos; yields each when done. Exhaust it, or there is no manifest."""
        for number, file in enumerate(self.files):
            note = self.out / f"{number:06d}.json"
            if not note.is_file():
                try:
                    rows, reason = self._photo(number, file), ""
                except (InputError, MemoryError) as e:  # the photo's fault; anything else ends the run
                    rows, reason = [], " ".join(str(e).split()) or type(e).__name__
                with atomic_path(note) as temporary:
                    text = json.dumps({"rows": rows, "skipped": "" if rows else reason})
                    temporary.write_text(text, encoding="utf-8")
            yield file
        self._finish()

    def _photo(self, number: int, file: Path) -> list[dict[str, object]]:
        photo = read_photo(file)
        faces = see(photo.pixels, self.source)
        if not faces:
            raise InputError(f"no face found in {photo.width}x{photo.height} pixels")
        large = [f for f in faces if f.frame.sides[0] >= SMALLEST]
        if not large:
            widest = faces[0].frame.sides[0]
            raise InputError(
                f"the face is too small: its frame is {widest:.0f} pixels wide, {SMALLEST:.0f} are needed"
            )
        group, subject, expression = who(file, self.folder)
        rows = []
        for k, face in enumerate(large if self.all_faces else large[:1]):
            name = f"{number:06d}-{k}"
            marks = self._crop(photo.pixels, face, name)
            rows.append(
                {"image": f"{name}.png", "matte": f"{name}.matte.png", "set": group, "subject": subject}
                | {"expression": expression, "file": str(file.relative_to(self.folder)), "face": k}
                | {"width": photo.width, "height": photo.height, "confidence": round(face.confidence, 4)}
                | dict(face.units)
                | {"landmarks": marks.tolist()}
            )
        return rows

    def _crop(self, pixels: torch.Tensor, face: Face, name: str) -> np.ndarray:
        """Write one face's crop and matte; returns its landmarks in pixels of the crop."""
        (a, b, x), (c, d, y) = face.frame.matrix
        edge = (MARGIN - 1) / 2
        wide = tuple((p * MARGIN, q * MARGIN, o - edge * (p + q)) for p, q, o in ((a, b, x), (c, d, y)))
        frame = replace(face.frame, matrix=wide)
        image = canonical(pixels, frame, self.size)
        write_still(self.out / f"{name}.png", (image.clamp(0, 1) * 255).round().byte())
        white = torch.full((1, 3, self.size, self.size), 255, dtype=torch.uint8)
        write_still(self.out / f"{name}.matte.png", white)
        (a, b, x), (c, d, y) = frame.inverse()
        turn = np.array([[a, c], [b, d]])
        return ((face.landmarks @ turn + (x, y)) * self.size).astype(np.float32)

    def _notes(self) -> list[dict[str, object]]:
        texts = ((self.out / f"{i:06d}.json").read_text(encoding="utf-8") for i in range(len(self.files)))
        return [json.loads(t) for t in texts]

    def _finish(self) -> None:
        notes = self._notes()
        rows = [row for note in notes for row in note["rows"]]  # type: ignore[attr-defined]
        if not rows:
            raise InputError(
                f"no face was found in any of {len(notes)} photos of {self.folder}; see its notes"
            )
        marks = np.array([row.pop("landmarks") for row in rows], np.float32)
        skipped = [
            {"file": str(f.relative_to(self.folder)), "reason": n["skipped"]}
            for f, n in zip(self.files, notes, strict=True)
            if n["skipped"]
        ]
        with atomic_path(self.out / "landmarks.npy") as temporary, temporary.open("wb") as f:
            np.save(f, marks)
        self._table("skipped.csv", ["file", "reason"], skipped)
        self._table("manifest.csv", list(rows[0]), rows)
        for extra in (self.out / "unfinished.json", *(self.out / f"{i:06d}.json" for i in range(len(notes)))):
            extra.unlink()

    def _table(self, name: str, columns: list[str], rows: list[dict[str, object]]) -> None:
        with (
            atomic_path(self.out / name) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.DictWriter(f, columns)
            writer.writeheader()
            writer.writerows(rows)

    def counts(self) -> tuple[int, int]:
        """(faces in the set, photos skipped) of a finished run."""
        lines = [
            len((self.out / n).read_text("utf-8").splitlines()) - 1 for n in ("manifest.csv", "skipped.csv")
        ]
        return lines[0], lines[1]
