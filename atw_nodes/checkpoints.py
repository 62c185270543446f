"""Checkpoints: one safetensors file whose metadata is one JSON object. Nothing is ever unpickled.

Metadata: ``format`` ("atw"), ``version``, ``generator`` (config), ``signal`` (spec), ``training`` (data,
licence, steps, losses), ``sha`` (SHA-256 over the names, shapes and bytes of the weights, in name order).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .face_network import FaceNetwork, FaceNetworkConfig
from .files import atomic_path, model_folders
from .networks import Generator, GeneratorConfig
from .types import CheckpointError, SignalSpec

FORMAT, VERSION = "atw", 1
DEFAULT = "atw-au-128"
_LARGEST = {"size": 2048, "signal": 1024, "width": 1024, "motion_blocks": 64, "refine_blocks": 64}
DETAIL = "atw-detail"  # read by detail_network.py
FACE = "atw-face-128"  # the face network: found like a checkpoint, but no generator


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model: the generator in evaluation mode, what drives it, and where it came from."""

    generator: Generator
    signal: SignalSpec
    training: Mapping[str, Any]
    path: Path
    sha: str


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and one JSON object under ``path``: first to a temporary name, then renamed."""
    flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(Path(path)) as temporary:
        mode = temporary.stat().st_mode
        save_file(flat, str(temporary), {"atw": json.dumps(metadata)})
        os.chmod(temporary, mode)  # safetensors leaves a file that its owner alone can read


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of ``write_tensors``. Anything that is not such a file is a ``CheckpointError`` naming it."""
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; give a .safetensors file or one of: {', '.join(bundled())}"
        )
    try:
        with safe_open(str(path), "pt") as f:
            text = (f.metadata() or {}).get("atw")
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (not a dict)
        meta = json.loads(text) if text is not None else None
    except (SafetensorError, OSError, ValueError) as e:
        raise CheckpointError(
            f"{path}: damaged or not a safetensors file ({e}); download or train it again"
        ) from e
    if not isinstance(meta, dict):
        raise CheckpointError(
            f"{path}: a safetensors file without ATW metadata; expected a checkpoint made by this project"
        )
    return tensors, meta


def weights_sha(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of the weights, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{list(value.shape)}{value.dtype}".encode())
        digest.update(value.view(torch.uint8).numpy().tobytes() if value.dim() else value.numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path, generator: Generator, signal: SignalSpec, training: Mapping[str, Any]
) -> None:
    """Write ``generator`` and its ``signal`` under ``path``; ``training`` is free-form and shown to users."""
    if len(signal.names) != generator.config.signal:
        raise CheckpointError(
            f"signal has {len(signal.names)} names, the generator takes {generator.config.signal}"
        )
    weights = generator.state_dict()
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "generator": generator.config.to_json(),
        "signal": signal.to_json(),
        "training": dict(training),
        "sha": weights_sha(weights),
    }
    write_tensors(path, weights, meta)


def load_checkpoint(source: str | os.PathLike[str] = DEFAULT, folders: Iterable[Path] = ()) -> Checkpoint:
    """Load a checkpoint by bundled name, by file in ``folders``, by path, or
    ``hf://owner/repo/file.safetensors``.

    Strict: an unknown version, missing or extra weights, a wrong shape, NaN or a wrong sha is a
    ``CheckpointError``.
    """
    path = find_checkpoint(source, folders)
    tensors, meta = _read(path)
    if "face" in meta:
        raise CheckpointError(f"{path}: the face network, not a generator; one of {', '.join(bundled())} is")
    try:
        config = GeneratorConfig.from_json(meta["generator"])
        signal = SignalSpec.from_json(meta["signal"])
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: unreadable metadata ({e}); download or train it again") from e
    _check_config(path, config, tensors)
    generator = Generator(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _fill(path, generator, tensors, meta)
    if len(signal.names) != config.signal:
        raise CheckpointError(f"{path}: {len(signal.names)} signal names for a generator of {config.signal}")
    return Checkpoint(generator, signal, meta.get("training", {}), path, meta["sha"])


def kept_checkpoint(source: str | os.PathLike[str] = DEFAULT) -> Checkpoint:
    """``load_checkpoint``, the last four of a process kept as long as their files stay what they were. Its
    generator stays on the device that it was last moved to.
    """
    path = find_checkpoint(source)
    facts = path.stat()
    return _kept(path.absolute(), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _kept(path: Path, changed: int, size: int) -> Checkpoint:
    return load_checkpoint(path)


def save_face_network(path: Path, network: FaceNetwork, training: Mapping[str, Any]) -> None:
    """Write the face network under ``path``, its matrices in half precision (half the download)."""
    weights = {k: v.half() if v.dim() > 1 else v for k, v in network.state_dict().items()}
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "face": network.config.to_json(),
        "training": dict(training),
        "sha": weights_sha(weights),
    }
    write_tensors(path, weights, meta)


def load_face_network(source: str | os.PathLike[str] = FACE, folders: Iterable[Path] = ()) -> FaceNetwork:
    """Load a face network as ``load_checkpoint`` loads a generator; float32, in evaluation mode."""
    path = find_checkpoint(source, folders)
    tensors, meta = _read(path)
    if "face" not in meta:
        raise CheckpointError(f"{path}: not a face network; expected {FACE} or one made by recipes/face.py")
    try:
        network = FaceNetwork(FaceNetworkConfig.from_json(meta["face"]))
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: unreadable metadata ({e}); download or train it again") from e
    _fill(path, network, tensors, meta)
    return network


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, meta = read_tensors(path)
    if meta.get("format") != FORMAT or meta.get("version") != VERSION:
        found = f"format {meta.get('format')!r}, version {meta.get('version')!r}"
        raise CheckpointError(
            f"{path}: {found}; this release reads format {FORMAT!r}, version {VERSION}; update the pack"
        )
    return tensors, meta


def _fill(path: Path, network: nn.Module, tensors: dict[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Load checked weights into ``network`` and make it ready for use."""
    _check_weights(path, network.state_dict(), tensors)
    if weights_sha(tensors) != meta.get("sha"):
        raise CheckpointError(
            f"{path}: the weights do not match their sha {meta.get('sha')}; the file was altered"
        )
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)


def _check_config(path: Path, config: GeneratorConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a stranger's config before anything of the size that it names is allocated."""
    for name, most in _LARGEST.items():
        if not 0 <= getattr(config, name) <= most:
            raise CheckpointError(f"{path}: {name} is {getattr(config, name)}; expected at most {most}")
    with torch.device("meta"):
        _check_weights(path, Generator(config).state_dict(), tensors, values=False)


def _check_weights(
    path: Path, want: Mapping[str, Tensor], have: Mapping[str, Tensor], values: bool = True
) -> None:
    missing, extra = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    if missing or extra:
        raise CheckpointError(
            f"{path}: missing weights {missing[:3]}, unexpected {extra[:3]}; "
            "the file is not the generator it claims to be, download or train it again"
        )
    for name, value in have.items():
        if value.shape != want[name].shape:
            raise CheckpointError(f"{path}: {name} is {list(value.shape)}, expected {list(want[name].shape)}")
        if values and not bool(torch.isfinite(value.float()).all()):
            raise CheckpointError(
                f"{path}: {name} holds NaN or infinity; the training diverged, use another checkpoint"
            )


def bundled() -> dict[str, Path]:
    """{name: file} of the generators that ship with the pack, less the networks that are none."""
    files = (p for folder in reversed(model_folders()) for p in sorted(folder.glob("*.safetensors")))
    found = {p.stem: p for p in files if p.stem not in (FACE, DETAIL)}
    return dict(sorted(found.items()))


def find_checkpoint(source: str | os.PathLike[str], folders: Iterable[Path] = ()) -> Path:
    """The file that ``source`` names: bundled name, file in ``folders``, path, or ``hf://`` address, in that
    order.
    """
    text = os.fspath(source)
    if text.startswith("hf://"):
        return _from_hub(text)
    name = text.removesuffix(".safetensors")
    if name in bundled():
        return bundled()[name]
    for folder in (*folders, *(model_folders() if name == FACE else ())):
        candidate = Path(folder) / f"{name}.safetensors"
        if candidate.is_file():
            return candidate
    if Path(text).is_file():
        return Path(text)
    known = ", ".join(bundled()) or "none"
    raise CheckpointError(
        f"{text}: no such checkpoint; give a file, hf://owner/repo/file.safetensors, "
        f"or a bundled name ({known})"
    )


def _from_hub(address: str) -> Path:
    """Download ``hf://owner/repo/path/file.safetensors`` into the hub's cache (resumable) and return the
    file.
    """
    parts = address.removeprefix("hf://").split("/")
    if len(parts) < 3 or not address.endswith(".safetensors") or not all(parts):
        raise CheckpointError(f"{address}: expected hf://owner/repo/file.safetensors")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:])))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise CheckpointError(
            f"{address}: could not be fetched ({reason}); check the address and the connection, "
            "or put the file into a models folder"
        ) from e
