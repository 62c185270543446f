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
from typing import Any, NamedTuple

from twins import default, sockets, widgets

ROOT = Path(__file__).resolve().parents[1]
LINE, WIDGET, HEAD, EDGE = 20, 24, 30, 14  # pixels: a socket, a widget, a title, what is left below
TEXT = 50  # more for a widget of several lines
PICTURE = 230  # room below the widgets of a node that shows one
PICTURES = ("PreviewImage", "SaveImage", "LoadImage", "ATWFaceFrame", "ATWMotionPreview", "ATWSignalPlot")
PICTURES += ("ATWActionUnits",)
PROGRESS = ("ATWAnimatePortrait", "ATWGenerator", "ATWResWarp", "ATWRenderVideo")  # show their last step
PROGRESS += ("ATWSignalFromVideo", "ATWAnimateVideo")
UPLOADS = ("image_upload", "video_upload")  # a button below the name of the file
PLAYERS = ("SaveVideo", "ATWSaveVideo")  # as high as the node is wide
BLUE, GREEN, OCHRE, VIOLET = "#3f789e", "#5c8a5c", "#b58b2a", "#7a5c9e"
MODEL, UNITS_MODEL = "atw-smile-128", "atw-au-128"
HEAD_SHOT = {"width": 1024, "height": 1024, "x": 351, "y": 253}  # of the example portrait at 1720 pixels


def options_of(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """What an input says beside its type."""
    entry = next(group[name] for group in spec["input"].values() if name in group)
    return entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}


def unsent(spec: dict[str, Any], owner: str) -> str:
    """What the page puts behind ``owner``: its upload button, or what becomes of a seed."""
    return "image" if set(UPLOADS) & set(options_of(spec, owner)) else "fixed"


class Socket(NamedTuple):
    """An output to connect: the node's number, and which of its outputs."""

    node: int
    slot: int


class Node(NamedTuple):
    """A node that was added; ``node["motion"]`` is an output by its name."""

    number: int
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> Socket:  # type: ignore[override]
        return Socket(self.number, self.outputs.index(name))


class Graph:
    """Columns from left to right, each growing downwards."""

    GAP, LANE = 56, 50  # between nodes, and between columns: titles, badges and the edge of a group fit in

    def __init__(self, info: dict[str, Any]) -> None:
        self.info: dict[str, Any] = info
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.x, self.y, self.width, self.top = 40.0, 80.0, 0.0, 80.0

    def column(self, width: int, skip: int = 0) -> None:
        """Go on to the right, from the top. skip: pixels left free there, for wires to pass."""
        self.top = 80.0 + skip
        self.beside(width)

    def beside(self, width: int) -> None:
        """Go on to the right, as high as this column began."""
        self.x += self.width + self.LANE if self.width else 0
        self.y, self.width = self.top, width

    def below(self, first: int, width: int) -> None:
        """Go on below the nodes from number ``first`` to the last, from their left."""
        some = self.nodes[first - 1 :]
        self.x, self.width = min(n["pos"][0] for n in some), width
        self.y = self.top = max(n["pos"][1] + n["size"][1] for n in some) + self.GAP + HEAD + self.LANE

    def add(self, kind: str, title: str = "", /, room: int = 0, **given: Any) -> Node:  # noqa: ANN401
        """A node at the foot of the column. given: widget values, or outputs of other nodes to connect.
        room: pixels of height beyond what the node needs.
        """
        spec, number, names = self.info[kind], len(self.nodes) + 1, widgets(self.info[kind])
        inputs = [
            {"name": name, "type": io_type, "link": None, **({"shape": 7} if optional else {})}
            for name, io_type, optional in sockets(spec)
        ]
        values = [default(spec, n) if n else unsent(spec, names[k - 1]) for k, n in enumerate(names)]
        for name, value in given.items():
            if isinstance(value, Socket):
                place = next(i for i, entry in enumerate(inputs) if entry["name"] == name)
                inputs[place]["link"] = self._wire(value, number, place, inputs[place]["type"])
            else:
                values[names.index(name)] = value
        outputs = [
            {"name": n, "type": t, "links": []}
            for n, t in zip(spec["output_name"], spec["output"], strict=True)
        ]
        height = LINE * max(len(inputs), len(outputs), 1) + WIDGET * len(names) + EDGE
        height += TEXT * sum(bool(options_of(spec, n).get("multiline")) for n in names if n)
        height += PICTURE * (kind in PICTURES + PROGRESS) + int(self.width) * (kind in PLAYERS) + room
        self._place(kind, height, inputs, outputs, values, title)
        return Node(number, tuple(spec["output_name"]))

    def note(self, title: str, text: str, height: int) -> None:
        """Words for the person at the screen."""
        self._place("MarkdownNote", height, [], [], [text], title)
        self.nodes[-1] |= {"color": "#432", "bgcolor": "#653"}

    def group(self, title: str, first: int, colour: str) -> None:
        """A frame around the nodes from number ``first`` to the last."""
        some = [(*n["pos"], *n["size"]) for n in self.nodes[first - 1 :]]
        left, top = min(x for x, *_ in some) - 12, min(y for _, y, *_ in some) - HEAD - 50
        right, foot = max(x + w for x, _, w, _ in some) + 12, max(y + h for _, y, _, h in some) + 12
        box = [left, top, right - left, foot - top]
        entry = {"id": len(self.groups) + 1, "title": title, "bounding": box, "color": colour}
        self.groups.append(entry | {"font_size": 22, "flags": {}})

    def mute(self, node: Node) -> None:
        self.nodes[node.number - 1]["mode"] = 2

    @property
    def next(self) -> int:
        """The number of the next node."""
        return len(self.nodes) + 1

    def _place(
        self, kind: str, height: int, inputs: list[Any], outputs: list[Any], values: list[Any], title: str
    ) -> None:
        number = len(self.nodes) + 1
        node = {
            "id": number,
            "type": kind,
            "pos": [self.x, self.y],
            "size": [self.width, height],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs,
            "properties": {} if kind == "MarkdownNote" else {"Node name for S&R": kind},
            "widgets_values": values,
        }
        self.nodes.append(({"title": title} if title else {}) | node)
        self.y += height + self.GAP

    def _wire(self, source: Socket, number: int, place: int, io_type: str) -> int:
        link = len(self.links) + 1
        self.links.append([link, *source, number, place, io_type])
        self.nodes[source.node - 1]["outputs"][source.slot]["links"].append(link)
        return link

    def json(self) -> dict[str, Any]:
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def photo(g: Graph, size: int, target: str, more: str = "", width: int = 280) -> Socket:
    """The first column: the example portrait, a muted Load Image, and how to use it on ``target``."""
    g.column(width)
    first = g.next
    example = g.add("ATWExamplePortrait", size=size)
    g.mute(g.add("LoadImage", "Load Image (your own photo)", image="example.png"))
    g.note(
        "Your own photo",
        "1. Click **Load Image**, press **Ctrl+M** to un-mute it, choose a file.\n"
        f"2. Drag its **IMAGE** dot onto `image` of {target}.\n3. {(more + ' Run.').strip()}",
        140,
    )
    g.group("Photo", first, BLUE)
    return example["image"]


def about(g: Graph, text: str, height: int = 130) -> None:
    g.note("About this workflow", text, height)


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


BOTH = "both **ATW Face Frame** and **ATW Decompose**"


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


def face_and_model(g: Graph, image: Socket) -> dict[str, Socket]:
    """Face, the model of action units, decomposition."""
    g.column(260, skip=60)
    first = g.next
    frame = g.add("ATWFaceFrame", image=image)["frame"]
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    parts = g.add("ATWDecompose", image=image, frame=frame)
    g.group("Face and model", first, BLUE)
    return {"frame": frame, "model": model, "residuals": parts["residuals"], "low": parts["low"]}


def editor(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1600, "**ATW Face Frame**, **ATW Decompose** and **ATW Action Units**")
    n = face_and_model(g, image)
    g.column(330)
    first = g.next
    look = {"AU01": 0.4, "AU02": 0.4, "AU06": 0.4, "AU12": 0.6, "AU45": 0.0}
    wires = {"image": image, "model": n["model"], "frame": n["frame"]}
    signal = g.add("ATWActionUnits", "Sliders", **wires, **look)["signal"]
    g.group("Expression", first, GREEN)
    g.column(260)
    first = g.next
    made = g.add("ATWGenerator", model=n["model"], low=n["low"], signal=signal, frame=n["frame"])
    warped = {"residuals": n["residuals"], "motion": made["motion"], "refined": made["refined"]}
    final = g.add("ATWResWarp", **warped)["images"]
    g.group("Animate", first, GREEN)
    g.column(480)
    first = g.next
    g.add("SaveImage", "At the photo's size", room=240, images=final, filename_prefix="ATW/expression")
    about(
        g,
        "Seventeen sliders, one an action unit; hover over one to read what it does. The preview below them "
        "follows at once with *Run (On Change)*.\n\n`preset` adds a named expression.",
        140,
    )
    g.group("Result", first, OCHRE)
    return g


def keyframed(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = face_and_model(g, photo(g, 1024, BOTH))
    g.column(330)
    first = g.next
    keys = g.add("ATWKeyframes", "Keyframes", room=64)["signal"]
    alive = g.add("ATWIdleMotion", "Blinks and idle motion", frames=68, seed=3)["signal"]
    both = g.add("ATWBlendSignals", "Both", a=keys, b=alive)["signal"]
    g.add("ATWSaveSignal", "Keep the signal", signal=both)
    g.group("Signal", first, GREEN)
    g.column(330)
    first = g.next
    g.add("ATWSignalPlot", "What moves when", signal=both)
    wires = {"model": n["model"], "residuals": n["residuals"], "signal": both}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Plot and frames", first, GREEN)
    g.column(440)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-keyframes")
    about(
        g, "A line is a moment: `seconds: units and expressions`. The face breathes and blinks between them."
    )
    g.group("Clip", first, OCHRE)
    return g


def driven(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    n = face_and_model(g, photo(g, 1024, BOTH))
    g.column(330)
    first = g.next
    talk = g.add("ATWSignalFromCSV", "A table (OpenFace)", file="example: talking.csv")["signal"]
    mood = g.add("ATWLoadSignal", "A kept expression", file="example: delighted.json")["signal"]
    signal = g.add("ATWBlendSignals", "Talking, delighted", a=talk, b=mood, amount=0.5)["signal"]
    g.mute(g.add("ATWSignalFromVideo", "Or: a driving video"))
    g.mute(g.add("ATWSignalFromLandmarks", "Or: landmarks of ComfyUI's detector"))
    g.group("Who drives", first, GREEN)
    g.column(330)
    first = g.next
    wires = {"model": n["model"], "residuals": n["residuals"], "signal": signal, "fps": 25.0}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Frames", first, GREEN)
    g.column(440)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-driven")
    about(
        g,
        "A table of action units moves the face: one row, one frame. For a video, connect *Load Video* to "
        "**ATW Signal from Video**, un-mute it (Ctrl+M) and drag its signal here; its sound goes to `audio`.",
        150,
    )
    g.group("Clip", first, OCHRE)
    return g


def two_faces(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024, BOTH, "Your photo may show as many faces as you like.")
    g.column(260, skip=60)
    first = g.next
    other = g.add("ImageFlip", "The other one", image=image, flip_method="y-axis: horizontally")["IMAGE"]
    both = g.add("ImageStitch", "Two in one photo", image1=image, image2=other)["IMAGE"]
    frame = g.add("ATWFaceFrame", "All faces, numbered", image=both, where="all faces")["frame"]
    g.group("A photo of two", first, BLUE)
    g.column(280)
    first = g.next
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    smile = g.add("ATWExpression", "Face 1", expression="happiness")["signal"]
    awe = g.add("ATWExpression", "Face 2", expression="surprise", strength=0.8)["signal"]
    signal = g.add("ATWSignalPerFace", signal_1=smile, signal_2=awe)["signal"]
    g.group("Who does what", first, BLUE)
    g.column(280)
    first = g.next
    parts = g.add("ATWDecompose", image=both, frame=frame)
    made = g.add("ATWGenerator", model=model, low=parts["low"], signal=signal, frame=frame)
    g.group("Motion", first, GREEN)
    g.column(560)
    first = g.next
    wires = {"residuals": parts["residuals"], "motion": made["motion"], "refined": made["refined"]}
    final = g.add("ATWResWarp", **wires)["images"]
    g.add("SaveImage", "At the photo's size", images=final, filename_prefix="ATW/two-faces")
    about(
        g,
        "Several faces in one photo, each with an expression of its own. Without **ATW Signal Per Face** one "
        "signal serves all.\n\nThe numbers in **ATW Face Frame**'s picture say who is who.",
        140,
    )
    g.group("Result", first, OCHRE)
    return g


def of_a_video(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 640, "**ATW Animate Portrait**")
    g.column(300)
    first = g.next
    clip = g.add("ATWAnimatePortrait", "A video to begin with", image=image, frames=16)["video"]
    g.group("Video", first, BLUE)
    g.column(300)
    first = g.next
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    text = "0:\n0.2: AU01=0.8, AU02=0.8\n0.4: AU01=0.8, AU02=0.8, AU45=1\n0.6: AU04=0.6"
    brows = g.add("ATWKeyframes", "Brows and a blink", room=64, text=text)["signal"]
    wires = {"video": clip, "signal": brows, "model": model}
    made = g.add("ATWAnimateVideo", **wires)["video"]
    g.group("Animate every frame", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveVideo", video=made, filename_prefix="video/ATW-of-a-video")
    about(
        g,
        "A video in the place of the photo: faces are followed, the signal is added on top, sound is kept. "
        "Here brows move and eyes blink while the smile of the first clip comes and goes.\n\n"
        "For a video of your own, add *Load Video* and connect it to **ATW Animate Video**.",
        150,
    )
    g.group("Result", first, OCHRE)
    return g


def of_a_driver(info: dict[str, Any]) -> Graph:
    g = Graph(info)
    image = photo(g, 1024, BOTH)
    g.column(280, skip=60)
    first = g.next
    other = g.add("ImageFlip", "Another face", image=image, flip_method="y-axis: horizontally")["IMAGE"]
    model = g.add("ATWLoadModel", checkpoint=UNITS_MODEL)["model"]
    acts = {"expression": "surprise", "frames": 32, "model": model}
    clip = g.add("ATWAnimatePortrait", "It is surprised: the driving video", image=other, **acts)["video"]
    g.group("Who drives", first, VIOLET)
    g.column(280)
    first = g.next
    frame = g.add("ATWFaceFrame", image=image)["frame"]
    parts = g.add("ATWDecompose", image=image, frame=frame)
    g.group("Who is driven", first, BLUE)
    g.below(first, 280)
    first = g.next
    g.mute(g.add("LoadVideo", "Load Video (your own driver)"))
    g.note(
        "Your own driving video",
        "1. Click **Load Video**, press **Ctrl+M** to un-mute it, choose a file.\n"
        "2. Drag its **VIDEO** dot onto `video` of **ATW Signal From Video**. Run.",
        120,
    )
    g.group("Or a driver of your own", first, VIOLET)
    g.column(330)
    first = g.next
    read = g.add("ATWSignalFromVideo", video=clip, smoothing=0.04)
    g.add("ATWSignalPlot", "What was read", signal=read["signal"])
    g.group("Follow", first, GREEN)
    g.column(330)
    first = g.next
    wires = {"model": model, "residuals": parts["residuals"]}
    wires |= {"signal": read["signal"], "audio": read["audio"]}
    video = g.add("ATWRenderVideo", **wires)["video"]
    g.group("Animate", first, GREEN)
    g.column(520)
    first = g.next
    g.add("SaveVideo", video=video, filename_prefix="video/ATW-driven-by-a-video")
    about(
        g,
        "The face in a video moves the face in a photo: frame by frame, at the photo's resolution, with the "
        "video's rate and sound.\n\n*relative* takes the changes from the video's first frame, so begin with "
        "a calm face; *absolute* takes what is shown. `gain` makes it weaker or stronger.",
        150,
    )
    g.group("Result", first, OCHRE)
    return g


GRAPHS = {
    "1-smile-a-portrait": still,
    "2-smile-clip": clip,
    "3-the-paper-step-by-step": paper,
    "4-modes-side-by-side": modes,
    "5-chained-with-core-nodes": chained,
    "6-long-clips": stream,
    "7-expression-editor": editor,
    "8-keyframes-and-blinks": keyframed,
    "9-driven-by-a-table": driven,
    "10-two-faces": two_faces,
    "11-animate-a-video": of_a_video,
    "12-driven-by-a-video": of_a_driver,
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
