"""Several faces in one photo, and the faces of a video whose every frame is a photo."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import comfy.model_management as mm
from comfy_api.latest import InputImpl, io
from torch import Tensor

from .checkpoints import DEFAULT
from .clips import probe, read_frames, read_sound
from .driving import Driving, PerFace, joined, vectors
from .host import Model, load_model, log, note, temporary, write_clip
from .nodes_clip import note_input
from .nodes_guard import guarded, schema
from .nodes_parts import MODE_TIP, MODES, ModelSocket, SignalSocket
from .nodes_sources import file_of, trim_of
from .reswarp import ReswarpConfig
from .sockets import to_sound
from .sound import Sound
from .types import InputError
from .video_source import animate_video, watch

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


class _Source(NamedTuple):
    """A VIDEO that can be read more than once."""

    frames: Callable[[], Iterator[Tensor]]  # [3,H,W] uint8 each
    count: int  # about
    size: tuple[int, int]  # (height, width)
    fps: Fraction
    sound: Callable[[float], Sound | None]  # of so many seconds


@contextmanager
def _source(video: Any) -> Iterator[_Source]:  # noqa: ANN401 (the host's)
    if isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        images = parts.images

        def frames() -> Iterator[Tensor]:
            return ((i[..., :3].movedim(-1, 0) * 255).round().clamp(0, 255).byte() for i in images)

        size = (images.shape[1], images.shape[2])
        yield _Source(frames, len(images), size, Fraction(parts.frame_rate), lambda _: to_sound(parts.audio))
        return
    with file_of(video) as path:
        info, (start, length) = probe(path), trim_of(video)
        most = math.ceil(length * info.fps - 1e-3) if length else None
        count = most or info.frames or round((info.duration - start) * info.fps)
        yield _Source(
            lambda: read_frames(path, start=start, max_frames=most),
            max(1, count),
            (info.height, info.width),
            info.fps,
            lambda seconds: read_sound(path, start, seconds),
        )


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
    ) -> io.NodeOutput:
        if isinstance(signal, PerFace):
            raise InputError("a video's faces have no numbers that last; connect one signal for all of them")
        model, path = model or load_model(DEFAULT), temporary(".mp4")
        config = ReswarpConfig(mode, "bilinear", gate)  # type: ignore[arg-type]
        with _source(video) as given:
            cast = watch(_looked(given), float(given.fps))
            spec = model.checkpoint.signal
            made = [vectors(signal, spec, shown) for shown in cast.shown]
            if dropped := made[0][1]:
                log.warning("%s does not know %s: left out", model.checkpoint.path.stem, ", ".join(dropped))
            height, width = given.size
            model.ready(height * width * 30 + 2**27)
            ranks = None if faces == "all faces" else [0]
            frames = animate_video(
                given.frames(), model.checkpoint, cast, [v for v, _ in made], ranks, None, config
            )
            sound = given.sound(len(cast) / float(given.fps))
            facts = _note(model) if note else {}
            write_clip(path, frames, len(cast), given.size, given.fps, facts, sound)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


_note = note  # the input of the node above has this name


def _looked(given: _Source) -> Iterator[Tensor]:
    """The first reading, which can be cancelled."""
    for frame in given.frames():
        mm.throw_exception_if_processing_interrupted()
        yield frame.cpu()


NODES: list[type[io.ComfyNode]] = [SignalPerFace, AnimateVideo]
