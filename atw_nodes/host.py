"""ComfyUI's side of the pack: devices and memory, progress and cancelling, models and files. The only room,
beside the nodes, that imports ComfyUI.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args as host_args
from PIL import Image
from torch import Tensor

from . import __version__, rendering
from .checkpoints import Checkpoint, bundled, load_checkpoint
from .driving import Driving, Named, One, paired, vectors
from .faces import read
from .pipeline import delivered, depth_on
from .pyramid import to_float
from .rendering import Lows, Room
from .reswarp import ReswarpConfig
from .sockets import Decomposed, Moved, size_of
from .sound import Sound, SoundFile
from .types import CheckpointError, FaceFrame, InputError, OutputError
from .video import ClipWriter

FOLDER = "atw"  # ComfyUI/models/atw
LARGEST_DOWNLOAD = 2 << 30  # bytes
_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*){2,}\.safetensors")  # owner/repo/[folders/]file.safetensors
log = logging.getLogger("ComfyUI-ATW")


@dataclass(frozen=True, eq=False)
class Model:
    """ATW_MODEL: a checkpoint, and the host's handle that moves it to the graphics card and back."""

    checkpoint: Checkpoint
    patcher: Any

    def get_ram_usage(self) -> int:
        """Bytes, for the host's cache."""
        return size_of(*self.checkpoint.generator.parameters())

    def ready(self, reserve: int = 0) -> torch.device:
        """Have the host load it, with ``reserve`` bytes more for what it will make; where it is then."""
        mm.load_models_gpu([self.patcher], memory_required=reserve, force_full_load=True)
        # with little memory the host leaves layers behind that are not its own; ours are small
        self.checkpoint.generator.to(self.patcher.load_device)
        return self.patcher.load_device


# --- images -----------------------------------------------------------------------------------------------


def to_image(frames: Tensor, span: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """[B,C,H,W] of ours -> IMAGE [B,H,W,C], float32 within ``span`` where the host keeps results."""
    image = to_float(frames).float().clamp(*span).movedim(1, -1)
    return image.to(mm.intermediate_device()).contiguous()


def check_fits(count: int, size: tuple[int, int], channels: int = 3, advice: str = "") -> None:
    """Refuse what would not fit into the memory where the host keeps results; ``size`` is (height, width)."""
    needed = count * size[0] * size[1] * channels * 4
    free = mm.get_free_memory(mm.intermediate_device())
    if needed > 0.8 * free:
        advice = advice or "ATW Render Video writes a clip of any length in constant memory"
        raise InputError(
            f"{count} frames of {size[1]}x{size[0]} take {needed / 2**30:.1f} GB as an IMAGE batch and "
            f"{free / 2**30:.1f} GB are free; {advice}"
        )


# --- models and files -------------------------------------------------------------------------------------


def register_models() -> None:
    """ComfyUI/models/atw for ``.safetensors``, beside what extra_model_paths.yaml may have said."""
    folder = os.path.join(folder_paths.models_dir, FOLDER)
    with suppress(OSError):  # so that people find it; a models folder that cannot be written to will do
        os.makedirs(folder, exist_ok=True)
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
        f"{str(name)[:200]!r}: no such checkpoint; bundled are {', '.join(bundled())}, others belong into "
        f"ComfyUI/models/{FOLDER}"
    )


def inside(path: Path, folders: Iterable[Path]) -> Path:
    """``path``, if what it leads to lies in one of ``folders``."""
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):  # NUL
        raise InputError(f"{str(path)!r} is no file name; choose another") from None
    if not any(real.is_relative_to(os.path.realpath(f)) for f in folders):
        raise InputError(f"{path.name!r} leads out of ComfyUI's folders; put the file itself there")
    return path


def hub_address(text: str) -> str:
    """``owner/repo/file.safetensors`` from what a user typed, "" if nothing; anything else is refused."""
    hub = text.strip().removeprefix("hf://")
    if hub and not (_HUB.fullmatch(hub) and ".." not in hub and len(hub) < 300):
        raise CheckpointError(f"hub is {text[:200]!r}; expected owner/repo/file.safetensors, or nothing")
    return hub


def check_download(hub: str) -> None:
    """Say in the log what will be fetched; refuse what is too large to be a checkpoint of ours."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    owner, repo, file = hub.split("/", 2)
    if isinstance(try_to_load_from_cache(f"{owner}/{repo}", file), str):
        return
    size = None
    with suppress(Exception):  # no connection, no such file: fetching says so better
        size = get_hf_file_metadata(hf_hub_url(f"{owner}/{repo}", file), timeout=10).size
    if size is not None and size > LARGEST_DOWNLOAD:
        raise CheckpointError(f"{hub} has {size / 2**30:.1f} GB, which is no ATW checkpoint; check the name")
    log.info("fetching %s (%s MB) from the Hugging Face Hub", hub, "?" if size is None else size >> 20)


def load_model(name: str, hub: str = "") -> Model:
    """A bundled or local checkpoint, or one of the Hub if ``hub`` is ``owner/repo/file.safetensors``."""
    hub = hub_address(hub)
    if hub:
        check_download(hub)
    return load_file(f"hf://{hub}" if hub else model_path(name))


def load_file(source: str | Path) -> Model:
    """A checkpoint by its path or address, for nodes that know which they want."""
    checkpoint = load_checkpoint(source)
    generator = checkpoint.generator.requires_grad_(False)
    patcher = comfy.model_patcher.ModelPatcher(generator, mm.get_torch_device(), mm.unet_offload_device())
    return Model(checkpoint, patcher)


def temporary(suffix: str) -> Path:
    """A new name in ComfyUI's temp folder, which it empties at every start."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"ATW_{uuid.uuid4().hex[:12]}{suffix}"


def output_name(prefix: str, suffix: str, size: tuple[int, int]) -> tuple[Path, str, str]:
    """(file, name, subfolder) for a result in output/, numbered; refuses a prefix that leads out of it.

    size: (width, height). Checked before the host makes folders, which it would do through a link.
    """
    root = Path(folder_paths.get_output_directory())
    prefix = _dated(prefix, size)
    if len(prefix) > 200 or any(ord(c) < 32 for c in prefix):
        raise OutputError(f"filename_prefix {prefix[:200]!r} is no file name; choose a shorter, plain one")
    inside(root / os.path.normpath(prefix), [root])
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root), *size)
    while os.path.lexists(os.path.join(folder, file := f"{name}_{counter:05}_{suffix}")):
        counter += 1
    return inside(Path(folder) / file, [root]), file, subfolder


def _dated(prefix: str, size: tuple[int, int]) -> str:
    """The host's own variables, filled in."""
    now = time.localtime()
    facts = {"width": size[0], "height": size[1], "year": now.tm_year}
    facts |= {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour}
    for name, value in (facts | {"minute": now.tm_min, "second": now.tm_sec}).items():
        prefix = prefix.replace(f"%{name}%", f"{value:02}")
    return prefix


# --- rendering --------------------------------------------------------------------------------------------


class Progress:
    """The node's progress bar, with a small picture; raises the host's interruption when the user cancels."""

    def __init__(self, total: int) -> None:
        self._bar, self._total, self._done = comfy.utils.ProgressBar(total), total, 0

    def step(self, picture: Tensor | None = None, steps: int = 1) -> None:
        """``steps`` more are done. picture: [1,3,H,W], shown for some two dozen of them."""
        mm.throw_exception_if_processing_interrupted()
        preview = None
        if picture is not None and self._done % max(1, self._total // 24) == 0:
            with suppress(Exception):  # a preview must never stop a render
                preview = ("JPEG", _thumbnail(picture), 512)
        self._done += steps
        self._bar.update_absolute(self._done, self._total, preview)


def collected(frames: Iterable[Tensor], count: int, span: tuple[float, float]) -> Tensor:
    """The IMAGE batch of ``count`` frames [1,C,H,W] of ours, with progress; ``span`` as in ``to_image``."""
    made, progress = torch.empty(0), Progress(count)
    for k, frame in enumerate(frames):
        progress.step(frame)
        image = to_image(frame, span)
        made = made if k else image.new_empty((count, *image.shape[1:]))
        made[k] = image[0]
    return made


def _thumbnail(picture: Tensor, side: int = 256) -> Image.Image:
    step = max(1, max(picture.shape[-2:]) // side)
    small = to_float(picture[0, :3, ::step, ::step]).float().clamp(0, 1)
    return Image.fromarray((small * 255).round().byte().movedim(0, -1).cpu().numpy())


def signal_for(model: Model, driving: One, low: Tensor, units: Mapping[str, float]) -> Tensor:
    """[T,N] on the CPU: what drives ``model`` on a face seen as ``low``, or read at the photo's resolution.

    Units that the model does not know are left out, and named in the log.
    """
    spec = model.checkpoint.signal
    if isinstance(driving, Named):
        reads = driving.target and spec.kind == "relative"
    else:
        reads = driving.absolute or spec.kind == "absolute"
    if reads and not units:
        units = read(low.cpu().float(), FaceFrame.whole(low.shape[-2], low.shape[-1])).units
    values, dropped = vectors(driving, spec, units)
    if dropped:
        log.warning("%s does not know %s: left out", model.checkpoint.path.stem, ", ".join(dropped))
    return values


def out_of_memory(error: BaseException) -> bool:
    """Whether the graphics card is full."""
    known = getattr(mm, "is_oom", None)
    return bool(known(error)) if known else isinstance(error, torch.cuda.OutOfMemoryError)


def spared(device: torch.device) -> tuple[Room, Callable[[BaseException], bool], Callable[[], None]]:
    """What ``rendering`` asks for: where to begin, whether memory ran out, and how more of it is freed."""
    return Room.on(device), out_of_memory, mm.soft_empty_cache


def render(
    parts: Decomposed, lows: Sequence[Lows], config: ReswarpConfig, device: torch.device
) -> Iterator[Tensor]:
    """Frames [1,3 or 4,H,W] of ``parts`` on ``device``, or wherever there is room for them; lows: one a
    face.
    """
    return rendering.frames(parts, lows, config, *spared(device))


def driven(
    model: Model,
    parts: Decomposed,
    driving: Driving,
    moved: Moved | None,
    weights: Sequence[float] | None,
    config: ReswarpConfig,
) -> tuple[Iterator[Tensor], int]:
    """(frames, how many): the main path, from parts. A motion made before, or else the model's own.

    weights: scale signals of a single step into a clip. Everything the host must make room for is asked for
    at once.
    """
    signals = signals_for(model, driving, parts)
    if moved is not None:
        lows, count = rendering.refined_all(model.checkpoint, parts, signals, moved), len(moved)
    else:
        lows, count = rendering.predicted_all(model.checkpoint, parts, signals, weights)
    device = model.ready(rendering.needed(parts))
    return render(parts, lows, config, device), count


def signals_for(model: Model, driving: Driving, parts: Decomposed) -> list[Tensor | None]:
    """``signal_for`` of every face; None where it keeps still."""
    faces = parts.faces
    return [
        None if one is None else signal_for(model, one, f.residuals.low, f.units)
        for f, one in zip(faces, paired(driving, len(faces)), strict=True)
    ]


def room_for(parts: Decomposed) -> torch.device:
    """Where to make frames without a model, room for them made."""
    device = mm.get_torch_device()
    if device.type != "cpu":
        mm.free_memory(rendering.needed(parts), device)
    return device


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
    fps: float | Fraction,
    metadata: Mapping[str, str],
    sound: Sound | SoundFile | None,
    pictures: bool = True,
    **encoding: Any,  # noqa: ANN401
) -> None:
    """Encode ``frames`` one by one; the file appears when it is complete. size: (height, width).

    pictures: on the node, of frames; the last stays, so not where the node shows the file itself.
    encoding: what ``ClipWriter`` may be told besides.
    """
    progress = Progress(count)
    with ClipWriter(path, size[1], size[0], fps, metadata=metadata, sound=sound, **encoding) as writer:
        if writer.note:
            log.info(writer.note)
        with closing(delivered(frames, depth_on(mm.get_torch_device()))) as ready:
            for frame in ready:
                progress.step(frame if pictures else None)
                writer.write(frame[:, :3], alpha=frame[:, 3:] if frame.shape[1] == 4 else None)
