"""The study of up-sampling: its measures on errors that are known, and what it must find on any photo."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atw_nodes.pyramid import upsample
from atw_nodes.reswarp import ReswarpMode
from benchmarks import upsampling
from benchmarks.upsampling import LOW, MARKS, Case, case_of, fine, made, put, score, seams


@pytest.fixture(scope="module")
def case() -> Case:
    g = torch.Generator().manual_seed(1)
    photo = upsample(torch.rand(1, 3, 90, 90, generator=g), (512, 512), "bicubic").clamp(0, 1)
    return case_of((photo * 255).round().byte(), (slice(200, 300), slice(180, 330)), 3)


def test_seams_are_told_from_noise_and_from_tiles() -> None:
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, 512, 512, generator=g)
    assert seams(noise) == pytest.approx(1, abs=0.02)
    tiles = upsample(torch.randn(1, 1, LOW, LOW, generator=g), (512, 512), "nearest")
    assert seams(tiles + 0.1 * noise) > 3


def test_the_fine_band_is_what_a_small_grid_cannot_hold() -> None:
    small = torch.rand(1, 3, LOW, LOW, generator=torch.Generator().manual_seed(0))
    assert fine(torch.full((1, 3, 512, 512), 0.3)).abs().max() < 1e-6
    even = upsample(small, (512, 512), "nearest")
    stripes = 0.1 * (torch.arange(512) % 2 * 2.0 - 1)
    assert torch.allclose(fine(even + stripes) - fine(even), stripes.expand(1, 3, 512, 512), atol=1e-6)


def test_what_everybody_should_find(case: Case) -> None:
    def whole(mode: ReswarpMode, way: tuple) -> float:
        return score(case, made(case, mode, way)).whole

    plain = ("bilinear", "bilinear")
    assert whole(ReswarpMode.ALIGNED, plain) > whole(ReswarpMode.VANILLA, plain) > 20
    for mode in ReswarpMode:
        assert whole(mode, plain) > whole(mode, ("nearest", "bilinear"))
    vanilla = score(case, made(case, ReswarpMode.VANILLA, ("nearest", "nearest")))
    assert vanilla.seams > score(case, made(case, ReswarpMode.VANILLA, plain)).seams + 0.2


def test_the_tables_go_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "study.md"
    page.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}\nafter\n", encoding="utf-8")
    put(page, ["new", ""])
    assert page.read_text(encoding="utf-8") == f"before\n{MARKS[0]}new\n{MARKS[1]}\nafter\n"
    assert (upsampling.ROOT / "docs" / "study.md").read_text(encoding="utf-8").count(MARKS[0]) == 1
