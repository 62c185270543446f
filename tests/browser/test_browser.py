"""The templates as a person uses them: picked in the template browser, run by the button, looked at."""

from __future__ import annotations

import json
import os
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.clips import read_frames
from atw_nodes.video import ClipWriter
from tests.host.server import PACK, ROOT, Server

from .page import ComfyPage

sys.path.append(str(ROOT / "recipes"))

from graph_page import PICTURES, PLAYERS  # noqa: E402
from twins import twin  # noqa: E402

pytestmark = [pytest.mark.host, pytest.mark.slow]
TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
RELEASED = sorted((ROOT / "tests" / "workflows_released").glob("*/*.json"))
INFO = json.loads((ROOT / "tests" / "api" / "object_info.json").read_text(encoding="utf-8"))
HEAD = 30  # pixels of title above a node's position


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def check_graph(page: ComfyPage, wanted: dict[str, Any]) -> None:
    """Nothing is missing, nothing is in the way, and Run would send ``wanted``: no value has shifted."""
    assert not page.dialogs()
    assert [n["type"] for n in page.nodes() if not n["known"]] == []
    sent = page.prompt()
    assert {k: v["class_type"] for k, v in sent.items()} == {k: v["class_type"] for k, v in wanted.items()}
    for number, node in wanted.items():
        inputs = sent[number]["inputs"]
        assert {k: inputs.get(k) for k in node["inputs"]} == node["inputs"], node["class_type"]


def overlaps(nodes: list[dict[str, Any]]) -> list[str]:
    def apart(a: dict[str, Any], b: dict[str, Any]) -> bool:
        (ax, ay), (aw, ah), (bx, by), (bw, bh) = a["pos"], a["size"], b["pos"], b["size"]
        return ax + aw <= bx or bx + bw <= ax or ay + ah <= by - HEAD or by + bh <= ay - HEAD

    return [f"{a['type']} and {b['type']}" for a, b in combinations(nodes, 2) if not apart(a, b)]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_template_runs_from_the_page(page: ComfyPage, server: Server, path: Path) -> None:
    page.fresh()
    server.post("/free", {"free_memory": True})  # what comes from the cache shows nothing
    page.choose(PACK, path.stem)
    check_graph(page, load(ROOT / "tests" / "api" / path.name))
    end, told = page.run(600, PICTURES + PLAYERS)
    assert end == "execution_success", told
    if os.environ.get("ATW_SHOTS"):
        page.shoot(Path(os.environ["ATW_SHOTS"]) / f"{path.stem}.png")
    assert page.blind(PICTURES + PLAYERS) == [], "these show nothing"
    nodes = page.nodes()
    # a picture of the progress stays, and hides what the node made; that of the trainer is its last sheet
    made = set(PICTURES + PLAYERS) - {"ATWTrainStep"}
    assert [n["type"] for n in nodes if n["previews"] and n["type"] in made] == []
    assert [n["type"] for n in nodes if n["errors"]] == []
    assert overlaps(nodes) == []
    assert page.faults(PACK) == []
    assert "Traceback" not in server.text()


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_released_graph_opens(page: ComfyPage, path: Path) -> None:
    page.fresh()
    graph = load(path)
    page.load(graph)
    check_graph(page, twin(graph, INFO))
    assert page.faults(PACK) == []


def test_broken_graph_is_noticed(page: ComfyPage) -> None:
    """What the tests above look for is what a page shows when something is wrong."""
    page.fresh()
    graph = load(TEMPLATES[0])
    node = next(n for n in graph["nodes"] if n["type"] == "ATWAnimatePortrait")
    node["type"] = "ATWNoSuchNode"
    page.load(graph)
    with pytest.raises(AssertionError):
        check_graph(page, load(ROOT / "tests" / "api" / TEMPLATES[0].name))


def test_run_on_change_is_a_live_editor(page: ComfyPage, server: Server) -> None:
    """A slider that is moved makes a new picture, without a press on Run."""
    page.fresh()
    page.choose(PACK, "7-expression-editor")
    end, told = page.run(600, ("ATWActionUnits",))
    assert end == "execution_success", told
    before = page.shown("ATWActionUnits")
    page.mode("Run (On Change)")
    try:
        page.slide("ATWActionUnits", "AU26", 1.0)
        assert page.shown("ATWActionUnits") != before
        server.until(lambda: not any(server.get("/queue").values()), 600)
    finally:
        page.mode("Run")
    assert page.faults(PACK) == []


def test_a_driving_video_of_ones_own(page: ComfyPage, server: Server, tmp_path: Path) -> None:
    """As the note in the template says, where the input folder held no video to begin with."""
    made = tmp_path / "mine.mp4"
    with ClipWriter(made, 160, 160, 12) as clip, Image.open(ROOT / "assets" / "portrait-4k.jpg") as image:
        for _ in range(3):
            clip.write(torch.from_numpy(np.array(image.resize((160, 160)))).movedim(-1, 0))
    page.fresh()
    page.choose(PACK, "12-driven-by-a-video")
    assert "LoadVideo" not in {n["class_type"] for n in page.prompt().values()}
    page.unmute("LoadVideo")
    page.upload("LoadVideo", made)
    page.connect("LoadVideo", "VIDEO", "ATWSignalFromVideo", "video")
    sent = page.prompt()
    (number,) = [k for k, n in sent.items() if n["class_type"] == "LoadVideo"]
    (reader,) = [n for n in sent.values() if n["class_type"] == "ATWSignalFromVideo"]
    assert sent[number]["inputs"]["file"] == made.name and reader["inputs"]["video"] == [number, 0]
    end, told = page.run(600, PICTURES + PLAYERS)
    assert end == "execution_success", told
    saved = sorted((server.folder / "output" / "video").glob("ATW-driven-by-a-video*"))[-1]
    assert sum(1 for _ in read_frames(saved)) == 3
    assert page.faults(PACK) == []
