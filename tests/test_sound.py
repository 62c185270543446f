"""Sound beside frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from atw_nodes.clips import read_sound, sound_for
from atw_nodes.sound import Sound, SoundFile
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


# --- copied -----------------------------------------------------------------------------------------------


def clicking(path: Path, seconds: int = 3) -> Path:
    """A video with a click every quarter of a second."""
    heard = torch.zeros(1, 48000 * seconds)
    for k in range(4 * seconds):
        heard[:, 12000 * k : 12000 * k + 48] = 0.9
    with ClipWriter(path, 64, 48, 24, sound=Sound(heard, 48000)) as clip:
        for _ in range(24 * seconds):
            clip.write(torch.zeros(3, 48, 64, dtype=torch.uint8))
    return path


def clicks(path: Path) -> list[float]:
    sound = read_sound(path)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound.samples[0].numpy()) > 0.3) / sound.rate
    return [float(t) for t, before in zip(loud, [-1, *loud], strict=False) if t - before > 0.1]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(p) for p in file.demux(audio=0) if p.size]


@pytest.mark.parametrize("start", [0.0, 1.1])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (".mp4", ".mp4"),
        (".mp4", ".mkv"),
        (".mkv", ".mov"),
        (".mkv", ".mkv"),
        (".webm", ".webm"),
        (".webm", ".mkv"),
    ],
)
def test_packets_are_copied_and_stay_in_time(tmp_path: Path, source: str, target: str, start: float) -> None:
    path, out = clicking(tmp_path / f"in{source}"), tmp_path / f"out{target}"
    sound = sound_for(out, path, start, seconds=1.0)
    assert isinstance(sound, SoundFile)
    with ClipWriter(out, 64, 48, 24, sound=sound) as clip:
        for k in range(24):
            clip.write(torch.full((3, 48, 64), k, dtype=torch.uint8))
    got, given = packets(out), packets(path)
    assert any(given[k : k + len(got)] == got for k in range(len(given))) and 40 < len(got) < 60
    expected = [0.15, 0.4, 0.65, 0.9] if start else [0.25, 0.5, 0.75]  # at 0 a decoder may still be fading in
    heard = [t for t in clicks(out) if 0.1 < t < 0.99]
    assert heard == pytest.approx(expected, abs=0.003)
    with av.open(str(out)) as file:
        assert next(file.decode(video=0)).time == 0


def test_what_cannot_be_copied_is_decoded(tmp_path: Path) -> None:
    path = clicking(tmp_path / "in.mp4", 1)
    assert isinstance(sound_for("out.webm", path, seconds=1.0), Sound)  # AAC
    sound = SoundFile(path, 1.0)
    with pytest.raises(OutputError, match="aac sound cannot be copied into webm"):
        ClipWriter(tmp_path / "out.webm", 8, 8, 10, sound=sound).__enter__()
    with pytest.raises(OutputError, match="carries no sound"):
        ClipWriter(tmp_path / "out.gif", 8, 8, 10, sound=sound)
    with ClipWriter(tmp_path / "mute.mp4", 8, 8, 10) as clip:
        clip.write(torch.zeros(3, 8, 8))
    assert sound_for("out.mp4", tmp_path / "mute.mp4", seconds=1.0) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "mute.mp4"]
