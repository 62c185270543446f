"""Detail where content is new: nothing elsewhere, what was painted kept, still when nothing moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atw_nodes import detail_network
from atw_nodes import reswarp as R
from atw_nodes.detail import DETAILS, Detail, detailed, enlarged, share
from atw_nodes.detail_network import Doubler, consistent, load_doubler
from atw_nodes.pyramid import downsample, upsample
from atw_nodes.reswarp import Residuals, ReswarpConfig, ReswarpMode, decompose, reswarp
from atw_nodes.types import CheckpointError, FaceFrame, InputError, Motion

SIZE, SIDE = 64, 300
FRAME = FaceFrame(((SIDE, 0.0, 30.0), (0.0, SIDE, 20.0)), 340, 380, 0.1)
SOME: tuple[Detail, ...] = ("sharp", "learned")


def photo() -> Tensor:
    g = torch.Generator().manual_seed(1)
    smooth = upsample(torch.rand(1, 3, 12, 12, generator=g), (340, 380)) * 0.5 + 0.2
    return ((smooth + 0.02 * torch.randn(1, 3, 340, 380, generator=g)).clamp(0, 1) * 255).round().byte()


@pytest.fixture(scope="module")
def parts() -> Residuals:
    return decompose(photo(), FRAME, SIZE)


def still(n: int = 1) -> Motion:
    return Motion(torch.zeros(n, 2, SIZE, SIZE), torch.ones(n))


def teeth(low: Tensor, value: float = 1.0) -> Tensor:
    """``low`` with a bright band of three teeth."""
    painted = low.clone()
    for x in (24, 30, 36):
        painted[..., 36:42, x : x + 5] = value
    return painted


def frame(parts: Residuals, refined: Tensor, detail: Detail, motion: Motion | None = None) -> Tensor:
    return next(reswarp(parts, motion or still(), refined, ReswarpConfig(detail=detail)))


def opened(parts: Residuals, refined: Tensor) -> Tensor:
    """[1,1,h,w] bool in the photo: where the gate drops anything worth detail, and a cell around."""
    down = R._canonical_warp(parts, still().field, ReswarpConfig())
    cells = F.max_pool2d((share(1 - R.residual_gate(refined - down)) > 0).float(), 3, 1, 1)
    out = torch.zeros(1, 1, FRAME.height, FRAME.width)
    out[..., 20 : 20 + SIDE, 30 : 30 + SIDE] = F.interpolate(cells, (SIDE, SIDE), mode="bilinear")
    return out > 0


def test_none_is_what_it_was(parts: Residuals, monkeypatch: pytest.MonkeyPatch) -> None:
    off, on = (frame(parts, teeth(parts.low), d) for d in ("none", "learned"))
    monkeypatch.setattr(R, "detailed", lambda add, *_: add)
    assert torch.equal(frame(parts, teeth(parts.low), "none"), off) and not torch.equal(off, on)
    monkeypatch.setattr(R, "detailed", lambda *_: pytest.fail("asked for"))
    paper = replace(ReswarpConfig.paper(), mode=ReswarpMode.ALIGNED)
    next(reswarp(parts, still(), teeth(parts.low), paper))  # no gate: no detail


@pytest.mark.parametrize("detail", SOME)
def test_no_signal_is_the_photo(parts: Residuals, detail: Detail) -> None:
    motion = Motion(torch.zeros(1, 2, SIZE, SIZE), torch.zeros(1))
    assert torch.equal(frame(parts, teeth(parts.low), detail, motion), parts.photo)


@pytest.mark.parametrize("detail", SOME)
def test_an_open_gate_adds_nothing(parts: Residuals, detail: Detail) -> None:
    lit = parts.low * 0.95 + 0.02
    assert torch.equal(frame(parts, lit, detail), frame(parts, lit, "none"))


@pytest.mark.parametrize("detail", SOME)
def test_only_where_the_gate_is_shut(parts: Residuals, detail: Detail) -> None:
    painted = teeth(parts.low)
    on, off = frame(parts, painted, detail), frame(parts, painted, "none")
    changed = (on != off).any(1, keepdim=True)
    assert changed.any()
    assert not (changed & ~opened(parts, painted)).any()


@pytest.mark.parametrize("detail", SOME)
def test_what_was_painted_is_kept(parts: Residuals, detail: Detail) -> None:
    painted, far = teeth(parts.low), []
    shut = share(1 - R.residual_gate(painted - R._canonical_warp(parts, still().field, ReswarpConfig())))
    shut = (shut > 0.999).expand_as(painted)
    assert shut.sum() > 60
    for kind in ("none", detail):
        made = frame(parts, painted, kind)[..., 20 : 20 + SIDE, 30 : 30 + SIDE]
        far.append((downsample(made, (SIZE, SIZE)) - painted)[shut].abs().mean())
    assert far[1] < 0.5 * far[0]


@pytest.mark.parametrize("octaves", [1, 2])
@pytest.mark.parametrize("detail", SOME)
def test_sharpened_averages_to_what_it_was(parts: Residuals, detail: Detail, octaves: int) -> None:
    small = parts.low[..., 20:50, 16:52]
    made = enlarged(small, octaves, detail)
    assert (F.avg_pool2d(made, 1 << octaves) - small).abs().max() < 1 / 255


def test_a_signal_that_holds_does_not_flicker(parts: Residuals) -> None:
    painted = teeth(parts.low).expand(3, -1, -1, -1)
    field = torch.full((3, 2, SIZE, SIZE), 0.01) * parts.mask()
    frames = list(reswarp(parts, Motion(field, torch.ones(3)), painted, ReswarpConfig()))
    assert torch.equal(frames[0], frames[1]) and torch.equal(frames[1], frames[2])


@pytest.mark.parametrize("detail", SOME)
def test_detail_grows_without_a_jump(parts: Residuals, detail: Detail) -> None:
    steps = [parts.low + v * (teeth(parts.low) - parts.low) for v in torch.linspace(0, 1, 41).tolist()]
    frames = [frame(parts, s, detail).int() - frame(parts, s, "none").int() for s in steps]
    apart = [int((b - a).abs().max()) for a, b in zip(frames[:-1], frames[1:], strict=True)]
    assert max(int(f.abs().max()) for f in frames) > 10
    assert max(apart) < 40 / 100 * max(int(f.abs().max()) for f in frames)


@pytest.mark.parametrize("shape", [(128, 128), (256, 256), (150, 200), (64, 64)])
def test_any_table(shape: tuple[int, int]) -> None:
    low, drop = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    add = torch.zeros(1, 3, *shape)
    assert detailed(add, low, drop, "sharp") is add
    drop[..., 10:14, 12:20] = 1
    made = detailed(add, low, drop, "sharp")
    assert made.shape == add.shape and bool(made.any())
    assert not made[..., : shape[0] // 5, :].any()


def test_a_table_as_small_as_the_picture_stays() -> None:
    add = torch.zeros(1, 3, 32, 32)
    assert detailed(add, torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32), "learned") is add


def test_a_large_picture_is_fine_enough() -> None:
    add = torch.zeros(1, 3, 1024, 1024)
    assert detailed(add, torch.rand(1, 3, 512, 512), torch.ones(1, 1, 512, 512), "sharp") is add


def test_whole_photos(parts: Residuals) -> None:
    whole = decompose(photo(), None, SIZE)
    on, off = (
        next(reswarp(whole, still(), teeth(whole.low), ReswarpConfig(detail=d))) for d in ("learned", "none")
    )
    assert (on != off).any() and (on == off).all(1).float().mean() > 0.8


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_back_projection_is_what_its_steps_make(k: int, steps: int) -> None:
    """At the small size alone, and the same as enlarging what is missed every time."""
    small = torch.rand(1, 3, 9, 14, dtype=torch.float64)
    image = expected = upsample(small, (9 * k, 14 * k), "bicubic")
    for _ in range(steps):
        expected = expected + upsample(small - F.avg_pool2d(expected, k), (9 * k, 14 * k))
    assert torch.allclose(consistent(image, small, steps), expected, atol=1e-12)


def test_the_network_is_bilinear_before_training_and_the_bundled_one_is_small() -> None:
    image = torch.rand(1, 3, 9, 14)
    assert torch.equal(Doubler()(image), upsample(image, (18, 28)))
    network = load_doubler(torch.device("cpu"))
    assert sum(p.numel() for p in network.parameters()) < 250_000
    flat = torch.full((1, 3, 24, 24), 0.4)
    assert (consistent(network(flat), flat)[..., 12:-12, 12:-12] - 0.4).abs().max() < 0.02


def test_files_that_are_no_network_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_doubler(torch.device("cpu"), file)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_doubler(torch.device("cpu"), file)


def test_a_pack_without_the_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail_network, "model_folders", lambda: [tmp_path])
    with pytest.raises(CheckpointError, match=r'lacks models/atw-detail\.safetensors; .* set detail="sharp"'):
        load_doubler.__wrapped__(torch.device("cpu"))


def test_unknown_detail_is_refused() -> None:
    with pytest.raises(InputError, match=", ".join(DETAILS)):
        ReswarpConfig(detail="more")  # type: ignore[arg-type]
