"""Lays out workflows/*.json: graphs in the page's format, from short descriptions.

    python recipes/draw_workflows.py URL        URL: a running ComfyUI with this pack, for the nodes' sockets

Run ``twins.py --record URL`` afterwards. Node numbers, sockets and the order of widgets are append-only:
released graphs are kept in tests/workflows_released and must go on loading.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path
from typing import Any

from twins import widgets

ROOT = Path(__file__).resolve().parents[1]
PREVIEWS = {
    "PreviewImage",
    "SaveImage",
    "SaveVideo",
    "ATWFaceFrame",
    "ATWMotionPreview",
    "LoadImage",
    "ATWSaveVideo",
}
Socket = tuple[int, int]


class Graph:
    """Nodes are put in columns; a column grows downwards."""

    WIDTH, GAP = 330, 60

    def __init__(self, info: dict[str, Any]) -> None:
        self.info, self.nodes, self.links = info, [], []
        self.columns: dict[int, float] = {}

    def add(self, kind: str, column: int, mode: int = 0, title: str = "", **given: Any) -> int:  # noqa: ANN401
        """A node; ``given`` are widget values, or (node, slot) to connect. Its number."""
        spec, number = self.info[kind], len(self.nodes) + 1
        wires = {k: v for k, v in given.items() if isinstance(v, tuple)}
        inputs: list[dict[str, Any]] = []
        names = [n for n in widgets(spec)]
        for group in ("required", "optional"):
            for name, (io_type, *_) in spec["input"].get(group, {}).items():
                shape = {"shape": 7} if group == "optional" else {}
                kind_of = io_type if isinstance(io_type, str) else "COMBO"
                if name not in names:
                    inputs.append({"name": name, "type": kind_of, "link": None, **shape})
        for entry in inputs:
            if entry["name"] in wires:
                entry["link"] = self._wire(wires[entry["name"]], number, inputs.index(entry), entry["type"])
        values = [self._default(spec, n) if n else "image" for n in names]
        for k, v in given.items():
            if k not in wires:
                values[names.index(k)] = v
        outputs = [
            {"name": n, "type": t, "links": []}
            for n, t in zip(spec["output_name"], spec["output"], strict=True)
        ]
        rows = max(len(inputs), len(outputs)) * 22 + len(values) * 26 + 40
        size = [self.WIDTH, rows + (300 if kind in PREVIEWS else 0)]
        top = self.columns.get(column, 60)
        self.columns[column] = top + size[1] + self.GAP
        node = {
            "id": number,
            "type": kind,
            "pos": [60 + column * (self.WIDTH + self.GAP), top],
            "size": size,
            "flags": {},
            "order": number - 1,
            "mode": mode,
            "inputs": inputs,
            "outputs": outputs,
            "properties": {"Node name for S&R": kind},
            "widgets_values": values,
        }
        self.nodes.append(node | ({"title": title} if title else {}))
        return number

    def note(self, column: int, text: str, height: int = 180) -> None:
        """Words for the person at the screen."""
        top = self.columns.get(column, 60)
        self.columns[column] = top + height + self.GAP
        number = len(self.nodes) + 1
        self.nodes.append(
            {
                "id": number,
                "type": "MarkdownNote",
                "pos": [60 + column * (self.WIDTH + self.GAP), top],
                "size": [self.WIDTH, height],
                "flags": {},
                "order": number - 1,
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "properties": {},
                "widgets_values": [text],
            }
        )

    def _wire(self, source: Socket, number: int, slot: int, kind: str) -> int:
        link = len(self.links) + 1
        self.links.append([link, source[0], source[1], number, slot, kind])
        output = self.nodes[source[0] - 1]["outputs"][source[1]]
        output["links"].append(link)
        return link

    @staticmethod
    def _default(spec: dict[str, Any], name: str) -> Any:  # noqa: ANN401
        for group in spec["input"].values():
            if name in group:
                kind, *rest = group[name]
                options = rest[0] if rest else {}
                choices = kind if isinstance(kind, list) else options.get("options", [])
                return options.get("default", choices[0] if choices else "")
        raise KeyError(name)

    def json(self) -> dict[str, Any]:
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def photo(g: Graph, size: int) -> Socket:
    """The example portrait, and a muted Load Image for one's own."""
    example = g.add("ATWExamplePortrait", 0, size=size)
    g.add("LoadImage", 0, mode=2, title="Your photo (connect this instead)", image="example.png")
    return (example, 0)


def still(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 2048)
    node = g.add("ATWAnimatePortrait", 1, image=image, frames=1)
    g.add("SaveImage", 2, images=(node, 1), filename_prefix="ATW/smile")
    g.note(
        1,
        "**Smile a portrait.** Press Run. For your own photo, un-mute *Load Image* (Ctrl+M), connect it.\n\n"
        "`strength` 0 is the photo bit for bit.",
    )
    return g


def clip(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024)
    node = g.add("ATWAnimatePortrait", 1, image=image, frames=24)
    g.add("SaveVideo", 2, video=(node, 0), filename_prefix="video/ATW")
    g.note(
        1, "**Smile clip.** *Save Video* with format and codec on auto copies the encoded frames as they are."
    )
    return g


def paper(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024)
    model = g.add("ATWLoadModel", 0)
    frame = g.add("ATWFaceFrame", 1, image=image, where="whole image")
    expression = g.add("ATWExpression", 1)
    parts = g.add("ATWDecompose", 2, image=image, frame=(frame, 0))
    g.add("PreviewImage", 2, title="Residual", images=(parts, 2))
    first = g.add(
        "ATWGenerator", 3, model=(model, 0), low=(parts, 0), signal=(expression, 0), frame=(frame, 0)
    )
    g.add("ATWMotionPreview", 3, motion=(first, 0), image=(parts, 0))
    steps = g.add("ATWInterpolateMotion", 4, motion=(first, 0), frames=6, curve="linear")
    second = g.add(
        "ATWGenerator",
        4,
        model=(model, 0),
        low=(parts, 0),
        signal=(expression, 0),
        motion=(steps, 0),
        frame=(frame, 0),
    )
    g.add("PreviewImage", 5, title="Coarse", images=(second, 1))
    g.add("PreviewImage", 5, title="Refined", images=(second, 2))
    final = g.add(
        "ATWResWarp",
        6,
        residuals=(parts, 1),
        motion=(second, 0),
        refined=(second, 2),
        mode="vanilla",
        gate=False,
    )
    g.add("PreviewImage", 6, title="Final, at the photo's size", images=(final, 0))
    g.note(1, "**The paper, step by step.** Whole image, vanilla ResWarp, no gate: its settings.", 120)
    return g


def parts_of(g: Graph, image: Socket) -> dict[str, int]:
    model, expression = g.add("ATWLoadModel", 0), g.add("ATWExpression", 1)
    frame = g.add("ATWFaceFrame", 1, image=image)
    parts = g.add("ATWDecompose", 2, image=image, frame=(frame, 0))
    made = g.add(
        "ATWGenerator", 2, model=(model, 0), low=(parts, 0), signal=(expression, 0), frame=(frame, 0)
    )
    return {"model": model, "expression": expression, "frame": frame, "parts": parts, "made": made}


def modes(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = parts_of(g, photo(g, 1024))
    shots = [
        g.add(
            "ATWResWarp",
            3,
            title=mode,
            residuals=(n["parts"], 1),
            motion=(n["made"], 0),
            refined=(n["made"], 2),
            mode=mode,
        )
        for mode in ("vanilla", "multiscale", "aligned")
    ]
    two = g.add("ImageStitch", 4, image1=(shots[0], 0), image2=(shots[1], 0))
    three = g.add("ImageStitch", 4, image1=(two, 0), image2=(shots[2], 0))
    g.add("PreviewImage", 5, title="vanilla, multiscale, aligned", images=(three, 0))
    return g


def chained(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1600)
    cropped = g.add("ImageCrop", 0, image=image, width=1400, height=1500, x=100, y=50)
    scaled = g.add("ImageScale", 1, image=(cropped, 0), upscale_method="lanczos", width=1050, height=1125)
    frame = g.add("ATWFaceFrame", 1, image=(scaled, 0))
    node = g.add("ATWAnimatePortrait", 2, image=(scaled, 0), frame=(frame, 0), frames=1)
    back = g.add(
        "ImageBlur", 2, title="Everything but the face", image=(scaled, 0), blur_radius=15, sigma=6.0
    )
    mixed = g.add(
        "ImageCompositeMasked", 3, destination=(back, 0), source=(node, 1), mask=(frame, 1), x=0, y=0
    )
    g.add("SaveImage", 4, images=(mixed, 0), filename_prefix="ATW/chained")
    return g


def stream(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = parts_of(g, photo(g, 1350))
    steps = g.add("ATWInterpolateMotion", 3, motion=(n["made"], 0), frames=24)
    wires = {
        "model": (n["model"], 0),
        "residuals": (n["parts"], 1),
        "signal": (n["expression"], 0),
        "motion": (steps, 0),
    }
    video = g.add("ATWRenderVideo", 4, **wires)
    g.add("SaveVideo", 5, video=(video, 0), filename_prefix="video/ATW-stream")
    g.add("ATWSaveVideo", 4, **wires, format="webm")
    g.note(
        3,
        "**Long clips.** Both nodes write frame by frame: thousands of frames need no more memory than ten.",
    )
    return g


GRAPHS = {
    "1-smile-a-portrait": still,
    "2-smile-clip": clip,
    "3-the-paper-step-by-step": paper,
    "4-modes-side-by-side": modes,
    "5-chained-with-core-nodes": chained,
    "6-long-clips": stream,
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
