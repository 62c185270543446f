"""``render``: tables refused by row, clips equal to those of ``animate``, workers that die, runs that resume."""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atw_nodes import worker_pool
from atw_nodes.checkpoints import kept_checkpoint
from atw_nodes.cli import main
from atw_nodes.clips import probe, read_frames
from atw_nodes.render_jobs import Attempt, Job, Result, run
from atw_nodes.worker_pool import WorkerPool
from tests.rendering_many import (
    COLUMNS,
    at_work,
    begun,
    furnished,
    hidden,
    processes,
    row,
    summary,
    table,
    until,
)

posix = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
LONG = 150  # frames: a second or two, long enough to be interrupted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread a worker, and one here: sums are equal to the bit at equal thread counts only."""
    monkeypatch.setattr(worker_pool, "cores", lambda: 2)
    monkeypatch.setattr(worker_pool, "cards", lambda: [])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_clips_are_those_of_animate_and_a_run_resumes(
    folder: Path, two_cores: None, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [row("a.gif", 4), row("b"), row("c.png", "")]
    jobs = table(folder, *good, row("d.gif", 3, "900,900,50"), [])
    assert main(["render", str(jobs), "--workers", "2"]) == 1
    err = capsys.readouterr().err
    assert "failed: row 5, d.gif: face box 900,900,50 lies outside the photo" in err
    assert "3 done, 0 skipped, 1 failed; 8 frames" in err
    made = summary(folder)
    assert [(r["status"], r["frames"], r["attempts"]) for r in made.values()] == [
        *(("done", n, "1") for n in ("4", "3", "1")),
        ("failed", "0", "1"),
    ]
    assert len({r["worker"] for r in made.values()}) == 2
    alone = folder / "alone"
    alone.mkdir()
    for name, frames in (("a.gif", "4"), ("b", "3"), ("c.png", "1")):
        options = ["--frames", frames, "--face", "whole", "--no-estimate", "--quiet"]
        options += ["--checkpoint", str(folder / "tiny.safetensors")]
        assert main(["animate", str(folder / "photo.png"), "-o", str(alone / name), *options]) == 0
        files = sorted((alone / name).iterdir()) if name == "b" else [alone / name]
        for file in files:
            assert file.read_bytes() == (folder / file.relative_to(alone)).read_bytes()
    assert len(list((folder / "b").iterdir())) == 3 and not hidden(folder)

    before = (folder / "c.png").stat().st_mtime_ns
    (folder / "a.gif").unlink()
    table(folder, *good, row("d.gif"))
    assert main(["render", str(jobs), "--workers", "1", "--quiet"]) == 0
    said = capsys.readouterr().err.splitlines()  # a random network's motion folds
    assert all(line.startswith("note: the motion folds over itself") for line in said)
    assert [r["status"] for r in summary(folder).values()] == ["done", "skipped", "skipped", "done"]
    assert (folder / "c.png").stat().st_mtime_ns == before
    assert (folder / "a.gif").read_bytes() == (alone / "a.gif").read_bytes()
    assert main(["render", str(jobs)]) == 0  # nothing left: no worker is started
    assert {r["status"] for r in summary(folder).values()} == {"skipped"}


def test_overwrite_renders_anew_but_only_what_it_made(
    folder: Path, two_cores: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.gif").write_bytes(b"older")
    (folder / "b").mkdir()
    for i in range(5):
        (folder / "b" / f"frame_{i:05d}.png").write_bytes(b"older")
    jobs = table(folder, row("a.gif"), row("b"))
    assert main(["render", str(jobs), "--workers", "1", "--overwrite", "--quiet"]) == 0
    assert len(list(read_frames(folder / "a.gif"))) == 3
    assert sorted(p.name for p in (folder / "b").iterdir()) == [f"frame_{i:05d}.png" for i in range(3)]
    (folder / "b" / "notes.txt").write_text("mine")
    assert main(["render", str(jobs), "--overwrite"]) == 2
    assert "row 3" in (err := capsys.readouterr().err) and "holds other files than frames" in err
    assert (folder / "b" / "notes.txt").exists() and not hidden(folder)


@posix
def test_a_killed_worker_loses_its_job_to_a_fresh_one(folder: Path) -> None:
    jobs = table(folder, row("a.gif", LONG), row("b.gif", LONG), row("c"))
    with begun(jobs, "--workers", "2") as child:
        busy: list[int] = []
        until(
            lambda: bool(busy.extend(at_work(processes("multiprocessing.spawn", child.pid))) or busy), child
        )
        os.kill(busy[0], signal.SIGKILL)
        assert not (folder / "a.gif").exists() or not (folder / "b.gif").exists()
        assert f"3 done, 0 skipped, 0 failed; {2 * LONG + 3} frames" in child.communicate()[1]
        assert child.returncode == 0
    assert sorted(r["attempts"] for r in summary(folder).values()) == ["1", "1", "2"]
    assert all(len(list(read_frames(folder / name))) == LONG for name in ("a.gif", "b.gif"))
    assert len(list((folder / "c").iterdir())) == 3 and not hidden(folder)


@posix
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_whole_clips_and_a_summary(folder: Path, how: int) -> None:
    jobs = table(folder, row("short.gif"), row("long.gif", 100 * LONG), row("later.gif"))
    with begun(jobs, "--workers", "1") as child:
        kept = jobs.with_suffix(".summary.csv")  # written when a clip is recorded, a moment after it is there
        until(lambda: kept.exists() and "short.gif" in kept.read_text() and bool(hidden(folder)), child)
        workers = processes("multiprocessing.spawn", child.pid)
        child.send_signal(how)
        assert "interrupted, nothing was left behind" in child.communicate()[1]
        assert child.returncode == 130
    assert {r["output"]: r["status"] for r in summary(folder).values()} == {"short.gif": "done"}
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not hidden(folder) and not (folder / "long.gif").exists()


@posix
def test_a_run_killed_as_a_whole_is_swept_up_by_the_next(folder: Path) -> None:
    jobs = table(folder, row("a.gif", 100 * LONG))
    (folder / ".atw-not-ours.partial").mkdir()
    with begun(jobs, "--workers", "1") as child:
        until(lambda: len(hidden(folder)) == 2, child)
        workers = processes("multiprocessing.spawn", child.pid)
        child.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    assert not (folder / "a.gif").exists()
    table(folder, row("a.gif"))
    assert main(["render", str(jobs), "--workers", "1", "--quiet"]) == 0
    assert hidden(folder) == [".atw-not-ours.partial"] and probe(folder / "a.gif").width == 97


def make(args: Namespace) -> int:
    args.output.write_text("made")
    return 2


def die(args: Namespace) -> int:
    args.output.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def exhaust(args: Namespace) -> int:
    args.output.write_text("half")
    raise MemoryError


def stumble(args: Namespace) -> int:
    args.output.write_text("half")
    raise KeyError("a mistake of ours")


def job(number: int, output: Path, produce: Callable[[Namespace], int]) -> Job:
    return Job(number, "photo.png", output.name, Namespace(output=output, sheet=None, produce=produce))


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_what_kills_every_worker_fails_and_the_rest_is_made(tmp_path: Path) -> None:
    made = [make, die, exhaust, stumble, make]
    jobs = [job(i, tmp_path / f"{i}.txt", produce) for i, produce in enumerate(made)]
    ended = {a.job.row: (a.number, r) for a, r in run(jobs, WorkerPool(1, 1), retries=1)}
    assert [ended[i][0] for i in range(5)] == [1, 2, 2, 1, 1]
    assert "ended by SIGKILL" in ended[1][1].error and "out of memory" in ended[2][1].error
    assert ended[3][1].error == "KeyError: 'a mistake of ours'"
    assert ended[4][1].frames == 2 and not ended[4][1].error
    assert ended[0][1].worker != ended[4][1].worker
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.txt", "4.txt"]


class Counted:
    """A pool of two that ends jobs in order, each lost ``losses`` times."""

    def __init__(self, losses: int) -> None:
        self.losses, self.busy, self.most, self.closed = losses, [], 0, False

    def free(self) -> bool:
        return len(self.busy) < 2

    def start(self, attempt: Attempt) -> None:
        self.busy.append(attempt)
        self.most = max(self.most, len(self.busy))

    def finished(self, seconds: float) -> list[tuple[Attempt, Result]]:
        attempt = self.busy.pop(0)
        lost = attempt.number <= self.losses
        return [(attempt, Result("here", error="lost" * lost, lost=lost))]

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("losses", "retries", "tried", "failed"), [(0, 1, 1, 0), (2, 2, 3, 0), (2, 1, 2, 9)])
def test_jobs_under_way_are_bounded(
    tmp_path: Path, losses: int, retries: int, tried: int, failed: int
) -> None:
    pool = Counted(losses)
    ended = list(run([job(i, tmp_path / str(i), make) for i in range(9)], pool, retries))
    assert [a.number for a, _ in ended] == [tried] * 9 and sorted(a.job.row for a, _ in ended) == [*range(9)]
    assert sum(bool(r.error) for _, r in ended) == failed
    assert pool.most == 2 and pool.closed


BAD = {
    "no photo column": (("output",), [["a.gif"]], "no column photo"),
    "unknown column": (("photo", "output", "franes"), [["photo.png", "a.gif", "3"]], "unknown column 'franes'"),
    "no column of theirs": (("photo", "output", "quiet"), [["photo.png", "a.gif", ""]], "unknown column 'quiet'"),
    "column twice": (("photo", "output", "face-index", "face_index"), [[]], "column face-index more than once"),
    "semicolons": (("photo;output",), [["photo.png;a.gif"]], "not separated by commas"),
    "no rows": (COLUMNS, [], "no row below its header"),
    "empty output": (COLUMNS, [row("")], "row 2: output is empty"),
    "photo": (("photo", "output"), [["none.png", "a.gif"]], "row 2: "),
    "number": (COLUMNS, [row("a.gif"), row("b.gif", "three")], "row 3: frames: invalid int value: 'three'"),
    "range": ((*COLUMNS, "fps"), [[*row("a.gif"), "500"]], "row 2: fps: 500 is out of range; expected 0.1 to 240"),
    "choice": ((*COLUMNS, "mode"), [[*row("a.gif"), "best"]], "row 2: mode: invalid choice: 'best'"),
    "face": (COLUMNS, [row("a.gif", 3, "left")], "row 2: --face left: expected"),
    "yes or no": ((*COLUMNS, "gate"), [[*row("a.gif"), "maybe"]], "row 2: gate is 'maybe'; expected yes or no"),
    "expression": ((*COLUMNS, "expression"), [[*row("a.gif"), "envy"]], "row 2: expression 'envy' is unknown"),
    "units": ((*COLUMNS, "au"), [[*row("a.gif"), "AU12=much"]], "row 2: "),
    "both": ((*COLUMNS, "au", "expression"), [[*row("a.gif"), "AU12=1", "smiling"]], "row 2: expression: not allowed with"),
    "commas": ((*COLUMNS, "au"), [[*row("a.gif"), "AU12=1", "AU25=1"]], "row 2: 8 cells for 7 columns"),
    "suffix": (COLUMNS, [row("a.xyz")], "row 2: -o"),
    "folder": (COLUMNS, [row("none/a.gif")], "create it or choose another"),
    "checkpoint": (("photo", "output", "checkpoint"), [["photo.png", "a.gif", "nothing"]], "no such checkpoint"),
    "output twice": (COLUMNS, [row("a.gif"), row("./a.gif")], "row 3: a.gif is written by row 2 already"),
    "sheet": ((*COLUMNS, "sheet"), [[*row("a.png"), "a.png"]], "row 2: a.png is written by row 2 already"),
    "its own photo": (COLUMNS, [row("photo.png")], "row 2: would be written over photo.png, which row 2 reads"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_table_is_refused_before_any_work(
    folder: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    header, rows, message = BAD[case]
    jobs = table(folder, *rows, header=header)
    before = {p.name for p in folder.iterdir()}
    assert main(["render", str(jobs)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert {p.name for p in folder.iterdir()} == before


def test_check_lists_all_and_makes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = table(folder, row("a.gif", "x"), row("b.gif"), row("c.gif", 3, "left"))
    assert main(["render", str(jobs), "--check"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["row 2" in lines[0], "row 4" in lines[1], len(lines)] == [True, True, 2]
    assert main(["render", str(jobs)]) == 2
    assert "(and 1 more; --check lists all)" in capsys.readouterr().err
    assert main(["render", str(table(folder, row("b.gif"))), "--check"]) == 0
    assert "1 clips, 0 of them there already" in capsys.readouterr().err
    assert sorted(p.name for p in folder.iterdir()) == ["jobs.csv", "photo.png", "tiny.safetensors"]


def test_no_file_of_the_users_becomes_a_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, notes = table(folder, row("a.gif")), folder / "jobs.summary.csv"
    notes.write_text("my,own,table\n")
    assert main(["render", str(jobs)]) == 2
    assert "is no summary of render; move it away, or choose another" in capsys.readouterr().err
    assert notes.read_text() == "my,own,table\n"
    for name in ("jobs.csv", "photo.png", "a.gif"):
        assert main(["render", str(jobs), "--summary", str(folder / name)]) == 2
        assert "choose another name" in capsys.readouterr().err


def test_a_process_keeps_a_checkpoint_until_its_file_changes(folder: Path) -> None:
    path = folder / "tiny.safetensors"
    first = kept_checkpoint(path)
    assert kept_checkpoint(str(path)) is first
    os.utime(path, ns=(1, 1))
    assert kept_checkpoint(path) is not first
