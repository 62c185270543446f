"""Between tensors and files: pixels as bytes, input checked before use, output named only when complete."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from .types import InputError, OutputError, ShapeError, check_shape

STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
CLIP_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp")


def file_head(path: Path) -> bytes:
    """The first bytes of an input file; ``InputError`` if there is no such file or nothing in it."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a file")
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name") from error
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({reason(error)}); check its permissions") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); expected an image or a video")
    return head


def in_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """The key that sorts ``frame_9`` before ``frame_10``."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], path.name


def model_folders() -> list[Path]:
    """Where bundled networks lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return [p for p in (package / "models", package.parent / "models") if p.is_dir()]


def reason(error: BaseException) -> str:
    """What an exception says, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def to_bytes(pixels: Tensor, channels: int = 3, name: str = "pixels", top: int = 255) -> np.ndarray:
    """[H,W,C] integers 0..top from [C,H,W] or [1,C,H,W], uint8 or float in [0,1] (clipped, rounded)."""
    planes = pixels[0] if pixels.dim() == 4 and len(pixels) == 1 else pixels
    check_shape(planes, f"{channels}HW", name)
    if planes.is_floating_point():
        planes = planes.detach().float()
        if not bool(torch.isfinite(planes).all()):
            raise InputError(f"{name} contain NaN or infinity; expected values in [0, 1]")
        planes = planes.mul(top).round_().clamp_(0, top)
    elif planes.dtype != torch.uint8:
        raise ShapeError(f"{name} have type {planes.dtype}, expected uint8 or float in [0, 1]")
    elif top != 255:
        planes = planes.int() * (top // 255)
    kind = np.uint8 if top == 255 else np.uint16
    return np.ascontiguousarray(planes.permute(1, 2, 0).cpu().numpy().astype(kind, copy=False))


def over_white(pixels: np.ndarray) -> np.ndarray:
    """[H,W,3] uint8: what a format without alpha shows of [H,W,3 or 4] uint8."""
    alpha = pixels[..., 3:].astype(np.uint16)
    mixed = pixels[..., :3] * alpha + 255 * (255 - alpha) + 127 if alpha.size else None
    return pixels if mixed is None else (mixed // 255).astype(np.uint8)


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """[H,W,3] or, with an alpha plane [H,W,1] of the same size, [H,W,4]."""
    if alpha is None:
        return rgb
    if alpha.shape[:2] != rgb.shape[:2]:
        raise ShapeError(
            f"alpha is {alpha.shape[1]}x{alpha.shape[0]}, the pixels are {rgb.shape[1]}x{rgb.shape[0]}"
        )
    return np.concatenate([rgb, alpha], 2)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A hidden sibling to write to, which takes the name ``final`` once all is well and is gone otherwise."""
    final = Path(os.path.abspath(final))
    temp = final.parent / f".{os.getpid()}-{secrets.token_hex(4)}.partial{final.suffix}"
    with _renamed(temp, final):
        with unwritable(final):
            if final.is_dir():  # an overlong name fails here, not after the work
                raise OutputError(f"{final} is a folder; choose another file name")
            temp.open("xb").close()
        yield temp
        with unwritable(final), temp.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A sibling folder to fill, renamed to ``final`` when all is well. One with files in it is refused."""
    final = Path(os.path.abspath(final))
    with unwritable(final):
        if final.exists() and (not final.is_dir() or any(final.iterdir())):
            kind = "already holds files" if final.is_dir() else "is a file"
            raise OutputError(f"{final} {kind}; choose another name for the folder of frames")
        temp = final.with_name(f"{final.name}.partial-{secrets.token_hex(4)}")
        temp.mkdir()
    with _renamed(temp, final):
        yield temp


@contextmanager
def _renamed(temp: Path, final: Path) -> Iterator[None]:
    """Turns ``temp`` into ``final`` after the block. Finished work that cannot be renamed stays ``temp``."""
    kept = False
    try:
        yield
        try:
            with unwritable(final):
                if temp.is_dir() and final.exists():
                    final.rmdir()  # only if it is still empty
                os.replace(temp, final)
        except OutputError as error:
            if kept := temp.exists():
                raise OutputError(f"{error}; what was made is complete and kept as {temp}") from error
            raise
    finally:
        if not kept and temp.is_dir():
            shutil.rmtree(temp, ignore_errors=True)
        elif not kept:
            with suppress(OSError):
                temp.unlink(missing_ok=True)


@contextmanager
def unwritable(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turns system errors, and ``also``, into an ``OutputError``: why ``path`` is not written, what to do."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, *also) as error:
        folder, why = path.parent, f"{reason(error)}; check the disk or choose another folder"
        if not folder.exists():
            why = f"there is no folder {folder}; create it or choose another"
        elif not folder.is_dir():
            why = f"{folder} is a file, not a folder; choose another"
        raise OutputError(f"{path} cannot be written: {why}") from error


def set_webp_length(path: Path, length: int, size: tuple[int, int], loop: bool) -> None:
    """Make an animated WebP last ``length`` milliseconds; libwebp guesses how long its last frame does.

    A clip whose frames are all alike has come out of libwebp as a still picture: that becomes the one frame
    of an animation again. Layout: https://developers.google.com/speed/webp/docs/riff_container
    """
    with path.open("r+b") as file:
        chunks = list(_webp_chunks(file))
        frames = [start + 20 for name, start, _ in chunks if name == b"ANMF"]  # where the durations are
        for at in frames[:-1]:
            file.seek(at)
            length -= int.from_bytes(file.read(3), "little")
        last = min(length, 2**24 - 1).to_bytes(3, "little")
        if frames:
            file.seek(frames[-1])
            file.write(last)
            return
        box = b"".join((side - 1).to_bytes(3, "little") for side in size)
        frame, alpha = bytes(6) + box + last + b"\2", 0  # at 0,0; not blended with what was there
        for name, start, end in chunks:
            file.seek(start)
            frame += file.read(end - start) if name != b"VP8X" else b""
            alpha |= 0x10 if name in (b"ALPH", b"VP8L") else 0
        parts = {
            b"VP8X": bytes([2 | alpha, 0, 0, 0]) + box,
            b"ANIM": b"\xff\xff\xff\xff" + struct.pack("<H", 0 if loop else 1),
            b"ANMF": frame,
        }
        body = b"".join(struct.pack("<4sI", name, len(data)) + data for name, data in parts.items())
        file.seek(0)
        file.write(struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body)


def _webp_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte, byte after the last) of every chunk."""
    start = file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        end = start + 8 + size + size % 2
        yield name, start, end
        start = file.seek(end)
