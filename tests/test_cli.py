"""The command line on good and bad input: right results, or one line on stderr and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.checkpoints import load_checkpoint, read_tensors, write_tensors
from atw_nodes.cli import main
from atw_nodes.clips import probe, read_frames
from atw_nodes.images import read_photo, write_still
from tests.conftest import photo_like


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_still(path, (photo_like(121, 97) * 255).round().byte())
    return path


def run(*args: object) -> int:
    """``animate`` on pictures without a face: the whole is the frame, the expression a raw change."""
    given = [str(a) for a in args]
    given += [] if "--face" in given else ["--face", "whole"]
    return main(["animate", *given, "--no-estimate", "--quiet"])


def test_still_differs_inside_the_face_box_only(photo: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint, "--face", "20,30,60") == 0
    before, after = read_photo(photo).pixels, read_photo(out).pixels
    changed = (before != after).any(1)[0]
    assert bool(changed[35:85, 25:75].any())
    changed[30:90, 20:80] = False
    assert not bool(changed.any())


def test_zero_strength_is_the_photo_bit_for_bit(photo: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    for mode in ("aligned", "vanilla", "multiscale"):
        assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint, "--strength", 0, "--mode", mode) == 0
        assert torch.equal(read_photo(out).pixels, read_photo(photo).pixels)


def test_a_folder_of_frames_follows_the_curve(photo: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint, "--frames", 5, "--curve", "pingpong") == 0
    frames = [read_photo(p).pixels.float() for p in sorted(out.iterdir())]
    assert len(frames) == 5
    assert torch.equal(frames[0], read_photo(photo).pixels.float())
    assert torch.equal(frames[0], frames[4])
    assert torch.equal(frames[1], frames[3])
    far, near = (float((f - frames[0]).abs().mean()) for f in (frames[2], frames[1]))
    assert far > near > 0


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_clips(
    photo: Path, tiny_checkpoint: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"clip{suffix}"
    assert (
        run(photo, "-o", out, "--checkpoint", tiny_checkpoint, "--frames", 6, "--fps", 10, "--curve", "ease")
        == 0
    )
    frames = list(read_frames(out))
    assert len(frames) == 6
    padded = suffix in (".mp4", ".webm")  # 97 x 121 is odd, 4:2:0 is not
    assert tuple(frames[0].shape[-2:]) == ((122, 98) if padded else (121, 97))
    assert ("4:2:0" in capsys.readouterr().err) == padded
    assert float(probe(out).duration) == pytest.approx(0.6, abs=0.02)


def test_contact_sheet(photo: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert (
        run(
            photo,
            "-o",
            tmp_path / "o.png",
            "--checkpoint",
            tiny_checkpoint,
            "--sheet",
            sheet,
            "--face",
            "10,10,90",
        )
        == 0
    )
    image = read_photo(sheet).pixels
    assert image.shape[-1] == 6 * 390 + 6  # photo, motion, coarse, refined, warped residual, final


def test_alpha_moves_with_the_face_and_is_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "cut.png", tmp_path / "out.png"
    rgb = (photo_like(80, 80) * 255).byte()
    alpha = torch.zeros(1, 1, 80, 80, dtype=torch.uint8)
    alpha[..., 20:60, 20:60] = 255
    write_still(photo, rgb, alpha=alpha)
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint) == 0
    result = read_photo(out).alpha
    assert result is not None
    assert not torch.equal(result, alpha)
    assert float((result.float() - alpha.float()).abs().mean()) < 60


def test_icc_and_exif_survive_and_orientation_is_applied(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    photo, out = tmp_path / "turned.jpg", tmp_path / "out.jpg"
    Image.fromarray(np.zeros((40, 64, 3), np.uint8)).save(photo, exif=exif, icc_profile=profile)
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint) == 0
    with Image.open(out) as im:
        assert im.size == (40, 64)  # upright now
        assert im.getexif()[0x010F] == "Maker"
        assert im.getexif().get(0x0112, 1) == 1
        assert im.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "I;16", "RGBA"])
def test_every_kind_of_image(mode: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / ("in.tif" if mode == "CMYK" else "in.png"), tmp_path / "out.png"
    grey = (np.linspace(0, 1, 64)[None] * np.ones((48, 1)) * 255).astype(np.uint8)
    image = (
        Image.fromarray(grey.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(grey).convert("RGB").convert(mode)
    )
    image.save(photo)
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint, "--strength", 0) == 0
    before, after = (unit(read_photo(path).pixels) for path in (photo, out))
    assert float((before - after).abs().max()) < 1e-7
    if mode in ("L", "I;16"):
        assert float((after[0, 0, 5] * 255 - torch.from_numpy(grey[5])).abs().max()) < 1e-3


def unit(pixels: torch.Tensor) -> torch.Tensor:
    """Values in 0..1, whatever the depth they were read at."""
    return pixels.double() / 255 if pixels.dtype == torch.uint8 else pixels.double()


def test_one_pixel(tiny_checkpoint: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "dot.png", tmp_path / "out.png"
    Image.new("RGB", (1, 1), (9, 8, 7)).save(photo)
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint) == 0
    assert read_photo(out).pixels.shape == (1, 3, 1, 1)


def bad_inputs(tmp: Path) -> dict[str, tuple[list[object], str]]:
    text = tmp / "text.jpg"
    text.write_text("not an image")
    empty = tmp / "empty.png"
    empty.write_bytes(b"")
    good = tmp / "photo.png"
    cut = tmp / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    tensors, meta = read_tensors(tmp / "tiny.safetensors")
    first = next(iter(tensors))
    write_tensors(tmp / "nan.safetensors", {**tensors, first: tensors[first] * torch.nan}, meta)
    o, c = ["-o", tmp / "result.png"], ["--checkpoint", tmp / "tiny.safetensors"]
    return {
        "missing": ([tmp / "none.jpg", *o, *c], "none.jpg"),
        "text": ([text, *o, *c], "text.jpg"),
        "empty": ([empty, *o, *c], "0 bytes"),
        "cut": ([cut, *o, *c], "cut.png"),
        "folder": ([tmp, *o, *c], "folder"),
        "suffix": ([good, "-o", tmp / "result.xyz", *c], "unknown suffix"),
        "no parent": ([good, "-o", tmp / "none" / "result.png", *c], "there is no folder"),
        "parent is a file": ([good, "-o", good / "result.png", *c], "there is no folder"),
        "checkpoint": ([good, *o, "--checkpoint", "nothing"], "no such checkpoint"),
        "nan": ([good, *o, "--checkpoint", tmp / "nan.safetensors"], "NaN"),
        "face": ([good, *o, *c, "--face", "left"], "X,Y,SIDE"),
        "face outside": ([good, *o, *c, "--face", "900,900,50"], "outside the photo"),
        "auto": ([good, *o, *c, "--face", "auto"], "or whole for a head shot"),
        "expression": ([good, *o, *c, "--expression", "envy"], "it knows neutral, smiling"),
        "strength": ([good, *o, *c, "--strength", "2"], "expected 0 to 1.5"),
        "strength nan": ([good, *o, *c, "--strength", "nan"], "expected 0 to 1.5"),
        "frames": ([good, *o, *c, "--frames", "0"], "expected 1 to"),
        "fps": ([good, *o, *c, "--fps", "0"], "expected 0.1 to 240"),
        "device": ([good, *o, *c, "--device", "toaster"], "--device toaster"),
        "sheet": ([good, *o, *c, "--sheet", tmp / "sheet.mp4"], "expected a picture"),
        "hub": ([good, *o, "--checkpoint", "hf://a/b"], "hf://owner/repo"),
    }


@pytest.mark.parametrize("case", [
    "missing", "text", "empty", "cut", "folder", "suffix", "no parent", "parent is a file", "checkpoint", "nan", "face",
    "face outside", "auto", "expression", "strength", "strength nan", "frames", "fps", "device", "sheet", "hub",
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, photo: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, message = bad_inputs(photo.parent)[case]
    before = {p.name for p in photo.parent.iterdir()}
    try:
        code = run(*args)
    except SystemExit as e:  # argparse
        code = int(e.code or 0)
    err = capsys.readouterr().err
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert {p.name for p in photo.parent.iterdir()} == before  # nothing half-written


def test_an_error_in_the_middle_of_a_clip_leaves_nothing(
    photo: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from atw_nodes import video

    out = tmp_path / "clip.mp4"
    out.write_bytes(b"an older result")
    original, calls = video.ClipWriter.write, []

    def fail(self: video.ClipWriter, *args: object, **kwargs: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(video.ClipWriter, "write", fail)
    assert run(photo, "-o", out, "--checkpoint", tiny_checkpoint) == 2
    assert "out of memory" in capsys.readouterr().err
    assert out.read_bytes() == b"an older result"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "photo.png", "tiny.safetensors"]


def test_interrupting_leaves_nothing(
    photo: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atw_nodes import video

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video.ClipWriter, "write", stop)
    assert run(photo, "-o", tmp_path / "clip.mp4", "--checkpoint", tiny_checkpoint) == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.png", "tiny.safetensors"]


def test_as_a_program(photo: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    command = [
        sys.executable,
        "-m",
        "atw_nodes",
        "animate",
        photo,
        "-o",
        out,
        "--checkpoint",
        tiny_checkpoint,
        "--frames",
        "3",
        "--face",
        "whole",
        "--no-estimate",
    ]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert probe(out).frames == 3
    assert load_checkpoint(tiny_checkpoint).path == tiny_checkpoint


def test_motion_that_folds_is_said_and_can_be_smoothed(
    photo: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny checkpoint's motion is random: it folds."""
    given = ("--checkpoint", tiny_checkpoint, "--face", "whole")
    plain, again, soft, softer = (tmp_path / f"{n}.png" for n in ("plain", "again", "soft", "softer"))
    assert run(photo, "-o", plain, *given) == 0
    said = capsys.readouterr().err
    assert said.startswith("note: the motion folds over itself in ") and said.endswith("--smooth 1\n")
    assert run(photo, "-o", again, *given, "--smooth", 0) == 0
    assert again.read_bytes() == plain.read_bytes()
    capsys.readouterr()
    assert run(photo, "-o", soft, *given, "--smooth", 3) == 0
    worse, better = (float(t.split("in ")[1].split("%")[0]) for t in (said, capsys.readouterr().err))
    assert better < 0.7 * worse
    assert run(photo, "-o", softer, *given, "--smooth", 10) == 0
    assert capsys.readouterr().err == ""
    assert soft.read_bytes() != plain.read_bytes() != softer.read_bytes()
    with pytest.raises(SystemExit):
        run(photo, "-o", plain, *given, "--smooth", 11)
