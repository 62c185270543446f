"""``find``, ``prepare`` and ``--face auto`` at the command line, on the drawn portrait."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes import mediapipe_landmarks
from atw_nodes.cli import main
from atw_nodes.images import read_photo
from atw_nodes.types import MissingExtraError
from tests.conftest import ROOT
from tests.test_faces import PORTRAIT_EYES, needs_network


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
        im.resize((400, 400), Image.Resampling.BOX).save(path)
    return path


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "blank.png"
    Image.new("RGB", (80, 60), (120, 130, 140)).save(path)
    return path


@needs_network
def test_find_reports_json_and_draws(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["find", str(portrait), "--sheet", str(sheet)]) == 0
    out = capsys.readouterr()
    report = json.loads(out.out)
    assert out.err == "" and (report["width"], report["height"]) == (400, 400)
    (face,) = report["faces"]
    assert set(face) == {"box", "confidence", "eyes", "square", "units", "landmarks"}
    assert len(face["landmarks"]) == 478 and len(face["units"]) == 17
    assert np.allclose(face["eyes"], np.array(PORTRAIT_EYES) * 400, atol=7)
    assert np.allclose(face["square"], [60, 40, 280], atol=45)
    assert not torch.equal(read_photo(sheet).pixels, read_photo(portrait).pixels)


@needs_network
def test_find_reports_nothing_where_nothing_is(blank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["find", str(blank)]) == 0
    assert json.loads(capsys.readouterr().out)["faces"] == []


@needs_network
def test_auto_finds_the_face_and_leaves_the_rest(portrait: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert main(["animate", str(portrait), "-o", str(out), "--quiet"]) == 0
    before, after = read_photo(portrait).pixels, read_photo(out).pixels
    changed = (before != after).any(1)[0]
    assert bool(changed[200:300, 140:260].any())
    assert not bool(changed[:, :30].any()) and not bool(changed[350:].any())


@needs_network
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["animate", "BLANK", "-o", "OUT"], "no face number 1 in the photo of 80x60 (0 faces found)"),
        (["animate", "PORTRAIT", "-o", "OUT", "--face-index", "3"], "no face number 4"),
        (["prepare", "none", "-o", "OUT"], "is not a folder"),
        (["find", "none.png"], "does not exist"),
        (["find", "PORTRAIT", "--threshold", "2"], "expected 0.01 to 1"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    portrait: Path,
    blank: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = {"BLANK": blank, "PORTRAIT": portrait, "OUT": tmp_path / "out.png"}
    try:
        code = main([str(place.get(a, a)) for a in arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1


@needs_network
def test_prepare_aligns_a_folder(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "set"
    folder.mkdir()
    portrait.rename(folder / "drawn_neutral.png")
    Image.new("RGB", (50, 50)).save(folder / "black.png")
    assert main(["prepare", str(folder), "-o", str(out), "--quiet"]) == 0
    assert "1 faces; 1 photos skipped" in capsys.readouterr().err
    with (out / "manifest.csv").open(encoding="utf-8") as f:
        (row,) = csv.DictReader(f)
    assert (row["subject"], row["expression"]) == ("drawn", "neutral") and 0 <= float(row["AU12"]) <= 1.5


def test_mediapipe_is_asked_for_by_name() -> None:
    try:
        import mediapipe  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"atw-nodes\[landmarks\]"):
            mediapipe_landmarks.mediapipe_landmarks(torch.zeros(1, 3, 8, 8))
    else:
        assert mediapipe_landmarks.mediapipe_landmarks(torch.zeros(1, 3, 64, 64)) == []
