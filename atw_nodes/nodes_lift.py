"""Another animator's small frames: their motion, and themselves at the photo's resolution."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import comfy.model_management as mm
import torch
from comfy_api.latest import InputImpl, io
from torch import Tensor

from . import __version__, rendering
from .host import Progress, check_fits, collected, log, spared, temporary, write_clip
from .lift import LiftConfig, estimate_motion, lift
from .lift_crop import find_crop
from .nodes_clip import note_input
from .nodes_guard import guarded, schema
from .nodes_parts import FrameSocket, MotionSocket
from .nodes_video import opened
from .rendering import Room, check_faces
from .sockets import Found, Moved, span_of, to_frames, to_photo
from .types import FaceFrame, Motion, check_frame

WHERE = ["auto", "whole image"]  # append only

_STEADY_TIP = "Pixels of a small frame: motion smaller than that from frame to frame is taken for trembling and evened out. 0: as estimated."
_FRAME_TIP = "What of the photo the frames show, if they are a crop and auto does not find it: ATW Face Frame with where = box."


def photo_input() -> Any:  # noqa: ANN401 (the host's type)
    return io.Image.Input("image", tooltip="The photo in full size, of which the small frames were made.")


def where_input() -> Any:  # noqa: ANN401
    return io.Combo.Input(
        "where",
        options=WHERE,
        default="auto",
        tooltip="What of the photo the frames show. auto: found by matching the first of them with the photo. A connected frame is used instead.",
    )


def steady_input() -> Any:  # noqa: ANN401
    return io.Float.Input("steady", default=0.25, min=0.0, max=8.0, step=0.05, tooltip=_STEADY_TIP)


def gate_input() -> Any:  # noqa: ANN401
    return io.Boolean.Input(
        "gate",
        default=True,
        tooltip="Where the frames show something new (teeth), or the motion is wrong, drop the photo's detail, which does not belong there.",
    )


class EstimateMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWEstimateMotion",
            display_name="ATW Estimate Motion",
            category="ATW",
            description="How a photo moves in the small frames that any other animator made of it: a motion that ATW ResWarp, ATW Lift and ATW Motion Preview take.",
            search_aliases=["optical flow", "motion from frames", "live portrait hd"],
            inputs=[
                photo_input(),
                io.Image.Input("frames", tooltip="The other animator's frames, 16 to 1024 pixels a side."),
                where_input(),
                steady_input(),
                FrameSocket.Input("frame", optional=True, tooltip=_FRAME_TIP),
            ],
            outputs=[
                MotionSocket.Output(display_name="motion"),
                io.Mask.Output(
                    display_name="confidence",
                    tooltip="1 where the way there and the way back agree; dark where something is hidden or new.",
                ),
                FrameSocket.Output(
                    display_name="frame", tooltip="What of the photo the frames show: for ATW Decompose."
                ),
            ],
        )

    @classmethod
    @guarded
    def execute(
        cls, image: Tensor, frames: Tensor, where: str, steady: float, frame: Found | None = None
    ) -> io.NodeOutput:
        photo, small = to_photo(image)[0], to_frames(frames)
        count, size = len(small), (small.shape[-2], small.shape[-1])
        check_fits(count, size, 3, "give fewer frames, or use ATW Lift Video, which needs no images")
        place = placed(photo, small[:1], where, frame)
        device, progress, some = mm.get_torch_device(), Progress(count), []
        for motion, trust in estimate_motion(photo.to(device), small, place, steady):
            progress.step()
            some.append((motion.field.cpu(), motion.weight, trust.to(mm.intermediate_device())))
        fields, weights, masks = (torch.cat(t) for t in zip(*some, strict=True))
        return io.NodeOutput(Moved(Motion(fields, weights), True), masks, Found(place, {}))


class Lift(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWLift",
            display_name="ATW Lift",
            category="ATW",
            description="The small frames that any other animator made of a photo, at the photo's own resolution, as an IMAGE batch: its detail moves as they move.",
            search_aliases=[
                "upscale animation",
                "live portrait hd",
                "restore resolution",
                "super resolution",
            ],
            inputs=[
                photo_input(),
                io.Image.Input("frames", tooltip="The other animator's frames, 16 to 1024 pixels a side."),
                where_input(),
                gate_input(),
                steady_input(),
                FrameSocket.Input("frame", optional=True, tooltip=_FRAME_TIP),
                MotionSocket.Input(
                    "motion",
                    optional=True,
                    tooltip="From ATW Estimate Motion, with its frame; estimated here if not connected.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        image: Tensor,
        frames: Tensor,
        where: str,
        gate: bool,
        steady: float,
        frame: Found | None = None,
        motion: Moved | None = None,
    ) -> io.NodeOutput:
        (photo, alpha), small = to_photo(image), to_frames(frames)
        count, size = len(small), (photo.shape[-2], photo.shape[-1])
        advice = "ATW Lift Video writes a clip of any length in constant memory"
        check_fits(count, size, 3 if alpha is None else 4, advice)
        place = placed(photo, small[:1], where, frame)
        config, given = LiftConfig(gate, steady), None
        if motion is not None:
            check_faces(motion, 1)
            given = motion.part(0, len(motion))
        pixels = photo if alpha is None else torch.cat([photo, alpha], 1)
        made = lifted(pixels, lambda: iter(small), place, config, given)
        return io.NodeOutput(collected(made, count, span_of(photo)))


class LiftVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWLiftVideo",
            display_name="ATW Lift Video",
            category="ATW",
            description="A small video that any other animator made of a photo, at the photo's own resolution: any length in constant memory. Rate and sound are kept.",
            search_aliases=["upscale animation", "live portrait hd", "video super resolution"],
            inputs=[
                photo_input(),
                io.Video.Input("video", tooltip="The other animator's clip; its frames are read one by one."),
                where_input(),
                gate_input(),
                steady_input(),
                note_input(),
                FrameSocket.Input("frame", optional=True, tooltip=_FRAME_TIP),
            ],
            outputs=[io.Video.Output(display_name="video")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        image: Tensor,
        video: Any,  # noqa: ANN401 (the host's)
        where: str,
        gate: bool,
        steady: float,
        note: bool,
        frame: Found | None = None,
    ) -> io.NodeOutput:
        (photo, alpha), path = to_photo(image), temporary(".mp4")
        pixels, size = photo if alpha is None else torch.cat([photo, alpha], 1), photo.shape[-2:]
        with opened(video) as given:
            (first,) = islice(given.frames(), 1)
            place = placed(photo, first[None], where, frame)
            made = lifted(pixels, given.frames, place, LiftConfig(gate, steady), None)
            sound = given.track(given.count / float(given.fps), path)
            facts = {"comment": f"Made at the photo's resolution by ComfyUI-ATW {__version__}"}
            write_clip(path, made, given.count, (size[0], size[1]), given.fps, facts if note else {}, sound)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


def placed(photo: Tensor, first: Tensor, where: str, frame: Found | None) -> FaceFrame:
    """What of the photo the frames show: the given ``frame``, the whole, or found by the first of them."""
    if frame is not None:
        check_frame(frame.frame, photo.shape[-2:])
        return frame.frame
    if where == "whole image":
        return FaceFrame.whole(*photo.shape[-2:])
    found = find_crop(photo, first.to(photo.device))
    if not found.is_whole:
        log.info("the small frames show %s of the photo", found.bounds())
    return found


def lifted(
    pixels: Tensor,
    read: Callable[[], Iterator[Tensor]],
    frame: FaceFrame,
    config: LiftConfig,
    motion: Motion | None,
) -> Iterator[Tensor]:
    """``lift`` on the graphics card, or in as much memory as there is."""
    device = mm.get_torch_device()
    if device.type != "cpu":
        mm.free_memory(2 * pixels.numel() * pixels.element_size() + 2**30, device)

    def once(room: Room, start: int) -> Iterator[Tensor]:
        photo = pixels.to(room.device)
        left = None if motion is None else motion[start:]
        fewer = replace(config, rows=room.rows)
        return lift(photo, islice(read(), start, None), frame, fewer, torch.empty_like(photo), left)

    return rendering.tried(once, *spared(device))


NODES: list[type[io.ComfyNode]] = [EstimateMotion, Lift, LiftVideo]
