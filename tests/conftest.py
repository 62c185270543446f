"""Shared helpers: smooth motions, natural-looking images, tiny checkpoints. No test needs data outside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atw_nodes.checkpoints import save_checkpoint
from atw_nodes.networks import Generator, GeneratorConfig
from atw_nodes.types import SignalSpec

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    if workers:  # else all of them take all cores and wait for each other
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(workers)))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def faces_folder() -> Path:
    folder = DATA / "faces"
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no face data beside the checkout (looked for {folder.parent.name}/{folder.name})")
    return folder


def smooth_field(
    n: int = 128, amount: float = 0.03, cells: int = 6, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A smooth random motion [1,2,n,n]."""
    field = F.interpolate(torch.randn(1, 2, cells, cells, dtype=dtype), size=(n, n), mode="bicubic")
    return field * amount


def photo_like(height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """An image [1,3,H,W] in [0,1] with falling spectrum: smooth shapes, edges and a little texture."""
    image = torch.zeros(1, 3, height, width, dtype=torch.float64)
    for cells, amount in ((4, 0.25), (16, 0.1), (48, 0.03)):
        blobs = torch.randn(1, 3, cells, cells, dtype=torch.float64)
        image += amount * F.interpolate(blobs, size=(height, width), mode="bicubic")
    image += 0.3 * (torch.linspace(-1, 1, width, dtype=torch.float64) > 0.1)
    return (image + 0.4).clamp(0, 1).to(dtype)


TINY = GeneratorConfig(3, size=32, width=4, motion_blocks=1, refine_blocks=1)


def tiny_generator(config: GeneratorConfig = TINY) -> Generator:
    """A small random generator whose motion and refinement are large enough to see."""
    generator = Generator(config).eval().requires_grad_(False)
    generator.motion.last.weight *= 60
    generator.refine.last.weight *= 300
    return generator


def tiny_spec() -> SignalSpec:
    presets = {"smiling": {"AU10": 0.4, "AU12": 0.7, "AU25": 0.5}, "neutral": {"AU12": -0.7}}
    return SignalSpec("relative", ("AU10", "AU12", "AU25"), low=(-1.5,) * 3, high=(1.5,) * 3, presets=presets)


@pytest.fixture
def tiny_checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_generator(), tiny_spec(), {"data": "none", "licence": "MIT"})
    return path
