"""What an evaluation compares: our modes, what else makes a large image of the same small one, and frames of
any other method from a folder.

Every method yields frames [1,3,H,W] of a case at the photo's size; one may be written over by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .animate import frames_of
from .checkpoints import Checkpoint
from .clips import probe, read_frames
from .driving import vectors
from .evaluate_pairs import Case, Pair
from .files import STILL_SUFFIXES, in_order
from .folds import fold_share
from .generation import generate
from .images import read_photo
from .metrics_networks import Enlarger
from .pyramid import Upsampling, to_float, upsample
from .reswarp import ReswarpConfig, ReswarpMode, decompose
from .tiles import Plane, store, tiles
from .types import FaceFrame, InputError, Motion
from .warp import feather_mask

MODES = tuple(m.value for m in ReswarpMode)
ENLARGED: tuple[Upsampling, ...] = ("nearest", "bicubic")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")


class Method(Protocol):
    """name: its row. folds: shares of the motion fields it used, one a frame, as far as it has any."""

    name: str
    folds: list[float]

    def made_by(self, pair: Pair) -> str:
        """What its frames depend on, beside the row of the table."""
        ...

    def frames(self, case: Case) -> Iterator[Tensor]: ...


@dataclass
class Still:
    """Nothing done: the photo, as often as frames are asked for. What every error is to be compared with."""

    name: str = "photo, unmoved"
    folds: list[float] = field(default_factory=list)

    def made_by(self, pair: Pair) -> str:
        return "the photo"

    def frames(self, case: Case) -> Iterator[Tensor]:
        for _ in range(len(case.wanted)):
            yield case.photo


@dataclass
class Ours:
    """A checkpoint with ResWarp. paper: ``ReswarpConfig.paper()`` on the head-shot square as an image by
    itself, evenly divided, without a feather, put back where it was.
    """

    name: str
    checkpoint: Checkpoint
    config: ReswarpConfig
    paper: bool = False
    folds: list[float] = field(default_factory=list)

    def made_by(self, pair: Pair) -> str:
        kind = "paper" if self.paper else f"{self.config.mode.value}, gate {self.config.gate}"
        return f"{self.checkpoint.sha} {kind}"

    def frames(self, case: Case) -> Iterator[Tensor]:
        self.folds = []
        if not self.paper or case.frame.is_whole:
            yield from self._made(case, case.photo, case.frame)
            return
        left, top, side = square_of(case.frame)
        crop = _window(case.photo, left, top, side)
        out = case.photo.clone()
        for small in self._made(case, crop, FaceFrame.whole(side, side)):
            yield _put_back(out, small, left, top)

    def _made(self, case: Case, photo: Tensor, frame: FaceFrame) -> Iterator[Tensor]:
        parts = decompose(photo, frame, self.checkpoint.generator.config.size)
        buffer, signal = torch.empty_like(photo), _signal(case, self.checkpoint)
        for low in generate(self.checkpoint, parts, signal, None, 1):
            self.folds += _folds(low.motion)
            yield from frames_of([parts], [low], self.config, buffer)


@dataclass
class Enlargement:
    """The generator's small result enlarged into the frame, with the frame's feather: no residual at all."""

    name: str
    checkpoint: Checkpoint
    enlarge: Callable[[Tensor, tuple[int, int]], Tensor]
    kind: str
    folds: list[float] = field(default_factory=list)

    def made_by(self, pair: Pair) -> str:
        return f"{self.checkpoint.sha} {self.kind}"

    def frames(self, case: Case) -> Iterator[Tensor]:
        self.folds = []
        frame, out = case.frame, case.photo.clone()
        parts = decompose(case.photo, frame, self.checkpoint.generator.config.size)
        size = (frame.height, frame.width)
        side = max(parts.size, round(max(frame.sides)))
        for low in generate(self.checkpoint, parts, _signal(case, self.checkpoint), None, 1):
            self.folds += _folds(low.motion)
            grown = self.enlarge(low.refined.clamp(0, 1), size if frame.is_whole else (side, side))
            yield pasted(case.photo, frame, grown, out)


def _signal(case: Case, checkpoint: Checkpoint) -> Tensor:
    """[T,N] of a model: those of the wanted units that it knows."""
    return vectors(case.wanted, checkpoint.signal, case.face.units)[0]


def _folds(motion: Motion) -> list[float]:
    return fold_share(motion.field).tolist()


def enlarger(kind: Upsampling) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    """Nearest, bilinear or bicubic."""

    def grow(image: Tensor, size: tuple[int, int]) -> Tensor:
        return upsample(image, size, kind).clamp(0, 1)

    return grow


def pasted(photo: Tensor, frame: FaceFrame, table: Tensor, out: Tensor) -> Tensor:
    """``table`` [1,3,n,n], the frame's content, laid over ``photo`` into ``out`` with the frame's feather."""
    if frame.is_whole:
        store(out, (0, 0, frame.width, frame.height), table)
        return out
    plane = Plane(frame, torch.float32, photo.device)
    for at in tiles(frame.bounds()):
        x0, y0, x1, y1 = at
        points = plane.points(at)
        inside = ((points >= 0) & (points <= 1)).all(-1)
        mask = feather_mask(points, frame.feather) * inside
        below = to_float(photo[..., y0:y1, x0:x1])
        store(out, at, below + mask * (plane.table(table, at, points) - below))
    return out


def square_of(frame: FaceFrame) -> tuple[int, int, int]:
    """(left, top, side) in whole pixels of the upright square around the frame's middle."""
    (x, y), side = (sum(c[k] for c in frame.corners()) / 4 for k in (0, 1)), round(sum(frame.sides) / 2)
    return round(x - side / 2), round(y - side / 2), side


def _window(photo: Tensor, left: int, top: int, side: int) -> Tensor:
    """A square of the photo, whose edge goes on beyond it."""
    h, w = photo.shape[-2:]
    rows = torch.arange(top, top + side).clamp(0, h - 1)
    columns = torch.arange(left, left + side).clamp(0, w - 1)
    return photo[..., rows, :][..., columns].contiguous()


def _put_back(out: Tensor, small: Tensor, left: int, top: int) -> Tensor:
    h, w = out.shape[-2:]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(w, left + small.shape[-1]), min(h, top + small.shape[-2])
    out[..., y0:y1, x0:x1] = small[..., y0 - top : y1 - top, x0 - left : x1 - left]
    return out


@dataclass
class Outside:
    """Frames that another method made: FOLDER/<name of the row>, a folder of images in the order of their
    names, or a video; enlarged bicubically to the photo where they are smaller.
    """

    name: str
    folder: Path
    folds: list[float] = field(default_factory=list)

    def made_by(self, pair: Pair) -> str:
        source = self.source(pair.name)
        facts = [p.stat() for p in (sorted(source.iterdir()) if source.is_dir() else [source])]
        return f"{source.absolute()} " + " ".join(f"{f.st_size}:{f.st_mtime_ns}" for f in facts)

    def source(self, pair: str) -> Path:
        """The folder or the video of a row; ``InputError`` where there is none."""
        there = [self.folder / pair, *(self.folder / f"{pair}{s}" for s in (*VIDEOS, *STILL_SUFFIXES))]
        found = next((p for p in there if p.exists()), None)
        if found is None:
            raise InputError(
                f"{self.folder} holds nothing called {pair}; expected a folder of frames, or {pair}.mp4"
            )
        return found

    def frames(self, case: Case) -> Iterator[Tensor]:
        size, count = (case.photo.shape[-2], case.photo.shape[-1]), 0
        for image in self._read(case.pair.name):
            if count == len(case.wanted):
                break
            count += 1
            same = tuple(image.shape[-2:]) == size
            yield image if same else upsample(to_float(image), size, "bicubic").clamp(0, 1)
        if count < len(case.wanted):
            raise InputError(
                f"{self.source(case.pair.name)} holds {count} frames, the row asks for {len(case.wanted)}; "
                "make as many as the driver has, or lower --frames"
            )

    def _read(self, pair: str) -> Iterator[Tensor]:
        source = self.source(pair)
        if source.is_dir():
            files = (p for p in source.iterdir() if p.suffix.lower() in STILL_SUFFIXES)
            yield from (read_photo(p).pixels for p in sorted(files, key=in_order))
        elif source.suffix.lower() in STILL_SUFFIXES:
            yield read_photo(source).pixels
        else:
            probe(source)
            yield from (frame[None] for frame in read_frames(source))


def methods_of(
    checkpoints: Sequence[Checkpoint],
    rows: Sequence[str],
    enlarger_file: Path | None = None,
    outside: Sequence[tuple[str, Path]] = (),
) -> list[Method]:
    """Every row of the table: nothing done, then for each checkpoint ``rows`` (of our modes, ``paper``,
    ``nearest``, ``bicubic``) and the super-resolution model, then the others' folders.
    """
    found: list[Method] = [Still()]
    super_resolution = Enlarger(enlarger_file) if enlarger_file else None
    for checkpoint in checkpoints:
        tail = f", {checkpoint.path.stem}" if len(checkpoints) > 1 else ""
        found += [_one(row, f"{row}{tail}", checkpoint) for row in rows]
        if super_resolution:
            name = f"{super_resolution.file.stem}{tail}"
            found.append(Enlargement(name, checkpoint, super_resolution, f"sr {super_resolution.file}"))
    found += [Outside(name, folder) for name, folder in outside]
    names = [m.name for m in found]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise InputError(f"two methods are called {twice[0]!r}; rename one of them")
    return found


def _one(row: str, name: str, checkpoint: Checkpoint) -> Method:
    if row in ("nearest", "bicubic"):
        return Enlargement(name, checkpoint, enlarger(row), row)
    if row == "paper":
        return Ours(name, checkpoint, ReswarpConfig.paper(), paper=True)
    return Ours(name, checkpoint, ReswarpConfig(ReswarpMode(row)))
