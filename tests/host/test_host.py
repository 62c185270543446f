"""The nodes in a real ComfyUI, over HTTP: they are there, the workflows run, the cache and cancelling work."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.parse
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from recipes.twins import twin

from .prompts import clip, images, node, parts, reswarp, saved, temporary, video
from .server import PACK, ROOT, RefusedError, Server

TWINS = sorted(p for p in (ROOT / "tests" / "api").glob("*.json") if p.name != "object_info.json")
LENGTHS = {
    "8-keyframes-and-blinks": 69,
    "9-driven-by-a-table": 100,
    "11-animate-a-video": 16,
    "12-driven-by-a-video": 32,
    "14-make-any-animator-hd": 16,
}  # frames, else 24
RELEASED = sorted(
    p for p in (ROOT / "tests" / "workflows_released").rglob("*.json") if p.name != "object_info.json"
)
NODES = {
    *("ATWLoadModel", "ATWExamplePortrait", "ATWFaceFrame", "ATWDecompose", "ATWExpression", "ATWGenerator"),
    *("ATWInterpolateMotion", "ATWResWarp", "ATWMotionPreview"),
    *("ATWRenderVideo", "ATWSaveVideo", "ATWAnimatePortrait"),
}


def test_every_node_is_there_and_nothing_failed(server: Server) -> None:
    info = server.get("/object_info")
    assert set(info) >= NODES
    assert "IMPORT FAILED" not in server.text()
    for name in NODES:
        shown = info[name]
        assert shown["category"].startswith("ATW") and shown["description"]
        for group in ("required", "optional"):
            for key, (kind, options) in shown["input"].get(group, {}).items():
                if kind in ("INT", "FLOAT", "BOOLEAN", "COMBO", "STRING"):
                    assert options.get("tooltip"), f"{name}.{key} says nothing"
                if kind in ("INT", "FLOAT"):
                    assert options.get("forceInput") or {"min", "max", "default"} <= set(options), name
        page = server.raw(f"/extensions/{urllib.parse.quote(PACK)}/docs/{name}.md").decode()
        assert page.startswith("# "), name


def test_import_is_quick(server: Server) -> None:
    (seconds,) = re.findall(rf"([\d.]+) seconds: .*{PACK}", server.text())
    if float(seconds) >= 0.3 and os.getloadavg()[0] > (os.cpu_count() or 1):
        pytest.skip(f"imported in {seconds} s, but the machine is busy")
    assert float(seconds) < 0.3, "as ComfyUI prints it, torch already loaded"


def test_templates_are_offered(server: Server) -> None:
    offered = server.get("/workflow_templates")[PACK]
    assert sorted(offered) == sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))


def smaller(prompt: dict[str, Any]) -> dict[str, Any]:
    """Clips at half the size, which the browser's tests make as they are; crops are of pixels, so not those."""
    kinds = {n["class_type"] for n in prompt.values()}
    if kinds & {"SaveVideo", "ATWSaveVideo"} and "ImageCrop" not in kinds:
        for n in prompt.values():
            if n["class_type"] == "ATWExamplePortrait":
                n["inputs"]["size"] = min(512, n["inputs"]["size"])
    return prompt


@pytest.mark.parametrize("path", TWINS, ids=lambda p: p.stem)
def test_workflows_run(server: Server, path: Path) -> None:
    entry = server.good(smaller(json.loads(path.read_text())))
    files = server.files(entry)
    assert files
    for file in files:
        if file.suffix in (".mp4", ".webm"):
            with av.open(str(file)) as video:
                assert sum(1 for _ in video.decode(video=0)) == LENGTHS.get(path.stem, 24)
        else:
            assert np.asarray(Image.open(file).convert("RGB")).std() > 5


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: "/".join(p.parts[-2:]))
def test_released_workflows_still_run(server: Server, path: Path) -> None:
    graph, info = json.loads(path.read_text()), server.get("/object_info")
    missing = {n["type"] for n in graph["nodes"]} - set(info) - {"Note", "MarkdownNote"}
    assert not missing, "every node of a release stays"
    prompt = twin(graph, info)
    if prompt not in [json.loads(p.read_text()) for p in TWINS]:  # else it has run above
        assert server.files(server.good(smaller(prompt)))


def test_strength_zero_is_the_photo_bit_for_bit(server: Server) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 135, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(server.folder / "input" / "noise.png")
    prompt = reswarp(parts(n3_where="box", n3_side=100, n5_strength=0.0, n5_target=False))
    prompt["1"] = node("LoadImage", image="noise.png")
    (file,) = server.files(server.good(images(prompt, ["8", 0])), "99")
    assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), pixels)


def test_a_graph_may_end_in_what_shows_itself(server: Server) -> None:
    """Motion Preview and Signal Plot, with nothing behind them. Face Frame is no such end: every graph holds one,
    and ComfyUI would run it, and say all is well, where the rest of the graph is refused.
    """
    prompt = parts()
    prompt["10"] = node("ATWMotionPreview", motion=["6", 0], size=128)
    prompt["11"] = node("ATWSignalPlot", signal=["5", 0], width=200, height=100)
    for number, wanted in (("10", set(prompt) - {"7", "11"}), ("11", {"5", "11"})):
        entry = server.good({k: v for k, v in prompt.items() if k in wanted})
        (file,) = server.files(entry, number)
        assert np.asarray(Image.open(file).convert("RGB")).std() > 5
    with pytest.raises(RefusedError, match="no_outputs"):
        server.start({k: prompt[k] for k in ("1", "3")})


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(p) for p in file.demux(video=0) if p.size]


def test_saved_clip_has_our_packets_and_our_note(server: Server) -> None:
    before = temporary(server)
    (file,) = server.files(server.good(clip(parts())), "9")
    (made,) = temporary(server) - before
    assert packets(file) == packets(made) and len(packets(file)) == 5
    with av.open(str(file)) as file:
        assert "animated by ComfyUI-ATW" in str(file.metadata)


def test_our_own_saving_embeds_the_workflow(server: Server) -> None:
    (file,) = server.files(server.good(saved(parts(), note=False)), "8")
    assert file.parent == server.folder / "output" / "video" and file.name.startswith("s_0")
    with av.open(str(file)) as clip:
        found = json.loads(clip.metadata["prompt"])
        assert found["5"]["class_type"] == "ATWExpression" and "animated" not in str(clip.metadata)
    again = server.files(server.good(saved(parts(), note=False, fps=25.0)), "8")
    assert again != [file], "numbered on"


def ran(entry: dict[str, Any]) -> set[str]:
    """The nodes that did not come from the cache."""
    cached = next(d["nodes"] for kind, d in entry["status"]["messages"] if kind == "execution_cached")
    return set(entry["prompt"][2]) - set(cached)


def test_second_run_comes_from_the_cache(server: Server) -> None:
    server.good(clip(parts()))
    assert ran(server.good(clip(parts()))) <= {"9"}
    assert ran(server.good(clip(parts(n7_frames=6)))) == {"7", "8", "9"}


def test_a_changed_checkpoint_runs_again(server: Server) -> None:
    file = server.folder / "models" / "atw" / "mine.safetensors"
    shutil.copy(ROOT / "models" / "atw-smile-128.safetensors", file)
    assert "mine.safetensors" in str(server.get("/object_info/ATWLoadModel")), "seen without a restart"
    prompt = images(parts(n2_checkpoint="mine.safetensors"), ["6", 2])
    assert "2" in ran(server.good(prompt))
    assert not ran(server.good(prompt)) & {"2", "3", "4", "5", "6"}
    file.write_bytes(b"not a checkpoint at all")
    assert "damaged" in server.error(prompt)
    shutil.copy(ROOT / "models" / "atw-smile-128.safetensors", file)
    assert {"2", "6"} <= ran(server.good(prompt))


def test_cancelling_is_quick_and_leaves_no_file(server: Server) -> None:
    server.good(
        video(parts(n1_size=1350)) | {"97": node("PreviewImage", images=["4", 0])}
    )  # all but the clip
    before = temporary(server)
    number = server.start(clip(parts(n1_size=1350, n7_frames=3000)))
    server.until(lambda: bool(temporary(server) - before), 60)
    time.sleep(0.5)  # amid the frames
    begun, busy = time.monotonic(), server.busy()
    server.post("/interrupt", {})
    entry = server.finish(number, 60)
    # its own work where others keep the machine busy
    assert min(time.monotonic() - begun, server.busy() - busy) < 2
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]
    assert temporary(server) == before


def test_what_is_kept_cannot_change_and_says_its_size(server: Server) -> None:
    prompt = parts()
    wires = {"2": 0, "3": 0, "4": 1, "5": 0, "6": 0, "7": 0}
    for number, slot in wires.items():
        prompt[f"9{number}"] = node("ProbeHeld", thing=[number, slot])
    entry = server.good(prompt)
    told = {n: json.loads(entry["outputs"][f"9{n}"]["text"][0]) for n in wires}
    assert all(t["frozen"] for t in told.values()), told
    assert told["2"]["held"] > 1e6 and told["4"]["held"] == 256 * 256 * 3 + 128 * 128 * 3 * 4
    assert told["6"]["held"] == told["7"]["held"] == 2 * 128 * 128 * 4, "a clip holds one motion"


def test_no_word_in_the_log_from_us(server: Server) -> None:
    lines = server.text().splitlines()
    ours = [line for line in lines if "warn" in line.lower() and ("atw" in line.lower() or PACK in line)]
    assert not [line for line in ours if "does not know" not in line], ours  # that, a test provokes


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"format": "mkv", "codec": "ffv1"}, "ffv1"),
        ({"format": "mov", "codec": "prores", "chroma": "444"}, "prores"),
        ({"format": "mp4", "codec": "h264", "chroma": "444"}, "h264"),
        ({"format": "png"}, "png"),
    ],
)
def test_saved_with_a_codec_of_ones_choice(server: Server, inputs: dict[str, str], name: str) -> None:
    (file,) = server.files(server.good(saved(parts(n7_frames=2), **inputs)), "8")
    with av.open(str(file)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == name


def test_how_reswarp_does_it_can_be_chosen(server: Server) -> None:
    made = []
    for how in ({}, {"detail": "sharp", "backend": "torch"}, {"detail": "none"}):
        prompt = reswarp(parts(n1_size=1024))
        prompt["8"]["inputs"] |= how
        (file,) = server.files(server.good(images(prompt, ["8", 0])), "99")
        made.append(np.asarray(Image.open(file).convert("RGB")).astype(int))
    plain, same, soft = made
    assert abs(same - plain).max() <= 1 and abs(soft - plain).max() > 1


def test_a_codec_that_does_not_fit_is_refused(server: Server) -> None:
    text = server.error(saved(parts(n7_frames=2), format="webm", codec="h265"))
    assert ".webm does not take h265; choose av1 or vp9 for it" in text
