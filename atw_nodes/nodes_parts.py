"""The paper's path, node by node, up to the networks: model, face, decomposition, expression."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from . import expressions
from .checkpoints import DEFAULT
from .detail import DETAILS
from .driving import Named
from .faces import Face, chosen, face_from_landmarks, read
from .frames import frame_from_box, frame_from_mask
from .host import check_fits, hub_address, load_model, model_names, model_path, to_image
from .images import read_photo
from .kernels import BACKENDS
from .nodes_guard import guarded, schema
from .pyramid import downsample
from .reswarp import ReswarpConfig
from .sheets import frame_view, residual_view
from .sockets import Found, count_faces, landmarks_of, split, to_mask, to_photo
from .types import AtwError, FaceFrame, InputError
from .warp import feather_picture

ModelSocket, FrameSocket = io.Custom("ATW_MODEL"), io.Custom("ATW_FRAME")
ResidualsSocket, SignalSocket = io.Custom("ATW_RESIDUALS"), io.Custom("ATW_SIGNAL")
MotionSocket, LandmarksSocket = io.Custom("ATW_MOTION"), io.Custom("FACE_LANDMARKS")
# append only: shared workflows name them
EXPRESSIONS = [*dict.fromkeys(["smiling", "neutral", *expressions.EXPRESSIONS])]
MODES = ["aligned", "vanilla", "multiscale"]
PORTRAIT = Path(__file__).resolve().parents[1] / "assets" / "portrait-4k.jpg"

STRENGTH_TIP = "How much of the expression: 0 is the photo bit for bit, 1 is full, above 1 exaggerates."
MODE_TIP = "ResWarp: aligned takes the residual after the warp and is the sharpest; vanilla and multiscale are the paper's."


def expression_input() -> Any:  # noqa: ANN401 (the host's type)
    return io.Combo.Input(
        "expression",
        options=EXPRESSIONS,
        default="smiling",
        tooltip="The named expression; a model that lacks units for it says so. neutral undoes what the photo shows.",
    )


def reswarp_inputs() -> list[Any]:
    """How ResWarp does it, hidden among the advanced widgets; a graph that does not say gets the defaults."""
    made = [
        io.Combo.Input(
            "detail",
            options=list(DETAILS),
            default=ReswarpConfig.detail,
            optional=True,
            tooltip="aligned with gate only: how what was painted anew (teeth) is enlarged. sharp: by back-projection; learned: by a small network first; none: softly.",
        ),
        io.Combo.Input(
            "backend",
            options=list(BACKENDS),
            default=ReswarpConfig.backend,
            optional=True,
            tooltip="What computes it. auto: the fused kernel on a graphics card, on a CPU OpenCV 5 where it is installed; torch: neither; opencv: OpenCV on a CPU, whichever it is.",
        ),
    ]
    for one in made:
        one.extra_dict = {"advanced": True}  # which older hosts do not take as an argument
    return made


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
                    "checkpoint",
                    options=model_names(),
                    default=DEFAULT,
                    tooltip="Bundled models first, then models/atw.",
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
    def validate_inputs(cls, checkpoint: str | None = None, hub: str | None = None) -> bool | str:
        try:  # before anything runs; what comes over a wire is None here
            if hub is not None and not hub_address(hub) and checkpoint is not None:
                model_path(checkpoint)
        except AtwError as e:
            return str(e)
        return True

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str | None = None, hub: str | None = None) -> str:
        if hub is None or hub.strip() or checkpoint is None:
            return str(hub)
        stat = model_path(checkpoint).stat()
        return f"{checkpoint} {stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, checkpoint: str, hub: str) -> io.NodeOutput:
        return io.NodeOutput(load_model(str(checkpoint), str(hub)))


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
    @guarded
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
                    options=["auto", "whole image", "box", "all faces"],  # append only
                    default="auto",
                    tooltip="auto: connected landmarks, else the connected mask, else found in the photo. whole image: the photo is a head shot. box: the connected mask, else x, y, side. all faces: every face in the connected landmarks, else in the photo, numbered from the largest.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip="Which face: 0 is the largest. Not used with all faces.",
                ),
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
    @guarded
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
        if where == "all faces":
            first, *more = (Found(f.frame, f.units) for f in _everyone(photo.cpu(), landmarks))
            found = Found(first.frame, first.units, tuple(more))
        else:
            found = _found(photo.cpu(), where, index, (x, y, side), mask, landmarks)
        soft = feather_picture(*(f.frame for f in found.faces)).to(mm.intermediate_device())
        shown = to_image(frame_view(photo, *(f.frame for f in found.faces))[None])
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
    if where == "whole image":
        face = read(photo, FaceFrame.whole(height, width))
    elif where == "auto" and landmarks is not None:
        points = landmarks_of(landmarks, index, (height, width))
        face = face_from_landmarks(points, height, width, photo)
    elif mask is not None:
        face = read(photo, frame_from_mask(to_mask(mask, (height, width))))
    elif where == "box":
        face = read(photo, frame_from_box(*box, height, width))
    else:
        face = find_face(photo, index)
    return Found(face.frame, face.units)


def _everyone(photo: Tensor, landmarks: Mapping[str, Any] | None) -> list[Face]:
    """Every face, largest first."""
    if landmarks is None:
        return find_faces(photo, None)
    height, width = photo.shape[-2:]
    count = max(1, count_faces(landmarks))
    points = (landmarks_of(landmarks, k, (height, width)) for k in range(count))
    return [face_from_landmarks(p, height, width, photo) for p in points]


def find_face(photo: Tensor, index: int = 0) -> Face:
    """The face of rank ``index`` by size, or an error that says what to do in the graph."""
    return find_faces(photo, [index])[0]


def find_faces(photo: Tensor, ranks: list[int] | None) -> list[Face]:
    """The faces of those ranks, or all of them, or an error that says what to do in the graph."""
    try:
        return chosen(photo.cpu(), ranks)
    except InputError as e:
        advice = "choose where = box with x, y, side, paint a mask, or choose whole image, in ATW Face Frame"
        raise InputError(f"{str(e).split(';')[0]}; {advice}") from None


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
                io.Image.Output(display_name="low", tooltip="One image a face."),
                ResidualsSocket.Output(display_name="residuals"),
                io.Image.Output(display_name="residual", tooltip="Mid grey is none; twice amplified."),
            ],
        )

    @classmethod
    @guarded
    def execute(cls, image: Tensor, size: int, upsampling: str, frame: Found | None = None) -> io.NodeOutput:
        photo, alpha = to_photo(image)
        check_fits(1, (photo.shape[-2], photo.shape[-1]), 12, "scale the photo down")
        held = split(photo, alpha, frame, size)
        parts = [f.residuals for f in held.faces]
        views = [residual_view(p.residual(upsampling)) for p in parts]  # type: ignore[arg-type]
        least = min((v.shape[-2:] for v in views), key=lambda s: s[0])
        view = torch.cat([downsample(v, (least[0], least[1])) for v in views]) if len(views) > 1 else views[0]
        return io.NodeOutput(to_image(torch.cat([p.low for p in parts])), held, to_image(view))


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
    @guarded
    def execute(cls, expression: str, strength: float, target: bool) -> io.NodeOutput:
        return io.NodeOutput(Named(expression, strength, target))


NODES: list[type[io.ComfyNode]] = [LoadModel, ExamplePortrait, FaceFrameNode, Decompose, Expression]
