"""A few labelled pictures to try training with: the drawn portrait, its smile by our own checkpoint, in four
looks. A stand-in for photos of people: what is trained on it knows one face.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .animate import animate
from .checkpoints import load_checkpoint
from .expressions import SMILING, WHOLE, with_presets
from .files import atomic_folder
from .images import read_photo
from .manifest import Row, write_manifest
from .pyramid import downsample

SIDE = 192
STRENGTHS = (0.0, 0.35, 0.7, 1.0)
# mirrored, and how much of red, green and blue
LOOKS = ((False, (1, 1, 1)), (True, (0.85, 0.92, 1)), (False, (0.8, 0.7, 0.62)), (True, (1, 0.85, 0.9)))
_HEAD = (351 / 1720, 253 / 1720, 1024 / 1720)  # left, top and side of the portrait's head shot


def drawn_faces(folder: Path, portrait: Path) -> Path:
    """A manifest of 16 pictures in ``folder``, made unless it is there: two categories, three units."""
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    shutil.rmtree(folder, ignore_errors=True)  # what was left of it
    folder.parent.mkdir(parents=True, exist_ok=True)
    faces = smiles(portrait)
    with atomic_folder(folder) as temporary:
        rows = []
        for k, (mirrored, tint) in enumerate(LOOKS, 1):
            for strength, face in zip(STRENGTHS, faces, strict=True):
                pixels = (face.flip(-1) if mirrored else face) * torch.tensor(tint).view(3, 1, 1)
                file = temporary / f"look-{k}-smile-{strength * 100:03.0f}.png"
                Image.fromarray(pixels.round().byte().movedim(0, -1).numpy()).save(file)
                category = "smiling" if strength > 0.5 else "neutral"
                units = {name: round(strength * value, 3) for name, value in SMILING.items()}
                rows.append(Row(file, category, units))
        write_manifest(temporary / "manifest.csv", rows)
    return manifest


def smiles(portrait: Path) -> Tensor:
    """[4,3,S,S] in 0..255: the portrait's head shot, smiling as strongly as ``STRENGTHS``."""
    photo = read_photo(portrait).pixels
    left, top, side = (round(share * photo.shape[-1]) for share in _HEAD)
    shot = downsample(photo[..., top : top + side, left : left + side], (SIDE, SIDE)).clamp(0, 1)
    model = load_checkpoint(WHOLE)
    signal = with_presets(model.signal).preset("smiling", 1.0)
    return torch.cat(list(animate(shot, model, signal, STRENGTHS))) * 255
