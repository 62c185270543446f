"""Workflows as files: their API twins are fresh, every node is used and explained."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "recipes"))

from twins import twin  # noqa: E402

GRAPHS = sorted((ROOT / "workflows").glob("*.json"))
INFO = json.loads((ROOT / "tests" / "api" / "object_info.json").read_text(encoding="utf-8"))
SOURCES = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "atw_nodes").glob("nodes_*.py"))
NODES = sorted(re.findall(r'node_id="(\w+)"', SOURCES))


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_twins_are_fresh(path: Path) -> None:
    stored = load(ROOT / "tests" / "api" / path.name)
    assert stored == twin(load(path), INFO), "run recipes/twins.py"


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_graphs_are_whole(path: Path) -> None:
    graph = load(path)
    nodes = {n["id"]: n for n in graph["nodes"]}
    for number, source, slot, target, place, kind in graph["links"]:
        assert number in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == number
        assert nodes[source]["outputs"][slot]["type"] == kind
    assert "definitions" not in graph  # no subgraphs: 0.3.64 has none
    assert path.with_suffix(".jpg").is_file(), "a template needs a thumbnail of the same name"


@pytest.mark.parametrize(
    "released", sorted((ROOT / "tests" / "workflows_released").rglob("*.json")), ids=lambda p: p.stem
)
def test_released_graphs_still_mean_the_same(released: Path) -> None:
    """Sockets and widgets of today begin with those of a released graph."""
    for node in load(released)["nodes"]:
        if node["type"] in NODES:
            known = [n for g in ("required", "optional") for n in INFO[node["type"]]["input"].get(g, {})]
            assert {i["name"] for i in node["inputs"]} <= set(known)


def test_every_node_is_used_and_explained() -> None:
    used = {n["type"] for p in GRAPHS for n in load(p)["nodes"]}
    assert len(NODES) == 12 and used >= set(NODES)
    for node in NODES:
        page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
        inputs = [n for g in ("required", "optional") for n in INFO[node]["input"].get(g, {})]
        missing = [n for n in inputs if f"`{n}`" not in page]
        assert not missing, f"{node}.md does not explain {missing}"
