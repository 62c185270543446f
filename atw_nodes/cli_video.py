"""``animate`` of a video: each of its frames is the photo, its sound is kept."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, cli_encoding, cli_signals
from .terminal import pick_device, progress, say
from .types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from .clips import ClipInfo
    from .video_source import Cast

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")


def is_video(path: Path) -> bool:
    """Whether ``animate`` takes this file as a video; GIF and WebP are photos, the first one in them."""
    return path.suffix.lower() in SUFFIXES


def animate(args: argparse.Namespace, still: bool, ranks: Sequence[int] | None) -> int:
    """Write the video of ``args.photo`` with its faces animated; the number of frames. ranks: which faces;
    None: all.
    """
    check(args, still)
    from .checkpoints import DEFAULT, kept_checkpoint
    from .clips import probe, sound_for
    from .folds import Watch
    from .reswarp import ReswarpConfig, ReswarpMode
    from .video_source import animate_video

    info, device = probe(args.photo), pick_device(args.device)
    checkpoint = kept_checkpoint(args.checkpoint or DEFAULT)
    cast = _cast(args, info)
    shown = [units if args.estimate else None for units in cast.shown]
    signals, weights = cli_signals.over_video(args, checkpoint.signal, shown, len(cast), float(info.fps))
    checkpoint.generator.to(device)
    config = ReswarpConfig(ReswarpMode(args.mode), gate=args.gate, backend=args.backend, detail=args.detail)
    heard = args.output.suffix.lower() in cli_signals.WITH_SOUND
    sound = sound_for(args.output, args.photo, seconds=len(cast) / float(info.fps)) if heard else None
    folds = Watch()
    made = animate_video(_frames(args), checkpoint, cast, signals, ranks, weights, config,
                         smooth=args.smooth, watch=folds.look)  # fmt: skip
    comment = f"Face animated by ComfyUI-ATW {__version__}, model {checkpoint.path.stem}"
    size = (info.height, info.width)
    writer = cli_encoding.write_clip(args, made, len(cast), size, info.fps, comment, sound)
    unseen = sum(not there for there in cast.places)
    missing = f"nobody is seen in {unseen} of {len(cast)} frames: left as they are" if unseen else None
    say(writer.note, missing, folds.note(args.smooth))
    return writer.frames


def check(args: argparse.Namespace, still: bool) -> None:
    """Refuse options that a video in the photo's place does not take."""
    if still:
        raise InputError(
            f"-o {args.output}: a video becomes a clip; choose .mp4, .mov, .mkv, .webm, .gif or a new folder"
        )
    for name, given in (("--fps", args.fps), ("--sheet", args.sheet)):
        if given:
            raise InputError(f"{name} is for photos, {args.photo} is a video; leave it out")
    if args.landmarks != "own" and args.face in ("auto", "all"):
        raise InputError("--landmarks is for photos: a video's faces are followed by our own network")


def _frames(args: argparse.Namespace) -> Iterator[Tensor]:
    from .clips import read_frames

    return read_frames(args.photo, max_frames=args.frames)


def _cast(args: argparse.Namespace, info: ClipInfo) -> Cast:
    """Who is where: followed, or where ``--face`` says."""
    from .frames import frame_from_text
    from .video_source import fixed, watch

    count = info.frames or round(info.duration * info.fps)
    expected = max(1, min(count, args.frames or count))
    looked = progress(_frames(args), expected, args.quiet, "frames looked at")
    if args.face in ("auto", "all"):
        try:
            return watch(looked, float(info.fps))
        except InputError as error:
            raise InputError(f"{args.photo}: {error}") from error
    frame = frame_from_text(args.face, info.height, info.width)
    (first,) = islice(_frames(args), 1)
    from .faces import read

    face = read(first[None], frame)
    return fixed(sum(1 for _ in looked), frame, face.units if face.confidence >= 0.5 else {})
