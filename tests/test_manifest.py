"""Manifests: every kind of bad row is left out with its reason, and photos that vanish later are replaced."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes import pictures as pictures_module
from atw_nodes.images import read_photo
from atw_nodes.manifest import Manifest, Pictures, Row, read_manifest, write_manifest
from atw_nodes.pictures import read_square
from atw_nodes.types import InputError, OutputError


def photo(path: Path, level: int, size: tuple[int, int] = (80, 72), **options: object) -> Path:
    """A photo of one grey, unlike those of other levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path, **options)  # type: ignore[arg-type]
    return path


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(5):
        photo(tmp_path / f"{k}.png", 40 * k)
    return tmp_path


def reasons(manifest: Manifest) -> dict[str, str]:
    return {s.file: s.reason for s in manifest.skipped}


def test_columns_mean_what_they_say(folder: Path) -> None:
    table(
        folder / "manifest.csv",
        "image,category,AU12,au1_r, AU25 ,set,subject,matte,hobby\n"
        "0.png,sad,0.5,2.5,,london,7,1.png,chess\n"
        "2.png,unknown,1.2,0,0.25,,,,\n"
        "\n"
        "3.png,happy,-0.01,,,,anna,,\n",
    )
    found = read_manifest(folder)
    a, b, c = found.rows
    assert found.path == folder / "manifest.csv" and found.margin == 1.0
    assert (a.category, dict(a.units), a.subject) == ("sad", {"AU12": 0.5, "AU01": 0.5}, "london/7")
    assert (a.image, a.matte, b.matte) == (folder / "0.png", folder / "1.png", None)
    assert (b.category, dict(b.units)) == (None, {"AU12": 1.0, "AU01": 0.0, "AU25": 0.25})
    assert (c.subject, dict(c.units)) == ("anna", {"AU12": 0.0})
    assert found.categories == ("happy", "sad") and found.units == ("AU01", "AU12", "AU25")
    assert found.ignored == ("hobby",) and found.skipped == ()
    assert all(r.landmarks is None for r in found.rows)


def test_every_kind_of_bad_row_is_left_out_with_its_reason(folder: Path) -> None:
    photo(folder / "tiny.png", 9, (200, 63))
    (folder / "text.jpg").write_text("not a photo")
    (folder / "empty.jpg").write_bytes(b"")
    whole = photo(folder / "whole.jpg", 90, (300, 300)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    bad = {
        "none.png,0,": "does not exist",
        "tiny.png,0,": "is 200x63 pixels; expected 64",
        "text.jpg,0,": "is not an image",
        "empty.jpg,0,": "is empty",
        "cut.jpg,0,": "is damaged or cut short",
        "copy.png,0,": "the same picture as 0.png",
        "0.png,1,": "the same picture as 0.png",
        "1.png,high,": "AU12 is 'high'; expected a number",
        "./1.png,nan,": "AU12 is 'nan'; expected a number",
        "../x/1.png,3,": "AU12 is 3; expected 0 to 1 (or a column AU12_r of 0 to 5)",
        "2.png,-0.5,": "AU12 is -0.5",
        "3.png,0": "has 2 cells for 3 columns",
        "4.png,0,gone.png": "gone.png does not exist",
        ",0,": "names no image",
    }
    table(folder / "list.csv", "image,AU12,matte\n0.png,0.1,\n" + "\n".join(bad) + "\n1.png,0.2,\n")
    calls: list[tuple[int, int]] = []
    found = read_manifest(folder / "list.csv", progress=lambda done, total: calls.append((done, total)))
    assert [r.image.name for r in found.rows] == ["0.png", "1.png"]
    told = [f"{s.file}: {s.reason}" for s in found.skipped]
    for line, why in bad.items():
        name = line.split(",")[0] or "row 15"
        assert any(t.startswith(f"{name}: ") and why in t for t in told), (line, told)
    assert len(told) == len(bad)
    assert calls == [(k, 10) for k in range(1, 11)]  # the rows whose labels can be read


def test_without_check_no_photo_is_opened(folder: Path) -> None:
    table(folder / "manifest.csv", "image\nnone.png\n0.png\n")
    assert len(read_manifest(folder, check=False).rows) == 2
    assert len(read_manifest(folder).rows) == 1


def test_what_prepare_makes_has_landmarks_and_a_margin(folder: Path) -> None:
    marks = np.zeros((3, 478, 2), np.float32)
    marks[1] = np.nan
    np.save(folder / "landmarks.npy", marks)
    table(folder / "manifest.csv", "image,expression\n0.png,neutral\n1.png,sad\n2.png,sad\n")
    found = read_manifest(folder)
    assert [(r.category, r.landmarks) for r in found.rows] == [("neutral", 0), ("sad", 2)]
    assert found.margin == 1.5 and "no face" in reasons(found)["1.png"]
    table(folder / "manifest.csv", "image,landmarks,margin\n0.png,2,1.25\n1.png,3,1.25\n2.png,,1.25\n")
    found = read_manifest(folder)
    assert [(r.image.name, r.landmarks) for r in found.rows] == [("0.png", 2), ("2.png", None)]
    assert found.margin == 1.25 and "0 to 2" in reasons(found)["1.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,AU12\n0.png,1\n", "has no column image; it has file, AU12"),
        ("image\n", "has a header but no rows"),
        ("image,AU12\nnone.png,0\nalso.png,0\n", "none of 2 rows can be used (none.png: does not exist"),
        ("image,AU12,AU12_r\n0.png,0,0\n", "AU12 in two columns, AU12 and AU12_r"),
        ("image,margin\n0.png,1\n1.png,1.5\n", "margins of 1 and 1.5"),
        ("image,margin\n0.png,0.5\n", "a margin of 0.5; expected 1"),
        ("image,margin\n0.png,wide\n", "margin is 'wide'"),
        ("image,landmarks\n0.png,0\n", "there is no"),
        ("image,note\n0.png,\xff\n", "no text in UTF-8"),
    ],
)
def test_errors_name_what_was_found(text: str, message: str, folder: Path) -> None:
    (folder / "manifest.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_manifest(folder)
    assert message in str(error.value) and "manifest.csv" in str(error.value)


def test_other_files_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_manifest(folder / "none.csv")
    np.save(folder / "landmarks.npy", np.zeros((4, 478, 2)))
    table(folder / "manifest.csv", "image\n0.png\n")
    with pytest.raises(InputError, match=r"has shape \(4, 478, 2\), expected \(1, 478, 2\)"):
        read_manifest(folder)
    np.save(folder / "landmarks.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(folder)


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    rows = (
        Row(folder / "0.png", "sad", {"AU12": 0.1, "AU01": 1 / 3}, "london/7", folder / "1.png"),
        Row(folder / "2.png", None, {}, "anna"),
    )
    write_manifest(folder / "out.csv", rows, margin=1.25)
    found = read_manifest(folder / "out.csv")
    assert found.rows == rows and found.margin == 1.25
    with (folder / "out.csv").open(encoding="utf-8") as f:
        lines = list(csv.reader(f))
    assert lines[0] == ["image", "category", "subject", "matte", "margin", "AU01", "AU12"]
    assert [line[0] for line in lines[1:]] == ["0.png", "2.png"]
    (folder / "deep").mkdir()
    write_manifest(folder / "deep" / "out.csv", rows[1:])
    assert read_manifest(folder / "deep" / "out.csv").rows == rows[1:]  # a file outside: by its full path


def test_nothing_is_overwritten(folder: Path) -> None:
    table(folder / "mine.csv", "precious")
    with pytest.raises(OutputError, match="already exists"):
        write_manifest(folder / "mine.csv", [Row(folder / "0.png")])
    with pytest.raises(InputError, match="no rows"):
        write_manifest(folder / "new.csv", [])
    assert (folder / "mine.csv").read_text() == "precious" and not (folder / "new.csv").exists()


# Pictures


def manifest_of(folder: Path, n: int = 5) -> Manifest:
    return Manifest(folder / "manifest.csv", tuple(Row(folder / f"{k}.png") for k in range(n)))


def levels(images: torch.Tensor) -> list[int]:
    assert images.dtype == torch.uint8
    return [int(i[0, 0, 0]) for i in images]


def test_pictures_come_in_the_order_asked_for(folder: Path) -> None:
    with Pictures(manifest_of(folder), 16) as pictures:
        images, used = pictures.get([3, 1, 3])
        assert images.shape == (3, 3, 16, 16) and images.is_contiguous()
        assert levels(images) == [120, 40, 120] and used == [3, 1, 3]
        assert pictures.get([])[0].shape == (0, 3, 16, 16)
        with pytest.raises(IndexError, match="row 5 of a manifest of 5"):
            pictures.get([5])


def test_a_picture_that_vanishes_is_replaced_by_the_next(folder: Path) -> None:
    for gone in ("3.png", "4.png"):
        (folder / gone).unlink()
    with Pictures(manifest_of(folder), 16, budget=0) as pictures:
        for _ in range(2):
            images, used = pictures.get([2, 3, 4])
            assert used == [2, 0, 0] and levels(images) == [80, 0, 0]
        assert [Path(s.file).name for s in pictures.failed] == ["3.png", "4.png"]
        assert all(s.reason.startswith("does not exist") for s in pictures.failed)
        (folder / "0.png").write_bytes(b"junk")  # later, at epoch 3
        images, used = pictures.get([4, 0, 1])
        assert used == [1, 1, 1] and levels(images) == [40, 40, 40]
        assert len(pictures.failed) == 3


def test_no_picture_left_is_an_error(folder: Path) -> None:
    for file in folder.glob("*.png"):
        file.unlink()
    with (
        Pictures(manifest_of(folder), 16) as pictures,
        pytest.raises(InputError, match=r"none of the 5 photos .*png: does not exist"),
    ):
        pictures.get([1])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were decoded."""
    names: list[str] = []

    def counted(path: Path, side: int) -> np.ndarray:
        names.append(path.name)
        return read_square(path, side)

    monkeypatch.setattr(pictures_module, "read_square", counted)
    return names


def test_memory_is_kept_to_the_budget(folder: Path, decoded: list[str]) -> None:
    with Pictures(manifest_of(folder), 16, budget=2 * 3 * 16 * 16 + 5) as pictures:
        for k in (0, 1, 2, 0, 1, 2):
            assert levels(pictures.get([k])[0]) == [40 * k]
    assert decoded == ["0.png", "1.png", "2.png", "2.png"]  # two are kept


def test_ahead_decodes_before_it_is_asked(
    folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pictures(manifest_of(folder), 16, budget=0, workers=1) as pictures:
        pictures.ahead([2, 3])
        pictures.ahead([2])
        assert levels(pictures.get([3, 2])[0]) == [120, 80]
        assert decoded == ["2.png", "3.png"]
        monkeypatch.setattr(pictures_module, "AHEAD", 1)
        pictures.ahead([0, 1, 4])
        assert len(pictures._waiting) == 1
        (folder / "1.png").unlink()
        pictures.ahead([1])
        assert pictures.get([1])[1] == [2]


def test_close_ends_the_threads(folder: Path) -> None:
    before = threading.active_count()
    pictures = Pictures(manifest_of(folder), 16)
    pictures.get(range(5))
    assert threading.active_count() > before
    pictures.close()
    assert threading.active_count() == before


def test_a_square_is_the_middle_and_smooth(tmp_path: Path) -> None:
    pixels = np.zeros((100, 301, 3), np.uint8)
    pixels[:, 100:200] = 200
    pixels[:, ::2] //= 2  # stripes of one pixel, which must not alias
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    square = read_square(tmp_path / "wide.png", 20).astype(int)
    assert square.shape == (20, 20, 3)
    assert np.abs(square[:, 2:-2] - 150).max() <= 6
    Image.fromarray(pixels[:, 100:200]).save(tmp_path / "same.png")
    assert np.array_equal(read_square(tmp_path / "same.png", 100), pixels[:, 100:200])
    big = read_square(tmp_path / "same.png", 150)
    assert big.shape == (150, 150, 3) and abs(float(big.mean()) - 150) < 2


def test_a_large_jpeg_keeps_its_detail(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 255, (64, 64, 1), np.uint8)
    pixels = np.repeat(blocks.repeat(4, 0).repeat(4, 1), 3, 2)
    Image.fromarray(pixels).save(tmp_path / "blocks.jpg", quality=98, subsampling=0)
    Image.fromarray(pixels).save(tmp_path / "blocks.png")
    jpeg, png = (read_square(tmp_path / f"blocks.{kind}", 64).astype(int) for kind in ("jpg", "png"))
    assert np.abs(jpeg - png).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_square_is_upright(orientation: int, tmp_path: Path) -> None:
    pixels = np.full((90, 131, 3), 20, np.uint8)
    pixels[:30, :60] = (250, 20, 20)
    pixels[60:, 90:] = (20, 20, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_photo(tmp_path / "turned.png").pixels[0].permute(1, 2, 0).numpy()
    Image.fromarray(upright).save(tmp_path / "upright.png")
    turned, want = (read_square(tmp_path / f"{n}.png", 45) for n in ("turned", "upright"))
    assert np.abs(turned.astype(int) - want).max() <= 1
    assert int(want.max()) > 200


def test_squares_of_other_kinds_of_files(tmp_path: Path) -> None:
    grey = np.full((70, 70), 100, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.merge("RGBA", [Image.fromarray(grey)] * 4).save(tmp_path / "alpha.png")
    photo(tmp_path / "large.jpg", 100, (1600, 1200))
    for name in ("grey.png", "palette.gif", "deep.png", "alpha.png", "large.jpg"):
        square = read_square(tmp_path / name, 64)
        assert square.shape == (64, 64, 3) and np.abs(square.astype(int) - 100).max() <= 1, name
