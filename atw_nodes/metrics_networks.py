"""Networks that judge images and do not come with the pack: Inception for FID, an embedder for identity, and
the super-resolution models one compares with.

All are files that the user names, or that their library downloads. A .pt or .pth file is a program of its
maker: only open those you trust.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .extras import onnxruntime_module, spandrel_module, torch_fidelity_inception
from .files import file_head, reason
from .pyramid import downsample, to_float
from .tiles import canonical
from .types import FaceFrame, InputError, ShapeError

# Where the eyes lie in the crop that face embedders are trained on (112 x 112, five points), as fractions
EYES_APART, EYES_X, EYES_Y = 35.24 / 112, 55.91 / 112, 51.6 / 112
RANGES: dict[str, tuple[float, float]] = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}


class Inception:
    """The 2048 features of torch-fidelity's Inception (the one that FIDs are commonly given by).

    weights: the file of that library's release; downloaded by it if None.
    """

    def __init__(self, weights: Path | None = None) -> None:
        network = torch_fidelity_inception()
        if weights is not None:
            file_head(weights)
        try:
            given = None if weights is None else str(weights)
            self._network = network("inception-v3-compat", ["2048"], feature_extractor_weights_path=given)
        except Exception as error:  # no connection, another network: all of the library's making
            where = f"{weights}" if weights else "the library's own weights"
            raise InputError(
                f"Inception cannot be loaded from {where} ({reason(error)[:160]}); give the library's file "
                "weights-inception-2015-12-05-6726825d.pth with --inception-weights"
            ) from error

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """[2048] of [1,3,H,W] (uint8, or float in [0,1]); the network resizes to 299 by itself."""
        bytes_ = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().byte()
        return self._network(bytes_.cpu())[0][0].float()


class Embedder:
    """A face recogniser: TorchScript (.pt, .pth) or ONNX (.onnx), [1,3,S,S] -> an embedding [1,D].

    It sees RGB, upright, ``size`` pixels a side, the eyes where ArcFace's five-point crop has them, values in
    ``values`` (one of ``RANGES``).
    """

    def __init__(self, file: Path, size: int = 112, values: str = "0..255") -> None:
        if values not in RANGES:
            raise InputError(f"values {values!r} are unknown; expected one of {', '.join(RANGES)}")
        file_head(file)
        self.file, self.size, self.span = file, size, RANGES[values]
        self._run = _onnx(file) if file.suffix.lower() == ".onnx" else _torchscript(file)

    def __call__(self, image: Tensor, eyes: Sequence[Sequence[float]]) -> Tensor:
        """[D] of the face whose eye centres are at ``eyes`` (image left, image right) in [1,3,H,W]."""
        crop = embedder_crop(image, eyes, self.size)
        low, high = self.span
        try:
            out = self._run(crop * (high - low) + low)
        except Exception as error:  # a stranger's network
            raise InputError(
                f"{self.file} takes no image of {self.size}x{self.size} ({reason(error)[:160]}); give its "
                "size with --embedder-size"
            ) from error
        if out.numel() < 2 or not bool(torch.isfinite(out).all()):
            raise ShapeError(f"{self.file} gave {list(out.shape)}; expected one finite embedding [1, D]")
        return out.flatten().float()


def embedder_crop(image: Tensor, eyes: Sequence[Sequence[float]], size: int) -> Tensor:
    """[1,3,size,size] in [0,1]: upright, with the eye centres at (0.34, 0.46) and (0.66, 0.46)."""
    (x0, y0), (x1, y1) = eyes
    across = ((x1 - x0) / EYES_APART, (y1 - y0) / EYES_APART)  # the crop's upper side in pixels
    if not abs(across[0]) + abs(across[1]) > 0:
        raise InputError("both eyes are at one point; there is no face to embed")
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    a, c = across
    corner = (mx - EYES_X * a + EYES_Y * c, my - EYES_X * c - EYES_Y * a)
    frame = FaceFrame(((a, -c, corner[0]), (c, a, corner[1])), image.shape[-2], image.shape[-1])
    return canonical(image, frame, size).float().clamp(0, 1)


def _torchscript(file: Path) -> Callable[[Tensor], Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # still the one format that carries its code
            network = torch.jit.load(str(file), map_location="cpu").eval()
    except Exception as error:
        raise InputError(
            f"{file} is no TorchScript file ({reason(error)[:120]}); expected one of torch.jit.save, or .onnx"
        ) from error

    def run(image: Tensor) -> Tensor:
        with torch.no_grad():
            return network(image)

    return run


def _onnx(file: Path) -> Callable[[Tensor], Tensor]:
    runtime = onnxruntime_module()
    try:
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{file} is no ONNX network ({reason(error)[:120]})") from error
    name = session.get_inputs()[0].name

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: image.numpy()})[0])

    return run


class Enlarger:
    """A super-resolution model from a file that Spandrel reads."""

    def __init__(self, file: Path) -> None:
        file_head(file)
        spandrel = spandrel_module()
        try:
            loaded: Any = spandrel.ModelLoader("cpu").load_from_file(str(file))
        except Exception as error:
            raise InputError(f"{file} is no model that Spandrel reads ({reason(error)[:160]})") from error
        if int(getattr(loaded, "scale", 1)) < 2 or loaded.input_channels != 3:
            raise InputError(
                f"{file} enlarges {loaded.input_channels} channels by {getattr(loaded, 'scale', 1)}; "
                "expected 3 channels, and at least 2"
            )
        self.file, self.scale, self._model = file, int(loaded.scale), loaded.eval()

    @torch.no_grad()
    def __call__(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """[1,3,h,w] in [0,1] enlarged as often as ``size`` (H, W) asks for, then averaged down to it."""
        out = to_float(image).float().clamp(0, 1)
        while out.shape[-2] < size[0] or out.shape[-1] < size[1]:
            out = self._model(out).float().clamp(0, 1)
        return downsample(out, size)
