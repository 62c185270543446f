"""The expression editor: a slider a unit, and a small picture of what they do."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import lru_cache
from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from .checkpoints import DEFAULT, bundled
from .driving import Driving, as_signal
from .expressions import EXPRESSIONS
from .host import Model, driven, load_model, to_image
from .nodes_guard import guarded, schema
from .nodes_parts import FrameSocket, ModelSocket, SignalSocket, find_face
from .pyramid import downsample
from .reswarp import ReswarpConfig
from .signal_curves import blend, strongest
from .signals import UNITS, pose
from .sockets import Found, check_image, colour_of, split, to_photo
from .types import FaceFrame, Signal, check_frame

LONGEST = 768  # pixels of the preview
MODEL = "atw-au-128"
PRESETS = ["none", *(name for name in EXPRESSIONS if name != "neutral")]  # append only


def unit_input(name: str) -> Any:  # noqa: ANN401 (the host's type)
    unit = UNITS[name]
    return io.Float.Input(
        name,
        display_name=f"{name} {unit.facs}",  # beside the slider, where the page is new enough
        default=0.0,
        min=-1.5,
        max=1.5,
        step=0.05,
        display_mode=io.NumberDisplay.slider,
        tooltip=f"{name}, {unit.facs}. {unit.plain} 1 is FACS intensity E; below 0 is the opposite.",
    )


class ActionUnits(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWActionUnits",
            display_name="ATW Action Units",
            category="ATW",
            description="The expression editor: 17 facial action units as sliders, each a change of the photo. With an image connected it shows what they do; with Run (On Change) at once.",
            search_aliases=["expression editor", "facs", "facial expression", "sliders", "blink", "smile"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=PRESETS,
                    default="none",
                    tooltip="An expression to start from; the sliders are added to it.",
                ),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1.5, step=0.05, tooltip="How much of the preset."
                ),
                *(unit_input(name) for name in UNITS),
                SignalSocket.Input(
                    "signal",
                    optional=True,
                    tooltip="Added to the sliders; of many steps, each is. A named expression counts as the change that it adds.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A photo to preview on; it is shown at 768 pixels at most.",
                ),
                ModelSocket.Input(
                    "model", optional=True, tooltip="For the preview; the bundled model if not connected."
                ),
                FrameSocket.Input(
                    "frame",
                    optional=True,
                    tooltip="For the preview: where the face is; else the largest is found.",
                ),
            ],
            outputs=[
                SignalSocket.Output(display_name="signal"),
                io.Image.Output(display_name="preview", tooltip="Of many steps, the strongest."),
            ],
            is_output_node=True,
        )

    @classmethod
    @guarded
    def execute(
        cls,
        preset: str,
        strength: float,
        signal: Driving | None = None,
        image: Tensor | None = None,
        model: Model | None = None,
        frame: Found | None = None,
        **units: float,
    ) -> io.NodeOutput:
        start = {n: strength * v for n, v in EXPRESSIONS.get(preset, {}).items()}
        made = blend(pose(units), pose(start))
        made = made if signal is None else blend(made, as_signal(signal))
        if image is None:
            return io.NodeOutput(
                made, ExecutionBlocker("connect an image to ATW Action Units to see a preview")
            )
        shown = preview(model, image, made, frame)
        return io.NodeOutput(made, shown, ui=ui.PreviewImage(shown, cls=cls))


def preview(model: Model | None, image: Tensor, signal: Signal, frame: Found | None) -> Tensor:
    """IMAGE [1,h,w,3]: the strongest step of ``signal`` on the photo at ``LONGEST`` pixels at most."""
    small = _small(image)
    if frame is not None:
        check_frame(frame.frame, image.shape[1:3])
    found = _found(small) if frame is None else _scaled(frame, (small.shape[-2], small.shape[-1]))
    model = model or _bundled()
    held = split(small, None, found, model.checkpoint.generator.config.size)
    step = signal[strongest(signal)]
    frames, _ = driven(model, held, step, None, None, ReswarpConfig())
    return to_image(next(frames), held.span())


@lru_cache(1)
def _bundled() -> Model:
    """The model that knows the sliders, or else the one that comes first; loaded once, not at every move."""
    return load_model(MODEL if MODEL in bundled() else DEFAULT)


def _scaled(found: Found, size: tuple[int, int]) -> Found:
    """A frame of a large photo as one of a small copy of it."""
    old, (height, width) = found.frame, size
    down, across = height / old.height, width / old.width
    if old.is_whole:
        return Found(FaceFrame.whole(height, width), found.units)
    (a, b, x), (c, d, y) = old.matrix
    matrix = ((a * across, b * across, x * across), (c * down, d * down, y * down))
    frame = replace(old, matrix=matrix, height=height, width=width)
    return Found(frame, found.units, tuple(_scaled(more, size) for more in found.more))


# A slider moves many times over one image: what is made of the last one is kept for as long as the image is.
_last: dict[str, tuple[weakref.ref[Tensor], Any]] = {}


def _kept(what: str, of: Tensor, make: Any) -> Any:  # noqa: ANN401
    held = _last.get(what)
    if held is None or held[0]() is not of:
        held = _last[what] = (weakref.ref(of), make(of))
    return held[1]


def _small(image: Tensor) -> Tensor:
    """[1,3,h,w] of an IMAGE."""

    def make(given: Tensor) -> Tensor:
        check_image(given)
        height, width = given.shape[1:3]
        scale = LONGEST / max(height, width)
        if scale >= 1 or len(given) != 1:
            return to_photo(given)[0].cpu()
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        return to_photo(downsample(colour_of(given).movedim(-1, 1), size).movedim(1, -1))[0].cpu()

    return _kept("small", image, make)


def _found(small: Tensor) -> Found:
    def make(photo: Tensor) -> Found:
        face = find_face(photo)
        return Found(face.frame, face.units)

    return _kept("face", small, make)


NODES: list[type[io.ComfyNode]] = [ActionUnits]
