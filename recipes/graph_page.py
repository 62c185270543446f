"""Graphs in the page's format, laid out in columns: what ``draw_workflows.py`` draws with."""

from __future__ import annotations

from typing import Any, NamedTuple

from twins import default, sockets, widgets

LINE, WIDGET, HEAD, EDGE = 20, 24, 30, 14  # pixels: a socket, a widget, a title, what is left below
TEXT = 50  # more for a widget of several lines
PICTURE = 230  # room below the widgets of a node that shows one
PICTURES = ("PreviewImage", "SaveImage", "LoadImage", "ATWFaceFrame", "ATWMotionPreview", "ATWSignalPlot")
PICTURES += ("ATWActionUnits", "ATWDataset", "ATWTrainStep", "ATWMetrics", "LossGraphNode")
PROGRESS = ("ATWAnimatePortrait", "ATWGenerator", "ATWResWarp", "ATWRenderVideo")  # show their last step
PROGRESS += ("ATWSignalFromVideo", "ATWAnimateVideo", "ATWLift", "ATWLiftVideo")
UPLOADS = ("image_upload", "video_upload")  # a button below the name of the file
PLAYERS = ("SaveVideo", "ATWSaveVideo")  # as high as the node is wide
BLUE, GREEN, OCHRE, VIOLET = "#3f789e", "#5c8a5c", "#b58b2a", "#7a5c9e"
MODEL, UNITS_MODEL = "atw-smile-128", "atw-au-128"
BOTH = "both **ATW Face Frame** and **ATW Decompose**"


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
