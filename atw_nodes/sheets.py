"""Pictures of intermediates, for looking at: motion as a colour wheel, residuals on grey, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .pyramid import to_float
from .types import FaceFrame, check_shape


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


def arrows_view(field: Tensor, image: Tensor | None, side: int, every: int = 24) -> Tensor:
    """Motion [2,h,w] as arrows, one ``every`` pixels, over ``image`` [1,3,H,W] (white if not given): uint8
    [3,side,side]. They point where the content goes, at its true length.
    """
    check_shape(field, "2hw", "motion field")
    ground = torch.ones(3, side, side)
    if image is not None:
        ground = F.interpolate(to_float(image).float().cpu(), size=(side, side), mode="area")[0]
    page = Image.fromarray((ground.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    draw = ImageDraw.Draw(page)
    grown = F.interpolate(field[None].float().cpu(), size=(side, side), mode="bilinear")[0]
    for y in range(every // 2, side, every):
        for x in range(every // 2, side, every):
            dx, dy = (-float(v) * side for v in grown[:, y, x])
            length = math.hypot(dx, dy)
            if length < 0.75:
                continue
            tip, back = (x + dx, y + dy), min(4.0, length) / length
            draw.line([(x, y), tip], fill=(230, 60, 20), width=2)
            for turn in (-0.6, 0.6):
                bx, by = dx * back * -1, dy * back * -1
                cos, sin = math.cos(turn), math.sin(turn)
                end = (tip[0] + bx * cos - by * sin, tip[1] + bx * sin + by * cos)
                draw.line([tip, end], fill=(230, 60, 20), width=2)
    return torch.from_numpy(np.array(page)).permute(2, 0, 1)


def frame_view(photo: Tensor, *frames: FaceFrame, longest: int = 1024) -> Tensor:
    """The photo [1,3,H,W], no longer than ``longest``, with the frames and their eyes drawn, numbered from 1
    where there are several: uint8 [3,h,w].
    """
    scale = min(1.0, longest / max(photo.shape[-2:]))
    size = tuple(max(1, round(n * scale)) for n in photo.shape[-2:])
    small = F.interpolate(to_float(photo).float().cpu(), size=size, mode="area")[0]
    page = Image.fromarray((small.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    for number, frame in enumerate(frames, 1):
        _draw_frame(ImageDraw.Draw(page), frame, scale, max(size), str(number) if len(frames) > 1 else "")
    return torch.from_numpy(np.array(page)).permute(2, 0, 1)


def _draw_frame(draw: ImageDraw.ImageDraw, frame: FaceFrame, scale: float, longest: int, name: str) -> None:
    corners = [(x * scale, y * scale) for x, y in frame.corners()]
    draw.line([*corners, corners[0]], fill=(80, 220, 100), width=max(2, round(longest / 300)))
    (a, b, x), (c, d, y) = frame.matrix
    if not frame.is_whole:
        for u in (0.385, 0.615):
            px, py = ((a * u + b * 0.47 + x) * scale, (c * u + d * 0.47 + y) * scale)
            draw.ellipse([px - 4, py - 4, px + 4, py + 4], outline=(80, 220, 100), width=2)
    if name:
        font = ImageFont.load_default(max(14, longest // 28))
        place = ((a * 0.5 + b * 0.06 + x) * scale, (c * 0.5 + d * 0.06 + y) * scale)
        draw.text(place, name, (80, 220, 100), font, "mt", stroke_width=2, stroke_fill=(0, 0, 0))
