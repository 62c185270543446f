"""ComfyUI's side of the pack: image layouts, devices, progress and cancelling, folders, and what our sockets
carry. The only room, beside the nodes, that imports ComfyUI.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy.cli_args import args as host_args
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from . import __version__
from .animate import generate, refine
from .checkpoints import Checkpoint, bundled, load_checkpoint
from .faces import read
from .pyramid import to_float
from .reswarp import Residuals, ReswarpConfig, reswarp
from .sound import Sound
from .types import CheckpointError, FaceFrame, InputError, Motion, ShapeError, SignalSpec
from .video import ClipWriter

FOLDER = "atw"  # ComfyUI/models/atw
MOST_FRAMES = 100_000
MOST_PIXELS = 2**28  # in a photo


# --- what sockets carry; nobody changes these after they are made -----------------------------------------


@dataclass(frozen=True)
class Model:
    """ATW_MODEL: a checkpoint, and the host's handle that moves it to the graphics card and back."""

    checkpoint: Checkpoint
    patcher: Any

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        return sum(p.numel() * p.element_size() for p in self.checkpoint.generator.parameters())

    def ready(self, reserve: int = 0) -> torch.device:
        """Have the host load it, with ``reserve`` bytes more for what it will make; where it is then."""
        mm.load_models_gpu([self.patcher], memory_required=reserve)
        return next(self.checkpoint.generator.parameters()).device


@dataclass(frozen=True)
class Found:
    """ATW_FRAME: where one face is, and what it shows (empty where nobody looked)."""

    frame: FaceFrame
    units: Mapping[str, float]


@dataclass(frozen=True)
class Decomposed:
    """ATW_RESIDUALS: a photo split in two, its alpha [1,1,H,W] or None, and what the face shows."""

    residuals: Residuals
    alpha: Tensor | None
    units: Mapping[str, float]

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        held = [self.residuals.photo, self.residuals.low, *([] if self.alpha is None else [self.alpha])]
        return sum(t.numel() * t.element_size() for t in held)


@dataclass(frozen=True)
class Driving:
    """ATW_SIGNAL: a named expression. ``target``: what the face already shows is not added again."""

    expression: str
    strength: float
    target: bool = True

    def vector(self, spec: SignalSpec, shown: Mapping[str, float]) -> Tensor:
        """[1,N] signal for a model, on a face that shows ``shown``."""
        if self.target:
            return spec.toward(self.expression, self.strength, shown)
        return spec.preset(self.expression, self.strength)


@dataclass(frozen=True)
class Moved:
    """ATW_MOTION: fields and weights, and whether they fade out at the frame's edge already."""

    motion: Motion
    masked: bool

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        return self.motion.field.numel() * self.motion.field.element_size()


# --- images -----------------------------------------------------------------------------------------------


def to_photo(image: Tensor, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """IMAGE [1,H,W,C] -> photo [1,3,H,W] and alpha [1,1,H,W] or None.

    uint8 where every value is k/255 exactly (as of a loaded file), else the floats as they are. C may be 1
    (grey), 2 (grey and alpha), 3 or 4.
    """
    if image.dim() != 4 or 0 in image.shape or image.shape[-1] > 4:
        raise ShapeError(
            f"{name} has shape {list(image.shape)}; expected one image [1, height, width, 1 to 4]"
        )
    if len(image) != 1:
        raise ShapeError(
            f"{name} is a batch of {len(image)}; one photo is animated at a time: "
            "pick one with ImageFromBatch"
        )
    if image.shape[1] * image.shape[2] > MOST_PIXELS:
        raise ShapeError(f"{name} is {image.shape[2]}x{image.shape[1]}; at most {MOST_PIXELS} pixels fit")
    planes = _as_bytes(image.detach()).movedim(-1, 1)
    channels = planes.shape[1]
    alpha = planes[:, -1:].contiguous() if channels in (2, 4) else None
    colour = planes[:, :1].expand(-1, 3, -1, -1) if channels < 3 else planes[:, :3]
    return colour.contiguous(), alpha


def _as_bytes(image: Tensor) -> Tensor:
    """uint8 if nothing is lost by it. A band at a time, so that a large photo is not copied in floats."""
    if image.dtype == torch.uint8:
        return image
    out = torch.empty(image.shape, dtype=torch.uint8, device=image.device)
    for top in range(0, image.shape[1], 256):
        band = image[:, top : top + 256]
        levels = (band.float() * 255).round()
        exact = (levels >= 0) & (levels <= 255) & (levels / 255 == band)
        if not bool(exact.all()):
            return image if image.is_floating_point() else image.float()
        out[:, top : top + 256] = levels.to(torch.uint8)
    return out


def to_image(frames: Tensor) -> Tensor:
    """[B,C,H,W] of ours -> IMAGE [B,H,W,C], float32 where the host keeps results."""
    return to_float(frames).float().clamp(0, 1).movedim(1, -1).contiguous().to(mm.intermediate_device())


def to_low(image: Tensor, size: int) -> Tensor:
    """IMAGE [1,S,S,3] -> [1,3,S,S]; values stay as they are."""
    if image.dim() != 4 or image.shape[0] != 1 or image.shape[-1] < 3 or 0 in image.shape:
        raise ShapeError(f"low has shape {list(image.shape)}; expected one image [1, {size}, {size}, 3]")
    return image[..., :3].detach().float().movedim(-1, 1).contiguous()


def to_mask(mask: Tensor) -> Tensor:
    """MASK [H,W] or [1,H,W] -> [H,W]."""
    flat = mask[0] if mask.dim() == 3 and len(mask) else mask
    if flat.dim() != 2:
        raise ShapeError(f"mask has shape {list(mask.shape)}; expected [1, height, width]")
    return flat.detach().float().cpu()


def to_sound(audio: Mapping[str, Any] | None) -> Sound | None:
    """AUDIO -> its first clip."""
    if audio is None:
        return None
    waveform = audio["waveform"]
    return Sound((waveform[0] if waveform.dim() == 3 else waveform).detach(), int(audio["sample_rate"]))


def landmarks_of(given: Mapping[str, Any], index: int, size: tuple[int, int]) -> np.ndarray:
    """Points [478,2] in pixels of face ``index`` in the host's FACE_LANDMARKS, the largest face first."""
    faces = list(given.get("frames", [[]])[0]) if given.get("frames") else []
    if tuple(given.get("image_size", size)) != size:
        h, w = given["image_size"]
        raise ShapeError(
            f"face landmarks are of an image of {w}x{h}, the photo is {size[1]}x{size[0]}; "
            "detect on this photo"
        )
    points = [np.asarray(f["landmarks_xy"], np.float32)[:, :2] for f in faces]
    points.sort(key=lambda p: -float(np.ptp(p[:, 0]) * np.ptp(p[:, 1])))
    if index >= len(points):
        raise InputError(f"no face number {index + 1} in the landmarks given ({len(points)} found)")
    return points[index]


# --- models and files -------------------------------------------------------------------------------------


def register_models() -> None:
    """ComfyUI/models/atw for ``.safetensors``, beside what extra_model_paths.yaml may have said."""
    folder = os.path.join(folder_paths.models_dir, FOLDER)
    folder_paths.add_model_folder_path(FOLDER, folder)
    folders, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (folders, {".safetensors"})


def model_names() -> list[str]:
    """Bundled checkpoints first, then files in models/atw."""
    own = list(bundled())
    files = [f for f in folder_paths.get_filename_list(FOLDER) if f.removesuffix(".safetensors") not in own]
    return own + files


def model_path(name: str) -> Path:
    """The file of a name from ``model_names``, and of nothing else: never a path out of those folders."""
    if name in bundled():
        return bundled()[name]
    if name in model_names():
        path = folder_paths.get_full_path(FOLDER, name)
        if path:
            return inside(Path(path), [Path(p) for p in folder_paths.get_folder_paths(FOLDER)])
    raise CheckpointError(
        f"{name}: no such checkpoint; bundled are {', '.join(bundled())}, "
        f"others belong into ComfyUI/models/{FOLDER}"
    )


def inside(path: Path, folders: Iterable[Path]) -> Path:
    """``path``, if what it leads to lies in one of ``folders``."""
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(f)) for f in folders):
        raise InputError(f"{path.name} leads out of ComfyUI's folders; put the file itself there")
    return path


def load_model(name: str, hub: str = "") -> Model:
    """A bundled or local checkpoint, or one of the Hub if ``hub`` is ``owner/repo/file.safetensors``."""
    hub = hub.strip().removeprefix("hf://")
    checkpoint = load_checkpoint(f"hf://{hub}" if hub else model_path(name))
    generator = checkpoint.generator.requires_grad_(False)
    patcher = comfy.model_patcher.ModelPatcher(generator, mm.get_torch_device(), mm.unet_offload_device())
    return Model(checkpoint, patcher)


def temporary(suffix: str) -> Path:
    """A new name in ComfyUI's temp folder, which it empties at every start."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"ATW_{uuid.uuid4().hex[:12]}{suffix}"


def output_name(prefix: str, suffix: str, size: tuple[int, int]) -> tuple[Path, str, str]:
    """(file, name, subfolder) for a result in output/, numbered; refuses a prefix that leads out of it."""
    root = folder_paths.get_output_directory()
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root, *size)
    inside(Path(folder), [Path(root)])
    file = f"{name}_{counter:05}_{suffix}"
    while os.path.lexists(os.path.join(folder, file)):
        counter += 1
        file = f"{name}_{counter:05}_{suffix}"
    return Path(folder) / file, file, subfolder


# --- rendering --------------------------------------------------------------------------------------------


class Progress:
    """The node's progress bar, with a small picture; raises the host's interruption when the user cancels."""

    def __init__(self, total: int) -> None:
        self._bar, self._total, self._done = comfy.utils.ProgressBar(total), total, 0

    def step(self, picture: Tensor | None = None) -> None:
        """One more is done. picture: [1,3,H,W]."""
        mm.throw_exception_if_processing_interrupted()
        self._done += 1
        preview = None
        if picture is not None:
            with suppress(Exception):  # a preview must never stop a render
                preview = ("JPEG", _thumbnail(picture), 512)
        self._bar.update_absolute(self._done, self._total, preview)


def _thumbnail(picture: Tensor, side: int = 256) -> Image.Image:
    step = max(1, max(picture.shape[-2:]) // side)
    small = to_float(picture[0, :3, ::step, ::step]).float().clamp(0, 1)
    return Image.fromarray((small * 255).round().byte().movedim(0, -1).cpu().numpy())


def masked(moved: Moved, residuals: Residuals) -> Motion:
    """The motion, fading out at the frame's edge."""
    motion = moved.motion
    if moved.masked or residuals.frame.feather == 0:
        return motion
    mask = residuals.mask().to(motion.field)
    if mask.shape != motion.field.shape[-2:]:
        raise ShapeError(
            f"motion is {motion.field.shape[-1]} wide, the photo was decomposed to {residuals.size}; "
            "use one size"
        )
    return Motion(motion.field * mask, motion.weight)


def shown_by(model: Model, low: Tensor, units: Mapping[str, float]) -> Mapping[str, float]:
    """What the face shows: as read in the photo, or else from its small image."""
    if units or model.checkpoint.signal.kind != "relative":
        return units
    return read(low.cpu(), FaceFrame.whole(low.shape[-2], low.shape[-1])).units


def render(
    model: Model,
    parts: Decomposed,
    driving: Driving,
    moved: Moved | None,
    weights: Sequence[float] | None,
    config: ReswarpConfig,
) -> Iterator[Tensor]:
    """Frames [1,3 or 4,H,W] at the photo's size, one at a time: the main path, from parts.

    moved: a motion made before; else ``weights`` interpolate the model's own. The photo is worked on where
    the model is; if it does not fit there, on the CPU.
    """
    residuals = parts.residuals
    device = model.ready(8 * residuals.photo.numel() * residuals.photo.element_size())
    low = residuals.low.to(device, torch.float32)
    signal = driving.vector(model.checkpoint.signal, shown_by(model, low, parts.units)).to(device)
    if moved is None:
        batches = generate(model.checkpoint, residuals, signal, weights)
    else:
        motion = masked(moved, residuals)
        motion = Motion(motion.field.to(device), motion.weight.to(device))
        batches = refine(model.checkpoint, low, signal, motion)
    here, alpha = _at(residuals, parts.alpha, device)
    buffer = torch.empty_like(here.photo)
    for some in batches:
        frames = reswarp(here, some.motion, some.refined, config, buffer)
        if alpha is None:
            yield from frames
        else:
            yield from (torch.cat([f, alpha], 1) for f in frames)


def _at(residuals: Residuals, alpha: Tensor | None, device: torch.device) -> tuple[Residuals, Tensor | None]:
    with suppress(mm.OOM_EXCEPTION):
        if device != residuals.photo.device:
            moved = replace(residuals, photo=residuals.photo.to(device), low=residuals.low.to(device))
            return moved, None if alpha is None else alpha.to(device)
    return residuals, alpha


def note(model: Model) -> dict[str, str]:
    """What a file says about itself: that the face was animated, and by what."""
    return {"comment": f"Face animated by ComfyUI-ATW {__version__}, model {model.checkpoint.path.stem}"}


def workflow_of(hidden: Any) -> dict[str, str]:  # noqa: ANN401 (the host's holder)
    """The graph, as core nodes embed it; nothing where the host was told not to."""
    if host_args.disable_metadata or hidden is None:
        return {}
    found = dict(hidden.extra_pnginfo or {})
    if hidden.prompt is not None:
        found["prompt"] = hidden.prompt
    return {k: json.dumps(v) for k, v in found.items()}


def write_clip(
    path: Path,
    frames: Iterable[Tensor],
    count: int,
    size: tuple[int, int],
    fps: float,
    metadata: Mapping[str, str],
    sound: Sound | None,
) -> str | None:
    """Encode ``frames`` one by one; the file appears when it is complete. What to know about it, or None."""
    progress = Progress(count)
    with ClipWriter(path, size[1], size[0], fps, metadata=metadata, sound=sound) as writer:
        for k, frame in enumerate(frames):
            shown = k % max(1, count // 24) == 0
            progress.step(frame if shown else None)
            frame = frame.cpu()
            writer.write(frame[:, :3], alpha=frame[:, 3:] if frame.shape[1] == 4 else None)
    return writer.note


def check_fits(count: int, size: tuple[int, int], channels: int = 3) -> None:
    """Refuse an IMAGE batch that would not fit into memory."""
    import psutil

    needed = count * size[0] * size[1] * channels * 4
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise InputError(
            f"{count} frames of {size[1]}x{size[0]} take {needed / 2**30:.1f} GB as an IMAGE batch and "
            f"{free / 2**30:.1f} GB are free; ATW Render Video writes a clip of any length in constant memory"
        )


def schema(**arguments: Any) -> io.Schema:  # noqa: ANN401
    """``io.Schema`` of what this host knows of ``arguments``; newer ones are left out on older hosts."""
    known = getattr(io.Schema, "__dataclass_fields__", {})
    return io.Schema(**{k: v for k, v in arguments.items() if k in known})
