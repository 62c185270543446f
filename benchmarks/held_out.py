"""The table of pairs of the committed evaluation: people never trained on, each driven by their own smile.

    python benchmarks/held_out.py DATA OUT
    python -m atw_nodes evaluate OUT/pairs.csv -o OUT/report --align-truth

DATA: folder of the face data with ``faces/`` and ``hd/`` (see README). A person's smile is what the face
network reads on the smiling photo more than on the neutral one. Of people without a photo in ``hd/`` the
data's crop is enlarged to 512.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from au import HELD_OUT  # noqa: E402

from atw_nodes.evaluate_pairs import looked_at  # noqa: E402
from atw_nodes.images import read_photo  # noqa: E402
from atw_nodes.signal_files import save_signal  # noqa: E402
from atw_nodes.types import Signal  # noqa: E402


def photo(data: Path, out: Path, person: str, expression: str) -> Path:
    hd = (data / "hd" / f"{person}_{expression}.jpg").absolute()
    if hd.exists():
        return hd
    crop = Image.open(data / "faces" / "london" / f"{person}_{expression}.jpg").convert("RGB")
    crop.resize((512, 512), Image.Resampling.BICUBIC).save(out / f"{person}_{expression}.png")
    return (out / f"{person}_{expression}.png").absolute()


def smile(neutral: Path, smiling: Path) -> Signal:
    before, after = (looked_at(read_photo(p).pixels, "auto").units for p in (neutral, smiling))
    change = [min(after[n], 1.0) - min(before[n], 1.0) for n in before]
    return Signal(torch.tensor([change]), tuple(before))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [("photo", "drive", "name", "truth")]
    for person in (h.split("/")[1] for h in HELD_OUT):
        neutral, smiling = (photo(args.data, args.out, person, e) for e in ("neutral", "smiling"))
        drive = args.out / f"{person}_smile.csv"
        save_signal(smile(neutral, smiling), drive, overwrite=True)
        rows.append((str(neutral), drive.name, f"{person}-smile", str(smiling)))
    with (args.out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
