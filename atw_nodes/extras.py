"""Optional packages, each with the command that installs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .types import MissingExtraError


def tensorboard_writer(folder: Path) -> Any:  # noqa: ANN401 (its type is the extra's)
    """A ``SummaryWriter`` for a run's folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # type: ignore[attr-defined,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "tensorboard = true needs TensorBoard; run: pip install tensorboard, or set it to false"
        ) from error
    return SummaryWriter(str(folder))


def ray_module() -> Any:  # noqa: ANN401
    """Ray itself."""
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtraError('--ray needs Ray; run: pip install "ray", or leave --ray out') from error
    return ray


def opencv_module(for_what: str) -> Any:  # noqa: ANN401
    """``cv2``; ``for_what`` begins the sentence that says it is missing: "optical flow", "the fast path"."""
    try:
        import cv2  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            f"{for_what} needs OpenCV; run: pip install opencv-python-headless"
        ) from error
    return cv2


def torch_fidelity_inception() -> Any:  # noqa: ANN401
    """The class of torch-fidelity's Inception network, from whose features an FID is computed."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # type: ignore[import-not-found,unused-ignore]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise MissingExtraError(
            "FID needs torch-fidelity; run: pip install torch-fidelity, or leave --fid out"
        ) from error
    return FeatureExtractorInceptionV3


def onnxruntime_module() -> Any:  # noqa: ANN401
    """ONNX Runtime, for embedders in .onnx files."""
    try:
        import onnxruntime  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "an .onnx embedder needs ONNX Runtime; run: pip install onnxruntime, or give a .pt file"
        ) from error
    return onnxruntime


def spandrel_module() -> Any:  # noqa: ANN401
    """Spandrel, which reads super-resolution models of many makers."""
    try:
        import spandrel  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtraError("--sr-model needs Spandrel; run: pip install spandrel") from error
    return spandrel
