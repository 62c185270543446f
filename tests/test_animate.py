"""The main path of a generator with a basis: one pass of its motion network a clip, a sum a frame."""

from __future__ import annotations

import pytest
import torch

from atw_nodes.animate import animate, generate
from atw_nodes.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.reswarp import decompose
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
