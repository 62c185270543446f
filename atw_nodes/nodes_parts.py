"""The paper's path, node by node: model, face, decomposition, expression, generator, motion, ResWarp."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .animate import refine
from .faces import face_from_landmarks, largest, read
from .frames import frame_from_box, frame_from_mask
from .host import (
    MOST_FRAMES,
    Decomposed,
    Driving,
    Found,
    Model,
    Moved,
    Progress,
    check_fits,
    landmarks_of,
    load_model,
    masked,
    model_names,
    model_path,
    schema,
    shown_by,
    to_image,
    to_low,
    to_mask,
    to_photo,
)
from .images import read_photo
from .pyramid import downsample
from .reswarp import ReswarpConfig, decompose, reswarp
from .sheets import arrows_view, frame_view, motion_view, residual_view
from .signals import CURVES, curve
from .types import FaceFrame, InputError, Motion, ShapeError
from .warp import feather_picture

ModelSocket, FrameSocket = io.Custom("ATW_MODEL"), io.Custom("ATW_FRAME")
ResidualsSocket, SignalSocket = io.Custom("ATW_RESIDUALS"), io.Custom("ATW_SIGNAL")
MotionSocket, LandmarksSocket = io.Custom("ATW_MOTION"), io.Custom("FACE_LANDMARKS")
EXPRESSIONS = ["smiling", "neutral"]  # append only: shared workflows name them
MODES = ["aligned", "vanilla", "multiscale"]
PORTRAIT = Path(__file__).resolve().parents[1] / "assets" / "portrait-4k.jpg"

STRENGTH_TIP = "How much of the expression: 0 is the photo bit for bit, 1 is full, above 1 exaggerates."
MODE_TIP = "ResWarp: aligned takes the residual after the warp and is the sharpest; vanilla and multiscale are the paper's."


def expression_input() -> Any:  # noqa: ANN401 (the host's type)
    return io.Combo.Input(
        "expression",
        options=EXPRESSIONS,
        default="smiling",
        tooltip="The named expression. neutral undoes what the photo shows.",
    )


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWLoadModel",
            display_name="ATW Load Model",
            category="ATW",
            description="Loads a face animation checkpoint: bundled, from ComfyUI/models/atw, or from the Hugging Face Hub.",
            search_aliases=["face animation model", "expression model", "animating through warping"],
            inputs=[
                io.Combo.Input(
                    "checkpoint", options=model_names(), tooltip="Bundled models first, then models/atw."
                ),
                io.String.Input(
                    "hub",
                    default="",
                    placeholder="owner/repo/file.safetensors",
                    tooltip="A .safetensors file on the Hugging Face Hub instead, as owner/repo/file.safetensors. Downloaded once, when the node runs. Empty: the checkpoint above.",
                ),
            ],
            outputs=[ModelSocket.Output(display_name="model")],
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str, hub: str) -> str:
        if hub.strip():
            return hub
        stat = model_path(checkpoint).stat()
        return f"{checkpoint} {stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, checkpoint: str, hub: str) -> io.NodeOutput:
        return io.NodeOutput(load_model(checkpoint, hub))


class ExamplePortrait(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWExamplePortrait",
            display_name="ATW Example Portrait",
            category="ATW",
            description="A drawn portrait that comes with the pack, so that every workflow runs as it is.",
            search_aliases=["sample face", "test portrait"],
            inputs=[
                io.Int.Input(
                    "size", default=1024, min=128, max=4096, step=2, tooltip="Side of the picture in pixels."
                )
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, size: int) -> io.NodeOutput:
        pixels = read_photo(PORTRAIT).pixels
        small = pixels if size == pixels.shape[-1] else downsample(pixels, (size, size))
        return io.NodeOutput(to_image((small.clamp(0, 1) * 255).round().byte() if size != 4096 else small))


class FaceFrameNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWFaceFrame",
            display_name="ATW Face Frame",
            category="ATW",
            description="Says where the face is: the square head-shot frame that is animated. Outside it nothing changes.",
            search_aliases=["find face", "detect face", "face crop", "face box"],
            inputs=[
                io.Image.Input("image", tooltip="One photo, any size."),
                io.Combo.Input(
                    "where",
                    options=["auto", "whole image", "box"],
                    default="auto",
                    tooltip="auto: connected landmarks, else the connected mask, else found in the photo. whole image: the photo is a head shot. box: the connected mask, else x, y, side.",
                ),
                io.Int.Input("index", default=0, min=0, max=63, tooltip="Which face: 0 is the largest."),
                io.Int.Input(
                    "x", default=0, min=-32768, max=32768, tooltip="Left edge of the box in pixels."
                ),
                io.Int.Input("y", default=0, min=-32768, max=32768, tooltip="Top edge of the box in pixels."),
                io.Int.Input(
                    "side",
                    default=512,
                    min=8,
                    max=65536,
                    tooltip="Side of the box in pixels. The eyes belong at 47 % of its height, 23 % of its side apart.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Painted over the face, hairline to chin."),
                LandmarksSocket.Input(
                    "landmarks", optional=True, tooltip="From ComfyUI's MediaPipe Face Landmarker."
                ),
            ],
            outputs=[
                FrameSocket.Output(display_name="frame"),
                io.Mask.Output(display_name="mask", tooltip="1 where the face may move, soft at the edge."),
                io.Image.Output(display_name="preview"),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        where: str,
        index: int,
        x: int,
        y: int,
        side: int,
        mask: Tensor | None = None,
        landmarks: Mapping[str, Any] | None = None,
    ) -> io.NodeOutput:
        photo, _ = to_photo(image)
        found = _found(photo, where, index, (x, y, side), mask, landmarks)
        view = frame_view(photo, found.frame)
        soft = feather_picture(found.frame)
        shown = to_image(view[None])
        return io.NodeOutput(found, soft[None], shown, ui=ui.PreviewImage(shown, cls=cls))


def _found(
    photo: Tensor,
    where: str,
    index: int,
    box: tuple[int, int, int],
    mask: Tensor | None,
    landmarks: Mapping[str, Any] | None,
) -> Found:
    height, width = photo.shape[-2:]
    photo = photo.cpu()
    if where == "whole image":
        frame = FaceFrame.whole(height, width)
        return Found(frame, read(photo, frame).units)
    if where == "auto" and landmarks is not None:
        face = face_from_landmarks(landmarks_of(landmarks, index, (height, width)), height, width, photo)
        return Found(face.frame, face.units)
    if mask is not None:
        painted = to_mask(mask)
        if tuple(painted.shape) != (height, width):
            raise ShapeError(
                f"mask is {painted.shape[1]}x{painted.shape[0]}, the photo is {width}x{height}; use one size"
            )
        frame = frame_from_mask(painted)
    elif where == "box":
        frame = frame_from_box(*box, height, width)
    else:
        try:
            face = largest(photo, index)
        except InputError as e:
            text = str(e).split(";")[0]
            raise InputError(
                f"{text}; choose where: box with x, y, side, paint a mask, or choose whole image"
            ) from None
        return Found(face.frame, face.units)
    return Found(frame, read(photo, frame).units)


class Decompose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWDecompose",
            display_name="ATW Decompose",
            category="ATW",
            description="Splits the photo into the small image that the network animates and the residuals that ResWarp carries along.",
            search_aliases=["residual", "laplacian", "high frequency"],
            inputs=[
                io.Image.Input("image", tooltip="One photo, any size."),
                FrameSocket.Input(
                    "frame", optional=True, tooltip="Where the face is; the whole image if not connected."
                ),
                io.Int.Input(
                    "size",
                    default=128,
                    min=32,
                    max=1024,
                    step=16,
                    tooltip="Side of the small image in pixels: the model's size.",
                ),
                io.Combo.Input(
                    "upsampling",
                    options=["bilinear", "bicubic", "nearest"],
                    default="bilinear",
                    tooltip="How the small image is enlarged for the residual that is shown (the paper's ablation).",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="low"),
                ResidualsSocket.Output(display_name="residuals"),
                io.Image.Output(display_name="residual", tooltip="Mid grey is none; twice amplified."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, size: int, upsampling: str, frame: Found | None = None) -> io.NodeOutput:
        photo, alpha = to_photo(image)
        parts = decompose(photo, frame.frame if frame else None, size)
        view = residual_view(parts.residual(upsampling))  # type: ignore[arg-type]
        held = Decomposed(parts, alpha, dict(frame.units) if frame else {})
        return io.NodeOutput(to_image(parts.low), held, to_image(view))


class Expression(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWExpression",
            display_name="ATW Expression",
            category="ATW",
            description="A named expression as a driving signal.",
            search_aliases=["smile", "emotion", "facial expression"],
            inputs=[
                expression_input(),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.5, step=0.05, tooltip=STRENGTH_TIP),
                io.Boolean.Input(
                    "target",
                    default=True,
                    label_on="target",
                    label_off="change",
                    tooltip="target: what the photo already shows is not added again. change: the expression is added as it is.",
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    def execute(cls, expression: str, strength: float, target: bool) -> io.NodeOutput:
        return io.NodeOutput(Driving(expression, strength, target))


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
                io.Image.Input("low", tooltip="From ATW Decompose, at the model's size."),
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
    def execute(
        cls,
        model: Model,
        low: Tensor,
        signal: Driving,
        motion: Moved | None = None,
        frame: Found | None = None,
    ) -> io.NodeOutput:
        size = model.checkpoint.generator.config.size
        image = to_low(low, size)
        count = len(motion.motion) if motion else 1
        check_fits(count, (size, size), 16)
        device = model.ready(count * size * size * 256)
        image = image.to(device)
        square = FaceFrame.whole(size, size) if frame is None else frame.frame
        vector = signal.vector(model.checkpoint.signal, shown_by(model, image, frame.units if frame else {}))
        vector = vector.to(device)
        parts = decompose(
            image, FaceFrame(((size, 0.0, 0.0), (0.0, size, 0.0)), size, size, square.feather), size
        )
        with torch.no_grad():
            if motion is None:
                asks = float(bool((vector != 0).any()) or model.checkpoint.signal.kind != "relative")
                field = model.checkpoint.generator.predict_motion(image, vector, parts.mask())
                moved = Moved(Motion(field, torch.full((1,), asks, device=device)), frame is not None)
            else:
                moved = Moved(masked(motion, parts), motion.masked or frame is not None)
            now = Motion(moved.motion.field.to(device), moved.motion.weight.to(device))
            some = []
            for batch in refine(model.checkpoint, image, vector, now):
                Progress(1).step()
                some.append(batch)
        stored = Moved(Motion(now.field.cpu(), now.weight.cpu()), moved.masked)
        coarse, refined = (torch.cat([getattr(b, k) for b in some]) for k in ("coarse", "refined"))
        return io.NodeOutput(stored, to_image(coarse), to_image(refined))


class InterpolateMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWInterpolateMotion",
            display_name="ATW Interpolate Motion",
            category="ATW",
            description="One motion becomes a clip: field and weight are scaled together, frame by frame.",
            search_aliases=["animate", "motion curve", "keyframes"],
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
    def execute(
        cls,
        motion: Moved,
        frames: int,
        curve: str,  # noqa: A002
        start: float,
        end: float,
        weights: float | Sequence[float] | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            Moved(motion.motion.scaled(_weights(frames, curve, start, end, weights)), motion.masked)
        )


def _weights(
    frames: int, name: str, start: float, end: float, given: float | Sequence[float] | None
) -> list[float]:
    if given is None:
        return [start + (end - start) * w for w in curve(name, frames)]
    values = [float(v) for v in given] if isinstance(given, Sequence) else [float(given)]  # type: ignore[arg-type]
    if not 1 <= len(values) <= MOST_FRAMES or not all(-10 <= v <= 10 for v in values):
        raise InputError(
            f"{len(values)} weights were given; expected 1 to {MOST_FRAMES} numbers from -10 to 10"
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
                io.Image.Input("refined", tooltip="From ATW Generator, one image a frame of the motion."),
                io.Combo.Input("mode", options=MODES, default="aligned", tooltip=MODE_TIP),
                io.Boolean.Input(
                    "gate",
                    default=True,
                    tooltip="aligned only: where new content appears (teeth), drop the photo's detail, which does not belong there.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    def execute(
        cls, residuals: Decomposed, motion: Moved, refined: Tensor, mode: str, gate: bool
    ) -> io.NodeOutput:
        parts, count = residuals.residuals, len(motion.motion)
        channels = 3 if residuals.alpha is None else 4
        height, width = parts.photo.shape[-2:]
        check_fits(count, (height, width), channels)
        painted = refined[..., :3].detach().movedim(-1, 1).to(parts.photo.device).float()
        frames = reswarp(parts, masked(motion, parts), painted, ReswarpConfig(mode, "bilinear", gate))  # type: ignore[arg-type]
        images, progress = None, Progress(count)
        for k, frame in enumerate(frames):
            progress.step(frame if k % max(1, count // 24) == 0 else None)
            if residuals.alpha is not None:
                frame = torch.cat([frame, residuals.alpha.to(frame)], 1)
            one = to_image(frame)
            images = one.new_empty((count, *one.shape[1:])) if images is None else images
            images[k] = one[0]
        return io.NodeOutput(images)


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
        )

    @classmethod
    def execute(cls, motion: Moved, size: int, image: Tensor | None = None) -> io.NodeOutput:
        field = motion.motion.field.float().cpu()
        check_fits(2 * len(field), (size, size))
        below = None if image is None else to_photo(image[:1])[0].cpu()
        grown = torch.nn.functional.interpolate(
            field, size=(size, size), mode="bilinear", align_corners=False
        )
        colours = to_image(motion_view(grown))
        arrows = to_image(torch.stack([arrows_view(f, below, size) for f in field]))
        return io.NodeOutput(colours, arrows, ui=ui.PreviewImage(colours[-1:], cls=cls))


NODES: list[type[io.ComfyNode]] = [
    LoadModel,
    ExamplePortrait,
    FaceFrameNode,
    Decompose,
    Expression,
    GeneratorNode,
    InterpolateMotion,
    ResWarpNode,
    MotionPreview,
]
