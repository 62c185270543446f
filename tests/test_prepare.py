"""A folder of photos becomes a training set: a stand-in sees the faces."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes import prepare
from atw_nodes.data import read_faces
from atw_nodes.faces import Face, face_from_landmarks
from atw_nodes.files import reason
from atw_nodes.frames import EYE_X, EYE_Y
from atw_nodes.prepare import Preparation, who
from atw_nodes.signals import EYE_CORNERS, eye_centres
from atw_nodes.types import InputError, MissingExtraError, OutputError

SIDE = 300


def marks(apart: float, x: float = 150.0, y: float = 140.0) -> np.ndarray:
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (478, 2)) * apart
    for sign, corners in zip((-0.5, 0.5), EYE_CORNERS, strict=True):
        points[list(corners)] = (sign * apart, 0)
    return points + (x, y)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Face]]:
    """What is seen in a photo, by the red value of its first pixel."""
    known = {
        10: [face_from_landmarks(marks(60), SIDE, SIDE)],
        20: [face_from_landmarks(marks(60), SIDE, SIDE), face_from_landmarks(marks(30, 80, 90), SIDE, SIDE)],
        30: [],
        40: [face_from_landmarks(marks(8), SIDE, SIDE)],
    }
    calls: dict[str, list[Face]] = {}

    def see(image: torch.Tensor, source: str) -> list[Face]:
        calls[f"{len(calls)} {source}"] = known[int(image[0, 0, 0, 0])]
        return known[int(image[0, 0, 0, 0])]

    monkeypatch.setattr(prepare, "see", see)
    return calls


def photo(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pixels[..., 0] = np.arange(SIDE)[None] % 200
    pixels[0, 0, 0] = red
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "people"
    photo(photos / "anna_neutral.png", 10)
    photo(photos / "anna_smiling.png", 20)
    photo(photos / "sub" / "empty.png", 30)
    photo(photos / "tiny.png", 40)
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "notes.txt").write_text("not a photo by its name")
    return photos


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_the_set_is_what_training_reads(folder: Path, tmp_path: Path, seen: dict) -> None:
    out = tmp_path / "set"
    task = Preparation(folder, out)
    assert len(list(task.run())) == 5
    assert task.counts() == (2, 3)
    faces = read_faces(out, 128)
    assert [(r["subject"], r["expression"]) for r in faces.rows] == [("anna", "neutral"), ("anna", "smiling")]
    assert faces.pairs() == [(0, 1)]
    left, right = eye_centres(faces.landmarks[0].numpy())
    want = [(0.5 + s * EYE_X / 1.5, 0.5 + (EYE_Y - 0.5) / 1.5) for s in (-1, 1)]
    assert np.allclose([left, right], want, atol=1e-5)
    assert bool((faces.mattes == 1).all())
    crop = faces.images[0, 0]  # red rises to the right, as in the photo, by the frame's scale
    rise = 60 / (2 * EYE_X) * 1.5 / 192 / 255
    assert float((crop[96, 100] - crop[96, 80]) / 20) == pytest.approx(rise, rel=0.05)
    why = {r["file"]: r["reason"] for r in table(out / "skipped.csv")}
    assert "no face found" in why["sub/empty.png"]
    assert "too small" in why["tiny.png"] and "64" in why["tiny.png"]
    assert "broken.jpg" in why
    assert sorted(p.suffix for p in out.iterdir()) == [".csv", ".csv", ".npy", *[".png"] * 4]


def test_every_face_where_asked(folder: Path, tmp_path: Path, seen: dict) -> None:
    out = tmp_path / "set"
    task = Preparation(folder, out, all_faces=True, source="mediapipe")
    list(task.run())
    assert task.counts() == (3, 3)
    assert [r["face"] for r in table(out / "manifest.csv")] == ["0", "0", "1"]
    assert all(key.endswith("mediapipe") for key in seen)


def test_an_interrupted_run_goes_on(folder: Path, tmp_path: Path, seen: dict) -> None:
    out = tmp_path / "set"
    run = Preparation(folder, out).run()
    next(run)
    next(run)
    run.close()
    assert not (out / "manifest.csv").exists()
    asked = len(seen)
    with pytest.raises(OutputError, match="other settings"):
        Preparation(folder, out, size=128)
    task = Preparation(folder, out)
    list(task.run())
    assert task.counts() == (2, 3)
    assert len(seen) == asked + 3 - 1  # the rest only; the broken file never gets that far
    with pytest.raises(OutputError, match="not empty"):
        Preparation(folder, out)


def test_photos_that_came_later_are_not_mixed_in(folder: Path, tmp_path: Path, seen: dict) -> None:
    out = tmp_path / "set"
    run = Preparation(folder, out).run()
    next(run)
    run.close()
    photo(folder / "aaa_neutral.png", 10)
    with pytest.raises(OutputError, match="or photos"):
        Preparation(folder, out)


@pytest.mark.parametrize("fault", [OutputError("disk full"), MissingExtraError("no mediapipe")])
def test_what_is_no_fault_of_a_photo_ends_the_run(
    fault: Exception, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def see(image: torch.Tensor, source: str) -> list[Face]:
        raise fault

    monkeypatch.setattr(prepare, "see", see)
    with pytest.raises(type(fault)):
        list(Preparation(folder, tmp_path / "set").run())
    assert not (tmp_path / "set" / "manifest.csv").exists()


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        Preparation(folder, out)
    with pytest.raises(OutputError, match="lies in"):
        Preparation(folder, folder / "set")
    with pytest.raises(OutputError, match="not empty"):
        Preparation(folder, out / "mine.txt")
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        Preparation(tmp_path / "none", tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no photos"):
        Preparation(tmp_path / "empty", tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anna_smiling.jpg", ("people", "anna", "smiling")),
        ("anna-neutral.jpg", ("people", "anna", "neutral")),
        ("happy/007.jpg", ("people", "007", "happy")),
        ("anna/neutral.jpg", ("people", "anna", "neutral")),
        ("img_1234.jpg", ("people", "img_1234", "unknown")),
    ],
)
def test_names_say_who(name: str, expected: tuple[str, str, str], tmp_path: Path) -> None:
    folder = tmp_path / "people"
    assert who(folder / name, folder) == expected


def test_reasons_are_one_line() -> None:
    assert reason(ValueError("two\nlines")) == "two lines"
