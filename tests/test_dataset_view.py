"""Data sets as a graph meets them: what a folder offers, what is in it, what was left out and why."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.dataset_view import MOST, listed, opened, overview, stamp, summary
from atw_nodes.types import InputError

from .tiny_training import drawn


def noise(file: Path, seed: int, side: int = 70) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def sorted_photos(root: Path) -> Path:
    for k, name in enumerate(("glad/a.png", "glad/b.png", "sad/c.png")):
        noise(root / name, k)
    return root


def test_manifests_and_folders_of_folders_are_offered(tmp_path: Path) -> None:
    drawn(tmp_path / "faces")
    sorted_photos(tmp_path / "deep" / "mine")
    noise(tmp_path / "alone" / "only" / "a.png", 1)  # one category is nothing to choose from
    noise(tmp_path / ".hidden" / "x" / "a.png", 1)
    noise(tmp_path / ".hidden" / "y" / "a.png", 1)
    (tmp_path / "other.csv").write_text("frame,AU12_r\n1,2\n")
    (tmp_path / "semicolons.csv").write_text("\ufeffcategory;Image\nglad;a.png\n", encoding="utf-8")
    (tmp_path / "bytes.csv").write_bytes(bytes(range(256)))
    assert listed(tmp_path) == ["semicolons.csv", "deep/mine", "faces/manifest.csv"]
    assert listed(tmp_path / "nowhere") == []


def test_the_input_folder_itself_is_no_data_set(tmp_path: Path) -> None:
    sorted_photos(tmp_path)  # as ComfyUI's own clipspace and pasted are
    assert listed(tmp_path) == []


def test_only_so_deep_and_so_many(tmp_path: Path) -> None:
    for folder in ("a/b/c", "a/b/c/d"):
        drawn(tmp_path / folder, count=2)
    assert listed(tmp_path) == ["a/b/c/manifest.csv"]
    (tmp_path / "many").mkdir()
    for k in range(MOST + 5):
        (tmp_path / "many" / f"{k}.csv").write_text("image\n")
    assert len(listed(tmp_path)) == MOST


def test_a_folder_of_folders_opens(tmp_path: Path) -> None:
    noise(sorted_photos(tmp_path) / "sad" / "small.png", 9, side=20)
    (tmp_path / "sad" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "sad" / "twice.png").write_bytes((tmp_path / "glad" / "a.png").read_bytes())
    noise(tmp_path / "loose.png", 5)
    seen: list[tuple[int, int]] = []
    manifest = opened(tmp_path, lambda done, total: seen.append((done, total)))
    assert manifest.categories == ("glad", "sad") and len(manifest.rows) == 3
    assert seen == [(k, 6) for k in range(1, 7)]
    why = {s.file: s.reason for s in manifest.skipped}
    assert set(why) == {"loose.png", "small.png", "broken.jpg", "twice.png"}
    assert "20x20" in why["small.png"] and "a.png" in why["twice.png"] and "no folder" in why["loose.png"]
    text = summary(manifest)
    assert text.splitlines()[:3] == ["3 photos", "categories: glad 2, sad 1", "4 left out:"]
    assert all(name in text for name in why)


def test_what_holds_no_photos_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no photos to train on .*1.png.*one folder a category"):
        opened(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "gone.csv")


def test_a_manifest_opens_by_its_file_or_folder(tmp_path: Path) -> None:
    file = drawn(tmp_path / "faces")
    with file.open("a") as f:
        f.write("lost.png,neutral,p9,0,0\n0.png,neutral,p9,7,0\n")
    manifest = opened(file)
    assert manifest == opened(tmp_path / "faces")
    assert summary(manifest).splitlines() == [
        "8 photos of 4 people",
        "categories: neutral 4, smiling 4",
        "action units: AU12, AU25",
        "2 left out:",
        *(f"  {s.file}: {s.reason}" for s in manifest.skipped),
    ]


def test_many_reasons_are_cut_short(tmp_path: Path) -> None:
    file = drawn(tmp_path)
    with file.open("a") as f:
        f.writelines(f"lost{k}.png,neutral,p,0,0\n" for k in range(15))
    lines = summary(opened(file)).splitlines()
    assert lines[3] == "15 left out:" and len(lines) == 3 + 1 + 12 + 1 and lines[-1] == "  and 3 more"


@pytest.mark.parametrize(("count", "size"), [(2, (150, 268)), (8, (150, 1060)), (40, (588, 1060))])
def test_the_overview_shows_up_to_32(tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    page = overview(opened(drawn(tmp_path, count)))
    assert page.dtype == torch.uint8 and tuple(page.shape) == (3, *size)
    for k in range(min(count, 32)):
        x, y = 4 + k % 8 * 132, 4 + k // 8 * 146
        assert page[:, y : y + 128, x : x + 128].float().std() > 5, k
        assert int(page[:, y + 129 : y + 145, x : x + 128].min()) < 128, "its label"


def test_a_stamp_changes_with_the_data(tmp_path: Path) -> None:
    file, photos = drawn(tmp_path / "faces"), sorted_photos(tmp_path / "mine")
    for place, change in (
        (file, lambda: file.write_text(file.read_text() + "\n")),
        (tmp_path / "faces", lambda: (file.parent / "landmarks.npy").write_bytes(b"x")),
        (photos, lambda: noise(photos / "sad" / "new.png", 7)),
        (photos, lambda: os.remove(photos / "sad" / "new.png")),
    ):
        before = stamp(place)
        assert before == stamp(place)
        change()
        assert before != stamp(place)
