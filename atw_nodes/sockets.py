"""What our sockets carry, and ComfyUI's image layouts as ours. Needs no ComfyUI.

Nobody changes these objects, or the tensors in them, after they are made: the host keeps and shares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .reswarp import Residuals, decompose
from .sound import Sound
from .types import FaceFrame, InputError, Motion, ShapeError
from .warp import feather_mask, identity_points

MOST_FRAMES = 100_000
MOST_PIXELS = 2**28  # in a photo
MOST_FACES = 64  # looked at in landmarks


def size_of(*tensors: Tensor | None) -> int:
    """Bytes."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def span_of(photo: Tensor) -> tuple[float, float]:
    """The values that its frames may have: [0,1], or what ``photo`` reaches beyond it."""
    if not photo.is_floating_point():
        return 0.0, 1.0
    low, high = torch.aminmax(photo)
    return min(0.0, float(low)), max(1.0, float(high))


@dataclass(frozen=True, eq=False)
class Found:
    """ATW_FRAME: where a face is, and what it shows (empty where nobody looked); more: further faces."""

    frame: FaceFrame
    units: Mapping[str, float]
    more: tuple[Found, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", MappingProxyType(dict(self.units)))

    @property
    def faces(self) -> tuple[Found, ...]:
        """All of them, in order."""
        return (self, *self.more)


@dataclass(frozen=True, eq=False)
class Decomposed:
    """ATW_RESIDUALS: a photo split in two, its alpha [1,1,H,W] or None, and what the face shows; more: the
    same photo, split for further faces.
    """

    residuals: Residuals
    alpha: Tensor | None
    units: Mapping[str, float]
    more: tuple[Decomposed, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", MappingProxyType(dict(self.units)))

    @property
    def faces(self) -> tuple[Decomposed, ...]:
        """All of them, in order."""
        return (self, *self.more)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photo."""
        return self.residuals.photo.shape[-2], self.residuals.photo.shape[-1]

    @property
    def channels(self) -> int:
        """Of the frames made from it."""
        return 3 if self.alpha is None else 4

    def span(self) -> tuple[float, float]:
        """``span_of`` the photo."""
        return span_of(self.residuals.photo)

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        return size_of(self.residuals.photo, self.alpha, *(f.residuals.low for f in self.faces))


def split(photo: Tensor, alpha: Tensor | None, found: Found | None, size: int) -> Decomposed:
    """``decompose`` for every face in ``found``; of the whole image where that is None."""
    if found is None:
        return Decomposed(decompose(photo, None, size), alpha, {})
    first, *others = (Decomposed(decompose(photo, f.frame, size), None, f.units) for f in found.faces)
    return Decomposed(first.residuals, alpha, first.units, tuple(others))


@dataclass(frozen=True, eq=False)
class Moved:
    """ATW_MOTION: one field a frame, or a single one that ``weights`` scale into a clip, frame by frame, so
    that a long clip takes no memory. masked: fields fade out at the frame's edge already. more: those of
    further faces, as many frames each.
    """

    motion: Motion
    masked: bool
    weights: tuple[float, ...] | None = None
    more: tuple[Moved, ...] = ()

    @property
    def faces(self) -> tuple[Moved, ...]:
        """All of them, in order."""
        return (self, *self.more)

    def __len__(self) -> int:
        return len(self.motion) if self.weights is None else len(self.weights)

    def part(self, start: int, stop: int) -> Motion:
        """The frames from ``start`` to ``stop``."""
        if self.weights is None:
            return self.motion[start:stop]
        return self.motion.scaled(self.weights[start:stop])

    def scaled(self, weights: Sequence[float]) -> Moved:
        """A clip, from a single motion."""
        if len(self) != 1:
            raise ShapeError(
                f"motion has {len(self)} frames; only a single one can be interpolated into a clip"
            )
        more = tuple(m.scaled(weights) for m in self.more)
        return Moved(self.part(0, 1), self.masked, tuple(weights), more)

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        return size_of(*(m.motion.field for m in self.faces))


def masked(motion: Motion, moved: Moved, residuals: Residuals) -> Motion:
    """A part of ``moved``, fading out at the frame's edge. Its fields may be finer than the small image."""
    side = motion.field.shape[-1]
    if motion.field.shape[-2] != side or side % residuals.size:
        raise ShapeError(f"motion is {side} wide, the photo was decomposed to {residuals.size}; use one size")
    if moved.masked or residuals.frame.feather == 0:
        return motion
    mask = feather_mask(identity_points(side, side, like=motion.field)[0], residuals.frame.feather)
    return Motion(motion.field * mask, motion.weight)


# --- images -----------------------------------------------------------------------------------------------


def check_image(image: object, name: str = "image") -> Tensor:
    """``image`` if it is an IMAGE [B,H,W,1 to 4] of at least one pixel, and not beyond all bounds."""
    if not isinstance(image, Tensor):
        raise ShapeError(f"{name} is {type(image).__name__}, expected an IMAGE; connect an image")
    if image.dim() != 4 or image.shape[-1] > 4 or (0 in image.shape[1:]):
        raise ShapeError(
            f"{name} has shape {list(image.shape)}; expected images [batch, height, width, 1 to 4]"
        )
    if not len(image):
        raise ShapeError(f"{name} is an empty batch; the node before made no image")
    if image.shape[1] * image.shape[2] > MOST_PIXELS:
        raise ShapeError(
            f"{name} is {image.shape[2]}x{image.shape[1]}; more than {MOST_PIXELS >> 20} megapixels"
        )
    return image.detach()


def to_photo(image: object, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """IMAGE [1,H,W,C] -> photo [1,3,H,W] and alpha [1,1,H,W] or None.

    uint8 where every value is k/255 exactly (as of a loaded file), else the floats as they are. C may be 1
    (grey), 2 (grey and alpha), 3 or 4.
    """
    given = check_image(image, name)
    if len(given) != 1:
        raise ShapeError(
            f"{name} is a batch of {len(given)}; one photo is animated at a time: "
            "pick one with ImageFromBatch"
        )
    values = _as_bytes(given, name)
    alpha = values[..., -1:].movedim(-1, 1).contiguous() if values.shape[-1] in (2, 4) else None
    return colour_of(values).movedim(-1, 1).contiguous(memory_format=torch.channels_last), alpha


def to_frames(image: object, name: str = "frames") -> Tensor:
    """IMAGE [T,h,w,C] -> [T,3,h,w], in the type of ``to_photo``."""
    return _as_bytes(colour_of(check_image(image, name)), name).movedim(-1, 1)


def colour_of(image: Tensor) -> Tensor:
    """[B,H,W,3] of an IMAGE: grey three times, alpha left out."""
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(-1, -1, -1, 3)


def _as_bytes(image: Tensor, name: str) -> Tensor:
    """uint8 if nothing is lost by it. A band of an image at a time, so that nothing is copied in floats."""
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise ShapeError(f"{name} has type {image.dtype}; expected floats in [0, 1]")
    out, exact = torch.empty(image.shape, dtype=torch.uint8, device=image.device), True
    for k, top in product(range(len(image)), range(0, image.shape[1], 256)):
        band = image[k, top : top + 256]
        if not bool(torch.isfinite(band).all()):
            raise InputError(f"{name} holds NaN or infinite values; the node that made it went wrong")
        if exact:
            levels = (band.float() * 255).round()
            exact = bool(((levels >= 0) & (levels <= 255) & (levels / 255 == band)).all())
            out[k, top : top + 256] = levels.clamp_(0, 255).to(torch.uint8)
    return out if exact else image


def to_low(image: object, size: int, faces: int = 1) -> Tensor:
    """IMAGE [faces,S,S,C] at the model's size -> [faces,3,S,S]; values stay as they are."""
    given = check_image(image, "low")
    if len(given) != faces or tuple(given.shape[1:3]) != (size, size):
        found = f"{len(given)} of {given.shape[2]}x{given.shape[1]}"
        wanted = (
            f"one image of {size}x{size}" if faces == 1 else f"{faces} images of {size}x{size}, one a face"
        )
        raise ShapeError(
            f"low is {found}, this model takes {wanted}; decompose to {size} (the size in ATW Decompose), "
            "connect its output low, and the same frame to both"
        )
    return colour_of(given).float().movedim(-1, 1).contiguous()


def to_painted(image: object, count: int, size: int) -> Tensor:
    """IMAGE [T,S,S,C], one a frame of the motion -> [T,3,S,S] float."""
    given = check_image(image, "refined")
    if len(given) != count:
        raise ShapeError(
            f"motion has {count} frames but refined has {len(given)}; connect both from one ATW Generator"
            + (", into which the interpolated motion goes" if count > len(given) else "")
        )
    if tuple(given.shape[1:3]) != (size, size):
        raise ShapeError(
            f"refined is {given.shape[2]}x{given.shape[1]}, the photo was decomposed to {size}; use one size"
        )
    return colour_of(given).movedim(-1, 1)


def to_mask(mask: object, size: tuple[int, int]) -> Tensor:
    """MASK [H,W] or [B,H,W], of which the first counts -> [H,W] of the photo's ``size``."""
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3) or 0 in mask.shape:
        found = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ShapeError(f"mask is {found}; expected a MASK [1, height, width]")
    flat = mask if mask.dim() == 2 else mask[0]
    if tuple(flat.shape) != size:
        raise ShapeError(
            f"mask is {flat.shape[1]}x{flat.shape[0]}, the photo is {size[1]}x{size[0]}; use one size"
        )
    return flat.detach().float().cpu()


def to_sound(audio: object) -> Sound | None:
    """AUDIO -> its first clip."""
    if audio is None:
        return None
    waveform = audio.get("waveform") if isinstance(audio, Mapping) else None
    if not isinstance(waveform, Tensor) or waveform.dim() not in (2, 3) or 0 in waveform.shape:
        raise InputError("audio holds no sound; connect a node that gives AUDIO")
    first = waveform[0] if waveform.dim() == 3 else waveform
    return Sound(first.detach(), int(audio["sample_rate"]))  # type: ignore[index]


def landmarks_of(given: object, index: int, size: tuple[int, int]) -> np.ndarray:
    """Points [478,2] in pixels of face ``index`` in the host's FACE_LANDMARKS, the largest face first.

    size: (height, width) of the photo. Of several images, the first counts.
    """
    try:
        height, width = (int(v) for v in given["image_size"])  # type: ignore[index]
        faces = list(given["frames"][0])[:MOST_FACES] if given["frames"] else []  # type: ignore[index]
    except (KeyError, IndexError, TypeError, ValueError):
        raise InputError(
            "landmarks are not those of ComfyUI's Detect Face Landmarks; connect its first output"
        ) from None
    if (height, width) != size:
        raise ShapeError(
            f"face landmarks are of an image of {width}x{height}, the photo is {size[1]}x{size[0]}; "
            "detect on this photo"
        )
    points = sorted((_points(f) for f in faces), key=lambda p: -float(np.prod(np.ptp(p, 0))))
    if index >= len(points):
        raise InputError(
            f"no face number {index + 1} in the landmarks given ({len(points)} found); lower the index, or "
            "raise num_faces where they are detected"
        )
    return points[index]


def count_faces(given: object) -> int:
    """How many faces the host's FACE_LANDMARKS hold of the first image; 0 where they are not the host's."""
    try:
        return min(len(given["frames"][0]), MOST_FACES)  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return 0


def _points(face: Any) -> np.ndarray:  # noqa: ANN401 (a stranger's)
    try:
        points = np.asarray(face["landmarks_xy"], np.float32)
    except (KeyError, TypeError, ValueError):
        points = np.zeros(0, np.float32)
    shape = points.shape
    if len(shape) != 2 or not 468 <= shape[0] <= 1000 or shape[1] < 2:
        raise ShapeError(f"face landmarks have shape {list(shape)}; expected [478, 2] (MediaPipe face mesh)")
    if not np.isfinite(points).all():
        raise InputError("face landmarks hold NaN or infinite values; detect them again")
    return points[:, :2]
