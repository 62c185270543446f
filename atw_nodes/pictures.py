"""Many photos as squares of one size, without many processes: decoded by threads, kept in memory as bytes.

A host loads this package by its path, under a name that worker processes cannot import; Pillow lets go of
Python's lock while it decodes, so threads do as well.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .files import file_head, reason
from .images import read_photo
from .types import InputError

WORKERS = min(8, os.cpu_count() or 1)
AHEAD = 256  # photos decoded ahead that nobody has asked for yet
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".avif")
_PLAIN = ("JPEG", "PNG", "WEBP", "BMP")
_ORIENTATION = 0x0112
_TURN = {
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


class Skipped(NamedTuple):
    """A photo that is left out, and why."""

    file: str
    reason: str


class _Row(Protocol):
    @property
    def image(self) -> Path: ...


class _Rows(Protocol):
    """What ``Pictures`` needs of a manifest."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> Sequence[_Row]: ...


def photos_in(folder: Path) -> dict[str, Path]:
    """{path inside, with slashes: photo} of every photo below ``folder``, in the order of their names."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected the one with the photos")
    inside = (Path(d) / name for d, _, names in os.walk(folder) for name in names)
    files = sorted(p for p in inside if p.suffix.lower() in PHOTOS and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no photos; expected files ending in {', '.join(PHOTOS)}")
    return {p.relative_to(folder).as_posix(): p for p in files}


def probe(path: Path) -> tuple[bytes, tuple[int, int]]:
    """(digest of a file's bytes, (width, height) of the photo in it), decoded to its end; ``InputError`` if
    it cannot be.

    The size is that of the stored picture: sides may be the other way round in an upright one.
    """
    data = _read(path)
    digest, plain = hashlib.sha256(data).digest(), _plain(data, 1)
    if plain:
        return digest, plain[1]
    photo = read_photo(path)
    return digest, (photo.width, photo.height)


def read_square(path: Path, side: int) -> np.ndarray:
    """The upright photo's central square as [side,side,3] uint8: smoothed when it shrinks, else bilinear.

    What is no photo, or a damaged one, is an ``InputError``. Colours are those of ``images.read_photo``.
    """
    plain = _plain(_read(path), 2 * side)
    if plain:
        image, turn = plain[0], plain[2]
    else:
        pixels, turn = read_photo(path).pixels[0], 1
        if pixels.is_floating_point():
            pixels = (pixels.clamp(0, 1) * 255).round().byte()
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    (width, height), edge = image.size, min(image.size)
    x, y = (width - edge) / 2, (height - edge) / 2
    smooth = Image.Resampling.HAMMING if edge > side else Image.Resampling.BILINEAR
    image = image.resize((side, side), smooth, (x, y, x + edge, y + edge), 2.0).convert("RGB")
    return np.asarray(image.transpose(_TURN[turn]) if turn in _TURN else image)


def _read(path: Path) -> bytes:
    file_head(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); check its permissions") from error


def _plain(data: bytes, near: int) -> tuple[Image.Image, tuple[int, int], int] | None:
    """(decoded picture, (width, height) as stored, EXIF orientation) of 8-bit colour or grey, which is most
    photos, quickly; None of all else, and of what cannot be decoded: ``read_photo`` knows more, and says why.

    A large JPEG is decoded smaller, but with no side below ``near``.
    """
    try:
        image: Any = Image.open(io.BytesIO(data))
        if image.format not in _PLAIN or image.mode not in ("RGB", "L"):
            return None
        if image.mode == "L" and image.info.get("icc_profile"):
            return None
        size = image.size
        image.draft(image.mode, (near, near))
        image.load()
    except Exception:  # Pillow's decoders fail in a dozen ways
        return None
    turn = 1
    with suppress(Exception):  # a broken block: the photo itself is fine
        turn = int(image.getexif().get(_ORIENTATION, 1))
    return image, size, turn


class Pictures:
    """The photos of a manifest as squares of ``side`` pixels.

    budget: bytes of memory; photos beyond it are decoded whenever asked for. A photo that cannot be read any
    more is replaced by the next row whose photo can, the first row following the last, and stands in
    ``failed`` once. Close it, or use it in a ``with`` block.
    """

    def __init__(self, manifest: _Rows, side: int, budget: int = 2 << 30, workers: int = WORKERS) -> None:
        if side < 1:
            raise InputError(f"pictures of {side} pixels were asked for; expected at least 1")
        self.manifest, self.side = manifest, side
        self.failed: list[Skipped] = []
        self._most = max(0, budget) // (3 * side * side)
        self._kept: dict[int, np.ndarray] = {}
        self._waiting: dict[int, Future[np.ndarray]] = {}
        self._gone: set[int] = set()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(workers, "atw-pictures")

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.manifest.rows)

    def get(self, indices: Sequence[int]) -> tuple[Tensor, list[int]]:
        """(photos uint8 [n,3,side,side], the n rows they are of: others than ``indices`` where those failed).

        ``InputError`` when no photo of the manifest can be read.
        """
        rows = [int(i) for i in indices]
        wrong = [i for i in rows if not 0 <= i < len(self)]
        if wrong:
            raise IndexError(f"row {wrong[0]} of a manifest of {len(self)}")
        futures = {i: self._asked(i) for i in dict.fromkeys(rows) if i not in self._gone}
        images, used = [], []
        for i in rows:
            image, row = self._found(i, futures)
            images.append(image)
            used.append(row)
        empty = np.empty((0, self.side, self.side, 3), np.uint8)
        stacked = np.stack(images) if images else empty
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(), used

    def ahead(self, indices: Sequence[int]) -> None:
        """Start decoding what ``get`` will be asked for next; returns at once. The oldest of more than
        ``AHEAD`` photos that nobody came for are dropped.
        """
        for i in indices:
            if 0 <= int(i) < len(self) and int(i) not in self._gone:
                self._asked(int(i), ahead=True)

    def close(self) -> None:
        """Stop decoding and forget the photos."""
        self._pool.shutdown(cancel_futures=True)
        with self._lock:
            self._kept.clear()
            self._waiting.clear()

    def _asked(self, i: int, ahead: bool = False) -> Future[np.ndarray]:
        """The photo of row ``i``, decoded, being decoded or waiting for it."""
        with self._lock:
            future = self._waiting.get(i) if ahead else self._waiting.pop(i, None)
            if future is None and i in self._kept:
                future = Future()
                future.set_result(self._kept[i])
            elif future is None:
                future = self._pool.submit(self._decoded, i)
                if ahead:
                    self._waiting[i] = future
            while len(self._waiting) > AHEAD:
                self._waiting.pop(next(iter(self._waiting))).cancel()
        return future

    def _decoded(self, i: int) -> np.ndarray:
        square = read_square(self.manifest.rows[i].image, self.side)
        with self._lock:
            if len(self._kept) < self._most:
                self._kept[i] = square
        return square

    def _found(self, i: int, futures: dict[int, Future[np.ndarray]]) -> tuple[np.ndarray, int]:
        """(photo, row) of ``i`` or of the next row that has a photo still."""
        for step in range(len(self)):
            row = (i + step) % len(self)
            if row in self._gone:
                continue
            try:
                return (futures.get(row) or self._asked(row)).result(), row
            except InputError as error:
                self._lose(row, error)
        last = f"{self.failed[-1].file}: {self.failed[-1].reason}" if self.failed else "it has no rows"
        raise InputError(
            f"none of the {len(self)} photos of {self.manifest.path} can be read any more ({last}); "
            "put them back, or make the manifest again"
        )

    def _lose(self, row: int, error: InputError) -> None:
        file = self.manifest.rows[row].image
        with self._lock:
            if row not in self._gone:
                self._gone.add(row)
                self.failed.append(Skipped(str(file), str(error).removeprefix(f"{file} ")))
