"""What the tests of training share: a few drawn faces with labels, and settings of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atw_nodes.train_config import RunConfig


def drawn(folder: Path, count: int = 8, side: int = 64) -> Path:
    """A manifest of ``count`` pictures: people of 2 photos each, whose mouth is wider where AU12 is 1."""
    rng, skin = np.random.default_rng(0), np.zeros(3)
    lines = ["image,category,subject,AU12,AU25"]
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        smiles = k % 2
        if not smiles:
            skin = rng.uniform(90, 200, 3)
        face = np.broadcast_to(skin, (side, side, 3)).copy()
        half = side // 5 if smiles else side // 9
        face[side * 2 // 3 : side * 2 // 3 + 4, side // 2 - half : side // 2 + half] = (150, 20, 30)
        face[side // 3 : side // 3 + 5, side // 4 : side // 4 + 6] = 20
        face[side // 3 : side // 3 + 5, 3 * side // 4 - 6 : 3 * side // 4] = 20
        noisy = (face + rng.normal(0, 4, face.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{'smiling' if smiles else 'neutral'},p{k // 2},{smiles},{smiles * 0.5}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def tiny(data: Path, out: Path, **changes: Any) -> RunConfig:  # noqa: ANN401
    """Settings of a run whose steps take some hundredths of a second."""
    small: dict[str, Any] = {"size": 32, "width": 4, "critic_width": 4, "critic_layers": 3, "batch": 4}
    small |= {"n_critic": 2, "steps": 4, "save_every": 2, "sample_every": 0, "device": "cpu", "half": "off"}
    return RunConfig(str(data), str(out), **(small | changes))
