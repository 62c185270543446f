"""Landmarks by MediaPipe's face mesh, an optional source: ``pip install "atw-nodes[landmarks]"``.

Its limits: mediapipe 0.10.21 wants numpy below 2 and Python 3.9 to 3.12; it sees faces of some 100 pixels and
more, and few at a time. Nothing in this project needs it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .files import to_bytes
from .types import MissingExtraError, check_shape


def mediapipe_landmarks(image: Tensor, most: int = 16) -> list[NDArray[np.float32]]:
    """[478,2] pixels of every face that MediaPipe finds in ``image`` [1,3,H,W]."""
    check_shape(image, "13HW", "image")
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise MissingExtraError(
            'landmarks by mediapipe need it installed: pip install "atw-nodes[landmarks]" (Python 3.12 or '
            "older); or leave them to the pack's own network"
        ) from e
    options = {"static_image_mode": True, "refine_landmarks": True, "max_num_faces": most}
    with mediapipe.solutions.face_mesh.FaceMesh(**options, min_detection_confidence=0.3) as mesh:
        found = mesh.process(to_bytes(image)).multi_face_landmarks or []
    size = np.array(image.shape[:-3:-1], np.float32)  # (width, height)
    return [np.array([[p.x, p.y] for p in face.landmark], np.float32) * size for face in found]
