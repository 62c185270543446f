"""The templates as a person uses them: picked in the template browser, run by the button, looked at."""

from __future__ import annotations

import json
import os
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.host.server import PACK, ROOT, Server

from .page import ComfyPage

sys.path.append(str(ROOT / "recipes"))

from draw_workflows import PICTURES, PLAYERS  # noqa: E402
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
