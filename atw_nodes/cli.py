"""The command line: ``python -m atw_nodes animate PHOTO -o OUT``. Errors are one line on stderr, exit 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from . import (
    __version__,
    cli_encoding,
    cli_evaluate,
    cli_faces,
    cli_lift,
    cli_manifest,
    cli_render,
    cli_signals,
    cli_train,
    cli_video,
)
from .terminal import Parser, bounded, check_output, is_still, pick_device, say
from .types import AtwError, InputError, OutputError

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoints import Checkpoint
    from .images import Photo
    from .reswarp import ReswarpConfig
    from .types import FaceFrame

SOURCES = cli_faces.SOURCES
MODES = ("aligned", "vanilla", "multiscale")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="atw", description="Animate the face in a photo at the photo's own resolution.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    a = commands.add_parser("animate", help="animate a photo into a clip or a still")
    a.add_argument("photo", type=Path, metavar="PHOTO|VIDEO")
    a.add_argument("-o", "--output", type=Path, required=True, metavar="OUT",
                   help=".mp4 .mov .mkv .webm .gif .webp .png .jpg .tif, or a new folder")  # fmt: skip
    cli_signals.add_options(a)
    cli_encoding.add_options(a)
    a.add_argument("--mode", choices=MODES, default="aligned", help="ResWarp: ours, or the paper's two")
    a.add_argument("--gate", action=argparse.BooleanOptionalAction, default=True,
                   help="aligned only: drop the photo's detail where new content appears")  # fmt: skip
    a.add_argument("--detail", choices=("none", "sharp", "learned"), default="sharp",
                   help="where new content appears: of what was painted there, enlarged")  # fmt: skip
    a.add_argument("--backend", choices=("auto", "torch", "opencv"), default="auto",
                   help="of ResWarp on a CPU: auto is OpenCV 5 where it is found, else torch")  # fmt: skip
    a.add_argument("--smooth", type=bounded(float, 0, 10), default=0.0, metavar="SIGMA",
                   help="against folds: smooth motion, in per cent of the face's square")  # fmt: skip
    a.add_argument("--face", default="auto", metavar="auto|all|whole|X,Y,SIDE",
                   help="auto: find it (default); all; whole: a head shot; or its square")  # fmt: skip
    a.add_argument("--face-index", type=_ranks, metavar="N[,N...]",
                   help="with auto: which face or faces, 0 being the largest (default: 0)")  # fmt: skip
    a.add_argument("--landmarks", choices=SOURCES, default="own", help="what finds the face (default: own)")
    a.add_argument("--estimate", action=argparse.BooleanOptionalAction, default=True,
                   help="the expression is a target (default), or with --no- a raw change")  # fmt: skip
    a.add_argument(
        "--checkpoint", default=None, metavar="NAME|FILE|hf://...", help="default: the bundled one"
    )
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    a.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="also write a contact sheet of the intermediates"
    )
    a.add_argument("--quiet", action="store_true", help="no progress bar")
    a.set_defaults(run=_animate, examine=_examine, produce=_produce)
    cli_faces.add_commands(commands)
    cli_manifest.add_manifest(commands)
    cli_train.add_train(commands)
    cli_render.add_render(commands)
    cli_evaluate.add_evaluate(commands)
    cli_lift.add_lift(commands)
    return parser


def _animate(args: argparse.Namespace) -> int:
    _produce(args)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, whatever the photo and the checkpoint are."""
    check_output(args.output, "-o")
    cli_signals.check_options(args)
    cli_encoding.check_options(args, args.output, _is_still(args))
    _wanted(args)
    if cli_video.is_video(args.photo):
        cli_video.check(args, _is_still(args))
    if args.sheet is not None:
        from .files import STILL_SUFFIXES

        if args.sheet.suffix.lower() not in STILL_SUFFIXES:
            raise OutputError(f"--sheet {args.sheet}: expected a picture, for example sheet.png")
        check_output(args.sheet, "--sheet")


def _examine(args: argparse.Namespace) -> None:
    """Refuse what can be known to be wrong before a photo is read: files, names and numbers too."""
    _check(args)
    from .checkpoints import DEFAULT, kept_checkpoint
    from .files import file_head
    from .frames import frame_from_text

    for path in filter(None, (args.photo, args.drive)):
        file_head(path)
    if args.face not in ("auto", "all"):
        frame_from_text(args.face, 2**20, 2**20)  # the numbers; whether they lie in the photo is seen then
    cli_signals.check_values(args, kept_checkpoint(args.checkpoint or DEFAULT).signal)


def _produce(args: argparse.Namespace) -> int:
    """Make what the options ask for; the number of frames."""
    _check(args)
    import torch

    from .checkpoints import DEFAULT, kept_checkpoint
    from .images import read_photo
    from .reswarp import ReswarpConfig, ReswarpMode

    if cli_video.is_video(args.photo):
        return cli_video.animate(args, _is_still(args), _wanted(args))
    photo = read_photo(args.photo)
    device = pick_device(args.device)
    checkpoint = kept_checkpoint(args.checkpoint or DEFAULT)
    frames, shown = zip(*_seen(args, photo), strict=True)
    clip = cli_signals.clip_of(args, checkpoint.signal, shown, _is_still(args))
    checkpoint.generator.to(device)
    config = ReswarpConfig(ReswarpMode(args.mode), gate=args.gate, backend=args.backend, detail=args.detail)
    pixels = photo.pixels if photo.alpha is None else torch.cat([photo.pixels, photo.alpha], 1)
    pixels = pixels.to(device)
    _write(args, photo, pixels, checkpoint, clip, frames, config)
    if args.sheet is not None:
        _write_sheet(args.sheet, pixels[:, :3], checkpoint, clip.signals, frames, config, args.smooth)
    return 1 if _is_still(args) else len(clip)


def _ranks(text: str) -> list[int]:
    """``0`` or ``0,2``: ranks of faces, each once."""
    try:
        found = [bounded(int, 0, 999)(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no rank; expected 0, or 0,2 for several") from None
    if len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(f"{text} names a face twice; name each once")
    return found


def _is_still(args: argparse.Namespace) -> bool:
    return is_still(args.output, args.frames == 1)


def _wanted(args: argparse.Namespace) -> list[int] | None:
    """Ranks of the faces that the options ask for, None being all of them."""
    if args.face_index is not None and args.face != "auto":
        raise InputError(f"--face-index is for --face auto, not {args.face}; leave one of them out")
    return None if args.face == "all" else args.face_index or [0]


def _seen(args: argparse.Namespace, photo: Photo) -> list[tuple[FaceFrame, Mapping[str, float] | None]]:
    """(where a face is, the units it shows or None where they are not asked for), a face each."""
    from .frames import frame_from_text

    ranks = _wanted(args)
    if args.face in ("auto", "all"):
        from .faces import chosen

        faces = chosen(photo.pixels, ranks, args.landmarks)
        return [(face.frame, face.units if args.estimate else None) for face in faces]
    frame = frame_from_text(args.face, photo.height, photo.width)
    if not args.estimate:
        return [(frame, None)]
    from .faces import read

    face = read(photo.pixels, frame)
    return [(frame, face.units if face.confidence >= 0.5 else {})]


def _write(
    args: argparse.Namespace,
    photo: Photo,
    pixels: Tensor,
    checkpoint: Checkpoint,
    clip: cli_signals.Clip,
    faces: Sequence[FaceFrame],
    config: ReswarpConfig,
) -> None:
    """Render into a still or stream into a clip."""
    import torch

    from .animate import animate_all
    from .folds import Watch
    from .video import is_clip

    buffer = torch.empty_like(pixels)
    folds = Watch()
    frames = animate_all(pixels, checkpoint, clip.signals, faces, clip.weights, config, buffer, args.smooth,
                         folds.look)  # fmt: skip
    if _is_still(args):
        cli_encoding.write_picture(args.output, next(frames).cpu(), photo)
        say(folds.note(args.smooth))
        return
    assert is_clip(args.output) or not args.output.suffix or args.output.is_dir()
    comment = f"Face animated by ComfyUI-ATW {__version__}, model {checkpoint.path.stem}"
    size = (photo.height, photo.width)
    writer = cli_encoding.write_clip(args, frames, len(clip), size, clip.fps, comment, clip.sound)
    say(writer.note, folds.note(args.smooth))


def _write_sheet(
    path: Path,
    photo: Tensor,
    checkpoint: Checkpoint,
    signals: Sequence[Tensor],
    frames: Sequence[FaceFrame],
    config: ReswarpConfig,
    smooth: float = 0.0,
) -> None:
    """The paper's Fig. 4 for this photo: photo, motion, coarse, refined, warped residual, final; half and
    full strength of the strongest step, each face by itself.
    """
    from .images import write_still
    from .sheets import contact_sheet

    rows = []
    for signal, frame in zip(signals, frames, strict=True):
        at = int(signal.square().sum(1).argmax())
        rows += _sheet_rows(photo, checkpoint, signal[at : at + 1], frame, config, smooth)
    titles = ("photo", "motion", "coarse", "refined", "warped residual", "final")
    write_still(path, contact_sheet([[x.cpu() for x in row] for row in rows], titles))


def _sheet_rows(
    photo: Tensor,
    checkpoint: Checkpoint,
    signal: Tensor,
    frame: FaceFrame,
    config: ReswarpConfig,
    smooth: float,
) -> list[list[Tensor]]:
    from .generation import generate
    from .pyramid import to_float, upsample
    from .reswarp import decompose, reswarp
    from .sheets import motion_view, residual_view
    from .tiles import canonical

    residuals = decompose(photo, frame, checkpoint.generator.config.size)
    low = next(generate(checkpoint, residuals, signal, [0.5, 1.0], smooth=smooth))
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
    return rows


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
