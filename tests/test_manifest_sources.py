"""Published data sets in miniature, each in the format that it is published in, and the command that reads them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atw_nodes.cli import main
from atw_nodes.manifest import Row, read_manifest
from atw_nodes.manifest_sources import (
    Found,
    aligned,
    from_celeba,
    from_emotionet,
    from_folders,
    from_openface,
    from_rafd,
)
from atw_nodes.types import InputError


def photos(folder: Path, *names: str) -> Path:
    """Photos unlike each other."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 70), (k, 10 * k, 99)).save(folder / name)
    return folder


def named(found: Found) -> dict[str, Row]:
    return {row.image.name: row for row in found.rows}


def why(found: Found) -> dict[str, str]:
    assert len({s.file for s in found.skipped}) == len(found.skipped)
    return {s.file: s.reason for s in found.skipped}


# CelebA


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    photos(tmp_path / "img_align_celeba", "000001.jpg", "000002.jpg", "000003.jpg")
    (tmp_path / "list_attr_celeba.txt").write_text(
        "5\n5_o_Clock_Shadow Mouth_Slightly_Open Smiling Young \n"
        "000001.jpg -1  1  1  1\n000002.jpg  1 -1 -1  1\n"
        "000003.jpg -1 -1  7  1\n000004.jpg -1 -1  1  1\n000005.jpg -1 -1\n"
    )
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n")
    return tmp_path


def test_celeba(celeba: Path) -> None:
    table = celeba / "list_attr_celeba.txt"
    found = from_celeba(celeba / "img_align_celeba", table, identities=celeba / "identity_CelebA.txt")
    rows = named(found)
    assert {n: (r.category, r.subject) for n, r in rows.items()} == {
        "000001.jpg": ("smiling", "2880"),
        "000002.jpg": ("not smiling", "2937"),
    }
    assert rows["000001.jpg"].image == celeba / "img_align_celeba" / "000001.jpg"
    reasons = why(found)
    assert reasons["000003.jpg"] == "Smiling is 7; expected 1 or -1"
    assert "is not in" in reasons["000004.jpg"] and "missing" in reasons["000005.jpg"]
    assert len(reasons) == 3
    open_mouths = from_celeba(celeba, table, "Mouth_Slightly_Open", absent="neutral")
    assert [r.category for r in open_mouths.rows] == ["mouth slightly open", "neutral", "neutral"]
    with pytest.raises(InputError, match="no attribute 'Grin'; it has 5_o_Clock_Shadow, Mouth"):
        from_celeba(celeba, table, "Grin")


def test_celeba_of_kaggle(celeba: Path) -> None:
    table = celeba / "list_attr_celeba.csv"
    table.write_text("image_id,Male,Smiling\n000001.jpg,-1,-1\n000002.jpg,1,1\n")
    photos(celeba / "img_align_celeba" / "img_align_celeba", "000002.png")
    found = from_celeba(celeba / "img_align_celeba" / "img_align_celeba", table)
    assert [(r.image.name, r.category) for r in found.rows] == [("000002.png", "smiling")]
    assert list(why(found)) == ["000001.jpg"]


def test_a_cut_celeba_table_is_noticed(celeba: Path) -> None:
    table = celeba / "list_attr_celeba.txt"
    table.write_text("202599\nSmiling\n000001.jpg 1\n")
    found = from_celeba(celeba, table)
    assert len(found.rows) == 1 and why(found) == {table.name: "says 202599 photos but lists 1; is it whole?"}


# RaFD


def test_rafd(tmp_path: Path) -> None:
    shown = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
    names = [f"Rafd090_01_Caucasian_female_{e}_frontal.jpg" for e in shown]
    names += [
        "Rafd045_01_Caucasian_female_sad_left.jpg",
        "Rafd090_71_Moroccan_male_sad_left.jpg",
        "Rafd090_40_Kid_male_sad_right.JPG",
        "Rafd090_41_Kid_male_bored_right.jpg",
        "holiday.jpg",
    ]
    found = from_rafd(photos(tmp_path, *names))
    rows = named(found)
    assert [rows[n].category for n in names[:8]] == [
        *("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    ]
    assert {rows[n].subject for n in names[:8]} == {"01"} and rows[names[10]].subject == "40"
    assert len(rows) == 10
    reasons = why(found)
    assert "camera is at 045" in reasons[names[8]] and "bored is none of" in reasons[names[11]]
    assert "none of RaFD's" in reasons["holiday.jpg"]
    frontal = from_rafd(tmp_path, angles=("045", "090"), gazes=("frontal", "left"))
    assert len(frontal.rows) == 10 and names[8] in named(frontal)
    assert why(frontal)[names[10]] == "the gaze is right, wanted frontal, left"


# EmotioNet

URL = "https://s3.us-east-2.amazonaws.com/emotionet/Images/N_0000000001"


def au_line(name: str, sep: str = "\t", **flags: object) -> str:
    values = [str(flags.get(f"AU{n}", 999)) for n in range(1, 61)]
    return sep.join([f"{URL}/{name}", f"http://example.org/{name}", *values])


def test_emotionet_action_units_and_categories(tmp_path: Path) -> None:
    images = photos(tmp_path / "im", *(f"N_0000000001/N_{k}.jpg" for k in range(6)), "other/N_0.jpg")
    lines = [
        au_line("N_0.jpg", AU1=1, AU12=0, AU18=1),
        au_line("N_1.jpg", AU25=1, AU43=1, AU45=0),
        au_line("N_2.jpg", AU1="x"),
        au_line("N_3.jpg", AU18=1),
        au_line("N_9.jpg", AU1=1),
        au_line("N_4.jpg", AU6=2),
    ]
    (tmp_path / "dataFile_0001.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "URLsWithEmotionCat.csv").write_text(
        "URL,orig_URL,angrily_disgusted,happy,Happily_Surprised,neutral\n"
        f"'{URL}/N_0.jpg','http://x',-1,-1,1,-1\n"
        f"'{URL}/N_3.jpg','http://x',0,1,0,0\n"
        f"'{URL}/N_5.jpg','http://x',1,1,0,0\n"
    )
    found = from_emotionet(images, tmp_path / "dataFile_0001.txt", tmp_path / "URLsWithEmotionCat.csv")
    rows = named(found)
    assert rows["N_0.jpg"].image.parent.name == "N_0000000001"
    assert (rows["N_0.jpg"].category, rows["N_0.jpg"].units) == (
        "happily surprised",
        {"AU01": 1.0, "AU12": 0.0},
    )
    assert rows["N_1.jpg"].units == {"AU25": 1.0, "AU45": 1.0}
    assert (rows["N_3.jpg"].category, rows["N_3.jpg"].units) == ("happiness", {})
    assert len(rows) == 3
    reasons = {name.rsplit("/", 1)[-1]: text for name, text in why(found).items()}
    assert reasons["N_2.jpg"] == "AU01 is x; expected 0, 1 or 999"
    assert reasons["N_4.jpg"].startswith("AU06 is 2")
    assert "2 categories, angrily disgusted, happiness" in reasons["N_5.jpg"]
    assert "no files of that name" in reasons["N_9.jpg"] and len(reasons) == 4
    (tmp_path / "tables").mkdir()
    (tmp_path / "dataFile_0001.txt").rename(tmp_path / "tables" / "dataFile_0001.txt")
    assert set(named(from_emotionet(images, tmp_path / "tables"))) == {"N_0.jpg", "N_1.jpg"}


def test_emotionet_with_a_header_and_plain_names(tmp_path: Path) -> None:
    images = photos(tmp_path / "im", "a.jpg", "b.jpg")
    table = tmp_path / "aus.csv"
    table.write_text("name,AU 1,AU02,emotion\na.jpg,1,999,Sadly_Angry\nb.jpg,999,,\n")
    found = from_emotionet(images, table)
    (row,) = found.rows
    assert (row.category, row.units) == ("sadly angry", {"AU01": 1.0})
    assert "no action unit of ours" in why(found)["b.jpg"]
    table.write_text("name,height\na.jpg,1\n")
    with pytest.raises(InputError, match="has the columns name, height; expected"):
        from_emotionet(images, table)
    table.write_bytes(b"PK\x03\x04\xff\xff")
    with pytest.raises(InputError, match="save an Excel file as CSV"):
        from_emotionet(images, table)


# OpenFace


def openface(
    path: Path, *rows: str, header: str = "face, confidence, gaze_0_x, AU01_r, AU12_r, AU12_c"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def test_openface_of_single_photos(tmp_path: Path) -> None:
    photos(tmp_path, "anna.jpg", "bob.png", "crowd.jpg", "dim.jpg", "extra.jpg")
    openface(tmp_path / "anna.csv", "0, 0.98, 0.1, 0.5, 5.2, 1")
    openface(tmp_path / "processed" / "bob.csv", "0, 0.9, 0.1, 2.5, 0, 0", "1, 0.2, 0, 1, 1, 0")
    openface(tmp_path / "crowd.csv", "0, 0.9, 0, 0, 0, 0", "1, 0.9, 0, 0, 0, 0")
    openface(tmp_path / "dim.csv", "0, 0.31, 0, 0, 0, 0")
    openface(tmp_path / "lost.csv", "0, 0.9, 0, 0, 0, 0")
    openface(tmp_path / "broken.csv", "0, 0.9, 0, much, 0, 0")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    found = from_openface(tmp_path)
    rows = named(found)
    assert rows["anna.jpg"].units == {"AU01": 0.1, "AU12": 1.0}
    assert rows["bob.png"].units == {"AU01": 0.5, "AU12": 0.0} and len(rows) == 2
    reasons = why(found)
    assert reasons["crowd.jpg"] == "2 faces; expected one"
    assert reasons["dim.jpg"] == "no face: OpenFace's confidence is 0.31, 0.7 is needed"
    assert "no photo lost" in reasons["lost.csv"] and "AU01_r is 'much'" in reasons["broken.csv"]
    assert "no columns AU01_r" in reasons["notes.csv"] and "no CSV file" in reasons["extra.jpg"]
    assert len(reasons) == 6
    assert "dim.jpg" in named(from_openface(tmp_path, confidence=0.3))


def test_openface_of_sequences(tmp_path: Path) -> None:
    photos(tmp_path, "clip_aligned/frame_det_00_000001.bmp", "clip_aligned/frame_det_00_000003.bmp")
    photos(tmp_path, "seq/a.png", "seq/b.png")
    header = " frame, face_id, timestamp, confidence, success, AU12_r"
    rows = [f"{k}, 0, {k / 30}, 0.95, {int(k != 2)}, {k}" for k in (1, 2, 3)]
    openface(tmp_path / "clip.csv", *rows, header=header)
    openface(tmp_path / "seq.csv", *rows, header=header)
    found = from_openface(tmp_path)
    got = {r.image.name: (r.subject, r.units["AU12"]) for r in found.rows}
    assert got == {
        "frame_det_00_000001.bmp": ("clip", 0.2),
        "frame_det_00_000003.bmp": ("clip", 0.6),
        "a.png": ("seq", 0.2),
    }
    assert list(why(found)) == ["seq/b.png"]  # frame 2 failed


# Folders


def test_folders(tmp_path: Path) -> None:
    photos(tmp_path, "happy/1.jpg", "happy/more/2.jpg", "Sad/1.jpg", "unknown/3.jpg", "loose.jpg")
    (tmp_path / "happy" / ".hidden.jpg").write_bytes(b"")
    found = from_folders(tmp_path)
    got = [(r.image.relative_to(tmp_path).as_posix(), r.category) for r in found.rows]
    assert got == [("Sad/1.jpg", "Sad"), ("happy/1.jpg", "happy"), ("happy/more/2.jpg", "happy")]
    assert set(why(found)) == {"unknown/3.jpg", "loose.jpg"}


def test_folders_without_categories(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        from_folders(tmp_path / "none")
    with pytest.raises(InputError, match="holds no photos"):
        from_folders(tmp_path)
    with pytest.raises(InputError, match="1 photos but none in a folder that names its category"):
        from_folders(photos(tmp_path, "loose.jpg"))


# On what prepare made


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    photos(tmp_path / "faces", "sad/1.jpg", "happy/2.jpg", "happy/3.jpg")
    out = photos(tmp_path / "set", "000000-0.png", "000001-0.png", "000002-0.png", "000002-1.png")
    np.save(out / "landmarks.npy", np.zeros((4, 478, 2), np.float32))
    (out / "manifest.csv").write_text(
        "image,matte,set,subject,expression,file,face\n"
        "000000-0.png,000000-0.png,faces,x,unknown,other/9.jpg,0\n"
        "000001-0.png,000001-0.png,faces,x,unknown,happy/2.jpg,0\n"
        "000002-0.png,000002-0.png,faces,x,unknown,sad/1.jpg,0\n"
        "000002-1.png,000002-0.png,faces,x,unknown,sad/1.jpg,1\n"
    )
    return out


def test_labels_go_to_the_aligned_crops(prepared: Path) -> None:
    faces = prepared.parent / "faces"
    found = aligned(from_folders(faces), faces, prepared)
    assert [(r.image.name, r.category, r.landmarks) for r in found.rows] == [
        ("000001-0.png", "happy", 1),
        ("000002-0.png", "sad", 2),
    ]
    assert list(why(found)) == ["happy/3.jpg"]
    (prepared / "manifest.csv").write_text("image\n")
    with pytest.raises(InputError, match="is not what prepare writes"):
        aligned(from_folders(faces), faces, prepared)


# The command


def skipped_in(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8") as f:
        return {row["file"]: row["reason"] for row in csv.DictReader(f)}


def test_the_command_writes_what_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = photos(tmp_path / "faces", "happy/1.jpg", "happy/2.jpg", "sad/3.jpg", "loose.jpg")
    (faces / "sad" / "broken.jpg").write_bytes(b"junk")
    out = tmp_path / "manifest.csv"
    assert main(["manifest", "folders", str(faces), "-o", str(out), "--quiet"]) == 0
    err = capsys.readouterr().err
    assert err == f"{out}: 3 photos (2 happy, 1 sad); 2 skipped, see skipped.csv\n"
    found = read_manifest(out)
    assert found.categories == ("happy", "sad") and len(found.rows) == 3 and not found.skipped
    reasons = skipped_in(tmp_path / "skipped.csv")
    assert "is not an image" in reasons[str(faces / "sad" / "broken.jpg")] and "loose.jpg" in reasons
    assert main(["manifest", "folders", str(faces), "-o", str(tmp_path / "b.csv"), "--no-check"]) == 0
    assert "4 photos" in capsys.readouterr().err
    assert list(skipped_in(tmp_path / "b.skipped.csv")) == ["loose.jpg"]


def test_the_command_knows_every_source(celeba: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> str:
        assert main(["manifest", *map(str, arguments), "--quiet"]) == 0
        return capsys.readouterr().err

    table = celeba / "list_attr_celeba.txt"
    told = run("celeba", celeba / "img_align_celeba", table, "--absent", "neutral", "-o", celeba / "1.csv")
    assert "2 photos (1 neutral, 1 smiling); 3 skipped, see 1.skipped.csv" in told
    rafd = photos(celeba / "rafd", "Rafd090_01_Kid_male_sad_left.jpg", "Rafd045_01_Kid_male_happy_left.jpg")
    told = run("rafd", rafd, "--angles", "045,090", "-o", celeba / "2.csv")
    assert told.endswith("2 photos (1 happiness, 1 sadness); 0 skipped\n")
    (celeba / "dataFile_1.txt").write_text(au_line("000001.jpg", AU12=1) + "\n")
    told = run("emotionet", celeba / "img_align_celeba", celeba / "dataFile_1.txt", "-o", celeba / "3.csv")
    assert told.endswith("1 photos (AU12); 0 skipped\n")
    openface(photos(celeba / "of", "anna.jpg") / "anna.csv", "0, 0.6, 0, 1, 5, 1")
    told = run("openface", celeba / "of", "--confidence", 0.5, "-o", celeba / "4.csv")
    assert told.endswith("1 photos (AU01, AU12); 0 skipped\n")


def test_the_command_labels_aligned_crops(prepared: Path, tmp_path: Path) -> None:
    arguments = ["manifest", "folders", str(tmp_path / "faces"), "--aligned", str(prepared), "--quiet", "-o"]
    assert main([*arguments, str(prepared / "labels.csv")]) == 0
    inside = read_manifest(prepared / "labels.csv")
    assert [r.landmarks for r in inside.rows] == [1, 2] and inside.margin == 1.5
    assert main([*arguments, str(tmp_path / "labels.csv")]) == 0
    outside = read_manifest(tmp_path / "labels.csv")
    assert [r.landmarks for r in outside.rows] == [None, None] and outside.margin == 1.5
    assert [r.image for r in outside.rows] == [r.image for r in inside.rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folders", "none", "-o", "OUT.csv"], "is not a folder"),
        (["folders", "FACES", "-o", "OUT.txt"], "ends in .csv"),
        (["folders", "FACES", "-o", "none/OUT.csv"], "there is no folder"),
        (["folders", "FACES", "-o", "MINE.csv"], "already exists"),
        (["folders", "BROKEN", "-o", "OUT.csv"], "none of 1 entries can be used"),
        (["celeba", "FACES", "none.txt", "-o", "OUT.csv"], "does not exist"),
        (["rafd", "FACES", "-o", "OUT.csv"], "none of RaFD's"),
        (["films", "FACES", "-o", "OUT.csv"], "invalid choice"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"FACES": photos(tmp_path / "faces", "happy/1.jpg"), "BROKEN": tmp_path / "broken"}
    (tmp_path / "broken" / "sad").mkdir(parents=True)
    (tmp_path / "broken" / "sad" / "1.jpg").write_bytes(b"junk")
    (tmp_path / "MINE.csv").write_text("precious")
    place |= {a: tmp_path / a for a in arguments if "OUT" in a or "MINE" in a}
    before = {p for p in tmp_path.rglob("*")}
    try:
        code = main(["manifest", *(str(place.get(a, a)) for a in arguments)])
    except SystemExit as error:
        code = int(error.code or 0)
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1
    assert {p for p in tmp_path.rglob("*")} == before and (tmp_path / "MINE.csv").read_text() == "precious"
