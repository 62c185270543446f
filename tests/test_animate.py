"""The main path of a generator with a basis: one pass of its motion network a clip, a sum a frame."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atw_nodes.animate import animate, animate_all
from atw_nodes.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from atw_nodes.frames import frame_from_box
from atw_nodes.generation import generate
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.reswarp import decompose
from atw_nodes.types import ShapeError
from tests.conftest import photo_like, tiny_generator, tiny_spec


@pytest.fixture
def model(tmp_path) -> Checkpoint:
    config = GeneratorConfig(3, size=32, width=4, motion_blocks=1, refine_blocks=1, conditioning="basis")
    save_checkpoint(tmp_path / "b.safetensors", tiny_generator(config), tiny_spec(), {})
    return load_checkpoint(tmp_path / "b.safetensors")


def test_a_clip_takes_one_pass(model: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], Generator.basis

    def counted(self: Generator, low: torch.Tensor) -> torch.Tensor:
        calls.append(len(low))
        return original(self, low)

    monkeypatch.setattr(Generator, "basis", counted)
    residuals = decompose(photo_like(48, 40), None, 32)
    list(generate(model, residuals, torch.randn(9, 3), None, batch=2))
    assert calls == [1]


def test_a_weight_scales_the_signal(model: Checkpoint) -> None:
    photo, full = (photo_like(48, 40) * 255).byte(), torch.tensor([[0.5, 0.8, -0.4]])
    weights = [0.0, 0.3, 1.0]
    by_weight = [f.clone() for f in animate(photo, model, full, weights)]
    by_step = [f.clone() for f in animate(photo, model, torch.tensor(weights)[:, None] * full)]
    assert all(torch.equal(a, b) for a, b in zip(by_weight, by_step, strict=True))
    assert torch.equal(by_weight[0], photo)
    assert not torch.equal(by_weight[2], photo)


def test_several_faces_share_a_signal_or_have_their_own(model: Checkpoint) -> None:
    photo, full = (photo_like(60, 120) * 255).byte(), torch.tensor([[0.5, 0.8, -0.4]])
    frames = [frame_from_box(x, 5, 50, 60, 120) for x in (2, 66)]
    weights = [0.0, 0.6, 1.0]
    shared = [f.clone() for f in animate_all(photo, model, [full], frames, weights)]
    alone = [[f.clone() for f in animate(photo, model, full, weights, frame)] for frame in frames]
    assert torch.equal(shared[0], photo)
    for got, left, right in zip(shared, *alone, strict=True):
        expected = torch.cat([left[..., :60], right[..., 60:]], -1)
        assert int((got.int() - expected.int()).abs().max()) <= 1
    only = list(animate_all(photo, model, [full, 0 * full], frames, weights))[-1]
    assert torch.equal(only[..., 60:], photo[..., 60:]) and not torch.equal(only, photo)
    single = list(animate_all(photo, model, [full], frames[:1], weights))
    assert all(torch.equal(a, b) for a, b in zip(single, alone[0], strict=True))
    with pytest.raises(ShapeError, match="3 signals for 2 faces"):
        animate_all(photo, model, [full] * 3, frames)
    with pytest.raises(ShapeError, match="signals have 1, 2 steps"):
        animate_all(photo, model, [full, full.expand(2, -1)], frames)


def test_alpha_moves_along_with_several_faces(model: Checkpoint) -> None:
    photo, full = (photo_like(60, 120) * 255).byte(), torch.tensor([[0.5, 0.8, -0.4]])
    photo = torch.cat([photo, photo[:, :1]], 1)
    frames = [frame_from_box(x, 5, 50, 60, 120) for x in (2, 40)]
    (got,) = animate_all(photo, model, [full], frames)
    assert got.shape == photo.shape
    assert all(not torch.equal(got[:, 3:, :, c], photo[:, 3:, :, c]) for c in (slice(40), slice(70, 120)))


def test_smoothed_motion_still_ends_at_the_frames_edge(tiny_checkpoint: Path) -> None:
    checkpoint, photo = load_checkpoint(tiny_checkpoint), photo_like(96, 96)
    frame = frame_from_box(16, 16, 64, 96, 96)
    residuals = decompose(photo, frame, checkpoint.generator.config.size)
    signal = checkpoint.signal.preset("smiling")
    plain, soft = (next(generate(checkpoint, residuals, signal, smooth=s)).motion.field for s in (0.0, 5.0))
    clip = next(generate(checkpoint, residuals, signal, [0.5, 1.0], smooth=5.0)).motion.field
    assert float(soft.diff(dim=-1).abs().max()) < 0.6 * float(plain.diff(dim=-1).abs().max())
    assert not bool(soft[..., 0, :].any() or soft[..., :, -1].any())
    assert torch.allclose(clip[1], soft[0], atol=1e-6) and torch.allclose(clip[0] * 2, soft[0], atol=1e-6)


def test_motions_are_shown_before_their_frames(tiny_checkpoint: Path) -> None:
    checkpoint, photo = load_checkpoint(tiny_checkpoint), photo_like(96, 96)
    seen: list[int] = []
    frames = [frame_from_box(8, 16, 40, 96, 96), frame_from_box(52, 16, 40, 96, 96)]
    made = animate_all(
        photo, checkpoint, [checkpoint.signal.preset("smiling")], frames, [0.0, 1.0, 0.5],
        watch=lambda motions: seen.extend(len(m) for m in motions),
    )  # fmt: skip
    assert seen == [] and len(list(made)) == 3
    assert sum(seen) == 6  # two faces, three frames
