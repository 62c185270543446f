"""Draw the example signals in assets/signals: a table as OpenFace writes them, and an expression.

python recipes/draw_signals.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from atw_nodes.idle import blinks, idle  # noqa: E402
from atw_nodes.signal_curves import blend, gain  # noqa: E402
from atw_nodes.signal_files import save_signal  # noqa: E402
from atw_nodes.signals import UNITS, pose  # noqa: E402
from atw_nodes.types import Signal  # noqa: E402

FPS, SECONDS = 25.0, 4.0
DELIGHTED = {"AU01": 0.2, "AU02": 0.2, "AU06": 0.5, "AU12": 0.7, "AU25": 0.35}


def talking() -> Signal:
    """Syllables, four a second, from rest to rest, with blinks, and a smile towards the end."""
    g, frames = torch.Generator().manual_seed(5), int(FPS * SECONDS)
    time = torch.arange(frames) / FPS
    values = torch.zeros(frames, len(UNITS))
    where = {name: k for k, name in enumerate(UNITS)}
    for k in range(13):
        middle, loud = 0.35 + 0.25 * k, float(torch.rand((), generator=g)) * 0.7 + 0.3
        if k in (5, 9):  # a breath
            continue
        pulse = torch.exp(-0.5 * ((time - middle) / 0.06) ** 2) * loud
        shape = torch.rand(3, generator=g)
        for name, share in zip(("AU12", "AU20", "AU10"), shape.tolist(), strict=True):
            values[:, where[name]] += 0.15 * share * pulse
        values[:, where["AU25"]] += 0.55 * pulse
        values[:, where["AU26"]] += 0.35 * pulse
    smile = torch.exp(-0.5 * ((time - 3.3) / 0.3) ** 2)
    for name, share in (("AU12", 0.6), ("AU06", 0.4), ("AU25", 0.2)):
        values[:, where[name]] += share * smile
    brows = torch.exp(-0.5 * ((time - 1.1) / 0.2) ** 2)
    values[:, where["AU01"]] += 0.5 * brows
    values[:, where["AU02"]] += 0.4 * brows
    life = blend(gain(idle(frames, FPS, 2), 0.5), blinks(frames, FPS, 4, 30.0))
    return blend(Signal(values, tuple(UNITS), FPS), life)


def openface(signal: Signal, path: Path) -> None:
    """Write a signal as OpenFace's FeatureExtraction does, intensities 0 to 5."""
    names = [*(f"{n}_r" for n in signal.names)]
    rows = [", ".join(("frame", "face_id", "timestamp", "confidence", "success", *names))]
    for k, row in enumerate((signal.values.clamp(0, 1) * 5).tolist()):
        head = f"{k + 1}, 0, {k / FPS:.3f}, 0.98, 1"
        rows.append(", ".join((head, *(f"{v:.2f}" for v in row))))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    folder = ROOT / "assets" / "signals"
    folder.mkdir(exist_ok=True)
    openface(talking(), folder / "talking.csv")
    save_signal(pose(DELIGHTED), folder / "delighted.json", overwrite=True)


if __name__ == "__main__":
    main()
