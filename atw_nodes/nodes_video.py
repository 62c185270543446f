"""A VIDEO of the host, taken apart: frames that can be read more than once, rate and sound."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from comfy_api.latest import InputImpl
from torch import Tensor

from .clips import probe, read_frames, read_sound, sound_for
from .host import temporary
from .sockets import to_sound
from .sound import Sound, SoundFile
from .types import InputError


class Source(NamedTuple):
    """What is in a VIDEO."""

    frames: Callable[[], Iterator[Tensor]]  # [3,H,W] uint8 each, one by one, from the beginning
    count: int  # about
    size: tuple[int, int]  # (height, width)
    fps: Fraction
    sound: Callable[[float], Sound | None]  # of so many seconds
    track: Callable[[float, Path], Sound | SoundFile | None]  # for a clip


@contextmanager
def opened(video: Any) -> Iterator[Source]:  # noqa: ANN401 (the host's)
    """``video`` while it can be read; ``InputError`` where it is none."""
    if isinstance(video, InputImpl.VideoFromComponents):
        yield _of_images(video.get_components())
        return
    with _file_of(video) as path:
        info, (start, length) = probe(path), _trim_of(video)
        most = math.ceil(length * info.fps - 1e-3) if length else None
        count = most or info.frames or round((info.duration - start) * info.fps)
        yield Source(
            lambda: read_frames(path, start=start, max_frames=most),
            max(1, count),
            (info.height, info.width),
            info.fps,
            lambda seconds: read_sound(path, start, seconds),
            lambda seconds, target: sound_for(target, path, start, seconds=seconds),
        )


def _of_images(parts: Any) -> Source:  # noqa: ANN401 (the host's)
    """A video that another node made of images: they are in memory as it is."""
    images = parts.images

    def frames() -> Iterator[Tensor]:
        return ((i[..., :3].movedim(-1, 0) * 255).round().clamp(0, 255).byte() for i in images)

    size = (images.shape[1], images.shape[2])
    rate, sound = Fraction(parts.frame_rate), parts.audio
    return Source(frames, len(images), size, rate, lambda _: to_sound(sound), lambda *_: to_sound(sound))


def _trim_of(video: Any) -> tuple[float, float]:  # noqa: ANN401
    """(start, length) in seconds that the host has cut the video to, length 0 to the end."""
    window = getattr(video, "get_active_trim_window", None)
    return window() if window else (0.0, 0.0)


@contextmanager
def _file_of(video: Any) -> Iterator[Path]:  # noqa: ANN401
    """The video's file; one that is in memory is written into ComfyUI's temp folder for a while."""
    source = getattr(video, "get_stream_source", lambda: None)()
    if isinstance(source, str):
        yield Path(source)
    elif source is None:
        raise InputError(
            f"video is {type(video).__name__}; connect Load Video, or another node that gives VIDEO"
        )
    else:
        path = temporary(".video")
        try:
            source.seek(0)
            with path.open("wb") as file:
                while part := source.read(1 << 20):
                    file.write(part)
            yield path
        finally:
            path.unlink(missing_ok=True)
