"""Signals that come from elsewhere: OpenFace's tables, the host's landmarks, a video."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from .host import Progress, log
from .nodes_guard import guarded, schema
from .nodes_parts import LandmarksSocket, SignalSocket
from .nodes_signals import complaint, file_input, input_file, rate_input, stamp
from .nodes_video import Source, opened
from .signal_curves import gain, relative, smooth
from .signal_files import load_signal
from .signal_sources import from_blendshapes
from .signal_video import follow_face
from .signals import MAX_STEPS
from .sockets import MOST_FACES
from .types import InputError, Signal

DRIVING = ["relative", "absolute"]  # append only


def driving_inputs() -> list[Any]:
    """What the three nodes share."""
    return [
        io.Combo.Input(
            "driving",
            options=DRIVING,
            default="relative",
            tooltip="relative: the photo changes as the driving face changes from its first frame. absolute: it comes to show what the driving face shows.",
        ),
        io.Float.Input(
            "gain", default=1.0, min=0.0, max=3.0, step=0.05, tooltip="Weaker or stronger than the driver."
        ),
        io.Float.Input(
            "smoothing",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Seconds over which jitter is evened out. Beyond 0.05 blinks begin to suffer.",
        ),
    ]


def driven_by(signal: Signal, driving: str, amount: float, smoothing: float) -> Signal:
    """A face as shown -> what the inputs above ask of it."""
    if driving == "relative" and signal.absolute:
        signal = relative(signal)
    if smoothing and len(signal) > 1:
        signal = smooth(signal, smoothing)
    return gain(signal, amount)


class SignalFromCSV(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSignalFromCSV",
            display_name="ATW Signal From CSV",
            category="ATW",
            description="Action units over time from a table: what OpenFace 2 writes of a video, or what ATW Save Signal wrote.",
            search_aliases=["openface", "action units", "facs"],
            inputs=[
                file_input(".csv"),
                *driving_inputs(),
                io.Int.Input(
                    "face",
                    default=-1,
                    min=-1,
                    max=999_999,
                    tooltip="OpenFace's face_id; -1 takes the face seen in most frames.",
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return complaint(lambda: file and input_file(file, ".csv"))

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: Any) -> str:  # noqa: ANN401
        return stamp(file, ".csv") if file else ""

    @classmethod
    @guarded
    def execute(cls, file: str, driving: str, gain: float, smoothing: float, face: int) -> io.NodeOutput:
        path = input_file(file, ".csv")
        signal = load_signal(path, relative=False, face=None if face < 0 else face)
        if len(signal) == 1:  # a table of a single image: there is no change
            driving = "absolute"
        return io.NodeOutput(driven_by(signal, driving, gain, smoothing))


class SignalFromLandmarks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSignalFromLandmarks",
            display_name="ATW Signal From Landmarks",
            category="ATW",
            description="Action units from the blendshapes that ComfyUI's MediaPipe Face Landmarker reads in a batch of images.",
            search_aliases=["mediapipe", "blendshapes", "arkit"],
            inputs=[
                LandmarksSocket.Input("landmarks", tooltip="Of a batch: an image a frame, in order."),
                rate_input(),
                *driving_inputs(),
                io.Int.Input(
                    "face",
                    default=0,
                    min=0,
                    max=MOST_FACES - 1,
                    tooltip="Which face: 0 is the largest where it first appears; it is followed from there.",
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        landmarks: Mapping[str, Any],
        fps: float,
        driving: str,
        gain: float,
        smoothing: float,
        face: int,
    ) -> io.NodeOutput:
        signal = from_blendshapes(blendshapes_of(landmarks, face), fps)
        return io.NodeOutput(driven_by(signal, driving, gain, smoothing))


def blendshapes_of(landmarks: object, face: int) -> list[Mapping[str, float] | None]:
    """Blendshapes of one face in the host's FACE_LANDMARKS, None in frames without it.

    face: by size in the first frame that has as many; then always the nearest.
    """
    frames = landmarks.get("frames") if isinstance(landmarks, Mapping) else None
    if not isinstance(frames, Sequence) or not 1 <= len(frames) <= MAX_STEPS:
        raise InputError(
            "landmarks are not those of ComfyUI's Detect Face Landmarks, or of no image; connect its first output"
        )
    out: list[Mapping[str, float] | None] = []
    last: np.ndarray | None = None
    for faces in frames:
        boxes = [(_box(f), f) for f in list(faces)[:MOST_FACES]]
        if last is None:
            boxes.sort(key=lambda b: -float(np.prod(b[0][2:] - b[0][:2])))
            chosen = boxes[face] if face < len(boxes) else None
        else:
            chosen = min(boxes, key=lambda b: float(np.abs(b[0] - last).sum()), default=None)
        last = chosen[0] if chosen else last
        out.append(chosen[1]["blendshapes"] if chosen else None)
    if last is None:
        raise InputError(
            f"no frame has a face number {face + 1}; lower face, or raise num_faces where they are detected"
        )
    return out


def _box(face: Any) -> np.ndarray:  # noqa: ANN401 (a stranger's)
    """[4] left, top, right, bottom of a face that has blendshapes."""
    try:
        box = np.asarray(face["bbox_xyxy"], np.float64)
        good = box.shape == (4,) and bool(np.isfinite(box).all()) and isinstance(face["blendshapes"], Mapping)
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise InputError(
            "a face in the landmarks has no box or no blendshapes; detect them with ComfyUI's own node"
        )
    return box


class SignalFromVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSignalFromVideo",
            display_name="ATW Signal From Video",
            category="ATW",
            description="Follows the face in a video, frame by frame in constant memory, and reads its action units. The clip gets as many frames, at the video's rate.",
            search_aliases=["driving video", "performance", "motion capture", "live portrait"],
            inputs=[
                io.Video.Input("video", tooltip="From Load Video. Its frames are looked at one by one."),
                *driving_inputs(),
                io.Int.Input(
                    "face",
                    default=0,
                    min=0,
                    max=MOST_FACES - 1,
                    tooltip="Which face: 0 is the one seen longest.",
                ),
            ],
            outputs=[
                SignalSocket.Output(display_name="signal"),
                io.Audio.Output(
                    display_name="audio", tooltip="What is heard in the video; nothing if it is silent."
                ),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        video: Any,  # noqa: ANN401 (the host's)
        driving: str,
        gain: float,
        smoothing: float,
        face: int,
    ) -> io.NodeOutput:
        with opened(video) as given:
            signal = driven_by(_followed(given, face), driving, gain, smoothing)
            sound = given.sound(len(signal) / float(given.fps))
        audio = None if sound is None else {"waveform": sound.samples[None], "sample_rate": sound.rate}
        return io.NodeOutput(signal, audio, signal.fps)


def _followed(given: Source, face: int) -> Signal:
    progress = Progress(given.count)

    def watched() -> Iterator[Tensor]:
        for frame in given.frames():
            progress.step(frame[None])
            yield frame.cpu()

    signal, shown = follow_face(watched(), float(given.fps), face)
    if shown < 0.9:
        log.warning("the driving face is in sight in %.0f %% of the frames", 100 * shown)
    return signal


NODES: list[type[io.ComfyNode]] = [SignalFromCSV, SignalFromLandmarks, SignalFromVideo]
