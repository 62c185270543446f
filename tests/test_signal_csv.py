"""CSV files: miniature OpenFace files as its recorder writes them, our own there and back, and bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atw_nodes.signal_csv import (
    csv_header,
    is_openface,
    openface_faces,
    read_csv,
    read_openface,
    write_csv,
)
from atw_nodes.signal_curves import relative
from atw_nodes.signals import UNITS
from atw_nodes.types import InputError, OutputError, Signal

RATED = [f"{u}_r" for u in UNITS]
HEAD = "frame, face_id, timestamp, confidence, success, gaze_0_x, pose_Rx, " + ", ".join(
    [*RATED, "AU01_c", "AU28_c", "AU45_c"]
)


def row(frame: int, time: float, face: int = 0, sure: float = 0.98, success: int = 1, **units: float) -> str:
    """A row as OpenFace prints it: two decimals, a space after each comma."""
    values = [f"{units.get(u, 0):.2f}" for u in UNITS]
    return f"{frame}, {face}, {time:.3f}, {sure:.2f}, {success}, -0.123456, 0.015, " + ", ".join(
        [*values, "0.0", "1.0", "0.0"]
    )


def write(path: Path, *rows: str, head: str = HEAD) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames at 30 fps: a smile that grows, with two frames lost."""
    rows = [row(k + 1, k / 30, AU12=0.5 * k, AU01=1) for k in range(10)]
    rows[4] = row(5, 4 / 30, sure=0.1, success=0)
    rows[5] = row(6, 5 / 30, sure=0.3, success=1, AU12=5)
    return write(tmp_path / "clip.csv", *rows)


def test_openface(clip: Path) -> None:
    signal = read_openface(clip)
    assert signal.names == tuple(UNITS) and len(signal) == 10 and signal.fps == 30 and signal.absolute
    assert signal.column("AU12").tolist() == pytest.approx([k / 10 for k in range(10)])  # gap bridged
    assert signal.column("AU01").tolist() == pytest.approx([0.2] * 10)
    assert is_openface(csv_header(clip)) and openface_faces(clip) == {0: 8}
    change = relative(signal)
    assert change.column("AU01").tolist() == [0] * 10 and change.column("AU12")[9] == pytest.approx(0.9)


def test_confidence_can_be_chosen(clip: Path) -> None:
    assert read_openface(clip, min_confidence=0.2).column("AU12")[5] == 1
    with pytest.raises(
        InputError, match=r"no frame in which a face was seen .* of 0.99 or more \(best 0.98\)"
    ):
        read_openface(clip, min_confidence=0.99)


@pytest.mark.parametrize(
    "change", [lambda s: s.replace(", ", ","), lambda s: "\ufeff" + s, lambda s: s + "\n\n,,,\n"]
)
def test_spaces_marks_and_blank_lines_do_not_matter(clip: Path, change) -> None:
    before = read_openface(clip)
    clip.write_text(change(clip.read_text("utf-8")), encoding="utf-8")
    assert torch.equal(read_openface(clip).values, before.values)


def test_ends_repeat_the_nearest_good_frame(tmp_path: Path) -> None:
    rows = [row(1, 0, success=0), row(2, 0.04, AU12=2), row(3, 0.08, AU12=3), row(4, 0.12, sure=0)]
    signal = read_openface(write(tmp_path / "a.csv", *rows))
    assert signal.column("AU12").tolist() == pytest.approx([0.4, 0.4, 0.6, 0.6]) and signal.fps == 25


def test_several_faces_keep_the_videos_time(tmp_path: Path) -> None:
    rows = [row(k + 1, k / 25, 0, AU12=1) for k in range(6)]
    rows += [row(k + 1, k / 25, 3, AU12=k) for k in (2, 4)]  # comes later, one frame without a row
    path = write(tmp_path / "two.csv", *rows)
    assert openface_faces(path) == {0: 6, 3: 2}
    assert read_openface(path).column("AU12").tolist() == pytest.approx([0.2] * 6)
    other = read_openface(path, face=3)
    assert other.column("AU12").tolist() == pytest.approx([0.4, 0.4, 0.4, 0.6, 0.8, 0.8]) and other.fps == 25
    with pytest.raises(InputError, match="has no face 7; it has 0, 3"):
        read_openface(path, face=7)
    with pytest.raises(InputError, match="face 3 was seen"):
        read_openface(write(path, *rows[:6], row(1, 0, 3, success=0)), face=3)


@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60, 17.5])
def test_frame_rates_come_from_rounded_times(tmp_path: Path, fps: float) -> None:
    path = write(tmp_path / "a.csv", *(row(k + 1, k / fps) for k in range(200)))
    signal = read_openface(path)
    assert signal.fps == pytest.approx(fps, abs=0.01 if fps == 17.5 else 1e-9) and len(signal) == 200


def test_variable_frame_rate_is_made_even(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.2, 0.24, 0.28]
    path = write(tmp_path / "a.csv", *(row(k + 1, t, AU12=10 * t) for k, t in enumerate(times)))
    signal = read_openface(path)
    assert signal.fps == pytest.approx(5 / 0.28, abs=1e-3)
    moments = torch.arange(len(signal)) / signal.fps
    assert torch.allclose(signal.column("AU12"), 2 * moments, atol=0.003)


def test_a_rate_can_be_given(clip: Path) -> None:
    assert read_openface(clip, fps=12).fps == 12 and len(read_openface(clip, fps=12)) == 10
    with pytest.raises(InputError, match="fps is 0"):
        read_openface(clip, fps=0)


def test_files_of_images_and_older_ones(tmp_path: Path) -> None:
    still = write(
        tmp_path / "s.csv",
        "0, 0.93, 2.50, 1.0",
        "1, 0.90, 5.00, 1.0",
        head="face, confidence, AU12_r, AU12_c",
    )
    assert read_openface(still, face=1).values.tolist() == [[1.0]]
    assert read_openface(still).values.tolist() == [[0.5]] and read_openface(still).fps is None
    old = write(
        tmp_path / "o.csv", "1,0,.9,1,1", "2,0.04,.9,1,3", head="frame,timestamp,confidence,success,AU12_r"
    )
    assert read_openface(old).values.flatten().tolist() == pytest.approx([0.2, 0.6])
    bare = write(tmp_path / "b.csv", "1", "2", head="AU12_r")
    assert len(read_openface(bare)) == 2 and read_openface(bare).fps is None
    timed = write(tmp_path / "t.csv", "0,1", "0.04,2", "0.08,3", head="timestamp,AU12_r")
    assert read_openface(timed).fps == 25


def test_values_stay_within_the_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", row(1, 0, AU12=7), row(2, 0.04, AU12=-1))
    assert read_openface(path).column("AU12").tolist() == [1, 0]
    path = write(tmp_path / "b.csv", row(1, 0, AU12=1), row(2, 0.04, AU12=float("nan")), row(3, 0.08, AU12=3))
    assert read_openface(path).column("AU12").tolist() == pytest.approx([0.2, 0.4, 0.6])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (
            "frame, timestamp\n1, 0\n",
            "no columns AU01_r ... AU45_r; its columns are frame, timestamp. Run OpenFace",
        ),
        ("frame, AU01_c\n1, 0\n", "AU.._c alone say whether, not how much"),
        ("frame, AU01_r\n", "a header but no rows"),
        ("frame, AU01_r\n1\n", "row 2 has 1 cells for 2 columns; is the file whole"),
        ("frame, AU01_r\n1, much\n", "row 2: AU01_r is 'much'; expected a number"),
        ("frame, AU01_r\nnan, 1\n", "row 2: frame nan of face 0"),
        ("frame, face_id, AU01_r\n1, inf, 1\n", "row 2: frame 1 of face inf"),
        ("frame, AU01_r\n1, 1\n1, 2\n", "frame 1 of face 0 twice"),
        ("frame, AU01_r\n1, 1\n900000, 2\n", "covers 900000 frames; expected at most 108000"),
        ("frame, timestamp, AU01_r\n1, 2, 1\n2, 1, 1\n", "times do not grow"),
        ("frame, timestamp, AU01_r\n1, 0, 1\n2, 0, 1\n", "times do not grow"),
        ("frame, timestamp, AU01_r\n1, 0, 1\n2, 1e-9, 1\n", "expected up to 1000"),
        ("AU01_r" + "x" * 70_000 + "\n", "line 1 has more than 65536 characters"),
        ("frame, success, AU01_r\n1, 0, 1\n", "no frame in which a face was seen"),
    ],
)
def test_bad_openface_files_say_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        read_openface(path)


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" * 50)
    for read in (read_openface, read_csv, csv_header):
        with pytest.raises(InputError, match="no text in UTF-8"):
            read(path)
    with pytest.raises(InputError, match="does not exist"):
        read_openface(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_csv(tmp_path)


def test_empty_cells_are_gaps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1,1", "2,", "3,3", head="frame,AU12_r")
    assert read_openface(path).values.flatten().tolist() == pytest.approx([0.2, 0.4, 0.6])
    with pytest.raises(InputError, match="row 2 has empty cells"):
        read_csv(write(path, "0,", head="step,AU12"))


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atw_nodes.signal_csv.MAX_ROWS", 3)
    with pytest.raises(InputError, match="more than 3 rows"):
        read_openface(write(tmp_path / "a.csv", *(row(k, k / 30) for k in range(1, 9))))
    monkeypatch.setattr("atw_nodes.signal_csv.MAX_ROWS", 99)
    monkeypatch.setattr("atw_nodes.signal_csv.MAX_STEPS", 3)
    with pytest.raises(InputError, match="more than 3 rows"):
        read_csv(write(tmp_path / "b.csv", *(f"{k},0" for k in range(8)), head="step,AU12"))


@pytest.mark.parametrize("fps", [None, 30.0, 30000 / 1001, 12.5, 24.1, 1.0])
@pytest.mark.parametrize("absolute", [False, True])
def test_ours_there_and_back(tmp_path: Path, fps: float | None, absolute: bool) -> None:
    path = tmp_path / "ours.csv"
    signal = Signal(torch.randn(50, 3), ("AU12", "AU45", "a, b"), fps, absolute)
    write_csv(signal, path)
    back = read_csv(path)
    assert torch.equal(back.values, signal.values) and back.names == signal.names
    assert back.fps == pytest.approx(fps) and back.absolute == absolute
    assert csv_header(path)[0] == ("time" if fps else "step") and not is_openface(csv_header(path))


def test_one_step_there_and_back(tmp_path: Path) -> None:
    write_csv(Signal(torch.ones(1, 1), ("AU12",), 25.0), tmp_path / "a.csv")
    assert read_csv(tmp_path / "a.csv").values.tolist() == [[1]] and read_csv(tmp_path / "a.csv").fps is None


def test_written_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "0, 0, 1", "0.5, 0.25, 1", "2, 1, 1", head="time, au1, AU12")
    signal = read_csv(path)
    assert signal.names == ("AU01", "AU12") and signal.fps == 1
    assert signal.column("AU01").tolist() == pytest.approx([0, 0.5, 1])


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path, signal = tmp_path / "a.csv", Signal(torch.zeros(1, 1), ("AU12",))
    path.write_text("mine")
    with pytest.raises(OutputError, match="already exists; choose another name or allow"):
        write_csv(signal, path)
    assert path.read_text() == "mine"
    write_csv(signal, path, overwrite=True)
    assert path.read_text().startswith("step,AU12") and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="no folder"):
        write_csv(signal, tmp_path / "none" / "a.csv")
    with pytest.raises(OutputError):
        write_csv(signal, tmp_path / ("x" * 300 + ".csv"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AU12,time\n1,0\n", "columns AU12, time; expected time or step"),
        ("time\n0\n", "names 0 units"),
        ("time,AU12,\n0,1,1\n", "none without a name"),
        ("time,AU12,AU12\n0,1,1\n", "AU12 more than once"),
        ("time," + ",".join(f"u{i}" for i in range(90)) + "\n", "names 90 units; expected 1 to 64"),
        ("time,AU12\n", "a header but no rows"),
        ("time,AU12\n0\n", "row 2 has 1 cells"),
        ("time,AU12\n0,x\n", "row 2: AU12 is 'x'"),
        ("time,AU12\n0,inf\n", "row 2 has empty cells, NaN or infinity"),
        ("time,AU12\n1,0\n0,0\n", "times do not grow"),
        ("time,AU12\n0,0\n1,0\n1.001,0\n9e9,0\n", "expected at most 108000|times say"),
    ],
)
def test_bad_files_of_ours_say_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_csv(path)
