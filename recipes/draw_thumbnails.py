"""Thumbnails workflows/*.jpg, from what the workflows make.

    python recipes/draw_thumbnails.py URL [NAME ...]        URL: a running ComfyUI with this pack

The page shows them square and without a caption.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
SIDE = 512
FACE = (0.2, 0.12, 0.84, 0.76)  # left, top, right, bottom of the drawn portrait
MOUTH = (0.385, 0.568, 0.615, 0.6435)
EYE, LIPS = (0.33, 0.35, 0.51, 0.53), (0.38, 0.49, 0.62, 0.73)
Pictures = dict[str, list[Image.Image]]


def ask(url: str, body: dict[str, Any] | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as a:
        return a.read()


def frames(data: bytes, name: str) -> list[Image.Image]:
    if not name.endswith((".mp4", ".webm")):
        return [Image.open(io.BytesIO(data)).convert("RGB")]
    with av.open(io.BytesIO(data)) as clip:
        return [f.to_image() for f in clip.decode(video=0)]


def run(url: str, prompt: dict[str, Any]) -> Pictures:
    """What a prompt shows, by the number of the node; a clip as its frames."""
    number = json.loads(ask(f"{url}/prompt", {"prompt": prompt}))["prompt_id"]
    while not (entry := json.loads(ask(f"{url}/history/{number}")).get(number)):
        time.sleep(0.5)
    if entry["status"]["status_str"] != "success":
        raise SystemExit(f"the workflow failed: {entry['status']['messages'][-1]}")
    made: Pictures = {}
    for node, shown in entry["outputs"].items():
        for file in shown.get("images", []):
            data = ask(f"{url}/view?{urllib.parse.urlencode(file)}")
            made.setdefault(node, []).extend(frames(data, file["filename"]))
    return made


def crop(picture: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    w, h = picture.size
    return picture.crop((int(box[0] * w), int(box[1] * h), int(box[2] * w), int(box[3] * h)))


def tiles(pictures: list[Image.Image], across: int) -> Image.Image:
    """A square of pictures with thin gaps."""
    down, gap = -(-len(pictures) // across), 4
    w, h = (SIDE - gap * (across - 1)) // across, (SIDE - gap * (down - 1)) // down
    page = Image.new("RGB", (SIDE, SIDE), "white")
    for k, picture in enumerate(pictures):
        place = (k % across * (w + gap), k // across * (h + gap))
        page.paste(ImageOps.fit(picture, (w, h), Image.Resampling.LANCZOS), place)
    return page


def titled(graph: dict[str, Any], made: Pictures, title: str) -> list[Image.Image]:
    """The pictures of the node with that title, or of that kind."""
    number = next(n["id"] for n in graph["nodes"] if title in (n.get("title"), n["type"]))
    return made[str(number)]


def still(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    """Half before, half after."""
    before, after = (crop(show(t)[0], FACE).resize((SIDE, SIDE)) for t in ("Before", "After"))
    after.paste(before.crop((0, 0, SIDE // 2 - 2, SIDE)), (0, 0))
    after.paste("white", (SIDE // 2 - 2, 0, SIDE // 2 + 2, SIDE))
    return after


def clip(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    some = show("SaveVideo")
    return tiles([crop(some[k * (len(some) // 2) // 3], FACE) for k in range(4)], 2)


def paper(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    titles = ("Residual", "Motion, as colours", "Refined", "Final, at the photo's size")
    return tiles([show(t)[-1] for t in titles], 2)


def modes(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    whole = show("vanilla, multiscale, aligned")[0]
    side = whole.height
    mouths = [crop(whole.crop((k * side, 0, (k + 1) * side, side)), MOUTH) for k in range(3)]
    return tiles(mouths, 1)


def chained(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    return tiles(show("SaveImage"), 1)


def stream(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    some = show("SaveVideo")
    return tiles([crop(some[k * (len(some) - 1) // 8], FACE) for k in range(9)], 3)


def editor(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    return crop(show("At the photo's size")[0], FACE).resize((SIDE, SIDE))


def training(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    """What it learns from, and the first two rows of its samples."""
    data, sheet = show("What it learns from")[0], show("Three steps a press of Run")[0]
    return tiles([crop(data, (0, 0, 0.5, 1)), crop(sheet, (0, 0, 1, 0.485))], 1)


def lifted(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    """An eye and the mouth: of the small frame, enlarged, and of the large one."""
    both = (show("Small")[0], show("Large")[0])
    return tiles([crop(p, box) for box in (EYE, LIPS) for p in both], 2)


def wide(show: Callable[[str], list[Image.Image]]) -> Image.Image:
    """Both faces, side by side."""
    whole = show("At the photo's size")[0]
    w, h = whole.size
    left, right = whole.crop((0, 0, w // 2, h)), whole.crop((w // 2, 0, w, h))
    mirrored = (1 - FACE[2], FACE[1], 1 - FACE[0], FACE[3])
    return tiles([crop(left, FACE), crop(right, mirrored)], 2)


VIEWS = {
    "1-smile-a-portrait": still,
    "2-smile-clip": clip,
    "3-the-paper-step-by-step": paper,
    "4-modes-side-by-side": modes,
    "5-chained-with-core-nodes": chained,
    "6-long-clips": stream,
    "7-expression-editor": editor,
    "8-keyframes-and-blinks": stream,
    "9-driven-by-a-table": stream,
    "10-two-faces": wide,
    "11-animate-a-video": stream,
    "12-driven-by-a-video": stream,
    "13-train-your-own": training,
    "14-make-any-animator-hd": lifted,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    url = args.url.rstrip("/")
    for name in args.names or VIEWS:
        graph = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
        twin = json.loads((ROOT / "tests" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        made = run(url, twin)
        picture = VIEWS[name](lambda title, g=graph, m=made: titled(g, m, title))
        picture.save(ROOT / "workflows" / f"{name}.jpg", quality=88, optimize=True)
        print(name)


if __name__ == "__main__":
    main()
