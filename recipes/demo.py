"""``make demo``: animate a real photo and a drawn 4K portrait, and say where the results are.

python recipes/demo.py OUT_FOLDER
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOUTH = (1560, 2134)  # top left of a part of the drawn portrait, 1024 pixels wide
HEAD = (614, 414, 2867)  # X, Y, SIDE


def astronaut(folder: Path) -> Path:
    """The photo that scikit-image carries in its wheel."""
    from PIL import Image
    from skimage import data

    path = folder / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def animate(photo: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "atw_nodes", "animate", str(photo), "-o", str(out), *options]
    begun = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    print(f"  {out}  ({time.monotonic() - begun:.0f} s)", flush=True)


def picture(out: Path) -> Path:
    """The README's picture: the portrait before and after, and both mouths at half size."""
    from PIL import Image, ImageDraw, ImageFont

    left, top, side = HEAD
    page = Image.new("RGB", (4 * 512 + 3 * 8, 512 + 28), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    for i, (path, title) in enumerate(
        [
            (ROOT / "assets" / "portrait-4k.jpg", "photo, 4096 x 4096"),
            (out / "portrait-4k-smile.jpg", "smiling"),
        ]
    ):
        with Image.open(path) as im:
            views = (
                im.crop((left, top, left + side, top + side)).resize((512, 512), Image.Resampling.BOX),
                im.crop((*MOUTH, MOUTH[0] + 1024, MOUTH[1] + 1024)).resize((512, 512), Image.Resampling.BOX),
            )
        for k, (view, what) in enumerate(zip(views, (title, "its mouth, half size"), strict=True)):
            x = (2 * k + i) * 520
            page.paste(view, (x, 28))
            draw.text((x + 4, 4), what, fill="black", font=font)
    path = out / "demo.jpg"
    page.save(path, quality=88)
    return path


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out").resolve()
    out.mkdir(parents=True, exist_ok=True)
    print("A real photo at its own resolution (512 x 512), its face found, its smile undone:", flush=True)
    photo = astronaut(out)
    animate(photo, out / "astronaut.mp4", "--expression", "neutral", "--frames", "48")
    sheet = ("--sheet", str(out / "astronaut-sheet.png"))
    animate(photo, out / "astronaut-neutral.png", "--expression", "neutral", *sheet)
    print("A drawn portrait at 4096 x 4096:", flush=True)
    portrait = ROOT / "assets" / "portrait-4k.jpg"
    animate(portrait, out / "portrait-4k.mp4", "--frames", "24")
    sheet = ("--sheet", str(out / "portrait-4k-sheet.png"))
    animate(portrait, out / "portrait-4k-smile.jpg", *sheet)
    print(f"  {picture(out)}", flush=True)
    print(f"Done. Clips, stills and contact sheets are in {out}")


if __name__ == "__main__":
    main()
