"""Another animator's frames in a real ComfyUI: motion found, frames and a video at the photo's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from .prompts import Prompt, node
from .server import Server


def animator(**changes: Any) -> Prompt:
    """A photo of 512 pixels as node 1; three frames of 128 that our own generator made of it, as node 7."""
    small: Prompt = {
        "1": node("ATWExamplePortrait", size=512),
        "2": node(
            "ImageScale", image=["1", 0], upscale_method="area", width=128, height=128, crop="disabled"
        ),
        "3": node(
            "ATWAnimatePortrait",
            **{"image": ["2", 0], "expression": "smiling", "strength": 1.0, "frames": 3, "fps": 8.0},
            **{"curve": "linear", "mode": "aligned", "note": False},
        ),
        "7": node("GetVideoComponents", video=["3", 0]),
    }
    return small


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


LIFT = {"image": ["1", 0], "where": "auto", "gate": True, "steady": 0.25}


def test_motion_is_found_and_fits_our_other_nodes(server: Server) -> None:
    prompt = animator()
    prompt["8"] = node("ATWEstimateMotion", image=["1", 0], frames=["7", 0], where="auto", steady=0.25)
    prompt["9"] = node("ATWDecompose", image=["1", 0], frame=["8", 2], size=128, upsampling="bilinear")
    wires = {"residuals": ["9", 1], "motion": ["8", 0], "refined": ["7", 0]}
    prompt["10"] = node("ATWResWarp", **wires, mode="aligned", gate=True)
    prompt["11"] = node("PreviewImage", images=["10", 0])
    prompt["12"] = node("MaskToImage", mask=["8", 1])
    prompt["13"] = node("PreviewImage", images=["12", 0])
    prompt["14"] = node("ATWMotionPreview", motion=["8", 0], size=128)
    outputs = server.good(prompt)["outputs"]
    assert len(outputs["11"]["images"]) == len(outputs["13"]["images"]) == 3


def test_frames_and_a_video_at_the_photos_size(server: Server) -> None:
    prompt = animator()
    prompt["8"] = node("ATWLift", **LIFT, frames=["7", 0])
    prompt["9"] = node("PreviewImage", images=["8", 0])
    prompt["10"] = node("ATWLiftVideo", **LIFT, video=["3", 0], note=True)
    prompt["11"] = node("GetVideoComponents", video=["10", 0])
    prompt["12"] = node("PreviewImage", images=["11", 0])
    entry = server.good(prompt)
    for number in ("9", "12"):
        files = server.files(entry, number)
        assert len(files) == 3
        assert all(size_of(f) == (512, 512) for f in files)


def test_what_does_not_fit_is_said(server: Server) -> None:
    prompt = animator()
    prompt["4"] = node("ATWExamplePortrait", size=256)
    prompt["5"] = node("ATWFaceFrame", image=["4", 0], where="whole image", index=0, x=0, y=0, side=512)
    prompt["8"] = node("ATWLift", **LIFT, frames=["7", 0], frame=["5", 0])
    prompt["9"] = node("PreviewImage", images=["8", 0])
    assert "the frame belongs to a photo of 256x256, this one is 512x512" in server.error(prompt)
