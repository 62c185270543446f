"""Several faces in one photo: which of them does what."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from comfy_api.latest import io

from .driving import Driving, joined
from .nodes_guard import guarded, schema
from .nodes_parts import SignalSocket

SOCKETS = 4  # of signals; two nodes in a row serve eight faces


class SignalPerFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tips = {
            1: "For face 1, the largest. From another ATW Signal Per Face: for as many faces as that has."
        }
        return schema(
            node_id="ATWSignalPerFace",
            display_name="ATW Signal Per Face",
            category="ATW",
            description="A signal for each face of ATW Face Frame with where = all faces, by the numbers in its picture. A face without a signal keeps still.",
            search_aliases=["several faces", "group photo", "multiple faces", "couple"],
            inputs=[
                SignalSocket.Input(f"signal_{k}", optional=True, tooltip=tips.get(k, f"For face {k}."))
                for k in range(1, SOCKETS + 1)
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    @guarded
    def execute(cls, **signals: Driving) -> io.NodeOutput:
        given = [signals.get(f"signal_{k}") for k in range(1, SOCKETS + 1)]
        while given and given[-1] is None:
            given.pop()
        return io.NodeOutput(joined(given))


NODES: list[type[io.ComfyNode]] = [SignalPerFace]
