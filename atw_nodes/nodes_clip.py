"""Whole clips: rendered and encoded frame by frame, so that their length costs no memory."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io, ui
from torch import Tensor

from .checkpoints import DEFAULT
from .driving import Driving, Named, rate_of
from .encoders import encoding
from .host import (
    Model,
    driven,
    load_model,
    note,
    output_name,
    temporary,
    to_image,
    workflow_of,
    write_clip,
)
from .nodes_guard import guarded, schema
from .nodes_parts import (
    MODE_TIP,
    MODES,
    STRENGTH_TIP,
    FrameSocket,
    ModelSocket,
    MotionSocket,
    ResidualsSocket,
    SignalSocket,
    expression_input,
    find_face,
    reswarp_inputs,
)
from .reswarp import ReswarpConfig
from .signals import CURVES, curve
from .sockets import MOST_FRAMES, Decomposed, Found, Moved, split, to_photo, to_sound

FORMATS = ["mp4", "mkv", "mov", "webm", "webp", "gif", "png"]  # append only: shared workflows name them
CODECS = ["auto", "h264", "h265", "av1", "vp9", "prores", "ffv1"]  # append only
CHROMAS = ["420", "444"]
CHIPS = ["none", "auto", "nvenc", "videotoolbox", "qsv"]  # append only


def fps_input() -> Any:  # noqa: ANN401 (the host's type)
    return io.Float.Input(
        "fps",
        default=24.0,
        min=1.0,
        max=120.0,
        step=1.0,
        tooltip="Frames a second of the clip. A signal that knows its own (from a video or a file) keeps it.",
    )


def note_input() -> Any:  # noqa: ANN401
    return io.Boolean.Input(
        "note", default=True, tooltip="Write into the file that the face was animated, and by which model."
    )


def clip_inputs() -> list[Any]:
    """What the two streaming nodes share."""
    return [
        ModelSocket.Input("model"),
        ResidualsSocket.Input("residuals"),
        SignalSocket.Input("signal"),
        io.Combo.Input("mode", options=MODES, default="aligned", tooltip=MODE_TIP),
        io.Boolean.Input("gate", default=True, tooltip="As in ATW ResWarp."),
        fps_input(),
        note_input(),
    ]


def optional_inputs() -> list[Any]:
    return [
        MotionSocket.Input(
            "motion",
            optional=True,
            tooltip="From ATW Interpolate Motion: one frame of the clip each. Without it every step of the signal is a frame: a named expression is a single one, at full strength.",
        ),
        io.Audio.Input("audio", optional=True, tooltip="Plays along; cut, or followed by silence."),
    ]


def encoding_inputs() -> list[Any]:
    """How a saved clip is encoded; a graph that does not say gets what it always got."""
    return [
        io.Combo.Input(
            "codec",
            options=CODECS,
            default="auto",
            optional=True,
            tooltip="auto: H.264, in webm VP9. h265: mp4, mov, mkv. av1: mp4, mkv, webm. prores: mov. ffv1, lossless: mkv.",
        ),
        io.Combo.Input(
            "chroma",
            options=CHROMAS,
            default="420",
            optional=True,
            tooltip="444 keeps colour as sharp as light; fewer players show it.",
        ),
        io.Combo.Input(
            "hardware",
            options=CHIPS,
            default="none",
            optional=True,
            tooltip="Encode on the graphics chip. auto: on one that works, else on the processor.",
        ),
    ]


class RenderVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWRenderVideo",
            display_name="ATW Render Video",
            category="ATW",
            description="Renders a clip of any length at the photo's resolution in constant memory: every frame goes straight to the encoder (H.264, AAC).",
            search_aliases=["animate", "export video", "streaming"],
            inputs=[*clip_inputs(), *optional_inputs(), *reswarp_inputs()],
            outputs=[io.Video.Output(display_name="video")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        note: bool,
        fps: float,
        audio: Mapping[str, Any] | None = None,
        **rest: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        path = temporary(".mp4")
        _write(path, {}, note, fps, audio, {}, **rest)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


class SaveVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSaveVideo",
            display_name="ATW Save Video",
            category="ATW",
            description="Like ATW Render Video, but straight into ComfyUI's output folder, in more formats, with the workflow inside.",
            search_aliases=["save mp4", "save webm", "save gif", "save webp"],
            inputs=[
                *clip_inputs(),
                io.String.Input(
                    "filename_prefix", default="video/ATW", tooltip="Inside ComfyUI's output folder."
                ),
                io.Combo.Input(
                    "format",
                    options=FORMATS,
                    default="mp4",
                    tooltip="mp4, mkv, mov: H.264; webm: VP9, unless codec says otherwise. png: a folder of pictures. gif, webp and png carry no sound and no note.",
                ),
                *optional_inputs(),
                *encoding_inputs(),
                *reswarp_inputs(),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @guarded
    def execute(
        cls,
        note: bool,
        fps: float,
        filename_prefix: str,
        format: str,  # noqa: A002
        residuals: Decomposed,
        audio: Mapping[str, Any] | None = None,
        codec: str = "auto",
        chroma: str = "420",
        hardware: str = "none",
        **rest: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        height, width = residuals.size
        suffix = "" if format == "png" else f".{format}"
        told = {"chroma": chroma, "codec": None if codec == "auto" else codec}
        told["hardware"] = None if hardware == "none" else hardware
        encoding(Path(f"format {format}{suffix}"), **told)
        path, name, subfolder = output_name(filename_prefix, suffix, (width, height))
        facts, told = workflow_of(cls.hidden), told | {"pictures": False}
        _write(path, facts, note, fps, audio, told, residuals=residuals, **rest)
        return io.NodeOutput(ui=_shown(format, name, subfolder))


def _shown(form: str, name: str, subfolder: str) -> Any:  # noqa: ANN401 (the host's)
    """What the page shows of a saved clip; of a folder, its first picture."""
    if form == "png":
        inside = f"{subfolder}/{name}" if subfolder else name
        return ui.SavedImages([ui.SavedResult("frame_00000.png", inside, io.FolderType.output)])
    saved = ui.SavedResult(name, subfolder, io.FolderType.output)
    if form in ("gif", "webp"):
        return ui.SavedImages([saved], is_animated=True)
    return ui.PreviewVideo([saved])


def _write(
    path: Any,  # noqa: ANN401
    metadata: Mapping[str, str],
    tell: bool,
    fps: float,
    audio: Mapping[str, Any] | None,
    told: Mapping[str, Any],
    model: Model,
    residuals: Decomposed,
    signal: Driving,
    mode: str,
    gate: bool,
    motion: Moved | None = None,
    **how: Any,  # noqa: ANN401
) -> None:
    config = ReswarpConfig(mode, "bilinear", gate, **how)  # type: ignore[arg-type]
    frames, count = driven(model, residuals, signal, motion, None, config)
    rate = rate_of(signal) or fps
    facts = {**metadata, **(note(model) if tell else {})}
    write_clip(path, frames, count, residuals.size, rate, facts, to_sound(audio), **told)


class AnimatePortrait(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWAnimatePortrait",
            display_name="ATW Animate Portrait",
            category="ATW",
            description="A photo in, a clip of it with another expression out, at the photo's own resolution. Everything in one node.",
            search_aliases=["smile", "live portrait", "animate face", "expression"],
            inputs=[
                io.Image.Input("image", tooltip="One photo, any size; the face is found."),
                expression_input(),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.5, step=0.05, tooltip=STRENGTH_TIP),
                io.Int.Input("frames", default=48, min=1, max=MOST_FRAMES, tooltip="Length of the clip."),
                fps_input(),
                io.Combo.Input(
                    "curve", options=list(CURVES), default="pulse", tooltip="How it comes and goes."
                ),
                io.Combo.Input("mode", options=MODES, default="aligned", tooltip=MODE_TIP),
                note_input(),
                ModelSocket.Input("model", optional=True, tooltip="The bundled model if not connected."),
                FrameSocket.Input("frame", optional=True, tooltip="Another face, or one given by hand."),
                io.Audio.Input("audio", optional=True, tooltip="Plays along; cut, or followed by silence."),
                *reswarp_inputs(),
            ],
            outputs=[
                io.Video.Output(display_name="video"),
                io.Image.Output(display_name="image", tooltip="The expression at its full strength."),
            ],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        image: Tensor,
        expression: str,
        strength: float,
        frames: int,
        fps: float,
        curve: str,  # noqa: A002
        mode: str,
        note: bool,
        model: Model | None = None,
        frame: Found | None = None,
        audio: Mapping[str, Any] | None = None,
        **how: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        model = model or load_model(DEFAULT)
        photo, alpha = to_photo(image)
        if frame is None:
            face = find_face(photo)
            frame = Found(face.frame, face.units)
        held = split(photo, alpha, frame, model.checkpoint.generator.config.size)
        named = Named(expression, strength)
        config = ReswarpConfig(mode, **how)  # type: ignore[arg-type]
        still, _ = driven(model, held, named, None, [1.0], config)
        shown = to_image(next(still), held.span())
        clip, count = driven(model, held, named, None, _curve(curve, frames), config)
        path, facts = temporary(".mp4"), _note(model) if note else {}
        write_clip(path, clip, count, held.size, fps, facts, to_sound(audio))
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), shown)


_curve, _note = curve, note  # the inputs of the node above have these names

NODES: list[type[io.ComfyNode]] = [RenderVideo, SaveVideo, AnimatePortrait]
