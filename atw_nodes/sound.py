"""An audio track beside the frames of a clip, encoded as the frames arrive."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from torch import Tensor

from .types import InputError

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
# What the AAC and Opus encoders take as they are; anything else is resampled to 48 kHz.
_RATES: dict[str, tuple[int, ...]] = {
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    "libopus": (48000,),
}


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
