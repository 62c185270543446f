"""Lays out workflows/*.json: graphs in the page's format, from short descriptions.

    python recipes/draw_workflows.py URL        URL: a running ComfyUI with this pack, for the nodes' sockets

Use the oldest host that we support, and run ``twins.py --record URL`` afterwards. Sockets and the order of
widgets are append-only: released graphs are kept in tests/workflows_released and must go on loading.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path
from typing import Any

import driven_workflows as more
import lift_workflows
from graph_page import BLUE, BOTH, GREEN, MODEL, OCHRE, VIOLET, Graph, Socket, about, photo

ROOT = Path(__file__).resolve().parents[1]
HEAD_SHOT = {"width": 1024, "height": 1024, "x": 351, "y": 253}  # of the example portrait at 1720 pixels


def still(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 2048, "**ATW Animate Portrait**")
    g.column(330)
    first = g.next
    node = g.add("ATWAnimatePortrait", image=image, frames=1)
    g.add("PreviewImage", "Before", images=image)
    g.group("Animate", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveImage", "After", room=250, images=node["image"], filename_prefix="ATW/smile")
    about(
        g,
        "A photo smiles, at its own resolution. Press **Run**.\n\n"
        "`strength` 0 is the photo bit for bit; `neutral` undoes a smile. Other expressions: connect "
        "**ATW Load Model** with `atw-au-128` to `model`.\n\n"
        "The result lands in ComfyUI's output folder, under ATW.",
    )
    g.group("Result", first, OCHRE)
    return g


def clip(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024, "**ATW Animate Portrait**")
    g.column(330)
    first = g.next
    node = g.add("ATWAnimatePortrait", image=image, frames=24)
    about(
        g,
        "A smile comes and goes: one second, as H.264.\n\n"
        "**Save Video** with `format` and `codec` on *auto* copies the encoded frames as they are. "
        "`curve` says how the smile comes; `audio` takes a sound.",
    )
    g.group("Animate", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveVideo", video=node["video"], filename_prefix="video/ATW")
    g.group("Result", first, OCHRE)
    return g


def paper(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    eyes = "Set its box: eyes at 47 % of the height, 23 % of the width apart."
    image = photo(g, 1720, "**Head shot**", eyes, 250)
    g.column(220)
    first = g.next
    shot = g.add("ImageCrop", "Head shot", image=image, **HEAD_SHOT)["IMAGE"]
    frame = g.add("ATWFaceFrame", image=shot, where="whole image")["frame"]
    g.group("Frame", first, BLUE)
    model = g.add("ATWLoadModel", checkpoint=MODEL)["model"]
    signal = g.add("ATWExpression")["signal"]
    g.column(220)
    first = g.next
    parts = g.add("ATWDecompose", image=shot, frame=frame)
    low = parts["low"]
    g.add("PreviewImage", "Low", images=low)
    g.add("PreviewImage", "Residual", images=parts["residual"])
    g.group("1  Decompose", first, GREEN)
    g.column(220)
    first = g.next
    made = g.add("ATWGenerator", "Predict the motion", model=model, low=low, signal=signal, frame=frame)
    seen = g.add("ATWMotionPreview", "Motion, as colours", motion=made["motion"], image=low)
    g.add("PreviewImage", "Motion, as arrows", images=seen["arrows"])
    g.group("2  Motion", first, GREEN)
    g.column(220)
    first = g.next
    span = {"frames": 6, "curve": "linear", "start": 0.2}
    steps = g.add("ATWInterpolateMotion", motion=made["motion"], **span)["motion"]
    wires = {"model": model, "low": low, "signal": signal, "motion": steps, "frame": frame}
    again = g.add("ATWGenerator", "Warp and refine", **wires)
    g.add("PreviewImage", "Coarse", room=-16, images=again["coarse"])
    g.add("PreviewImage", "Refined", room=-16, images=again["refined"])
    g.group("3  Warp and refine", first, GREEN)
    g.column(220)
    first = g.next
    wires = {"residuals": parts["residuals"], "motion": again["motion"]}
    plain = {"mode": "vanilla", "gate": False}
    grey = g.add("EmptyImage", "Plain grey", width=128, height=128, batch_size=6, color=0x808080)["IMAGE"]
    bare = g.add("ATWResWarp", "ResWarp of plain grey", **wires, refined=grey, **plain)["images"]
    g.add("PreviewImage", "Warped residual", images=bare)
    g.group("4  Warp the residual", first, GREEN)
    g.column(380)
    first = g.next
    final = g.add("ATWResWarp", **wires, refined=again["refined"], **plain)["images"]
    g.add("PreviewImage", "Final, at the photo's size", room=60, images=final)
    about(
        g,
        "The paper, step by step, with its settings: the whole image as frame, vanilla ResWarp, no gate.\n\n"
        "Six frames, up to the full smile. Final = refined, enlarged + warped residual.",
        110,
    )
    g.group("5  ResWarp", first, OCHRE)
    return g


def parts_of(g: Graph, image: Socket) -> dict[str, Socket]:
    """Face, model, expression, decomposition and generator; the outputs that ResWarp and the clips take."""
    g.column(260, skip=60)
    first = g.next
    frame = g.add("ATWFaceFrame", image=image)["frame"]
    signal, model = g.add("ATWExpression")["signal"], g.add("ATWLoadModel", checkpoint=MODEL)["model"]
    g.group("Face, expression, model", first, BLUE)
    g.column(260)
    first = g.next
    parts = g.add("ATWDecompose", image=image, frame=frame)
    made = g.add("ATWGenerator", model=model, low=parts["low"], signal=signal, frame=frame)
    g.group("Motion", first, GREEN)
    found = {name: made[name] for name in ("motion", "refined")}
    return {"model": model, "signal": signal, "residuals": parts["residuals"], **found}


def modes(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = parts_of(g, photo(g, 1024, BOTH))
    wires = {name: n[name] for name in ("residuals", "motion", "refined")}
    about(
        g,
        "Three ways to carry the photo's detail along. *vanilla* and *multiscale* are the paper's, "
        "*aligned* is ours.\n\nOpen the result and compare the mouths at full size.",
        150,
    )
    first, shots = g.next, []
    for mode in ("vanilla", "multiscale", "aligned"):
        g.column(260)
        shots.append(g.add("ATWResWarp", mode, **wires, mode=mode)["images"])
    g.group("ResWarp", first, GREEN)
    g.below(first, 260)
    first = g.next
    two = g.add("ImageStitch", "Stitch", image1=shots[0], image2=shots[1])["IMAGE"]
    three = g.add("ImageStitch", "Stitch the third", image1=two, image2=shots[2])["IMAGE"]
    g.beside(570)
    g.add("SaveImage", "vanilla, multiscale, aligned", room=68, images=three, filename_prefix="ATW/modes")
    g.group("Side by side", first, OCHRE)
    return g


def chained(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1600, "**Crop**")
    g.column(260)
    first = g.next
    cropped = g.add("ImageCrop", "Crop", image=image, width=1400, height=1500, x=100, y=50)["IMAGE"]
    size = {"upscale_method": "lanczos", "width": 840, "height": 900}
    scaled = g.add("ImageScale", "Scale", image=cropped, **size)["IMAGE"]
    about(
        g,
        "Our sockets are IMAGE, MASK and VIDEO: any node fits before and behind. "
        "Here a photo is cropped and scaled, its face smiles, the rest is blurred.",
    )
    g.group("Core nodes before", first, VIOLET)
    g.column(280)
    first = g.next
    found = g.add("ATWFaceFrame", image=scaled)
    smiling = g.add("ATWAnimatePortrait", image=scaled, frame=found["frame"], frames=1)["image"]
    g.group("Animate", first, GREEN)
    g.column(400)
    first = g.next
    blurred = g.add("ImageBlur", "Blur", image=scaled, blur_radius=8, sigma=6.0)["IMAGE"]
    wires = {"destination": blurred, "source": smiling, "mask": found["mask"]}
    mixed = g.add("ImageCompositeMasked", "The smiling face over it", **wires, x=0, y=0)["IMAGE"]
    g.add("SaveImage", room=170, images=mixed, filename_prefix="ATW/chained")
    g.group("Core nodes behind", first, VIOLET)
    return g


def stream(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = parts_of(g, photo(g, 1080, BOTH))
    g.column(280)
    first = g.next
    steps = g.add("ATWInterpolateMotion", motion=n["motion"], frames=24)["motion"]
    wires = {name: n[name] for name in ("model", "residuals", "signal")} | {"motion": steps}
    video = g.add("ATWRenderVideo", **wires)["video"]
    about(
        g,
        "For clips of any length: frames are rendered and encoded one by one, so ten thousand need no more "
        "memory than ten.\n\n**ATW Render Video** hands on a VIDEO; **ATW Save Video** writes webm, gif... "
        "itself. Mute the one you do not need (Ctrl+M).",
        170,
    )
    g.group("Clip", first, GREEN)
    g.column(280)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-stream")
    g.add("ATWSaveVideo", **wires, format="webm")
    g.group("Result", first, OCHRE)
    return g


GRAPHS = {
    "1-smile-a-portrait": still,
    "2-smile-clip": clip,
    "3-the-paper-step-by-step": paper,
    "4-modes-side-by-side": modes,
    "5-chained-with-core-nodes": chained,
    "6-long-clips": stream,
    "7-expression-editor": more.editor,
    "8-keyframes-and-blinks": more.keyframed,
    "9-driven-by-a-table": more.driven,
    "10-two-faces": more.two_faces,
    "11-animate-a-video": more.of_a_video,
    "12-driven-by-a-video": more.of_a_driver,
    "13-train-your-own": more.trained,
    "14-make-any-animator-hd": lift_workflows.lifted,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    url = parser.parse_args().url.rstrip("/")
    with urllib.request.urlopen(f"{url}/object_info") as answer:
        info = json.load(answer)
    for name, make in GRAPHS.items():
        text = json.dumps(make(info).json(), indent=1) + "\n"
        (ROOT / "workflows" / f"{name}.json").write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
