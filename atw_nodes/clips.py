"""Video files to frames, one at a time, and to sound: memory does not grow with the length of a clip.

FFmpeg reads all but animated WebP, which Pillow does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image
from torch import Tensor

from .files import file_head, reason
from .sound import Sound, SoundFile, copies
from .types import InputError

_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_READABLE = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,mpegts,mpeg,ogg,asf,flv"  # no playlists, no text


@dataclass(frozen=True)
class ClipInfo:
    """What a video file says about itself. Upright size; duration in seconds; frames None if not stored."""

    width: int
    height: int
    fps: Fraction
    frames: int | None
    duration: float
    has_audio: bool


def probe(path: str | Path) -> ClipInfo:
    """Size, rate and length of a video file, its first frame decoded. ``InputError`` if it is no video."""
    path = Path(path)
    if _is_webp(path):
        return _probe_webp(path)
    with _opened(path) as container:
        stream = container.streams.video[0]
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise InputError(f"{path} holds no frame that can be decoded; expected a whole video")
        height, width = _pixels(first, VideoReformatter()).shape[:2]
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)
        length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if length is None and container.duration:
            length = container.duration / av.time_base
        frames = stream.frames or None
        return ClipInfo(
            width, height, fps, frames, float(length or (frames or 1) / fps), bool(container.streams.audio)
        )


def read_frames(path: str | Path, *, start: float = 0.0, max_frames: int | None = None) -> Iterator[Tensor]:
    """Frames shown at or after ``start`` seconds as [3,H,W] uint8 RGB, upright, one at a time.

    Converted by the matrix that the file names, else BT.709 for HD and BT.601 below. Alpha is dropped.
    """
    path = Path(path)
    if not start >= 0 or (max_frames is not None and max_frames < 0):
        raise InputError(f"start is {start} and max_frames {max_frames}; expected numbers of at least 0")
    if _is_webp(path):
        _probe_webp(path)
        timed = _webp_frames(path)
    else:
        with _opened(path):
            timed = _video_frames(path, start)
    return _window(timed, path, start, max_frames)


def _window(
    timed: Iterator[tuple[float, np.ndarray]], path: Path, start: float, count: int | None
) -> Iterator[Tensor]:
    given = 0
    for when, pixels in timed:
        if given == count:
            return
        if when >= start - 1e-3:
            given += 1
            yield torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    if given == 0 and count != 0:
        raise InputError(f"{path} holds no frame at or after {start:g} s; choose an earlier start")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    file_head(path)
    wanted = "expected a video (MP4, MOV, MKV, WebM, AVI, GIF or animated WebP)"
    try:
        container = av.open(str(path.absolute()), options={"format_whitelist": _READABLE})
    except (FFmpegError, ValueError) as error:
        raise InputError(f"{path} is not a video that can be read ({reason(error)}); {wanted}") from error
    with container:
        if not container.streams.video:
            raise InputError(
                f"{path} holds no picture, only {len(container.streams)} other streams; {wanted}"
            )
        container.streams.video[0].thread_type = "AUTO"
        yield container


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:  # noqa: ANN401
    try:
        yield from container.decode(stream)
    except FFmpegError as error:
        raise InputError(f"{path} is damaged ({reason(error)}); expected a whole video") from error


def _video_frames(path: Path, start: float) -> Iterator[tuple[float, np.ndarray]]:
    scale = VideoReformatter()
    with _opened(path) as container:
        stream = container.streams.video[0]
        origin, tick = stream.start_time or 0, stream.time_base or Fraction(1, 1000)
        if start > 0:
            with suppress(FFmpegError):  # a file that cannot seek is read from its beginning
                container.seek(origin + int(start / tick), stream=stream, backward=True)
        for frame in _decoded(container, stream, path):
            when = float(((frame.pts or origin) - origin) * tick)
            if when >= start - 1e-3:
                yield when, _pixels(frame, scale)


def _pixels(frame: av.VideoFrame, scale: VideoReformatter) -> np.ndarray:
    """[H,W,3] uint8, upright."""
    untagged = frame.colorspace == 2 and frame.format.name.startswith(("yuv", "nv"))
    guess = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    rgb = scale.reformat(
        frame,
        format="rgb24",
        src_colorspace=guess if untagged else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
    )
    return np.rot90(rgb.to_ndarray(), round(frame.rotation / 90))


def _is_webp(path: Path) -> bool:
    head = file_head(path)
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _webp_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Animated WebP, which FFmpeg does not read."""
    when = 0.0
    try:
        with Image.open(path) as image:
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                yield when, np.asarray(image.convert("RGB"))
                when += image.info.get("duration", 0) / 1000
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}); expected a whole animated WebP") from error


def _probe_webp(path: Path) -> ClipInfo:
    try:
        with Image.open(path) as image:
            frames, times = getattr(image, "n_frames", 1), []
            for index in range(frames):
                image.seek(index)
                image.load()
                times.append(image.info.get("duration", 0))
            width, height = image.size
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}); expected a whole animated WebP") from error
    duration = sum(times) / 1000
    if frames < 2 and not duration:
        raise InputError(f"{path} is a still picture; expected a video")
    fps = Fraction(frames / duration).limit_denominator(1001) if duration else Fraction(25)
    return ClipInfo(width, height, fps, frames, duration, False)


def read_sound(path: str | Path, start: float = 0.0, seconds: float | None = None) -> Sound | None:
    """What is heard from ``start`` seconds of a video on, mono or stereo; None where it has no sound.

    As it lies against the picture: silence where it begins later. Kept in a temporary file, so that length
    costs no memory. An hour at most.
    """
    path, longest = Path(path), 3600.0
    if _is_webp(path):
        return None
    with _opened(path) as container, tempfile.TemporaryFile() as file:
        if not container.streams.audio:
            return None
        stream, picture = container.streams.audio[0], container.streams.video[0]
        channels, rate, count = min(stream.channels, 2), int(stream.rate), 0
        origin = float((picture.start_time or 0) * (picture.time_base or 0)) + start
        most = round(min(longest if seconds is None else seconds, longest) * rate)
        for samples in _heard(container, stream, path, channels, origin):
            part = samples[: most - count]
            file.write(part.tobytes())
            count += len(part)
            if count >= most:
                break
        file.flush()
        held = np.memmap(file, np.float32, "r+", shape=(count, channels)) if count else None
    return None if held is None else Sound(torch.from_numpy(held).T, rate)


def sound_for(
    target: str | Path, path: str | Path, start: float = 0.0, *, seconds: float
) -> Sound | SoundFile | None:
    """What is heard in a video, for a clip that will be named ``target``: to be copied as it is where such a
    file takes it, else decoded.
    """
    path = Path(path)
    if _is_webp(path):
        return None
    with _opened(path) as container:
        sounds = container.streams.audio
        if sounds and copies(sounds[0], Path(target).suffix.lower()):
            return SoundFile(path, seconds, start)
    return read_sound(path, start, seconds)


def _heard(container: Any, stream: Any, path: Path, channels: int, origin: float) -> Iterator[np.ndarray]:  # noqa: ANN401
    """[n,channels] float32 from ``origin`` seconds on."""
    rate, skip, begun = int(stream.rate), 0, False
    resampler = av.AudioResampler("flt", "mono" if channels == 1 else "stereo", rate)
    for frame in _decoded(container, stream, path):
        if not begun:
            begun, late = True, round((float(frame.pts or 0) * float(frame.time_base or 0) - origin) * rate)
            skip = max(0, -late)
            for k in range(0, late, rate):
                yield np.zeros((min(rate, late - k), channels), np.float32)
        frame.pts = None
        for out in resampler.resample(frame):
            samples = out.to_ndarray().reshape(-1, channels)
            yield samples[skip:]
            skip = max(0, skip - len(samples))
