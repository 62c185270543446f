"""The paper's path, node by node, from the networks on: generator, motion, ResWarp."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import comfy.model_management as mm
import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from .driving import Driving
from .generation import Low
from .host import Model, Progress, check_fits, collected, render, room_for, signals_for, to_image
from .nodes_guard import guarded, schema
from .nodes_parts import (
    MODE_TIP,
    MODES,
    FrameSocket,
    ModelSocket,
    MotionSocket,
    ResidualsSocket,
    SignalSocket,
    reswarp_inputs,
)
from .pyramid import to_float
from .rendering import Room, check_faces, painted, predicted_all, refined_all
from .reswarp import Residuals, ReswarpConfig
from .sheets import arrows_view, motion_view
from .signals import CURVES, curve
from .sockets import (
    MOST_FRAMES,
    Decomposed,
    Found,
    Moved,
    check_image,
    to_low,
    to_painted,
    to_photo,
)
from .threads import in_order, separate
from .types import FaceFrame, InputError, Motion


class GeneratorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWGenerator",
            display_name="ATW Generator",
            category="ATW",
            description="The networks: predict how the small image moves under the signal, warp it (coarse), repaint it (refined). A connected motion is used instead of predicting one.",
            search_aliases=["motion network", "refinement network"],
            inputs=[
                ModelSocket.Input("model"),
                io.Image.Input("low", tooltip="From ATW Decompose, at the model's size: one image a face."),
                SignalSocket.Input("signal"),
                MotionSocket.Input(
                    "motion", optional=True, tooltip="Skips prediction; each of its frames is refined."
                ),
                FrameSocket.Input(
                    "frame",
                    optional=True,
                    tooltip="The frame that the photo was decomposed with: motion fades out at its edge, and what the face shows is known at the photo's resolution.",
                ),
            ],
            outputs=[
                MotionSocket.Output(display_name="motion"),
                io.Image.Output(display_name="coarse"),
                io.Image.Output(display_name="refined"),
            ],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        model: Model,
        low: Tensor,
        signal: Driving,
        motion: Moved | None = None,
        frame: Found | None = None,
    ) -> io.NodeOutput:
        size, scale = model.checkpoint.generator.config.size, model.checkpoint.generator.config.field_scale
        parts = _small(low, size, frame)
        faces, signals = len(parts.faces), signals_for(model, signal, parts)
        if motion is None:
            lows, count = predicted_all(model.checkpoint, parts, signals, None)
        else:
            lows, count = refined_all(model.checkpoint, parts, signals, motion), len(motion)
        advice = "give fewer frames, or connect ATW Render Video, which needs no images"
        check_fits(faces * count, (size, size), 6 + 2 * scale * scale, advice)
        device = model.ready(size * size * scale * scale * 2048 + 2**26)  # a batch of 8 at work
        progress, moved, coarse, repainted = Progress(faces * count), [], [], []
        faded = frame is not None or (motion is not None and motion.masked)
        for make in lows:
            some = []
            with closing(in_order(make(0, Room.on(device).batch), separate(device))) as ready:
                for batch in ready:
                    some.append(_kept(batch))
                    progress.step(batch.refined, len(batch.refined))
            field, weight, *images = (torch.cat(t) for t in zip(*some, strict=True))
            moved.append(Moved(Motion(field, weight), faded))
            coarse.append(images[0])
            repainted.append(images[1])
        made = Moved(moved[0].motion, faded, more=tuple(moved[1:]))
        return io.NodeOutput(made, torch.cat(coarse), torch.cat(repainted))


def _small(low: Tensor, size: int, frame: Found | None) -> Decomposed:
    """The small images alone, as if they were the photo."""
    found = frame.faces if frame else (None,)
    images = to_low(low, size, len(found))
    parts = []
    for k, one in enumerate(found):
        feather = one.frame.feather if one else 0.0
        square = FaceFrame(((size, 0.0, 0.0), (0.0, size, 0.0)), size, size, feather)
        image = images[k : k + 1]
        parts.append(Decomposed(Residuals(image, square, image), None, one.units if one else {}))
    return Decomposed(parts[0].residuals, None, parts[0].units, tuple(parts[1:]))


def _kept(batch: Low) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    motion = batch.motion
    return motion.field.cpu(), motion.weight.cpu(), to_image(batch.coarse), to_image(batch.refined)


class InterpolateMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWInterpolateMotion",
            display_name="ATW Interpolate Motion",
            category="ATW",
            description="One motion becomes a clip: field and weight are scaled together, frame by frame.",
            search_aliases=["animate", "motion curve", "keyframes"],
            is_input_list=True,  # a list of floats comes whole, as one value or as one a step
            inputs=[
                MotionSocket.Input("motion", tooltip="A single motion."),
                io.Int.Input("frames", default=48, min=1, max=MOST_FRAMES, tooltip="Length of the clip."),
                io.Combo.Input(
                    "curve",
                    options=list(CURVES),
                    default="pulse",
                    tooltip="How it comes and goes: linear and ease end at the full motion, pulse and pingpong come back.",
                ),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=1.5, step=0.05, tooltip="Weight where the curve is 0."
                ),
                io.Float.Input(
                    "end", default=1.0, min=0.0, max=1.5, step=0.05, tooltip="Weight where the curve is 1."
                ),
                io.Float.Input(
                    "weights",
                    optional=True,
                    force_input=True,
                    tooltip="A list of floats, one weight a frame, from any node: used instead of the curve.",
                ),
            ],
            outputs=[MotionSocket.Output(display_name="motion")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        motion: list[Moved],
        frames: list[int],
        curve: list[str],  # noqa: A002
        start: list[float],
        end: list[float],
        weights: list[Any] | None = None,
    ) -> io.NodeOutput:
        if len(motion) != 1:
            raise InputError(f"a list of {len(motion)} motions was given; connect a single one")
        given = _weights(weights) or [start[0] + (end[0] - start[0]) * w for w in _curve(curve[0], frames[0])]
        return io.NodeOutput(motion[0].scaled(given))


_curve = curve  # the input of the node above has this name


def _weights(given: list[Any] | None) -> list[float]:
    """The floats in a list of floats, or of lists of floats; empty where nothing is connected."""
    nested = [v if isinstance(v, Sequence) else [v] for v in given or [] if v is not None]
    try:
        values = [float(v) for some in nested for v in some]
    except (TypeError, ValueError):
        values = [math.nan]
    if len(values) > MOST_FRAMES or not all(-10 <= v <= 10 for v in values):
        raise InputError(
            f"weights hold {len(values)} entries; expected at most {MOST_FRAMES} numbers from -10 to 10"
        )
    return values


class ResWarpNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWResWarp",
            display_name="ATW ResWarp",
            category="ATW",
            description="Warps the photo's detail with the motion and adds it to the refined image: frames at the photo's own resolution, as an IMAGE batch.",
            search_aliases=["residual warping", "full resolution"],
            inputs=[
                ResidualsSocket.Input("residuals"),
                MotionSocket.Input("motion"),
                io.Image.Input(
                    "refined",
                    tooltip="From ATW Generator, one image a frame of the motion; of several faces, face by face.",
                ),
                io.Combo.Input("mode", options=MODES, default="aligned", tooltip=MODE_TIP),
                io.Boolean.Input(
                    "gate",
                    default=True,
                    tooltip="aligned only: where new content appears (teeth), drop the photo's detail, which does not belong there.",
                ),
                *reswarp_inputs(),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        residuals: Decomposed,
        motion: Moved,
        refined: Tensor,
        mode: str,
        gate: bool,
        **how: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        count = len(motion)
        check_fits(count, residuals.size, residuals.channels)
        faces = residuals.faces
        check_faces(motion, len(faces))
        images = to_painted(refined, count * len(faces), residuals.residuals.size).split(count)
        lows = [painted(f.residuals, m, i) for f, m, i in zip(faces, motion.faces, images, strict=True)]
        config = ReswarpConfig(mode, "bilinear", gate, **how)  # type: ignore[arg-type]
        frames = render(residuals, lows, config, room_for(residuals))
        return io.NodeOutput(collected(frames, count, residuals.span()))


class MotionPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWMotionPreview",
            display_name="ATW Motion Preview",
            category="ATW",
            description="The motion as a colour wheel (hue: where to, saturation: how far) and as arrows over an image.",
            search_aliases=["optical flow", "flow visualisation", "colour wheel"],
            inputs=[
                MotionSocket.Input("motion"),
                io.Image.Input("image", optional=True, tooltip="Drawn under the arrows: the small image."),
                io.Int.Input("size", default=512, min=128, max=2048, step=16, tooltip="Side in pixels."),
            ],
            outputs=[io.Image.Output(display_name="colours"), io.Image.Output(display_name="arrows")],
            is_output_node=True,  # it shows the colours itself
        )

    @classmethod
    @guarded
    def execute(cls, motion: Moved, size: int, image: Tensor | None = None) -> io.NodeOutput:
        count = len(motion)
        check_fits(count, (size, size), 6, "choose a smaller size or fewer frames")
        below = None if image is None else to_photo(check_image(image)[:1])[0].cpu()
        fields = [motion.part(k, k + 1).field.float().cpu() for k in range(count)]
        longest = max(max(float(f.norm(dim=1).max()) for f in fields), 1e-6)
        colours, arrows = torch.empty(count, size, size, 3), torch.empty(count, size, size, 3)
        for k, field in enumerate(fields):
            grown = F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)
            colours[k] = motion_view(grown, longest)[0].movedim(0, -1)
            arrows[k] = to_float(arrows_view(field[0], below, size)).movedim(0, -1)
        keep = mm.intermediate_device()
        return io.NodeOutput(colours.to(keep), arrows.to(keep), ui=ui.PreviewImage(colours[-1:], cls=cls))


NODES: list[type[io.ComfyNode]] = [GeneratorNode, InterpolateMotion, ResWarpNode, MotionPreview]
