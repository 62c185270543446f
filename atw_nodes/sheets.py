"""Pictures of intermediates, for looking at: motion as a colour wheel, residuals on grey, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .types import check_shape


def motion_view(field: Tensor, full: float | None = None) -> Tensor:
    """Motion [B,2,h,w] -> [B,3,h,w]: hue is the direction the content moves in, saturation the length.

    full: the length (fraction of the frame) shown in full colour; the largest of the batch if not given.
    White is no motion.
    """
    check_shape(field, "B2hw", "motion field")
    x, y = -field[:, 0], -field[:, 1]  # content moves against the backward field
    length = (x * x + y * y).sqrt()
    full = full or max(float(length.max()), 1e-6)
    hue, saturation = torch.atan2(y, x) / (2 * math.pi) % 1.0, (length / full).clamp(0, 1)
    k = (torch.tensor([5.0, 3.0, 1.0], device=field.device).view(1, 3, 1, 1) + hue[:, None] * 6) % 6
    return 1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def residual_view(residual: Tensor) -> Tensor:
    """A residual around 0 -> a picture around mid grey, twice amplified."""
    return (residual * 2 + 0.5).clamp(0, 1)


def fit(image: Tensor, side: int) -> Tensor:
    """[1,3,H,W] float or uint8 -> [3,side,side] float: area-averaged or enlarged, centred on white."""
    picture = (image.float() / 255 if image.dtype == torch.uint8 else image.float()).clamp(0, 1)
    scale = side / max(picture.shape[-2:])
    h, w = (max(1, round(n * scale)) for n in picture.shape[-2:])
    mode = {"mode": "area"} if scale < 1 else {"mode": "bilinear", "align_corners": False}
    small = F.interpolate(picture, size=(h, w), **mode)[0]  # type: ignore[arg-type]
    page = torch.ones(3, side, side)
    page[:, (side - h) // 2 : (side - h) // 2 + h, (side - w) // 2 : (side - w) // 2 + w] = small
    return page


def contact_sheet(rows: Sequence[Sequence[Tensor]], titles: Sequence[str], side: int = 384) -> Tensor:
    """Rows of images [1,3,H,W] of any size -> one uint8 picture [3,h,w] with column titles."""
    head, gap = 28, 6
    height = head + len(rows) * (side + gap)
    page = Image.new("RGB", (len(titles) * (side + gap) + gap, height + gap), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for i, title in enumerate(titles):
        draw.text((gap + i * (side + gap), 5), title, fill="black", font=font)
    for r, row in enumerate(rows):
        for i, image in enumerate(row):
            cell = (fit(image, side) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            page.paste(Image.fromarray(cell), (gap + i * (side + gap), head + r * (side + gap)))
    return torch.from_numpy(np.array(page)).permute(2, 0, 1)
