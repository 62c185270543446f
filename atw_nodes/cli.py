"""The command line: ``python -m atw_nodes animate PHOTO -o OUT``. Errors are one line on stderr and exit code
2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import __version__
from .types import AtwError, InputError, OutputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .checkpoints import Checkpoint
    from .images import Photo
    from .reswarp import ReswarpConfig
    from .types import FaceFrame

T = TypeVar("T")
MODES = ("aligned", "vanilla", "multiscale")
CURVES = ("linear", "ease", "pulse", "pingpong")
MAX_STRENGTH, MAX_FPS, MAX_FRAMES = 1.5, 240.0, 1_000_000


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option like every other error: one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _bounded(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], Any]:
    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is out of range; expected {low:g} to {high:g}")
        return value

    parse.__name__ = kind.__name__
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="atw", description="Animate the face in a photo at the photo's own resolution.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    a = commands.add_parser("animate", help="animate a photo into a clip or a still")
    a.add_argument("photo", type=Path, metavar="PHOTO")
    a.add_argument("-o", "--output", type=Path, required=True, metavar="OUT",
                   help=".mp4 .mov .mkv .webm .gif .webp .png .jpg .tif, or a new folder")  # fmt: skip
    a.add_argument(
        "--expression",
        default="smiling",
        metavar="NAME",
        help="a preset of the checkpoint (default: smiling)",
    )
    a.add_argument(
        "--strength",
        type=_bounded(float, 0, MAX_STRENGTH),
        default=1.0,
        metavar="S",
        help="0..1.5 (default: 1)",
    )
    a.add_argument(
        "--frames",
        type=_bounded(int, 1, MAX_FRAMES),
        default=48,
        metavar="N",
        help="length of a clip (default: 48)",
    )
    a.add_argument(
        "--fps", type=_bounded(float, 0.1, MAX_FPS), default=24.0, help="frames a second (default: 24)"
    )
    a.add_argument("--curve", choices=CURVES, default="pulse", help="how the expression comes (and goes)")
    a.add_argument("--mode", choices=MODES, default="aligned", help="ResWarp: ours, or the paper's two")
    a.add_argument("--gate", action=argparse.BooleanOptionalAction, default=True,
                   help="aligned only: drop the photo's detail where new content appears")  # fmt: skip
    a.add_argument("--face", default="whole", metavar="auto|whole|X,Y,SIDE",
                   help="the head-shot square in pixels; whole: the photo is one (default)")  # fmt: skip
    a.add_argument(
        "--checkpoint", default=None, metavar="NAME|FILE|hf://...", help="default: the bundled one"
    )
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    a.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="also write a contact sheet of the intermediates"
    )
    a.add_argument("--quiet", action="store_true", help="no progress bar")
    a.set_defaults(run=_animate)
    return parser


def _progress(items: Iterable[T], total: int, quiet: bool) -> Iterator[T]:
    """Pass ``items`` on, with a bar on stderr: done, rate, time left."""
    begun, shown = time.monotonic(), 0.0
    show = not quiet and sys.stderr.isatty()
    for i, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if show and (now - shown > 0.1 or i == total):
            rate, shown = i / max(now - begun, 1e-6), now
            bar = "#" * (30 * i // total)
            sys.stderr.write(
                f"\r[{bar:<30}] {i}/{total}  {rate:.1f} frames/s  {(total - i) / rate:.0f} s left "
            )
            sys.stderr.flush()
    if show:
        sys.stderr.write("\n")


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        why = str(e).splitlines()[0]
        raise InputError(f"--device {name}: not usable here ({why}); expected auto, cpu, cuda or mps") from e
    return device


def _check_output(path: Path, what: str) -> None:
    """Fail before the work rather than after it."""
    from .files import CLIP_SUFFIXES, STILL_SUFFIXES

    suffix = path.suffix.lower()
    if suffix and suffix not in (*STILL_SUFFIXES, *CLIP_SUFFIXES) and not path.is_dir():
        known = ", ".join(dict.fromkeys((*CLIP_SUFFIXES, *STILL_SUFFIXES)))
        raise OutputError(
            f"{what} {path}: unknown suffix {suffix!r}; expected one of {known}, or a new folder's name"
        )
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"{what} {path}: there is no folder {parent}; create it or choose another")


def _animate(args: argparse.Namespace) -> int:
    _check_output(args.output, "-o")
    if args.sheet is not None:
        from .files import STILL_SUFFIXES

        if args.sheet.suffix.lower() not in STILL_SUFFIXES:
            raise OutputError(f"--sheet {args.sheet}: expected a picture, for example sheet.png")
        _check_output(args.sheet, "--sheet")
    import torch

    from .checkpoints import DEFAULT, load_checkpoint
    from .frames import frame_from_text
    from .images import read_photo
    from .reswarp import ReswarpConfig, ReswarpMode

    photo = read_photo(args.photo)
    frame = frame_from_text(args.face, photo.height, photo.width)
    device = _device(args.device)
    checkpoint = load_checkpoint(args.checkpoint or DEFAULT)
    signal = checkpoint.signal.preset(args.expression, args.strength)
    checkpoint.generator.to(device)
    config = ReswarpConfig(ReswarpMode(args.mode), gate=args.gate)
    pixels = photo.pixels if photo.alpha is None else torch.cat([photo.pixels, photo.alpha], 1)
    pixels = pixels.to(device)
    _write(args, photo, pixels, checkpoint, signal, frame, config)
    if args.sheet is not None:
        _write_sheet(args.sheet, pixels[:, :3], checkpoint, signal, frame, config)
    return 0


def _write(
    args: argparse.Namespace,
    photo: Photo,
    pixels: Tensor,
    checkpoint: Checkpoint,
    signal: Tensor,
    frame: FaceFrame,
    config: ReswarpConfig,
) -> None:
    """Render into a still or stream into a clip."""
    import torch

    from .animate import animate
    from .files import STILL_SUFFIXES
    from .images import write_still
    from .signals import curve
    from .video import ClipWriter, is_clip

    animated_webp = args.output.suffix.lower() == ".webp" and args.frames > 1
    still = args.output.suffix.lower() in STILL_SUFFIXES and not animated_webp and not args.output.is_dir()
    weights = [1.0] if still else curve(args.curve, args.frames)
    frames = animate(pixels, checkpoint, signal, weights, frame, config, out=torch.empty_like(pixels))
    if still:
        result = next(frames).cpu()
        alpha = None if photo.alpha is None else result[:, 3:]
        write_still(args.output, result[:, :3], alpha=alpha, icc=photo.icc, exif=photo.exif)
        return
    assert is_clip(args.output) or not args.output.suffix or args.output.is_dir()
    note = f"Face animated by ComfyUI-ATW {__version__}, model {checkpoint.path.stem}"
    with ClipWriter(args.output, photo.width, photo.height, args.fps, metadata={"comment": note}) as writer:
        for result in _progress(frames, len(weights), args.quiet):
            result = result.cpu()
            writer.write(result[:, :3], alpha=None if photo.alpha is None else result[:, 3:])
    if writer.note:
        sys.stderr.write(f"note: {writer.note}\n")


def _write_sheet(
    path: Path, photo: Tensor, checkpoint: Checkpoint, signal: Tensor, frame: FaceFrame, config: ReswarpConfig
) -> None:
    """The paper's Fig. 4 for this photo: photo, motion, coarse, refined, warped residual, final; half and
    full strength.
    """
    from .animate import generate
    from .images import write_still
    from .pyramid import to_float, upsample
    from .reswarp import decompose, reswarp
    from .sheets import contact_sheet, motion_view, residual_view
    from .tiles import canonical

    residuals = decompose(photo, frame, checkpoint.generator.config.size)
    low = next(generate(checkpoint, residuals, signal, [0.5, 1.0]))
    side = int(min(1024, max(frame.sides)))

    def view(image: Tensor) -> Tensor:
        return to_float(image) if frame.is_whole else canonical(image, frame, side)

    full, rows = float(low.motion.field.norm(dim=1).max()), []
    for t, final in enumerate(reswarp(residuals, low.motion, low.refined, config)):
        shown = view(final)
        refined = low.refined[t : t + 1]
        residual = shown - upsample(refined.to(shown), (shown.shape[-2], shown.shape[-1]))
        motion = motion_view(low.motion.field[t : t + 1], full)
        rows.append([view(photo), motion, low.coarse[t : t + 1], refined, residual_view(residual), shown])
    titles = ("photo", "motion", "coarse", "refined", "warped residual", "final")
    write_still(path, contact_sheet([[x.cpu() for x in row] for row in rows], titles))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for anything the user can mend, 130 when
    interrupted.
    """
    with suppress(AttributeError, ValueError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        args = _parser().parse_args(argv)
        return int(args.run(args))
    except (AtwError, OSError) as e:
        text = str(e)
    except (MemoryError, RuntimeError) as e:
        lines = str(e).splitlines()
        if isinstance(e, RuntimeError) and "memory" not in str(e):
            raise
        why = lines[0] if lines else "allocation failed"
        text = f"out of memory ({why}); use a smaller photo or another --device"
    except KeyboardInterrupt:
        sys.stderr.write("\natw: interrupted, nothing was left behind\n")
        return 130
    sys.stderr.write(f"atw: {' '.join(text.split())}\n")
    return 2
