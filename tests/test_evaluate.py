"""``evaluate``: tables refused by row, methods that do what they are called, cells kept and resumed, reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.cli import main
from atw_nodes.clips import read_frames
from atw_nodes.evaluate import Setup, evaluate
from atw_nodes.evaluate_methods import Enlargement, Ours, Outside, Still, enlarger, pasted, square_of
from atw_nodes.evaluate_pairs import Case, case_of, looked_at, read_pairs, truths
from atw_nodes.evaluate_report import bars, table
from atw_nodes.images import read_photo, write_still
from atw_nodes.measuring import Judges, Meter, face_in, measured, summary
from atw_nodes.pyramid import to_float, upsample
from atw_nodes.reswarp import ReswarpConfig
from atw_nodes.signal_files import save_signal
from atw_nodes.types import FaceFrame, InputError, OutputError, ShapeError, Signal
from atw_nodes.video import ClipWriter
from tests.conftest import ROOT, photo_like
from tests.test_faces import needs_network

pytestmark = needs_network
cv2 = pytest.importorskip("cv2")
FACE = "48,32,224"  # of the portrait at 320


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """The portrait, a driver of three steps, a table of two rows, and the tiny checkpoint."""
    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
        im.resize((320, 320), Image.Resampling.BOX).save(tmp_path / "photo.png")
    smile = torch.tensor([[0.0, 0.0], [0.5, 0.2], [0.8, 0.5]])
    save_signal(Signal(smile, ("AU12", "AU25"), 25.0), tmp_path / "smile.csv")
    rows = f'photo,drive,name,face\nphoto.png,smile.csv,,"{FACE}"\nphoto.png,smiling,b,"{FACE}"\n'
    (tmp_path / "pairs.csv").write_text(rows)
    return tmp_path


@pytest.fixture
def case(folder: Path) -> Case:
    return case_of(read_pairs(folder / "pairs.csv")[0], 24)


def run(folder: Path, *more: str, out: str = "out") -> int:
    given = [
        "--checkpoint",
        str(folder / "tiny.safetensors"),
        "--flow-size",
        "64",
        "--frames",
        "3",
        "--quiet",
    ]
    return main(["evaluate", str(folder / "pairs.csv"), "-o", str(folder / out), *given, *more])


def results(folder: Path, out: str = "out") -> dict:
    return json.loads((folder / out / "results.json").read_text())


# --- the table of pairs


def test_pairs_are_read_and_named(folder: Path) -> None:
    first, second = read_pairs(folder / "pairs.csv")
    assert (first.name, first.drive, first.face) == ("photo-smile", folder / "smile.csv", FACE)
    assert (second.name, second.drive, second.truth) == ("b", "smiling", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,drive\n", "has 0 rows"),
        ("photo,mode\nphoto.png,a\n", "columns photo, mode"),
        ("photo,drive,size\nphoto.png,smiling,3\n", "unknown column 'size'"),
        ("photo,drive\nphoto.png,grinning\n", "row 2: drive 'grinning' is neither a file"),
        ("photo,drive\nphoto.png,smiling\nnone.png,smiling\n", "row 3: .*none.png does not exist"),
        ("photo,drive\nphoto.png,smiling,1,2,3\n", "row 2: expected a photo and a drive"),
        ("photo,drive,face\nphoto.png,smiling,here\n", "row 2: --face here: expected"),
        ("photo,drive\nphoto.png,smiling\nphoto.png,smiling\n", "several rows are called 'photo-smiling'"),
    ],
)
def test_a_wrong_table_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_pairs(folder / "pairs.csv")


def test_a_case_wants_changes_a_step_a_frame(folder: Path, case: Case) -> None:
    assert len(case.wanted) == 3 and case.strongest == 2
    assert case.wanted.column("AU12").tolist() == pytest.approx([0, 0.5, 0.8])
    posed = case_of(read_pairs(folder / "pairs.csv")[1], 5)
    assert len(posed.wanted) == 5 and posed.strongest == 2
    assert float(posed.wanted.values[0].abs().max()) == 0.0


# --- methods


def ours(folder: Path, paper: bool = False) -> Ours:
    config = ReswarpConfig.paper() if paper else ReswarpConfig()
    return Ours("ours", load_checkpoint(folder / "tiny.safetensors"), config, paper)


@pytest.mark.parametrize("paper", [False, True])
def test_our_frames_begin_as_the_photo_and_stay_in_the_frame(folder: Path, case: Case, paper: bool) -> None:
    method = ours(folder, paper)
    made = [f.clone() for f in method.frames(case)]
    assert len(made) == 3 and len(method.folds) == 3
    assert torch.equal(made[0], case.photo) and not torch.equal(made[2], case.photo)
    left, top, right, bottom = case.frame.bounds()
    outside = torch.ones(320, 320, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(made[2][..., outside], case.photo[..., outside])


def test_the_papers_row_is_the_square_by_itself(folder: Path, case: Case) -> None:
    left, top, side = square_of(case.frame)
    assert (left, top, side) == (48, 32, 224)
    crop = case.photo[..., top : top + side, left : left + side]
    alone = Case(case.pair, crop, case.face.__class__(**{**vars(case.face), "frame": FaceFrame.whole(side, side)}), case.wanted)  # fmt: skip
    *_, part = (f.clone() for f in ours(folder, True).frames(alone))
    *_, full = (f.clone() for f in ours(folder, True).frames(case))
    assert torch.equal(full[..., top : top + side, left : left + side], part)


def test_an_enlargement_is_the_small_image_enlarged(folder: Path, case: Case) -> None:
    made = Enlargement(
        "nearest", load_checkpoint(folder / "tiny.safetensors"), enlarger("nearest"), "nearest"
    )
    first = next(made.frames(case)).clone()
    assert torch.equal(first[..., :30, :], case.photo[..., :30, :])
    inside = to_float(first[..., 144 - 21 : 144 + 21, 160 - 21 : 160 + 21])  # cells of 7 pixels
    cells = inside.reshape(1, 3, 6, 7, 6, 7)
    assert float(cells[..., 2:5, :, 2:5].std(dim=(3, 5)).max()) < 0.01
    assert (
        float(to_float(case.photo)[..., 123:165, 139:181].reshape(1, 3, 6, 7, 6, 7).std(dim=(3, 5)).max())
        > 0.02
    )


def test_pasting_fills_a_whole_frame_and_fades_in_a_part() -> None:
    photo = torch.zeros(1, 3, 60, 80, dtype=torch.uint8)
    table = torch.ones(1, 3, 40, 40)
    whole = pasted(photo, FaceFrame.whole(60, 80), torch.ones(1, 3, 60, 80), photo.clone())
    assert bool((whole == 255).all())
    frame = FaceFrame(((40.0, 0.0, 20.0), (0.0, 40.0, 10.0)), 60, 80)
    out = pasted(photo, frame, table, photo.clone())
    assert bool((out[..., 25:35, 35:45] == 255).all()) and not bool(out[..., :10, :].any())
    assert 0 < int(out[0, 0, 30, 22]) < 255


def test_frames_of_others_are_in_the_order_of_their_numbers(folder: Path, case: Case) -> None:
    there = folder / "other" / case.pair.name
    there.mkdir(parents=True)
    for number in (9, 10, 100):
        write_still(there / f"frame_{number}.png", torch.full((1, 3, 320, 320), number, dtype=torch.uint8))
    made = Outside("other", folder / "other").frames(case)
    assert [int(f.max()) for f in made] == [9, 10, 100]


def test_frames_of_others_are_enlarged_and_counted(folder: Path, case: Case) -> None:
    there = folder / "other" / case.pair.name
    there.mkdir(parents=True)
    for k in range(3):
        write_still(there / f"{k}.png", photo_like(160, 160))
    method = Outside("other", folder / "other")
    made = list(method.frames(case))
    assert len(made) == 3 and made[0].shape == case.photo.shape
    small = to_float(read_photo(there / "0.png").pixels)
    assert torch.equal(made[0], upsample(small, (320, 320), "bicubic").clamp(0, 1))
    (there / "2.png").unlink()
    with pytest.raises(InputError, match="holds 2 frames, the row asks for 3"):
        list(method.frames(case))
    with pytest.raises(InputError, match="holds nothing called x"):
        method.source("x")


# --- measuring


def test_a_meter_of_the_photo_itself(case: Case) -> None:
    meter = Meter(case.photo, case.face, case.wanted, Judges(flow=64), [(2, case.photo)])
    for frame in Still().frames(case):
        meter.add(frame)
    values = meter.table()
    wanted = case.wanted.values.square().sum(1)
    assert values["fwe"] == pytest.approx([0, 0], abs=1e-6) and values["detail"] == [1.0] * 3
    assert values["au_error"] == pytest.approx(wanted.tolist(), abs=1e-6)
    assert values["psnr"] == [99.0] and values["ssim"] == [pytest.approx(1.0)]
    assert set(values) >= {"mouth_psnr", "mouth_ssim", "mouth_high_band", "high_band"}


def test_truths_are_read_one_ahead(folder: Path, case: Case) -> None:
    clip, read = [case.photo, 255 - case.photo, case.photo], []
    with ClipWriter(folder / "truth.mkv", 320, 320, 24, codec="ffv1") as writer:
        for frame in clip:
            writer.write(frame)
    pair = replace(case.pair, truth=folder / "truth.mkv")

    def given() -> Iterator[tuple[int, torch.Tensor]]:
        for index, image in truths(pair, 2, 0):
            read.append(index)
            yield index, image

    meter = Meter(case.photo, case.face, None, Judges(flow=0), given())
    for k, frame in enumerate(clip):
        assert read == list(range(min(k + 1, 2)))
        meter.add(frame)
    assert len(meter.table()["psnr"]) == 2 and min(meter.table()["psnr"]) > 40
    assert list(truths(case.pair, 2, 0)) == []
    ((at, image),) = truths(replace(pair, truth=folder / "photo.png"), 3, 2)
    assert at == 2 and torch.equal(image, case.photo)


def test_a_meter_sees_blur_and_landmarks(case: Case) -> None:
    small = torch.nn.functional.avg_pool2d(to_float(case.photo), 8)
    blurred = upsample(small, (320, 320)).clamp(0, 1)
    meter = Meter(case.photo, case.face, case.wanted[:1], Judges("landmarks", 0))
    meter.add(blurred)
    values = meter.table()
    assert values["detail"][0] < 0.6 and "fwe" not in values
    assert set(meter.names) == {"AU01", "AU02", "AU04", "AU05", "AU10", "AU12", "AU15", "AU20", "AU25", "AU26", "AU45"}  # fmt: skip
    with pytest.raises(InputError, match="reader 'eyes' is unknown"):
        Judges("eyes")


def test_another_shot_is_compared_in_its_own_square(case: Case) -> None:
    """The portrait moved by 24 pixels: pixels differ, faces do not."""
    moved = torch.roll(case.photo, (16, 24), (-2, -1))
    face = looked_at(case.photo, "auto")
    values = []
    for aligned in (False, True):
        meter = Meter(case.photo, face, None, Judges(flow=0), [(0, moved)], aligned)
        meter.add(case.photo)
        values.append(meter.table()["psnr"][0])
    assert values[1] > values[0] + 5 and values[1] > 25


def test_a_summary_is_means_and_the_most_memory() -> None:
    found = summary({"fwe": [1.0, 3.0], "memory": [5.0, 2.0], "mouth_ssim": [float("nan")]})
    assert found == {"fwe": 2.0, "memory": 5.0}


# --- the command


def test_it_measures_reports_and_resumes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--rows", "aligned,paper,bicubic", "--keep") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("| method | FWE x 1000 | AU error | folds, % | detail |")
    rows = {r["method"]: r["mean"] for r in results(folder)["rows"]}
    assert list(rows) == ["photo, unmoved", "aligned", "paper", "bicubic"]
    assert rows["photo, unmoved"]["fwe"] < 1e-6 < rows["bicubic"]["au_error"]
    assert rows["bicubic"]["detail"] < 0.85 * rows["aligned"]["detail"] and rows["aligned"]["seconds"] > 0
    assert len(list(read_frames(folder / "out" / "clips" / "aligned" / "b.mp4"))) == 3
    cell = folder / "out" / "cells" / "aligned" / "b.json"
    frames = json.loads(cell.read_text())["values"]
    assert len(frames["au_error"]) == 3 and len(frames["fwe"]) == 2
    page = (folder / "out" / "table.md").read_text()
    assert "FID: not measured; needs torch-fidelity" in page and "CSS: not measured" in page
    assert np.asarray(Image.open(folder / "out" / "plot.png")).std() > 10
    before = cell.stat().st_mtime_ns, rows["aligned"]["seconds"]
    assert run(folder, "--rows", "aligned,paper,bicubic,vanilla", "--keep") == 0  # one row more
    rows = {r["method"]: r["mean"] for r in results(folder)["rows"]}
    assert (cell.stat().st_mtime_ns, rows["aligned"]["seconds"]) == before and "vanilla" in rows


def test_what_was_made_otherwise_is_not_mixed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--rows", "nearest") == 0
    assert run(folder, "--rows", "nearest", "--reader", "landmarks") == 2
    assert (
        "was made otherwise (reader differ); choose another folder, or --overwrite" in capsys.readouterr().err
    )
    assert run(folder, "--rows", "nearest", "--reader", "landmarks", "--overwrite") == 0


def test_a_folder_of_others_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out" / "cells").mkdir(parents=True)
    (folder / "out" / "results.json").write_text('{"mine": 1}')
    assert run(folder, "--rows", "nearest") == 2
    assert "holds files that no evaluation made" in capsys.readouterr().err
    assert (folder / "out" / "results.json").read_text() == '{"mine": 1}'


def test_a_cell_that_fails_is_said_and_the_others_are_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other" / "b").mkdir(parents=True)
    for k in range(3):
        write_still(folder / "other" / "b" / f"{k}.png", photo_like(64, 64))
    assert run(folder, "--rows", "nearest", "--method", f"other={folder / 'other'}") == 1
    assert "failed: other, photo-smile:" in capsys.readouterr().err
    found = results(folder)
    assert set(found["rows"][-1]["pairs"]) == {"b"} and list(found["failed"]) == ["other: photo-smile"]


def test_units_that_openface_read_replace_our_own(folder: Path) -> None:
    tables = folder / "tables" / "nearest"
    tables.mkdir(parents=True)
    names = ("frame", "timestamp", "confidence", "success", "AU12_r", "AU25_r")
    rows = [(1, 0, 1, 1, 0.5, 0), (2, 0.04, 1, 1, 3, 1), (3, 0.08, 1, 1, 4.5, 2.5)]
    text = "\n".join([", ".join(names), *(", ".join(map(str, r)) for r in rows)])
    (tables / "photo-smile.csv").write_text(text)
    assert run(folder, "--rows", "nearest", "--tables", str(folder / "tables")) == 0
    cell = json.loads((folder / "out" / "cells" / "nearest" / "photo-smile.json").read_text())
    assert cell["values"]["au_error"] == pytest.approx([0, 0, 0], abs=1e-9)  # 0, 0.5 and 0.8; 0, 0.2 and 0.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "aligned,sharp"], "--rows sharp: unknown"),
        (["--method", "other"], "expected NAME=FOLDER"),
        (["--inception-weights", "x"], "is for --fid"),
        (["--embedder", "none.pt"], "none.pt does not exist"),
        (["--reader", "eyes"], "invalid choice"),
    ],
)
def test_wrong_options_are_one_line(
    folder: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if more[0] == "--reader":
        with pytest.raises(SystemExit):
            run(folder, *more)
    else:
        assert run(folder, *more) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_table_and_bars_of_known_means() -> None:
    rows = [
        {"method": "a", "mean": {"fwe": 0.0062, "folds": 0.001, "au_error": 4.5}},
        {"method": "b", "mean": {"fwe": 0.0031, "ssim": 0.75}},
    ]
    assert table(rows).splitlines() == [
        "| method | FWE x 1000 | AU error | folds, % | SSIM |",
        "|---|---|---|---|---|",
        "| a | 6.200 | 4.500 | 0.100 | - |",
        "| b | 3.100 | - | - | 0.750 |",
    ]
    image = bars(rows)[0, 0].numpy()  # the first panel: its bars begin at 210 points, two pixels each
    dark, light = 0x1F, 0x9F
    assert (image[2 * 41, 420:] == light).sum() == 2 * (image[2 * 63, 420 : 420 + 502] == dark).sum() - 1


def test_errors_of_the_folder_are_outputs(tmp_path: Path) -> None:
    from atw_nodes.evaluate import prepare

    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        prepare(tmp_path / "file", False)


def test_a_clip_of_images_measures_itself(case: Case) -> None:
    """What the node calls: the photo as reference, a truth a frame, a place where nobody is."""
    frames = [case.photo, case.photo]
    values = measured(frames, [case.photo], case.wanted[:1], Judges(flow=64))
    assert values["au_error"] == pytest.approx([0, 0], abs=1e-9) and len(values["fwe"]) == 1
    assert "psnr" not in values and measured(frames, frames, None, Judges(flow=0))["psnr"] == [99.0] * 2
    shown = Signal(torch.tensor([[0.7]]), ("AU12",), absolute=True)
    (error,) = measured(frames[:1], [], shown, Judges(flow=0))["au_error"]
    assert error == pytest.approx((0.7 - face_in(case.photo).units["AU12"]) ** 2, abs=1e-6)
    nobody = [torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.6)]
    found = measured(nobody, nobody[:1] * 2, case.wanted[:1], Judges(flow=64))
    assert found["psnr"] == [99.0, pytest.approx(20, abs=1e-4)] and "mouth_psnr" not in found
    assert "au_error" not in found and found["fwe"] == [pytest.approx(0.03, abs=1e-5)]
    with pytest.raises(ShapeError, match="3 reference images for 2 frames"):
        measured(frames, [case.photo] * 3, None, Judges(flow=0))
    with pytest.raises(ShapeError, match="the signal has 3 steps, the result 2 frames"):
        measured(frames, [], case.wanted, Judges(flow=0))


def test_identity_and_distributions_by_given_networks(folder: Path) -> None:
    """FID and CSS with networks that are stand-ins: of the photo itself the one is near 0, the other 1."""

    class Features:
        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            return to_float(image).float().mean((0, 2, 3)) * torch.arange(1, 4)

    class Colours:
        file = folder / "colours.onnx"

        def __call__(self, image: torch.Tensor, eyes: object) -> torch.Tensor:
            return to_float(image).float().mean((0, 2, 3))

    judges = Judges("units", 0, Colours(), Features())  # type: ignore[arg-type]
    pairs = read_pairs(folder / "pairs.csv")
    write_still(folder / "another.png", 255 - read_photo(folder / "photo.png").pixels)
    (folder / "photo.png").rename(folder / "a.png")
    pairs = [replace(p, photo=folder / "a.png") for p in pairs]
    setup = Setup(folder / "out", 3, judges, real=(folder / "another.png",))
    cells = list(evaluate(pairs, [Still(), ours(folder)], setup))
    assert results(folder)["notes"] == [  # nobody is seen in a negative
        "FID is not measured: 1 real photos with a face; give more with --real"
    ]
    write_still(folder / "another.png", read_photo(folder / "a.png").pixels.flip(-1))
    list(evaluate(pairs, [Still(), ours(folder)], setup))
    assert [len(c.values["css"]) for c in cells] == [3] * 4 and not any(c.error for c in cells)
    still, mine = (r["mean"] for r in results(folder)["rows"])
    assert still["css"] == pytest.approx(1) and still["fid"] < 0.02 and mine["css"] < 1
    (note,) = results(folder)["notes"]
    assert note.startswith("FID of 6 frames against 2 photos; below 2048 FID depends on the number of images")
