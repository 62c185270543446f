"""Measures of a result, in a graph."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import json
import math

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .driving import Driving, as_signal
from .extras import opencv_module
from .folds import fold_share
from .host import Progress, to_image
from .measuring import FLOW_SIDE, Judges, Values, measured, summary
from .metrics import RISING, SCALE, TITLES
from .nodes_guard import guarded, schema
from .nodes_parts import MotionSocket, SignalSocket
from .pyramid import to_float
from .signal_curves import along
from .signal_plot import plot
from .sockets import Moved, check_image, colour_of
from .types import MissingExtraError, Signal

_DRAWN = ("fwe", "au_error", "folds", "detail", "ssim")  # near 1, as the plot's axis is


class Metrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWMetrics",
            display_name="ATW Metrics",
            category="ATW",
            description="Measures a result: how steady it is, how well it follows the signal, how much detail it kept, whether its motion folds, and how close it comes to a reference.",
            search_aliases=["evaluate", "psnr", "ssim", "flow warping error", "action unit error"],
            inputs=[
                io.Image.Input("result", tooltip="The frames, in the order of the clip."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The photo, from which changes count; or one image a frame, as it should look. Of the result's size.",
                ),
                MotionSocket.Input("motion", optional=True, tooltip="What moved the frames: does it fold?"),
                SignalSocket.Input(
                    "signal", optional=True, tooltip="What was asked for: of one step, or one a frame."
                ),
                io.Int.Input("width", default=768, min=200, max=4096, step=8, tooltip="Of the plot."),
                io.Int.Input("height", default=384, min=100, max=4096, step=8, tooltip="Of the plot."),
            ],
            outputs=[
                io.String.Output(display_name="table"),
                io.Image.Output(display_name="plot"),
                io.String.Output(display_name="values"),
            ],
            is_output_node=True,  # it shows the plot itself
        )

    @classmethod
    @guarded
    def execute(
        cls,
        result: Tensor,
        width: int,
        height: int,
        reference: Tensor | None = None,
        motion: Moved | None = None,
        signal: Driving | None = None,
    ) -> io.NodeOutput:
        frames = planes(result, "result")
        given = [] if reference is None else planes(reference, "reference")
        judges, notes = judges_here()
        progress = Progress(len(frames))  # no pictures: the page would keep the last, not show the plot
        values = measured(frames, given, wanted(signal, motion), judges, lambda _: progress.step())
        if motion is not None:
            values["folds"] = folds_of(motion)
        shown = to_image(plot(lines(values, len(frames)), width, height))
        told = {"frames": len(frames), "mean": summary(values), "values": values, "notes": notes}
        text = json.dumps(told, allow_nan=False)
        return io.NodeOutput(report(values, notes), shown, text, ui=ui.PreviewImage(shown, cls=cls))


def planes(image: Tensor, name: str) -> list[Tensor]:
    """IMAGE -> [1,3,H,W] each; grey is as red as it is blue."""
    return list(to_float(colour_of(check_image(image, name)).movedim(-1, 1)).split(1))


def judges_here() -> tuple[Judges, list[str]]:
    """(who looks, what is missing for more)."""
    try:
        opencv_module("optical flow")
    except MissingExtraError as error:
        return Judges(flow=0), [f"FWE is not measured: {error}"]
    return Judges(flow=FLOW_SIDE), []


def wanted(signal: Driving | None, motion: Moved | None) -> Signal | None:
    """The change a step a frame; of a single step that a motion scales, so much of it as each frame carries."""
    if signal is None:
        return None
    change = as_signal(signal)
    if motion is None or len(change) > 1 or change.absolute or len(motion) == 1:
        return change
    weights = [float(motion.part(k, k + 1).weight[0]) for k in range(len(motion))]
    return along(change, weights)


def folds_of(motion: Moved) -> list[float]:
    """The share of the worst face's field that folds, a value a frame."""
    shares = [
        [float(fold_share(face.part(k, k + 1).field)[0]) for k in range(len(face))] for face in motion.faces
    ]
    return [max(some) for some in zip(*shares, strict=True)]


def lines(values: Values, count: int) -> Signal:
    """A line a measure for the plot, as the tables scale it; FWE, which is of two frames, at the second."""
    drawn = {n: v for n in _DRAWN if len(v := values.get(n, [])) in (count - 1, count) and v}
    padded = {n: [v[0]] * (count - len(v)) + v for n, v in drawn.items()}
    if not padded:
        return Signal(torch.zeros(count, 1), ("nothing measured",))
    columns = [[x * SCALE.get(n, 1.0) for x in v] for n, v in padded.items()]
    return Signal(torch.tensor(columns).T, tuple(TITLES[n] for n in padded))


def report(values: Values, notes: list[str]) -> str:
    """Markdown: of every measure the mean, and the worst frame's."""
    rows = ["| measure | mean | worst | at frame |", "|---|---|---|---|"]
    for name in (n for n in TITLES if n in values):
        some, scale = [v for v in values[name] if math.isfinite(v)], SCALE.get(name, 1.0)
        if some:
            worst = _worst(name, some)
            at = some.index(worst) + (1 if name == "fwe" else 0)
            mean = sum(some) / len(some)
            rows.append(f"| {TITLES[name]} | {mean * scale:.4g} | {worst * scale:.4g} | {at} |")
    return "\n".join([*rows, *(f"\n{note}." for note in notes)])


def _worst(name: str, values: list[float]) -> float:
    if name == "detail":
        return max(values, key=lambda v: abs(math.log(max(v, 1e-6))))
    return min(values) if name in RISING else max(values)


NODES: list[type[io.ComfyNode]] = [Metrics]
