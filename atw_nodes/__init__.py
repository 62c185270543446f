"""Animating Through Warping: move a face in a photo at the photo's own resolution.

    from atw_nodes import load_checkpoint, read_photo
    from atw_nodes.animate import animate

    model = load_checkpoint()
    photo = read_photo("portrait.jpg")
    for frame in animate(photo.pixels, model, model.signal.preset("smiling"), weights=[0.0, 0.5, 1.0]):
        ...  # [1,3,H,W] uint8

Names are loaded when first used, so that importing the package costs nothing. Functions that share their
module's name (``animate``, ``reswarp``) are imported from the module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .checkpoints import Checkpoint, load_checkpoint, save_checkpoint
    from .expressions import with_presets
    from .faces import Face, face_from_landmarks, find, track
    from .frames import frame_from_box, frame_from_eyes, frame_from_landmarks, frame_from_mask
    from .generation import generate
    from .images import Photo, read_photo, write_still
    from .keyframes import parse_keyframes, parse_units
    from .networks import Generator, GeneratorConfig
    from .reswarp import ReswarpConfig, ReswarpMode, decompose, warped
    from .signal_files import load_signal, save_signal
    from .signals import curve, pose
    from .types import AtwError, FaceFrame, Motion, Signal, SignalSpec
    from .video import ClipWriter

_HOME = {
    "generation": ("generate",),
    "checkpoints": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "expressions": ("with_presets",),
    "faces": ("Face", "face_from_landmarks", "find", "track"),
    "frames": ("frame_from_box", "frame_from_eyes", "frame_from_landmarks", "frame_from_mask"),
    "images": ("Photo", "read_photo", "write_still"),
    "keyframes": ("parse_keyframes", "parse_units"),
    "networks": ("Generator", "GeneratorConfig"),
    "reswarp": ("ReswarpConfig", "ReswarpMode", "decompose", "warped"),
    "signal_files": ("load_signal", "save_signal"),
    "signals": ("curve", "pose"),
    "types": ("AtwError", "FaceFrame", "Motion", "Signal", "SignalSpec"),
    "video": ("ClipWriter",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AtwError",
    "Checkpoint",
    "ClipWriter",
    "Face",
    "FaceFrame",
    "Generator",
    "GeneratorConfig",
    "Motion",
    "Photo",
    "ReswarpConfig",
    "ReswarpMode",
    "Signal",
    "SignalSpec",
    "curve",
    "decompose",
    "face_from_landmarks",
    "find",
    "frame_from_box",
    "frame_from_eyes",
    "frame_from_landmarks",
    "frame_from_mask",
    "generate",
    "load_checkpoint",
    "load_signal",
    "parse_keyframes",
    "parse_units",
    "pose",
    "read_photo",
    "save_checkpoint",
    "save_signal",
    "track",
    "warped",
    "with_presets",
    "write_still",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE[name]}", __name__), name)
    globals()[name] = value
    return value
