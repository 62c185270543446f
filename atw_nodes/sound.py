"""An audio track beside the frames of a clip, encoded or copied as the frames arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from torch import Tensor

from .types import InputError, OutputError

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
# What the AAC and Opus encoders take as they are; anything else is resampled to 48 kHz.
_RATES: dict[str, tuple[int, ...]] = {
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    "libopus": (48000,),
}
# What a file takes without encoding it again, as far as common players follow.
_COPIED = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"),
    "matroska": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "vorbis", "pcm_s16le", "pcm_s24le"),
    "webm": ("opus", "vorbis"),
}
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_FADE = 0.04  # seconds at the beginning that may fade in
_BEFORE = Fraction(8, 100)  # seconds in front of the first sample, from which a decoder warms up


@dataclass(frozen=True)
class Sound:
    """samples: [C,N] float in [-1,1], C one of 1, 2, 6, 8. rate: samples a second."""

    samples: Tensor
    rate: int

    def __post_init__(self) -> None:
        if self.samples.dim() != 2 or self.samples.shape[0] not in _LAYOUTS or not self.samples.shape[1]:
            raise InputError(
                f"audio has shape {list(self.samples.shape)}; expected [channels, samples] with "
                f"{', '.join(map(str, _LAYOUTS))} channels and at least one sample"
            )
        if not 1000 <= self.rate <= 768000:
            raise InputError(f"audio rate is {self.rate}; expected 1000 to 768000 samples a second")


class SoundTrack:
    """Feeds a ``Sound`` into an open container, never ahead of the picture by more than a frame."""

    def __init__(self, file: Any, sound: Sound, codec: str) -> None:  # noqa: ANN401 (PyAV's container)
        self._sound, self._file, self._done = sound, file, 0
        rate = sound.rate if sound.rate in _RATES[codec] else 48000
        self._layout = _LAYOUTS[len(sound.samples)]
        self._stream = file.add_stream(codec, rate=rate)
        self._stream.layout = self._layout
        self._stream.bit_rate = 96000 * len(sound.samples)

    def until(self, seconds: Fraction) -> None:
        """Encode all that is heard before ``seconds``; silence where there is no more sound."""
        end = int(seconds * self._sound.rate)
        if end <= self._done:
            return
        part = self._sound.samples[:, self._done : end].detach().float().cpu().numpy()
        part = np.pad(part, ((0, 0), (0, end - self._done - part.shape[1]))).clip(-1, 1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", self._layout)
        frame.sample_rate, frame.pts, frame.time_base = (
            self._sound.rate,
            self._done,
            Fraction(1, self._sound.rate),
        )
        self._file.mux(self._stream.encode(frame))
        self._done = end

    def close(self) -> None:
        """Encode what the encoder still holds."""
        self._file.mux(self._stream.encode(None))

    def abort(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class SoundFile:
    """The sound of a video as it is, for a clip that takes it so: ``seconds`` of it, from ``start`` on."""

    path: Path
    seconds: float
    start: float = 0.0


def copies(stream: Any, suffix: str) -> bool:  # noqa: ANN401 (PyAV's)
    """Whether packets of an audio stream may go into a file with this suffix. AAC without its header, as in
    broadcasts, may not; nor into Matroska where its first packet, by which a decoder fades in, is long.
    """
    context = stream.codec_context
    codec = context.codec.canonical_name
    whole = codec != "aac" or bool(context.extradata)
    if suffix in (".mkv", ".webm") and codec == "aac" and context.frame_size > _FADE * context.rate:
        return False
    return whole and codec in _COPIED.get(_CONTAINERS.get(suffix, ""), ())


class CopiedTrack:
    """Feeds the packets of a ``SoundFile`` into an open container as its frames arrive, a packet in memory.

    What is heard when stays as it was against the picture; the end falls between two packets.
    """

    def __init__(self, file: Any, sound: SoundFile) -> None:  # noqa: ANN401 (PyAV's container)
        self._file, self._sound = file, sound
        self._source: Any = av.open(str(sound.path.absolute()))
        source, picture = self._source.streams.audio[0], self._source.streams.video[0]
        codec = source.codec_context.codec.canonical_name
        if codec not in _COPIED.get(file.format.name, ()):
            self.abort()
            raise OutputError(
                f"{sound.path}: {codec} sound cannot be copied into {file.format.name}; encode it"
            )
        begins = (picture.start_time or 0) * (picture.time_base or Fraction(0))
        self._origin = begins + Fraction(sound.start).limit_denominator(10**6)
        self._stream = file.add_stream_from_template(source)
        # Matroska would shift the picture for the sake of a packet in front of it
        own = Fraction(source.codec_context.delay, source.rate) if source.rate else Fraction(0)
        self._least = -_BEFORE if file.format.name in ("mp4", "mov") else -own
        self._packets = self._cut(source)
        self._next = next(self._packets, None)

    def until(self, seconds: Fraction) -> None:
        """Copy all packets that begin before ``seconds``."""
        while self._next is not None and self._next[0] < seconds:
            self._file.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    abort = close

    def _cut(self, source: Any) -> Iterator[tuple[Fraction, Any]]:  # noqa: ANN401
        """(when, packet) of those in the window."""
        tick = source.time_base
        shift, length = round(self._origin / tick), Fraction(self._sound.seconds).limit_denominator(10**6)
        try:
            if self._sound.start > 1:
                with suppress(FFmpegError):  # a file that cannot seek is read from its beginning
                    self._source.seek(shift - round(1 / tick), stream=source, backward=True)
            for packet in self._source.demux(source):
                at = packet.dts if packet.pts is None else packet.pts
                if at is None or not packet.size or (at - shift) * tick < self._least:
                    continue
                if (at - shift) * tick >= length:
                    return
                packet.pts = packet.dts = at - shift
                packet.stream = self._stream
                yield packet.pts * tick, packet
        except FFmpegError as error:
            why = error.strerror or error
            raise InputError(f"{self._sound.path} is damaged ({why}); expected a whole video") from error
