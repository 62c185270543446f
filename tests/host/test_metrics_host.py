"""ATW Metrics in a real ComfyUI: a result measured, alone and against photo, motion and signal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .prompts import Prompt, node, parts
from .server import Server


def measured(server: Server, prompt: Prompt, **inputs: Any) -> tuple[dict[str, Any], str]:
    """(values, table) of a node 20 behind ``prompt``, read from two previews of text."""
    prompt = prompt | {"20": node("ATWMetrics", width=400, height=200, **inputs)}
    prompt["21"], prompt["22"] = (node("PreviewAny", source=["20", k]) for k in (2, 0))
    entry = server.good(prompt)
    assert entry["outputs"]["20"]["images"], "the plot shows on the node"
    values, table = (entry["outputs"][n]["text"][0] for n in ("21", "22"))
    return json.loads(values), table


def clip() -> Prompt:
    """Five frames of a smile, as node 8."""
    prompt = parts()
    prompt["9"] = node(
        "ATWGenerator", model=["2", 0], low=["4", 0], signal=["5", 0], frame=["3", 0], motion=["7", 0]
    )
    wires = {"residuals": ["4", 1], "motion": ["9", 0], "refined": ["9", 2]}
    return prompt | {"8": node("ATWResWarp", **wires, mode="aligned", gate=True)}


def test_a_clip_against_its_photo_motion_and_signal(server: Server) -> None:
    wires = {"result": ["8", 0], "reference": ["1", 0], "motion": ["7", 0], "signal": ["5", 0]}
    told, table = measured(server, clip(), **wires)
    counts = {k: len(v) for k, v in told["values"].items()}
    if told["notes"]:  # ComfyUI's Python has no OpenCV: said, and the rest measured
        assert "pip install opencv-python-headless" in told["notes"][0] and told["notes"][0] in table
        counts["fwe"] = 4
    assert told["frames"] == 5 and counts == {"fwe": 4, "au_error": 5, "folds": 5, "detail": 5}
    assert told["mean"]["folds"] < 0.001 and 0.9 < told["mean"]["detail"] <= 1.02
    errors = told["values"]["au_error"]
    assert [errors[0], errors[4]] == pytest.approx([0, 0], abs=1e-6), "its ends are the photo"
    assert "| AU error |" in table and "PSNR" not in table


def test_the_photo_itself_is_perfect(server: Server) -> None:
    told, _ = measured(server, parts(), result=["1", 0], reference=["1", 0])
    assert told["mean"]["psnr"] == 99 and told["mean"]["ssim"] == pytest.approx(1)
    assert told["mean"]["detail"] == pytest.approx(1) and "fwe" not in told["values"]


def test_what_does_not_fit_is_said(server: Server) -> None:
    prompt = parts() | {"12": node("ATWExamplePortrait", size=512)}
    prompt["20"] = node("ATWMetrics", result=["1", 0], reference=["12", 0], width=400, height=200)
    assert "the reference is 512x512, the result 256x256; bring both to one size" in server.error(prompt)
