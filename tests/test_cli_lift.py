"""``lift`` at the command line: folders, videos, pictures and crops."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from atw_nodes.cli import main
from atw_nodes.clips import probe, read_frames, read_sound
from atw_nodes.images import read_photo, write_still
from atw_nodes.pyramid import downsample, to_float
from atw_nodes.sound import Sound
from atw_nodes.video import ClipWriter
from atw_nodes.warp import backward_warp
from tests.test_lift import BYTES, PHOTO, SIDE, psnr, smooth

SMALL = 64
CLIP = [backward_warp(PHOTO, smooth(SIDE, 0.01 * k)) for k in range(4)]
FRAMES = [downsample(x, (SMALL, SMALL)).mul(255).round().byte() for x in CLIP]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_still(path, BYTES)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.mkdir()
    for k, frame in enumerate(FRAMES):
        write_still(path / f"f{k + 8}.png", frame)  # f8, f9, f10, f11
    return path


def run(*args: object) -> int:
    return main(["lift", *map(str, args), "--quiet"])


def test_a_folder_becomes_a_folder_in_its_order(photo: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "large"
    assert run(photo, folder, "-o", out, "--crop", "whole") == 0
    made = [read_photo(p).pixels for p in sorted(out.iterdir())]
    assert len(made) == 4 and torch.equal(made[0], BYTES)
    for image, truth, small in zip(made[1:], CLIP[1:], FRAMES[1:], strict=True):
        plain = torch.nn.functional.interpolate(to_float(small), (SIDE, SIDE), mode="bicubic")
        assert psnr(to_float(image), truth) > psnr(plain, truth) + 4


def test_a_video_keeps_its_rate_and_its_sound(photo: Path, tmp_path: Path) -> None:
    small, out = tmp_path / "small.mkv", tmp_path / "out.mp4"
    tone = torch.sin(torch.arange(8000) / 8000 * math.tau * 440)[None] * 0.5
    with ClipWriter(small, SMALL, SMALL, 8, codec="ffv1", sound=Sound(tone, 8000)) as writer:
        for frame in FRAMES * 2:
            writer.write(frame)
    assert run(photo, small, "-o", out, "--codec", "h264", "--quality", 80) == 0
    info = probe(out)
    assert (info.width, info.height, info.fps, info.has_audio) == (SIDE, SIDE, 8, True)
    heard = read_sound(out)
    assert heard is not None and float(heard.samples.abs().max()) > 0.2
    assert len(list(read_frames(out))) == 8


def test_one_picture_of_a_crop_that_is_found(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = tmp_path / "crop.png"
    write_still(crop, downsample(CLIP[1][..., 60:220, 40:200], (80, 80)).mul(255).round().byte())
    found, given = tmp_path / "found.png", tmp_path / "given.png"
    assert main(["lift", str(photo), str(crop), "-o", str(found)]) == 0
    assert "note: the frames show " in capsys.readouterr().err
    assert run(photo, crop, "-o", given, "--crop", "40,60,160") == 0
    a, b = read_photo(found).pixels, read_photo(given).pixels
    assert psnr(to_float(a), to_float(b)) > 25
    assert torch.equal(b[..., :60, :], BYTES[..., :60, :]) and not torch.equal(b, BYTES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.xyz"], "unknown suffix"),
        (["-o", "out.png"], "a picture holds one frame"),
        (["-o", "out.mp4", "--crop", "1,2"], "expected auto, whole, X,Y,SIDE"),
        (["-o", "out.mp4", "--crop", "900,0,50"], "does not lie in the photo"),
        (["-o", "out.mp4", "--codec", "prores"], "prores"),
    ],
)
def test_wrong_options_are_one_line(
    photo: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    given = [str(tmp_path / o) if o.startswith("out.") else o for o in options]
    assert run(photo, folder, *given) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_wrong_frames_are_one_line(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(photo, empty, "-o", tmp_path / "out.mp4") == 2
    assert "holds no pictures" in capsys.readouterr().err
    assert run(photo, tmp_path / "none.mp4", "-o", tmp_path / "out.mp4") == 2
    assert "does not exist" in capsys.readouterr().err
    stranger = tmp_path / "stranger.png"
    write_still(stranger, torch.full((1, 3, 64, 48), 90, dtype=torch.uint8))
    assert run(photo, stranger, "-o", tmp_path / "out.png") == 2
    assert "say where they were cut out" in capsys.readouterr().err
