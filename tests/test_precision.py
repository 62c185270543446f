"""bfloat16 on a drawn portrait: within 1/255 of float32, for what is painted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atw_nodes import networks, precision
from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.images import read_photo
from atw_nodes.precision import has_bfloat16, paying
from atw_nodes.pyramid import downsample
from tests.conftest import ROOT

PORTRAIT = ROOT / "assets" / "portrait-4k.jpg"
LEFT, TOP, SIDE = 614, 414, 2867  # its head


@pytest.mark.parametrize("name", ["atw-au-128", "atw-smile-128"])
@pytest.mark.parametrize("strength", [0.4, 1.0])
@torch.no_grad()
def test_what_is_painted_stays_within_a_255th(
    name: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_checkpoint(name).generator
    low = downsample(read_photo(PORTRAIT).pixels[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE], (128, 128))
    signal = torch.full((1, generator.config.signal), strength) * (
        torch.rand(1, generator.config.signal) < 0.7
    )
    monkeypatch.setattr(networks, "paying", lambda x: torch.autocast("cpu", enabled=False))
    exact = generator(low, signal)
    monkeypatch.setattr(networks, "paying", lambda x: torch.autocast("cpu", torch.bfloat16))
    field = generator.predict_motion(low, signal)
    _, refined = generator.refine_warped(low, signal, field)
    assert torch.equal(field, exact.field), "motions stay in float32"
    off = (refined - exact.refined).abs().max()
    assert 0 < off <= 1 / 255
    assert refined.dtype == torch.float32


def test_only_where_it_is_native_and_nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1)
    for native in (True, False):
        monkeypatch.setattr(precision, "has_bfloat16", lambda kind, native=native: native)
        for grad, kind in ((True, torch.float32), (False, torch.float32), (False, torch.float64)):
            with torch.set_grad_enabled(grad), paying(x.to(kind)):
                assert torch.is_autocast_enabled("cpu") == (native and not grad and kind == torch.float32)
    assert not has_bfloat16("mps")


def test_the_cpu_is_asked() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file():
        pytest.skip("no list of the CPU's abilities on this system")
    assert has_bfloat16("cpu") == ("avx512_bf16" in flags.read_text())
