"""Judges from files: with the real libraries' calls where torch has them, else with stand-ins that are called
alike.
"""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from atw_nodes.metrics_networks import (
    EYES_APART,
    EYES_X,
    EYES_Y,
    Embedder,
    Enlarger,
    Inception,
    embedder_crop,
)
from atw_nodes.types import InputError, MissingExtraError


class Mean(nn.Module):
    """The mean of each channel, as an embedding."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mean.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Mean()), str(path))
    return path


def marked(left: tuple[float, float], right: tuple[float, float]) -> torch.Tensor:
    """Grey, with a white spot on the left eye and a black one on the right."""
    image = torch.full((1, 3, 200, 240), 0.5)
    for (x, y), value in ((left, 1.0), (right, 0.0)):
        image[..., int(y) - 5 : int(y) + 5, int(x) - 5 : int(x) + 5] = value
    return image


@pytest.mark.parametrize(("left", "right"), [((90, 80), (150, 80)), ((90, 70), (140, 110))])
def test_the_crop_has_the_eyes_where_recognisers_want_them(
    left: tuple[float, float], right: tuple[float, float]
) -> None:
    crop = embedder_crop(marked(left, right), (left, right), 112)
    assert crop.shape == (1, 3, 112, 112)
    y, x0, x1 = (
        round(EYES_Y * 112),
        round((EYES_X - EYES_APART / 2) * 112),
        round((EYES_X + EYES_APART / 2) * 112),
    )
    assert (x0, x1, y) == (38, 74, 52)
    assert float(crop[0, 0, y, x0]) == pytest.approx(1, abs=0.01)
    assert float(crop[0, 0, y, x1]) == pytest.approx(0, abs=0.01)
    assert float(crop[0, 0, 80, 56]) == pytest.approx(0.5)
    with pytest.raises(InputError, match="both eyes are at one point"):
        embedder_crop(marked(left, right), (left, left), 112)


@pytest.mark.parametrize(("span", "scale"), [("0..255", (255, 0)), ("0..1", (1, 0)), ("-1..1", (2, -1))])
def test_an_embedder_of_torchscript_sees_its_range(
    script: Path, span: str, scale: tuple[float, float]
) -> None:
    image = torch.zeros(1, 3, 200, 240)
    image[:, 1] = 0.25
    found = Embedder(script, 64, span)(image, ((90, 80), (150, 80)))
    a, b = scale
    assert found.tolist() == pytest.approx([b, 0.25 * a + b, b])


def test_wrong_embedders_are_said(tmp_path: Path, script: Path) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(b"no network")
    with pytest.raises(InputError, match="is no TorchScript file"):
        Embedder(other)
    with pytest.raises(InputError, match="does not exist"):
        Embedder(tmp_path / "none.pt")
    with pytest.raises(InputError, match="values '0..2' are unknown"):
        Embedder(script, 112, "0..2")


def test_an_onnx_embedder_runs_in_its_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            self.path = path

        def get_inputs(self) -> list[types.SimpleNamespace]:
            return [types.SimpleNamespace(name="data")]

        def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert feed["data"].dtype == np.float32 and feed["data"].shape == (1, 3, 112, 112)
            return [feed["data"].mean((2, 3))]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session))
    path = tmp_path / "e.onnx"
    path.write_bytes(b"x")
    found = Embedder(path)(torch.full((1, 3, 200, 240), 0.5), ((90, 80), (150, 80)))
    assert found.tolist() == pytest.approx([127.5] * 3)


def test_features_come_from_torch_fidelitys_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network:
        def __init__(
            self, name: str, features: list[str], feature_extractor_weights_path: str | None
        ) -> None:
            assert features == ["2048"]
            if feature_extractor_weights_path is None:
                raise OSError("no connection")

        def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            assert image.dtype == torch.uint8
            return (image.float().mean((2, 3)),)

    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Network
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    assert Inception(weights)(torch.full((1, 3, 9, 9), 0.2)).tolist() == [51.0] * 3
    with pytest.raises(InputError, match=r"no connection\); give the library's file .* --inception-weights"):
        Inception()


def test_a_super_resolution_model_is_applied_until_it_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        scale, input_channels, runs = 2, 3, 0

        def eval(self) -> Model:
            return self

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            Model.runs += 1
            return image.repeat_interleave(2, -1).repeat_interleave(2, -2)

    class Loader:
        def __init__(self, device: str) -> None: ...

        def load_from_file(self, path: str) -> Model:
            return Model()

    monkeypatch.setitem(sys.modules, "spandrel", types.SimpleNamespace(ModelLoader=Loader))
    path = tmp_path / "sr.pth"
    path.write_bytes(b"x")
    image = torch.rand(1, 3, 8, 8)
    grown = Enlarger(path)(image, (24, 24))
    assert grown.shape == (1, 3, 24, 24) and Model.runs == 2
    assert torch.allclose(grown[..., ::3, ::3], image, atol=1e-6)
    Model.scale = 1
    with pytest.raises(InputError, match="enlarges 3 channels by 1; expected 3 channels, and at least 2"):
        Enlarger(path)


@pytest.mark.parametrize(
    ("package", "make", "command"),
    [
        ("torch_fidelity", lambda p: Inception(), "pip install torch-fidelity"),
        ("onnxruntime", lambda p: Embedder(p / "e.onnx"), "pip install onnxruntime"),
        ("spandrel", lambda p: Enlarger(p / "e.onnx"), "pip install spandrel"),
    ],
)
def test_what_is_not_installed_is_named_with_its_command(
    package: str, make: object, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=command):
        make(tmp_path)
