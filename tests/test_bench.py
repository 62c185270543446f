"""The arithmetic of the benchmarks, and that they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from atw_nodes.pyramid import to_float
from benchmarks.bench import judged, page_part, targets
from benchmarks.bench_plot import Curve, draw
from benchmarks.cases import MODES, Rrdb, Scene, box, floor_bytes
from benchmarks.report import Plan, Report, filled, put
from benchmarks.rivals import measure
from benchmarks.timing import MISSING, Rounds, Span, exponent, interleaved, replaced, significant, table

ROOT = Path(__file__).resolve().parents[1]


def test_exponents_are_slopes_of_logarithms() -> None:
    sizes = [2.0, 8.0, 32.0, 128.0]
    assert exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [7.0] * 4) == pytest.approx(0)
    with pytest.raises(ValueError, match="two points"):
        exponent([1.0], [1.0])


def test_ratios_are_taken_round_by_round() -> None:
    # the load doubles from round to round: the times spread, the ratio does not
    rounds = Rounds({"naive": [4.0, 8.0, 16.0], "ours": [2.0, 4.0, 8.0]})
    assert rounds.ratio("naive", "ours") == Span(2.0, 2.0, 2.0)
    assert rounds.time("ours") == Span(4.0, 3.0, 6.0)
    assert rounds.time("ours").text(unit=1000) == "4000 (3000 to 6000)"
    assert Span.of([5.0]).text() == "5.00"


def test_steps_run_in_turns() -> None:
    seen: list[str] = []
    rounds = interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, budget=9, most=3)
    assert seen == ["a", "b"] * 4  # one round warms up
    assert {len(s) for s in rounds.seconds.values()} == {3}
    seen.clear()
    once = interleaved({"a": lambda: seen.append("a")}, budget=0)
    assert seen == ["a"] and len(once.seconds["a"]) == 1  # too slow for another round: the first one counts


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (12.345, "12.3"), (0.012345, "0.0123"), (0, "0"), (1, "1.00")]
)
def test_three_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_tables_are_padded_and_complete() -> None:
    rows: dict[str, list[str]] = {}
    put(rows, "late", 1, "2 ms")
    put(rows, "early", 0, "1 ms")
    report = Report()
    report.add("Title", table(["what", "a", "b"], filled(rows, Plan((512, 1024), 1))))
    assert report.lines[2:6] == [
        "| what  | a    | b    |",
        "|-------|------|------|",
        "| late  | -    | 2 ms |",
        "| early | 1 ms | -    |",
    ]
    with pytest.raises(ValueError, match="2 cells"):
        table(["a", "b"], [["1"]])


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = "# Measured\n\n<!-- bench -->\nold\n<!-- /bench -->\n\n## Other\n"
    assert replaced(page, "new\n") == "# Measured\n\n<!-- bench -->\nnew\n<!-- /bench -->\n\n## Other\n"
    assert replaced(replaced(page, "new"), "old") == page
    assert replaced("# Measured\n", "new") == "# Measured\n\n<!-- bench -->\nnew\n<!-- /bench -->\n"
    for broken in ("<!-- bench -->\n", "<!-- /bench -->\n<!-- bench -->", page + page):
        with pytest.raises(ValueError, match="bench"):
            replaced(broken, "new")


def test_targets_that_fail_are_shown_as_missed() -> None:
    first, second, *rest = targets()
    facts = {first.fact: Span(first.least, 1, 2), second.fact: Span(second.least * 0.99, 1, 2)}
    lines = judged(facts)[2:]
    assert " met " in lines[0] and "**missed**" in lines[1]
    assert all(line.count(MISSING) == 2 for line in lines[2:]) and len(lines) == 2 + len(rest)


def test_naive_is_vanilla() -> None:
    scene = Scene.of(256, torch.device("cpu"))
    scene.refined = (scene.refined + 1) / 3  # stays within what uint8 holds
    naive = scene.naive(scene.residual())().clamp(0, 1)  # type: ignore[attr-defined]
    ours = to_float(scene.ours("vanilla")())  # type: ignore[arg-type]
    assert (naive - ours).abs().max() < 1.5 / 255


def test_boxes_cover_their_share() -> None:
    left, top, right, bottom = box(4096, 1 / 16).bounds()
    assert (right - left) * (bottom - top) * 16 == 4096**2
    assert box(100, 1).is_whole


def test_floors_are_the_bytes_that_must_move() -> None:
    large, small = 4096**2, 256**2
    assert floor_bytes("vanilla", large) == 6 * large
    assert floor_bytes("multiscale", large) == 8 * large
    assert floor_bytes("aligned", large) == 6 * large + 3 * 1024**2
    assert floor_bytes("aligned", small) == 9 * small


def test_the_super_resolution_network_is_the_published_one() -> None:
    net = Rrdb()
    assert sum(p.numel() for p in net.parameters()) == 16_697_987
    assert net(torch.rand(1, 3, 4, 5)).shape == (1, 3, 16, 20)


def test_a_rival_that_cannot_run_says_why(tmp_path: Path) -> None:
    assert "--fomm" in measure("fomm", None, 1, 0.1).reason
    found = measure("ganimation", tmp_path, 1, 0.1)
    assert found.rival is None and "networks" in found.reason


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    line = Curve("line", {512: 1.0, 1024: 4.0}, "#ff0000")
    draw(tmp_path / "plot.png", [line, Curve("dot", {256: 300.0}, "#0000ff")])
    with Image.open(tmp_path / "plot.png") as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None and {(255, 0, 0), (0, 0, 255)} <= {c for _, c in colours}


def test_the_benchmark_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Measured\n\nkept\n", encoding="utf-8")
    options = ["--quick", "--sizes", "256", "--only", "reswarp", "--repeat", "1", "--threads", "1"]
    command = [sys.executable, ROOT / "benchmarks/bench.py", *options, "--results", page]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    written = page.read_text(encoding="utf-8")
    assert "kept" in written and (tmp_path / "bench.png").is_file()
    for mode in MODES:
        assert f"cpu: {mode}, torch" in done.stdout and f"cpu: {mode}, torch" in written
    assert page_part(Report(), 1, None).splitlines()[0] in written
