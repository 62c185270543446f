"""The nodes in a real ComfyUI, over HTTP."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from .server import PACK, ROOT, RefusedError, Server, error_of

TWINS = sorted(p for p in (ROOT / "tests" / "api").glob("*.json") if p.name != "object_info.json")
NODES = {
    *("ATWLoadModel", "ATWExamplePortrait", "ATWFaceFrame", "ATWDecompose", "ATWExpression", "ATWGenerator"),
    *("ATWInterpolateMotion", "ATWResWarp", "ATWMotionPreview"),
    *("ATWRenderVideo", "ATWSaveVideo", "ATWAnimatePortrait"),
}


def parts(**changes: Any) -> dict[str, Any]:
    """The path node by node on a small portrait, without an output."""
    prompt = {
        "1": {"class_type": "ATWExamplePortrait", "inputs": {"size": 256}},
        "2": {"class_type": "ATWLoadModel", "inputs": {"checkpoint": "atw-smile-128", "hub": ""}},
        "3": {
            "class_type": "ATWFaceFrame",
            "inputs": {"image": ["1", 0], "where": "auto", "index": 0, "x": 0, "y": 0, "side": 512},
        },
        "4": {
            "class_type": "ATWDecompose",
            "inputs": {"image": ["1", 0], "frame": ["3", 0], "size": 128, "upsampling": "bilinear"},
        },
        "5": {
            "class_type": "ATWExpression",
            "inputs": {"expression": "smiling", "strength": 1.0, "target": True},
        },
        "6": {
            "class_type": "ATWGenerator",
            "inputs": {"model": ["2", 0], "low": ["4", 0], "signal": ["5", 0], "frame": ["3", 0]},
        },
        "7": {
            "class_type": "ATWInterpolateMotion",
            "inputs": {"motion": ["6", 0], "frames": 5, "curve": "pulse", "start": 0.0, "end": 1.0},
        },
    }
    for key, value in changes.items():
        node, name = key.split("_", 1)
        prompt[node[1:]]["inputs"][name] = value
    return prompt


def clip(prompt: dict[str, Any]) -> dict[str, Any]:
    prompt["8"] = {
        "class_type": "ATWRenderVideo",
        "inputs": {
            "model": ["2", 0],
            "residuals": ["4", 1],
            "signal": ["5", 0],
            "motion": ["7", 0],
            "mode": "aligned",
            "gate": True,
            "fps": 24.0,
            "note": True,
        },
    }
    save = {"video": ["8", 0], "filename_prefix": "video/t", "format": "auto", "codec": "auto"}
    prompt["9"] = {"class_type": "SaveVideo", "inputs": save}
    return prompt


def images(prompt: dict[str, Any], source: list[Any]) -> dict[str, Any]:
    prompt["99"] = {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": "t"}}
    return prompt


def succeeded(entry: dict[str, Any]) -> dict[str, Any]:
    assert entry["status"]["status_str"] == "success", error_of(entry)
    return entry


def test_every_node_is_there_and_nothing_failed(server: Server) -> None:
    info = server.get("/object_info")
    assert set(info) >= NODES
    log = server.text()
    assert "IMPORT FAILED" not in log
    (seconds,) = re.findall(rf"([\d.]+) seconds.*{PACK}", log)
    assert float(seconds) < 0.3 or server.process.poll() is None  # what it took is shown below when it fails
    for name in NODES:
        node = info[name]
        assert node["category"].startswith("ATW") and node["description"]
        for group in ("required", "optional"):
            for key, (kind, options) in node["input"].get(group, {}).items():
                if kind in ("INT", "FLOAT", "BOOLEAN", "COMBO", "STRING"):
                    assert options.get("tooltip"), f"{name}.{key} says nothing"
        page = server.raw(f"/extensions/{urllib.parse.quote(PACK)}/docs/{name}.md").decode()
        assert page.startswith("# "), name


def test_templates_are_offered(server: Server) -> None:
    offered = server.get("/workflow_templates")[PACK]
    assert sorted(offered) == sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))


@pytest.mark.parametrize("path", TWINS, ids=lambda p: p.stem)
def test_workflows_run(server: Server, path: Path) -> None:
    entry = succeeded(server.run(json.loads(path.read_text())))
    files = server.files(entry)
    assert files
    for file in files:
        if file.suffix in (".mp4", ".webm"):
            with av.open(str(file)) as video:
                assert sum(1 for _ in video.decode(video=0)) == 24
        else:
            assert np.asarray(Image.open(file).convert("RGB")).std() > 5


def test_strength_zero_is_the_photo_bit_for_bit(server: Server) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (150, 135, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(server.folder / "input" / "noise.png")
    prompt = parts(n3_where="box", n3_side=100, n5_strength=0.0, n5_target=False)
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": "noise.png"}}
    prompt["8"] = {
        "class_type": "ATWResWarp",
        "inputs": {
            "residuals": ["4", 1],
            "motion": ["6", 0],
            "refined": ["6", 2],
            "mode": "aligned",
            "gate": True,
        },
    }
    (file,) = server.files(succeeded(server.run(images(prompt, ["8", 0]))), "99")
    assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), pixels)


def test_saved_clip_has_our_packets_and_our_note(server: Server) -> None:
    before = set((server.folder / "temp").glob("ATW_*.mp4"))
    (saved,) = server.files(succeeded(server.run(clip(parts()))), "9")
    (ours,) = set((server.folder / "temp").glob("ATW_*.mp4")) - before

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as file:
            return [bytes(p) for p in file.demux(video=0) if p.size]

    assert packets(saved) == packets(ours)
    with av.open(str(saved)) as file:
        assert "animated by ComfyUI-ATW" in str(file.metadata)


def test_second_run_comes_from_the_cache(server: Server) -> None:
    server.run(clip(parts()))
    entry = succeeded(server.run(clip(parts())))
    cached = next(d["nodes"] for kind, d in entry["status"]["messages"] if kind == "execution_cached")
    assert {"1", "2", "3", "4", "5", "6", "7", "8"} <= set(cached)


def test_cancelling_is_quick_and_leaves_no_file(server: Server) -> None:
    def partial() -> set[Path]:
        return {p for p in (server.folder / "temp").iterdir() if not p.name.startswith("ComfyUI")}

    before = partial()
    number = server.start(clip(parts(n1_size=1024, n7_frames=3000)))
    server.until(lambda: bool(partial() - before), 60)
    begun = time.monotonic()
    server.post("/interrupt", {})
    server.finish(number, 30)
    assert time.monotonic() - begun < 2
    assert partial() == before


def test_missing_checkpoint_is_refused(server: Server) -> None:
    with pytest.raises(RefusedError, match="not in list"):
        server.start(images(parts(n2_checkpoint="../../etc/passwd"), ["6", 1]))


def test_errors_say_what_to_do(server: Server) -> None:
    prompt = parts(n4_size=64)
    assert "decompose to 128" in error_of(server.run(images(prompt, ["6", 1])))
    Image.new("RGB", (300, 200), (90, 120, 90)).save(server.folder / "input" / "empty.png")
    prompt = parts()
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": "empty.png"}}
    assert "choose where: box" in error_of(server.run(images(prompt, ["3", 2])))


@pytest.mark.parametrize("prefix", ["../out", "/tmp/out", "a/../../out", "link/out"])
def test_results_stay_in_the_output_folder(server: Server, prefix: str) -> None:
    link = server.folder / "output" / "link"
    if not link.exists():
        link.symlink_to(server.folder.parent)
    prompt = clip(parts())
    inputs = prompt["8"]["inputs"] | {"filename_prefix": prefix, "format": "mp4"}
    prompt["8"] = {"class_type": "ATWSaveVideo", "inputs": inputs}
    del prompt["9"]
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "error"
    assert not list(server.folder.parent.glob("out*")) and not list(Path("/tmp").glob("out_0*"))
