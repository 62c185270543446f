"""Driving by units, keyframes, files and videos: right frames, or one line on stderr and exit code 2."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.checkpoints import save_checkpoint
from atw_nodes.cli import main
from atw_nodes.clips import probe, read_frames, read_sound
from atw_nodes.images import read_photo, write_still
from atw_nodes.networks import GeneratorConfig
from atw_nodes.signals import UNITS
from atw_nodes.sound import Sound
from atw_nodes.types import SignalSpec
from atw_nodes.video import ClipWriter
from tests.conftest import ROOT, photo_like, tiny_generator


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_still(path, (photo_like(48, 40) * 255).round().byte())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Seventeen units, as the bundled one has them; its motion is a sum over a basis."""
    path, n = tmp_path / "units.safetensors", len(UNITS)
    config = GeneratorConfig(n, size=32, width=4, motion_blocks=1, refine_blocks=1, conditioning="basis")
    spec = SignalSpec("relative", tuple(UNITS), low=(-1.5,) * n, high=(1.5,) * n)
    save_checkpoint(path, tiny_generator(config), spec, {})
    return path


def run(photo: Path, out: Path, model: Path, *args: object) -> int:
    fixed = ["--checkpoint", model, "--face", "whole", "--no-estimate", "--quiet"]
    try:
        return main([str(a) for a in ("animate", photo, "-o", out, *fixed, *args)])
    except SystemExit as e:  # argparse
        return int(e.code or 0)


def frames_of(folder: Path) -> list[torch.Tensor]:
    return [read_photo(p).pixels.float() for p in sorted(folder.iterdir())]


def openface(path: Path, frames: int, fps: float = 25.0) -> Path:
    """AU12 rises from 1 to 2.5 of 5."""
    rows = ["frame, face_id, timestamp, confidence, success, AU12_r, AU45_r"]
    for k in range(frames):
        rows.append(f"{k + 1}, 0, {k / fps:.3f}, 0.98, 1, {1 + 1.5 * k / (frames - 1):.2f}, 0.00")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_units_and_the_expression_they_make_up_agree(photo: Path, model: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    assert run(photo, a, model, "--au", "AU04=0.9, au05=0.4, AU07=0.5, AU23=0.6", "--strength", 0.5) == 0
    assert run(photo, b, model, "--expression", "anger", "--strength", 0.5) == 0
    assert torch.equal(read_photo(a).pixels, read_photo(b).pixels)
    assert not torch.equal(read_photo(a).pixels, read_photo(photo).pixels)


def test_every_spelling_of_an_expression(photo: Path, model: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    assert run(photo, a, model, "--expression", "Happily_Surprised") == 0
    assert run(photo, b, model, "--expression", "happily surprised") == 0
    assert torch.equal(read_photo(a).pixels, read_photo(b).pixels)


def test_keyframes_pass_through_the_photo(photo: Path, model: Path, tmp_path: Path) -> None:
    keys, out = tmp_path / "keys.json", tmp_path / "frames"
    keys.write_text(json.dumps({"0.2": {"happiness": 1.0}, "0.4": {}}))
    assert run(photo, out, model, "--keyframes", keys, "--fps", 10) == 0
    frames, still = frames_of(out), tmp_path / "still.png"
    assert len(frames) == 5
    assert torch.equal(frames[0], read_photo(photo).pixels.float())
    assert torch.equal(frames[4], frames[0])
    assert run(photo, still, model, "--keyframes", keys, "--fps", 10) == 0
    assert torch.equal(read_photo(still).pixels.float(), frames[2])  # the strongest step
    assert run(photo, tmp_path / "long", model, "--keyframes", keys, "--fps", 10, "--frames", 7) == 0
    assert len(frames_of(tmp_path / "long")) == 7


def test_a_table_of_openface_drives_frame_by_frame(photo: Path, model: Path, tmp_path: Path) -> None:
    table, out = openface(tmp_path / "aus.csv", 6), tmp_path / "clip.mp4"
    assert run(photo, out, model, "--drive", table) == 0
    info = probe(out)
    assert (len(list(read_frames(out))), info.fps) == (6, 25)
    folder = tmp_path / "frames"
    assert run(photo, folder, model, "--drive", table, "--frames", 4) == 0
    frames = frames_of(folder)
    assert len(frames) == 4
    assert torch.equal(frames[0], read_photo(photo).pixels.float())  # relative: the first frame is the photo
    last = tmp_path / "last.png"
    assert run(photo, last, model, "--drive", table, "--absolute", "--gain", "AU12=2") == 0
    wanted = tmp_path / "wanted.png"
    assert run(photo, wanted, model, "--au", "AU12=1.0") == 0
    assert torch.equal(read_photo(last).pixels, read_photo(wanted).pixels)


def test_a_pose_in_a_file_comes_and_goes(photo: Path, model: Path, tmp_path: Path) -> None:
    pose, out = tmp_path / "pose.json", tmp_path / "frames"
    data = {"format": "atw-signal", "version": 1, "units": ["AU12"], "values": [[0.8]]}
    pose.write_text(json.dumps(data))
    assert run(photo, out, model, "--drive", pose, "--frames", 5) == 0
    frames = frames_of(out)
    assert len(frames) == 5
    assert torch.equal(frames[0], frames[4])
    assert not torch.equal(frames[0], frames[2])


def a_clip(path: Path, size: int = 48, frames: int = 6, sound: Sound | None = None) -> Path:
    with ClipWriter(path, size, size, Fraction(30000, 1001), sound=sound) as clip:
        for _ in range(frames):
            clip.write((photo_like(size, size)[0] * 255).byte())
    return path


def test_a_video_drives_and_is_heard(photo: Path, model: Path, tmp_path: Path) -> None:
    driver, out = tmp_path / "driver.mp4", tmp_path / "clip.mkv"
    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
        face = torch.from_numpy(np.array(im.resize((192, 192)))).permute(2, 0, 1)
    tone = Sound(0.5 * torch.sin(torch.arange(8000) * 0.1)[None], 16000)
    with ClipWriter(driver, 192, 192, Fraction(30000, 1001), sound=tone) as clip:
        for _ in range(5):
            clip.write(face)
    assert run(photo, out, model, "--drive", driver) == 0
    assert len(list(read_frames(out))) == 5
    assert probe(out).fps == Fraction(30000, 1001)
    heard = read_sound(out)
    assert heard is not None
    assert float(heard.samples.std()) == pytest.approx(0.35, abs=0.05)
    assert run(photo, tmp_path / "clip.gif", model, "--drive", driver) == 0  # carries no sound
    with av.open(str(tmp_path / "clip.gif")) as file:
        assert not file.streams.audio


def test_sound_is_read_as_it_lies_against_the_picture(tmp_path: Path) -> None:
    samples = torch.zeros(2, 16000)
    samples[:, 8000:] = 0.5
    path = a_clip(tmp_path / "a.mkv", frames=30, sound=Sound(samples, 16000))
    whole, later = read_sound(path), read_sound(path, start=0.5, seconds=0.25)
    assert whole is not None and later is not None
    assert whole.samples.shape[0] == 2
    assert float(whole.samples[:, :7000].abs().max()) < 0.1
    assert later.samples.shape[1] == 4000
    assert float(later.samples[:, 500:].mean()) == pytest.approx(0.5, abs=0.1)
    assert read_sound(a_clip(tmp_path / "b.mkv")) is None


def bad(tmp: Path) -> dict[str, tuple[list[object], str]]:
    table, keys, text = openface(tmp / "aus.csv", 6), tmp / "keys.json", tmp / "text.txt"
    keys.write_text('{"0": {"AU12": 0.5}}')
    text.write_text("hello")
    return {
        "two at once": (["--au", "AU12=1", "--expression", "anger"], "not allowed with"),
        "unknown unit": (["--au", "AU99=1"], "AU01, AU02"),
        "no number": (["--au", "AU12=much"], "expected a number"),
        "beyond": (["--au", "AU12=80"], "expected -2 to 2"),
        "twice": (["--au", "AU12=1,au12=0.5"], "given twice"),
        "expression": (["--expression", "envy"], "it knows neutral, happiness"),
        "no keyframes": (["--keyframes", tmp / "none.json"], "does not exist"),
        "keyframes of text": (["--keyframes", text], "no JSON"),
        "curve of keyframes": (["--keyframes", keys, "--curve", "ease"], "--curve"),
        "curve of a driver": (["--drive", table, "--curve", "ease"], "--curve"),
        "no driver": (["--drive", tmp / "none.mp4"], "does not exist"),
        "driver of text": (["--drive", text], "not a video"),
        "nobody there": (["--drive", a_clip(tmp / "nobody.mp4")], "no face number 1"),
        "another face": (["--drive", table, "--drive-face", 3], "no face 3"),
        "another rate": (["--drive", a_clip(tmp / "rate.mp4"), "--fps", 12], "leave --fps out"),
        "gain": (["--drive", table, "--gain", "lots"], "AU12=1.5"),
        "gain of nothing": (["--gain", "2"], "--drive"),
        "absolute of nothing": (["--absolute"], "--drive"),
        "too many frames": (["--keyframes", keys, "--frames", 999_999], "expected"),
    }


@pytest.mark.parametrize(
    "case",
    [
        *("two at once", "unknown unit", "no number", "beyond", "twice", "expression", "no keyframes"),
        *("keyframes of text", "curve of keyframes", "curve of a driver", "no driver", "driver of text"),
        *("nobody there", "another face", "another rate", "gain", "gain of nothing", "absolute of nothing"),
        "too many frames",
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, photo: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, message = bad(tmp_path)[case]
    before = {p.name for p in tmp_path.iterdir()}
    assert run(photo, tmp_path / "out.mp4", model, *args) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == before


def test_the_error_of_a_small_model_names_what_it_lacks(
    photo: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photo, tmp_path / "out.png", tiny_checkpoint, "--expression", "anger") == 2
    err = capsys.readouterr().err
    assert "needs AU04, AU05, AU07, AU23" in err
    assert "it knows neutral, smiling" in err
