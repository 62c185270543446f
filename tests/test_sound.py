"""Sound beside frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from atw_nodes.sound import Sound
from atw_nodes.types import InputError, OutputError
from atw_nodes.video import ClipWriter


def tone(seconds: float, rate: int, hertz: float, channels: int = 2) -> Sound:
    t = torch.arange(int(seconds * rate)) / rate
    return Sound((0.5 * torch.sin(2 * torch.pi * hertz * t)).expand(channels, -1), rate)


def written(path: Path, sound: Sound, frames: int = 24) -> tuple[np.ndarray, int]:
    """What is heard in a clip of one second: (samples [C,N], rate)."""
    with ClipWriter(path, 64, 48, 24, sound=sound) as clip:
        for k in range(frames):
            clip.write(torch.full((1, 3, 48, 64), k, dtype=torch.uint8))
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        resample = av.AudioResampler("fltp", layout=stream.layout.name, rate=stream.rate)
        parts = [r.to_ndarray() for f in file.decode(audio=0) for r in resample.resample(f)]
        return np.concatenate(parts, 1), stream.rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (22050, 1), (37000, 2)])
def test_a_tone_comes_back(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    samples, got = written(tmp_path / f"clip{suffix}", tone(3, rate, 440, channels))
    assert samples.shape[0] == channels
    assert samples.shape[1] / got == pytest.approx(1, abs=0.06)  # cut to the picture; an encoder pads
    spectrum = np.abs(np.fft.rfft(samples[0, got // 10 : got // 10 * 9]))
    found = spectrum.argmax() * got / (got // 10 * 9 - got // 10)
    assert found == pytest.approx(440, abs=4)
    assert np.abs(samples[:, got // 4 : got // 2]).max() == pytest.approx(0.5, abs=0.06)


def test_silence_follows_a_short_sound(tmp_path: Path) -> None:
    samples, rate = written(tmp_path / "clip.mp4", tone(0.25, 48000, 440))
    assert samples.shape[1] / rate == pytest.approx(1, abs=0.06)
    assert np.abs(samples[:, rate // 2 : rate * 9 // 10]).max() < 0.01


def test_what_cannot_be_heard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="carries no sound"):
        ClipWriter(tmp_path / "clip.gif", 8, 8, 10, sound=tone(1, 8000, 100))
    with pytest.raises(InputError, match="channels"):
        Sound(torch.zeros(3, 10), 8000)
    with pytest.raises(InputError, match="rate"):
        Sound(torch.zeros(1, 10), 0)
