"""``animate`` of several faces: all of them, some of them, each with its own estimate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atw_nodes.cli import main
from atw_nodes.clips import read_frames
from atw_nodes.faces import Face, find
from atw_nodes.images import read_photo, write_still
from atw_nodes.pyramid import downsample
from tests.conftest import ROOT

SIDE = 320


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn portrait twice, the right one a little smaller."""
    whole = read_photo(ROOT / "assets" / "portrait-4k.jpg").pixels
    left, right = (downsample(whole, (n, n)) for n in (SIDE, SIDE - 40))
    page = torch.full((1, 3, SIDE, 2 * SIDE), 0.5)
    page[..., :SIDE] = left
    page[..., : SIDE - 40, SIDE : 2 * SIDE - 40] = right
    path = tmp_path_factory.mktemp("two") / "two.png"
    write_still(path, (page.clamp(0, 1) * 255).round().byte())
    return path


@pytest.fixture(scope="module")
def faces(two: Path) -> list[Face]:
    found = find(read_photo(two).pixels)
    assert len(found) == 2 and found[0].frame.sides[0] > found[1].frame.sides[0]
    return found


def run(*args: object) -> int:
    return main(["animate", *(str(a) for a in args), "--quiet"])


def changes(two: Path, out: Path) -> tuple[bool, bool]:
    """Whether the left and the right half changed."""
    changed = (read_photo(two).pixels != read_photo(out).pixels).any(1)[0]
    return bool(changed[:, :SIDE].any()), bool(changed[:, SIDE:].any())


def test_all_or_some(two: Path, faces: list[Face], tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    wanted = (
        (("--face", "all"), (True, True)),
        ((), (True, False)),
        (("--face-index", "1"), (False, True)),
        (("--face-index", "1,0"), (True, True)),
    )
    for options, moves in wanted:
        assert run(two, "-o", out, "--checkpoint", tiny_checkpoint, "--au", "AU12=1", *options) == 0
        left, right = changes(two, out)
        outside = torch.ones(SIDE, 2 * SIDE, dtype=torch.bool)
        for face in faces:
            x0, y0, x1, y1 = face.frame.bounds()
            outside[y0:y1, x0:x1] = False
        changed = (read_photo(two).pixels != read_photo(out).pixels).any(1)[0]
        assert (left, right) == moves and not bool(changed[outside].any())


def test_zero_is_the_photo_and_a_clip_has_its_frames(
    two: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    wanted = ("--checkpoint", tiny_checkpoint, "--face", "all", "--frames", 3, "--curve", "pulse")
    assert run(two, "-o", out, *wanted) == 0
    shown = [read_photo(p).pixels for p in sorted(out.iterdir())]
    assert len(shown) == 3 and torch.equal(shown[0], read_photo(two).pixels)
    assert not torch.equal(shown[1], shown[0])
    clip = tmp_path / "clip.mp4"
    assert run(two, "-o", clip, *wanted) == 0
    assert len(list(read_frames(clip))) == 3


def test_each_face_has_its_own_target(
    two: Path, faces: list[Face], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import atw_nodes.faces as seeing

    full = {"AU10": 0.4, "AU12": 0.7, "AU25": 0.5}  # the second smiles already, as far as it is asked to
    seen = [replace(faces[0], units={}), replace(faces[1], units=full)]
    monkeypatch.setattr(seeing, "see", lambda image, source: seen)
    out = tmp_path / "out.png"
    common = (two, "-o", out, "--checkpoint", tiny_checkpoint, "--face", "all", "--expression", "smiling")
    assert run(*common) == 0 and changes(two, out) == (True, False)
    assert run(*common, "--no-estimate") == 0 and changes(two, out) == (True, True)


def test_sheet_shows_every_face(two: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    common = ("--checkpoint", tiny_checkpoint, "--face", "all", "--sheet", sheet)
    assert run(two, "-o", tmp_path / "o.png", *common) == 0
    assert read_photo(sheet).pixels.shape[-2] == 28 + 4 * 390 + 6


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--face-index", "0,5"), "no face number 6 in the photo of 640x320 (2 faces found)"),
        (("--face", "all", "--face-index", "1"), "--face-index is for --face auto, not all"),
    ],
)
def test_errors(
    two: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(two, "-o", tmp_path / "o.png", "--checkpoint", tiny_checkpoint, *options) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ranks", "text"), [("1,1", "names a face twice"), ("a", "expected 0, or 0,2"), ("-1", "out of range")]
)
def test_ranks(two: Path, tmp_path: Path, ranks: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(two, "-o", tmp_path / "o.png", f"--face-index={ranks}")
    assert end.value.code == 2 and text in capsys.readouterr().err


def test_nobody(tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.png"
    write_still(empty, torch.zeros(1, 3, 90, 90, dtype=torch.uint8))
    assert run(empty, "-o", tmp_path / "o.png", "--checkpoint", tiny_checkpoint, "--face", "all") == 2
    assert "no face number 1 in the photo of 90x90 (0 faces found)" in capsys.readouterr().err
