"""Prompts, as the page sends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .server import Server

Prompt = dict[str, Any]


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def parts(**changes: Any) -> Prompt:
    """The path node by node on a small portrait, without an output; changes: n<node>_<input>=value."""
    prompt = {
        "1": node("ATWExamplePortrait", size=256),
        "2": node("ATWLoadModel", checkpoint="atw-smile-128", hub=""),
        "3": node("ATWFaceFrame", image=["1", 0], where="auto", index=0, x=0, y=0, side=512),
        "4": node("ATWDecompose", image=["1", 0], frame=["3", 0], size=128, upsampling="bilinear"),
        "5": node("ATWExpression", expression="smiling", strength=1.0, target=True),
        "6": node("ATWGenerator", model=["2", 0], low=["4", 0], signal=["5", 0], frame=["3", 0]),
        "7": node("ATWInterpolateMotion", motion=["6", 0], frames=5, curve="pulse", start=0.0, end=1.0),
    }
    return changed(prompt, **changes)


def changed(prompt: Prompt, **changes: Any) -> Prompt:
    for key, value in changes.items():
        number, name = key.split("_", 1)
        prompt[number[1:]]["inputs"][name] = value
    return prompt


def reswarp(prompt: Prompt, mode: str = "aligned") -> Prompt:
    """A still, as node 8."""
    wires = {"residuals": ["4", 1], "motion": ["6", 0], "refined": ["6", 2]}
    return prompt | {"8": node("ATWResWarp", **wires, mode=mode, gate=True)}


def video(prompt: Prompt, **changes: Any) -> Prompt:
    """A clip, as node 8, without an output."""
    wires = {"model": ["2", 0], "residuals": ["4", 1], "signal": ["5", 0], "motion": ["7", 0]}
    prompt["8"] = node("ATWRenderVideo", **wires, mode="aligned", gate=True, fps=24.0, note=True)
    return changed(prompt, **changes)


def clip(prompt: Prompt, **changes: Any) -> Prompt:
    """A clip, as node 8, that the host's own node saves, as node 9."""
    prompt = video(prompt, **changes)
    prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="video/t", format="auto", codec="auto")
    return prompt


def saved(prompt: Prompt, **inputs: Any) -> Prompt:
    """The clip of ``video``, by our own saving node."""
    prompt = video(prompt)
    given = prompt["8"]["inputs"] | {"filename_prefix": "video/s", "format": "mp4"} | inputs
    prompt["8"] = node("ATWSaveVideo", **given)
    return prompt


def images(prompt: Prompt, source: list[Any]) -> Prompt:
    return prompt | {"99": node("SaveImage", images=source, filename_prefix="t")}


def picture(kind: str, width: int, height: int, channels: int = 3, batch: int = 1) -> dict[str, Any]:
    return node("ProbePicture", kind=kind, width=width, height=height, channels=channels, batch=batch)


def measured(server: Server, prompt: Prompt, a: list[Any], b: list[Any], mask: list[Any]) -> dict[str, Any]:
    """What ProbeMeasure says of two images of a prompt that has to succeed."""
    entry = server.good(prompt | {"98": node("ProbeMeasure", a=a, b=b, mask=mask)})
    return json.loads(entry["outputs"]["98"]["text"][0])


def temporary(server: Server) -> set[Path]:
    """What lies in temp, but for the host's previews."""
    return {p for p in (server.folder / "temp").iterdir() if not p.name.startswith("ComfyUI")}
