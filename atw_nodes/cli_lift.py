"""``lift``: the small frames that another animator made of a photo, at the photo's resolution."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__, cli_encoding
from .terminal import bounded, check_output, is_still, pick_device, say
from .types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from .sound import Sound, SoundFile

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_RATE = 24.0  # of a folder of pictures


def add_lift(commands: Any) -> None:  # noqa: ANN401 (argparse's own has no public name)
    """Add the command."""
    a = commands.add_parser("lift", help="bring small frames of any animator to the photo's resolution")
    a.add_argument("photo", type=Path, metavar="PHOTO", help="what the frames were made of, in full size")
    a.add_argument("frames", type=Path, metavar="FRAMES|VIDEO",
                   help="a video, a folder of pictures in order of their names, or one")  # fmt: skip
    a.add_argument("-o", "--output", type=Path, required=True, metavar="OUT",
                   help=".mp4 .mov .mkv .webm .gif .webp .png .jpg .tif, or a new folder")  # fmt: skip
    a.add_argument("--crop", default="auto", metavar="auto|whole|X,Y,SIDE|X,Y,WIDTH,HEIGHT",
                   help="what of the photo they show: found (default), all, or a box in pixels")  # fmt: skip
    a.add_argument("--gate", action=argparse.BooleanOptionalAction, default=True,
                   help="drop the photo's detail where the frames show something new")  # fmt: skip
    a.add_argument("--steady", type=bounded(float, 0, 8), default=0.25, metavar="PIXELS",
                   help="of a small frame: steadies motion smaller than that (default: 0.25)")  # fmt: skip
    a.add_argument(
        "--frames", dest="count", type=bounded(int, 1, 10**7), metavar="N", help="so many, at most"
    )
    a.add_argument("--fps", type=bounded(float, 0.1, 1000), help="of a folder of pictures (default: 24)")
    cli_encoding.add_options(a)
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    a.add_argument("--quiet", action="store_true", help="no progress bar")
    a.set_defaults(run=_lift)


class _Source(NamedTuple):
    """Small frames, [3,h,w] uint8 or float; ``read`` begins anew each time."""

    count: int
    fps: Fraction | float
    video: Path | None
    pictures: tuple[Path, ...]

    def read(self, most: int | None) -> Iterator[Tensor]:
        if self.video is not None:
            from .clips import read_frames

            return read_frames(self.video, max_frames=most)
        return (_picture(p) for p in self.pictures[:most])

    def sound(self, output: Path, seconds: float) -> Sound | SoundFile | None:
        from .cli_signals import WITH_SOUND
        from .clips import sound_for

        if self.video is None or output.suffix.lower() not in WITH_SOUND:
            return None
        return sound_for(output, self.video, seconds=seconds)


def _picture(path: Path) -> Tensor:
    from .images import read_photo

    return read_photo(path).pixels[0]


def _source(args: argparse.Namespace) -> _Source:
    from .clips import probe
    from .files import file_head, in_order

    path: Path = args.frames
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in _PICTURES and not p.name.startswith(".")]
        if not found:
            raise InputError(f"{path} holds no pictures ({', '.join(_PICTURES)}); choose the frames' folder")
        return _Source(len(found), args.fps or _RATE, None, tuple(sorted(found, key=in_order)))
    file_head(path)
    if path.suffix.lower() in _PICTURES:
        return _Source(1, args.fps or _RATE, None, (path,))
    if args.fps:
        raise InputError(f"--fps is for a folder of pictures, {path} has a rate of its own; leave it out")
    info = probe(path)
    return _Source(max(1, info.frames or round(info.duration * info.fps)), info.fps, path, ())


def _lift(args: argparse.Namespace) -> int:
    check_output(args.output, "-o")
    source = _source(args)
    single = source.count == 1 or args.count == 1
    still = is_still(args.output, single)
    if still and not single:
        raise InputError(
            f"-o {args.output}: a picture holds one frame; choose .mp4 or a folder, or --frames 1"
        )
    cli_encoding.check_options(args, args.output, still)
    import torch

    from .images import read_photo
    from .lift import LiftConfig, lift

    photo, device = read_photo(args.photo), pick_device(args.device)
    pixels = photo.pixels if photo.alpha is None else torch.cat([photo.pixels, photo.alpha], 1)
    pixels, config = pixels.to(device), LiftConfig(args.gate, args.steady)
    (first,) = islice(source.read(1), 1)
    frame = _crop(args, pixels, first)
    made = lift(pixels, source.read(args.count), frame, config, torch.empty_like(pixels))
    if still:
        cli_encoding.write_picture(args.output, next(made).cpu(), photo)
        return 0
    count, size = min(source.count, args.count or source.count), (photo.height, photo.width)
    comment = f"Made at the photo's resolution by ComfyUI-ATW {__version__}"
    sound = source.sound(args.output, count / float(source.fps))
    say(cli_encoding.write_clip(args, made, count, size, source.fps, comment, sound).note)
    return 0


def _crop(args: argparse.Namespace, photo: Tensor, first: Tensor) -> Any:  # noqa: ANN401 (imported late)
    """What of the photo the frames show; where it was looked for, a note says what was found."""
    from .lift_crop import crop_from_text, find_crop

    height, width = photo.shape[-2:]
    size = (first.shape[-2], first.shape[-1])
    if args.crop != "auto":
        return crop_from_text(args.crop, size, height, width)
    frame = find_crop(photo, first[None].to(photo.device))
    if not frame.is_whole and not args.quiet:
        (a, b, x), (c, d, y) = frame.matrix
        turned = "" if b == 0 == c else ", turned"
        place = f"{x:.1f},{y:.1f},{a:.1f},{d:.1f}"
        say(f"the frames show {place} of the photo{turned} (--crop)")
    return frame
