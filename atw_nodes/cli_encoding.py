"""How the command line writes clips, and the options that say how: of every command that writes some."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .encoders import CHROMA, CODECS, HARDWARE, encoding
from .terminal import bounded, pick_device, progress
from .types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from .images import Photo
    from .sound import Sound, SoundFile
    from .video import ClipWriter


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a clip is encoded."""
    parser.add_argument("--codec", choices=CODECS, help="of a clip (default: h264; vp9 in .webm)")
    parser.add_argument("--chroma", choices=CHROMA, help="444: colour as sharp as light (default: 420)")
    parser.add_argument("--hardware", choices=HARDWARE,
                        help="encode on a chip; auto: on one that works, else on the processor")  # fmt: skip
    parser.add_argument("--quality", type=bounded(int, 1, 100), metavar="1..100",
                        help="of a clip, as for JPEG (default: 90)")  # fmt: skip


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What of it ``ClipWriter`` is to be told."""
    names = ("codec", "chroma", "hardware", "quality")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def check_options(args: argparse.Namespace, output: Path, still: bool = False) -> None:
    """Refuse what does not fit ``output``, before any work."""
    given = options_of(args)
    if still and given:
        raise InputError(f"--{next(iter(given))} is for clips, {output} is a picture; leave it out")
    if not still:
        given.pop("quality", None)
        encoding(output, **given)


def write_clip(
    args: argparse.Namespace,
    frames: Iterable[Tensor],
    count: int,
    size: tuple[int, int],
    fps: float | Fraction,
    comment: str,
    sound: Sound | SoundFile | None = None,
) -> ClipWriter:
    """Stream ``frames`` [1,3 or 4,H,W] into the output, with a progress bar; what wrote them. size: (height,
    width).
    """
    from .pipeline import delivered, depth_on
    from .video import ClipWriter

    told = {"metadata": {"comment": comment}, "sound": sound, **options_of(args)}
    with (
        ClipWriter(args.output, size[1], size[0], fps, **told) as writer,
        closing(delivered(frames, depth_on(pick_device(args.device)))) as ready,
    ):
        for frame in progress(ready, count, args.quiet):
            writer.write(frame[:, :3], alpha=frame[:, 3:] if frame.shape[1] == 4 else None)
    return writer


def write_picture(path: Path, image: Tensor, photo: Photo) -> None:
    """``image`` [1,3 or 4,H,W] with what the photo's file says besides its pixels."""
    from .images import write_still

    alpha = image[:, 3:] if image.shape[1] == 4 else None
    write_still(path, image[:, :3], alpha=alpha, icc=photo.icc, exif=photo.exif)
