"""What drives ``animate``: a named expression, action units, keyframes, or a file whose frames it follows."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .terminal import bounded, progress, say
from .types import InputError

if TYPE_CHECKING:
    from fractions import Fraction

    from torch import Tensor

    from .sound import Sound, SoundFile
    from .types import Signal, SignalSpec

CURVES = ("linear", "ease", "pulse", "pingpong")
MAX_STRENGTH, MAX_FPS, MAX_FRAMES = 1.5, 240.0, 1_000_000
FRAMES, FPS = 48, 24.0  # of a clip that nothing else times
WITH_SOUND = (".mp4", ".mov", ".mkv", ".webm")


class Clip(NamedTuple):
    """How each face moves: a signal [1,N] with a weight a frame, or [T,N] with a step a frame."""

    signals: list[Tensor]
    weights: list[float] | None
    fps: float | Fraction
    sound: Sound | SoundFile | None = None

    def __len__(self) -> int:
        return len(self.signals[0]) if self.weights is None else len(self.weights)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``animate`` that say how the face moves."""
    a = parser.add_mutually_exclusive_group()
    a.add_argument("--expression", metavar="NAME",
                   help="an expression the checkpoint knows (default: smiling)")  # fmt: skip
    a.add_argument("--au", metavar="AU12=0.8,...", help="action units, as changes; 1 is FACS intensity E")
    a.add_argument("--keyframes", type=Path, metavar="FILE.json", help="units and expressions at moments")
    a.add_argument("--drive", type=Path, metavar="VIDEO|AUS.csv|SIGNAL.json",
                   help="as the face in a video moves, or as a file of OpenFace or of ours says")  # fmt: skip
    parser.add_argument("--strength", type=bounded(float, 0, MAX_STRENGTH), default=1.0, metavar="S",
                        help="0..1.5 (default: 1)")  # fmt: skip
    parser.add_argument("--frames", type=bounded(int, 1, MAX_FRAMES), metavar="N",
                        help=f"length of a clip (default: {FRAMES}, or as driven)")  # fmt: skip
    parser.add_argument("--fps", type=bounded(float, 0.1, MAX_FPS),
                        help=f"frames a second (default: {FPS:g}, or as driven)")  # fmt: skip
    parser.add_argument("--curve", choices=CURVES, help="how the expression comes and goes (default: pulse)")
    parser.add_argument("--absolute", action="store_true",
                        help="with --drive: show what it shows (default: change as it changes)")  # fmt: skip
    parser.add_argument("--gain", metavar="G|AU12=1.5,...", help="with --drive: times 0..2, all or by unit")
    parser.add_argument("--drive-face", type=bounded(int, 0, 999_999), metavar="N",
                        help="with --drive: a CSV's face_id; 0 in a video is seen longest")  # fmt: skip


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that would have no effect, before any work."""
    if args.keyframes and args.curve:
        raise InputError(
            "--curve shapes a single expression, --keyframes have their own course; leave one out"
        )
    for name, given in (
        ("--absolute", args.absolute),
        ("--gain", args.gain is not None),
        ("--drive-face", args.drive_face is not None),
    ):
        if given and not args.drive:
            raise InputError(f"{name} is for --drive; give a driving video or file, or leave it out")


def check_values(args: argparse.Namespace, spec: SignalSpec) -> None:
    """Refuse names and numbers that a checkpoint with ``spec`` does not take, before any photo is read."""
    from .driving import Named, vectors
    from .expressions import with_presets
    from .keyframes import parse_units
    from .signal_files import load_keyframes
    from .signals import UNITS

    spec = with_presets(spec)
    if args.au is not None:
        parse_units(args.au, spec.names, spec.presets)
    elif args.keyframes:
        load_keyframes(args.keyframes, spec.names, spec.presets)
    elif not args.drive:
        vectors(Named(args.expression or "smiling", args.strength), spec, {})
    if args.gain is not None:
        _gains(args.gain, tuple(dict.fromkeys((*UNITS, *spec.names))))


def clip_of(
    args: argparse.Namespace, spec: SignalSpec, shown: Sequence[Mapping[str, float] | None], still: bool
) -> Clip:
    """What the options ask of a checkpoint with ``spec``, on faces that show ``shown`` (None: unknown).

    still: a single step at strength 1, the strongest of several.
    """
    from .expressions import with_presets

    spec = with_presets(spec)
    if args.keyframes is None and args.drive is None:
        return _posed(args, spec, shown, still)
    signal, fps, sound = _keyed(args, spec) if args.keyframes else _driven(args, spec, still)
    from .signal_curves import gain, strongest

    values = _vectors(gain(signal, args.strength), spec, shown)
    if still:
        best = strongest(signal)
        return Clip([v[best : best + 1] for v in values], [1.0], fps)
    if args.drive and len(signal) == 1:
        return Clip(values, _weights(args, still), fps, sound)
    if args.curve:
        raise InputError(
            f"--curve shapes a single expression, {args.drive} has {len(signal)} steps; leave it out"
        )
    return Clip(values, None, fps, sound)


def over_video(
    args: argparse.Namespace,
    spec: SignalSpec,
    shown: Sequence[Mapping[str, float] | None],
    frames: int,
    fps: float,
) -> tuple[list[Tensor], list[float] | None]:
    """(a signal a face, weights) of what the options ask of a video: one step that holds, or a step a frame.

    An expression stays as long as the video lasts, unless ``--curve`` says how it comes and goes.
    """
    from .expressions import with_presets
    from .keyframes import sequence
    from .signal_curves import gain, resample
    from .signal_files import load_keyframes
    from .signals import curve

    spec = with_presets(spec)
    if args.keyframes is None and args.drive is None:
        clip = _posed(args, spec, shown, still=True)
        return clip.signals, curve(args.curve, frames) if args.curve else None
    if args.keyframes:
        keys = load_keyframes(args.keyframes, spec.names, spec.presets)
        signal = sequence(keys, fps, frames / fps, spec.names)
    else:
        signal, rate, _ = _driven(args, spec, still=True)
        if len(signal) > 1 and abs(float(rate) - fps) > 1e-3:
            signal = resample(signal, fps=fps)
    if args.curve:
        raise InputError("--curve shapes an expression or units, not --drive; leave it out")
    return _vectors(gain(signal, args.strength), spec, shown), None


def _posed(
    args: argparse.Namespace, spec: SignalSpec, shown: Sequence[Mapping[str, float] | None], still: bool
) -> Clip:
    """A single step, and the weights of a curve."""
    from .driving import Named
    from .keyframes import parse_units
    from .signals import pose

    if args.au is not None:
        units = {n: args.strength * v for n, v in parse_units(args.au, spec.names, spec.presets).items()}
        values = _vectors(pose(units, spec.names), spec, shown)
    else:
        named = Named(args.expression or "smiling", args.strength, target=shown[0] is not None)
        values = _vectors(named, spec, shown)
    return Clip(values, _weights(args, still), args.fps or FPS)


def _weights(args: argparse.Namespace, still: bool) -> list[float]:
    from .signals import curve

    return [1.0] if still else curve(args.curve or "pulse", args.frames or FRAMES)


def _vectors(driving: Any, spec: SignalSpec, shown: Sequence[Mapping[str, float] | None]) -> list[Tensor]:  # noqa: ANN401
    """One a face: its own change, where the signal is a target."""
    from .driving import vectors

    found = [vectors(driving, spec, units or {}) for units in shown]
    if dropped := found[0][1]:
        say(f"this checkpoint does not know {', '.join(dropped)}: left out")
    return [values for values, _ in found]


def _keyed(args: argparse.Namespace, spec: SignalSpec) -> tuple[Signal, float, None]:
    from .keyframes import sequence
    from .signal_files import load_keyframes

    keys, fps = load_keyframes(args.keyframes, spec.names, spec.presets), args.fps or FPS
    return sequence(keys, fps, args.frames / fps if args.frames else None, spec.names), fps, None


def _driven(
    args: argparse.Namespace, spec: SignalSpec, still: bool
) -> tuple[Signal, float | Fraction, Sound | SoundFile | None]:
    """A signal with a step a frame of the driver, its rate, and its sound if the output can carry it."""
    from .signal_curves import gain, relative
    from .signal_files import load_signal
    from .signals import UNITS

    path: Path = args.drive
    if path.suffix.lower() in (".csv", ".json"):
        names = tuple(dict.fromkeys((*UNITS, *spec.names)))
        signal = load_signal(
            path, not args.absolute, args.fps, args.drive_face, names=names, expressions=spec.presets
        )
        fps, sound = signal.fps or args.fps or FPS, None
    else:
        signal, fps, sound = _seen(args, still)
        signal = signal if args.absolute or len(signal) == 1 else relative(signal)
    _check_rate(args, float(fps))
    return gain(signal[: args.frames], _gains(args.gain, signal.names)), fps, sound


def _check_rate(args: argparse.Namespace, fps: float) -> None:
    if args.fps and abs(fps - args.fps) > 1e-3:
        raise InputError(f"{args.drive} runs at {fps:g} frames a second, not {args.fps:g}; leave --fps out")


def _seen(args: argparse.Namespace, still: bool) -> tuple[Signal, Fraction, Sound | SoundFile | None]:
    """The absolute signal of the face in a driving video."""
    from .clips import probe, read_frames, sound_for
    from .signal_video import follow_face

    info = probe(args.drive)
    _check_rate(args, float(info.fps))
    expected = max(1, args.frames or info.frames or round(info.duration * info.fps))
    frames = progress(
        read_frames(args.drive, max_frames=args.frames), expected, args.quiet, "frames looked at"
    )
    try:
        signal, shown = follow_face(frames, float(info.fps), args.drive_face or 0)
    except InputError as error:
        raise InputError(f"{args.drive}: {error}") from error
    if shown < 0.9:
        say(f"{args.drive}: the face is in sight in {shown:.0%} of the frames")
    wanted = not still and args.output.suffix.lower() in WITH_SOUND
    length = len(signal) / float(info.fps)
    sound = sound_for(args.output, args.drive, seconds=length) if wanted else None
    return signal, info.fps, sound


def _gains(text: str | None, names: Sequence[str]) -> float | dict[str, float]:
    """``1.5`` or ``AU12=1.5, AU45=1``."""
    from .keyframes import parse_units
    from .signals import MAX_VALUE

    if text is None or "=" not in text:
        try:
            number = float(text or 1.0)
        except ValueError:
            number = -1.0
        if not 0 <= number <= MAX_VALUE:
            raise InputError(
                f"--gain {text!r}; expected 0 to {MAX_VALUE:g}, or numbers by unit, as in AU12=1.5,AU45=1"
            )
        return number
    return parse_units(text, names)
