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
