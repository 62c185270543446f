"""Several faces in one photo, and the faces of a video whose every frame is a photo."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import comfy.model_management as mm
from comfy_api.latest import InputImpl, io
from torch import Tensor

from .checkpoints import DEFAULT
from .driving import Driving, PerFace, joined, vectors
from .host import Model, load_model, log, note, spared, temporary, write_clip
from .nodes_clip import note_input
from .nodes_guard import guarded, schema
from .nodes_parts import MODE_TIP, MODES, ModelSocket, SignalSocket, reswarp_inputs
from .nodes_video import Source, opened
from .rendering import video_frames
from .reswarp import ReswarpConfig
from .types import InputError
from .video_source import watch

SOCKETS = 4  # of signals; two nodes in a row serve eight faces
WHO = ["largest", "all faces"]  # append only: shared workflows name them


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


class AnimateVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWAnimateVideo",
            display_name="ATW Animate Video",
            category="ATW",
            description="A video in, the same video with another expression out: every frame is a photo of its own, its faces are followed, the signal is added on top. Sound and rate are kept.",
            search_aliases=["video to video", "edit expression in video", "video expression"],
            inputs=[
                io.Video.Input("video", tooltip="From Load Video. Its frames are read one by one, twice."),
                SignalSocket.Input(
                    "signal",
                    tooltip="An expression stays throughout; of many steps, each is a frame and the last one holds.",
                ),
                io.Combo.Input(
                    "faces", options=WHO, default="largest", tooltip="Whom to animate in each frame."
                ),
                io.Combo.Input("mode", options=MODES, default="aligned", tooltip=MODE_TIP),
                io.Boolean.Input("gate", default=True, tooltip="As in ATW ResWarp."),
                note_input(),
                ModelSocket.Input("model", optional=True, tooltip="The bundled model if not connected."),
                *reswarp_inputs(),
            ],
            outputs=[io.Video.Output(display_name="video")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        video: Any,  # noqa: ANN401 (the host's)
        signal: Driving,
        faces: str,
        mode: str,
        gate: bool,
        note: bool,
        model: Model | None = None,
        **how: Any,  # noqa: ANN401
    ) -> io.NodeOutput:
        if isinstance(signal, PerFace):
            raise InputError("a video's faces have no numbers that last; connect one signal for all of them")
        model, path = model or load_model(DEFAULT), temporary(".mp4")
        config = ReswarpConfig(mode, "bilinear", gate, **how)  # type: ignore[arg-type]
        with opened(video) as given:
            cast = watch(_looked(given), float(given.fps))
            spec = model.checkpoint.signal
            made = [vectors(signal, spec, shown) for shown in cast.shown]
            if dropped := made[0][1]:
                log.warning("%s does not know %s: left out", model.checkpoint.path.stem, ", ".join(dropped))
            ranks = None if faces == "all faces" else [0]
            device = model.ready(math.prod(given.size) * 30 + 2**27)
            wanted = (model.checkpoint, cast, [v for v, _ in made], ranks, config)
            frames = video_frames(given.frames, *wanted, *spared(device))
            sound = given.track(len(cast) / float(given.fps), path)
            facts = _note(model) if note else {}
            write_clip(path, frames, len(cast), given.size, given.fps, facts, sound)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


_note = note  # the input of the node above has this name


def _looked(given: Source) -> Iterator[Tensor]:
    """The first reading, which can be cancelled."""
    for frame in given.frames():
        mm.throw_exception_if_processing_interrupted()
        yield frame.cpu()


NODES: list[type[io.ComfyNode]] = [SignalPerFace, AnimateVideo]
