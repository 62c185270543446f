"""Dense motion between two images of one size, by OpenCV's DIS (extra ``flow``).

Backward, as in ``warp.py``, but in pixels: b(p + flow(p)) shows what a(p) shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .extras import opencv_module
from .pyramid import downsample, to_float, upsample
from .types import ShapeError, check_shape
from .warp import identity_points, sample

_GREY = (0.299, 0.587, 0.114)
_LEAST = 256  # smaller images are enlarged for the search: its patches are 8 pixels wide


def estimate_flow(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """[2,H,W] float32 on the CPU, (dx, dy) in pixels: b(p + flow(p)) ~ a(p).

    a, b: [3,H,W] or [H,W], uint8 or float in [0,1]. start: a first guess [2,H,W], in pixels. Raises
    ``ShapeError`` where sizes differ, ``MissingExtraError`` without OpenCV.
    """
    if a.shape[-2:] != b.shape[-2:]:
        raise ShapeError(
            f"flow from {a.shape[-1]}x{a.shape[-2]} to {b.shape[-1]}x{b.shape[-2]}: bring both to one size"
        )
    height, width = a.shape[-2:]
    times = -(-_LEAST // min(height, width))
    size = (height * times, width * times)
    first, second = _bytes(a, size), _bytes(b, size)
    guess = None if start is None else upsample(start[None].float().cpu(), size)[0] * times
    given = None if guess is None else np.ascontiguousarray(guess.movedim(0, -1).numpy())
    found = _search().calc(first, second, given)
    flow = torch.from_numpy(found).movedim(-1, 0)[None]
    return downsample(flow, (height, width))[0] / times


def _search() -> Any:  # noqa: ANN401 (OpenCV's)
    """DIS down to single pixels, slow and fine: frames are small."""
    cv2 = opencv_module("optical flow")
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setPatchStride(2)
    dis.setGradientDescentIterations(25)
    dis.setVariationalRefinementIterations(10)
    return dis


def _bytes(image: Tensor, size: tuple[int, int]) -> np.ndarray:
    """[h,w] uint8 grey of ``size``."""
    plane = to_float(image.detach().cpu()).float()
    if plane.dim() == 3:
        check_shape(plane, "3HW", "image")
        plane = (plane * plane.new_tensor(_GREY)[:, None, None]).sum(0)
    check_shape(plane, "HW", "image")
    grown = upsample(plane[None, None], size, "bicubic")[0, 0]
    return grown.mul(255).round_().clamp_(0, 255).to(torch.uint8).numpy()


def reached(flow: Tensor) -> Tensor:
    """[1,H,W,2]: where ``flow`` [2,H,W], in pixels, leads every pixel, as fractions of width and height."""
    check_shape(flow, "2HW", "flow")
    h, w = flow.shape[-2:]
    return identity_points(h, w, like=flow) + flow.movedim(0, -1)[None] / flow.new_tensor([w, h])


def consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """[H,W] in 0..1: how well flow there and back agree; 0 where a point is hidden in, or leaves, the other
    image.

    forward, backward: [2,H,W] in pixels, of a to b and of b to a. One half where what is left of a round
    trip, squared, is 0.01 of the squared lengths plus half a pixel (Sundaram et al. 2010).
    """
    if forward.shape != backward.shape:
        raise ShapeError(f"flows are {list(forward.shape)} and {list(backward.shape)}; give one size")
    points = reached(forward)
    back = sample(backward[None], points)[0]
    left = (forward + back).square().sum(0)
    allowed = 0.01 * (forward.square().sum(0) + back.square().sum(0)) + 0.5
    inside = ((points >= 0) & (points <= 1)).all(-1)[0]
    return inside / (1 + (left / allowed) ** 2)
