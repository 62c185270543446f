"""Workflows as files: their API twins are fresh, every node is used and explained, old graphs go on working."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from atw_nodes.detail import DETAILS
from atw_nodes.kernels import BACKENDS
from atw_nodes.reswarp import ReswarpConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "recipes"))

from twins import sockets, twin, widgets  # noqa: E402

GRAPHS = sorted((ROOT / "workflows").glob("*.json"))
RELEASED = sorted((ROOT / "tests" / "workflows_released").glob("*/*.json"))
INFO = json.loads((ROOT / "tests" / "api" / "object_info.json").read_text(encoding="utf-8"))
SOURCES = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "atw_nodes").glob("nodes_*.py"))
NODES = sorted(re.findall(r'node_id="(\w+)"', SOURCES))


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def spec_of(node: dict[str, Any], name: str) -> tuple[Any, dict[str, Any]]:
    """(type, options) of an input."""
    entry = next(g[name] for g in node["input"].values() if name in g)
    return entry[0], entry[1] if len(entry) > 1 else {}


def allowed(kind: Any, options: dict[str, Any], value: Any) -> bool:
    """Whether a widget still takes what an old graph says."""
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        return value in choices
    if kind in ("INT", "FLOAT"):
        return options.get("min", value) <= value <= options.get("max", value)
    return isinstance(value, {"STRING": str, "BOOLEAN": bool}[kind])


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_twins_are_fresh(path: Path) -> None:
    stored = load(ROOT / "tests" / "api" / path.name)
    assert stored == twin(load(path), INFO), "run recipes/twins.py"


def test_every_twin_has_a_graph() -> None:
    twins = {p.name for p in (ROOT / "tests" / "api").glob("*.json")} - {"object_info.json"}
    assert twins == {p.name for p in GRAPHS}


@pytest.mark.parametrize("path", [*GRAPHS, *RELEASED], ids=named)
def test_graphs_are_whole(path: Path) -> None:
    graph = load(path)
    nodes = {n["id"]: n for n in graph["nodes"]}
    for number, source, slot, target, place, kind in graph["links"]:
        assert number in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == number
        assert kind in ("*", nodes[source]["outputs"][slot]["type"])
    assert not graph.get("definitions")  # no subgraphs: 0.3.64 has none


@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.stem)
def test_templates_welcome(path: Path) -> None:
    """A thumbnail, an example that runs, and beside it a place for one's own photo, with words."""
    nodes = load(path)["nodes"]
    assert path.with_suffix(".jpg").is_file(), "a template needs a thumbnail of the same name"
    (example,) = [n for n in nodes if n["type"] == "ATWExamplePortrait"]
    (own,) = [n for n in nodes if n["type"] == "LoadImage"]
    assert own["mode"] == 2 and own["pos"][0] == example["pos"][0]
    notes = " ".join(n["widgets_values"][0] for n in nodes if n["type"] == "MarkdownNote")
    assert "Ctrl+M" in notes
    titles = {n["title"] for n in nodes if n["type"] == "MarkdownNote"}
    wanted = {"Your own photo", "About this workflow"}
    for film in (n for n in nodes if n["type"] == "LoadVideo"):
        small = any(n["type"] == "ATWLiftVideo" for n in nodes)
        wanted.add("Your own small clip" if small else "Your own driving video")
        assert film["mode"] == 2 and film["widgets_values"][0] == "", "nobody's file, in nobody's way"
    if any(n["type"] == "ATWDataset" for n in nodes):
        wanted.add("Your own faces")
    assert titles == wanted
    assert all(n["mode"] in (0, 2) for n in nodes)


@pytest.mark.parametrize("path", RELEASED, ids=named)
def test_released_graphs_still_mean_the_same(path: Path) -> None:
    """The values in a graph go by position: today's widgets begin with those of the release, in name and type,
    and take the old values; today's sockets begin with the old ones; it converts to what it was then.
    """
    graph, then = load(path), load(ROOT / "tests" / "api" / "released" / f"{path.parent.name}.json")
    for node in graph["nodes"]:
        kind = node["type"]
        if kind not in NODES:
            continue
        old, new = widgets(then[kind]), widgets(INFO[kind])
        assert new[: len(old)] == old, f"{kind}: widgets were moved"
        assert len(node["widgets_values"]) <= len(old)
        for name, value in zip(old, node["widgets_values"], strict=False):
            if not name:  # the page's own, never sent
                continue
            old_type, (new_type, options) = spec_of(then[kind], name)[0], spec_of(INFO[kind], name)
            assert isinstance(old_type, list) == isinstance(new_type, list)
            assert isinstance(old_type, list) or old_type == new_type, f"{kind}.{name} changed its type"
            assert allowed(new_type, options, value), f"{kind}.{name} does not take {value!r} any more"
        wires = sockets(then[kind])
        assert sockets(INFO[kind])[: len(wires)] == wires, f"{kind}: inputs were moved"
        for key in ("output", "output_name"):
            assert INFO[kind][key][: len(then[kind][key])] == then[kind][key], f"{kind}: outputs were moved"
    sent = twin(graph, INFO)
    for number, node in twin(graph, then).items():
        assert sent[number]["class_type"] == node["class_type"]
        assert sent[number]["inputs"].items() >= node["inputs"].items()


@pytest.mark.parametrize(
    ("kind", "options", "value", "fine"),
    [
        (["a", "b"], {}, "b", True),
        (["a", "b"], {}, "c", False),
        ("COMBO", {"options": ["a"]}, "b", False),
        ("INT", {"min": 2}, 1, False),
        ("FLOAT", {"max": 1.5}, 1.5, True),
        ("BOOLEAN", {}, 1, False),
    ],
)
def test_values_are_checked(kind: Any, options: dict[str, Any], value: Any, fine: bool) -> None:
    assert allowed(kind, options, value) is fine


def test_nodes_of_reswarp_offer_all_its_settings() -> None:
    kinds = {n for n in NODES if "mode" in widgets(INFO[n])} - {"ATWTrainer"}
    assert len(kinds) == 5
    for kind in kinds:
        assert widgets(INFO[kind])[-2:] == ["detail", "backend"], "where old graphs do not see them"
        for name, choices in (("detail", DETAILS), ("backend", BACKENDS)):
            _, options = spec_of(INFO[kind], name)
            assert options["advanced"] and options["options"] == list(choices)
            assert options["default"] == getattr(ReswarpConfig(), name)


def test_every_node_is_used() -> None:
    used = {n["type"] for p in GRAPHS for n in load(p)["nodes"]}
    assert NODES and used >= set(NODES), f"in no workflow: {set(NODES) - used}"


@pytest.mark.parametrize("node", NODES)
def test_every_node_is_explained(node: str) -> None:
    page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    parts = ["## Inputs", "## Outputs", "## Example", "## Good to know"]
    if not INFO[node]["output"]:
        parts.remove("## Outputs")
    assert [line for line in page.splitlines() if line.startswith("## ")] == parts
    inputs = [n for g in ("required", "optional") for n in INFO[node]["input"].get(g, {})]
    missing = [n for n in [*inputs, *INFO[node]["output_name"]] if f"`{n}`" not in page]
    assert not missing, f"{node}.md does not explain {missing}"


def test_readme_names_every_node() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r'display_name="(ATW [^"]+)"', SOURCES)
    assert len(names) == len(NODES)
    assert [n for n in names if f"| {n} |" not in text] == []


def test_readme_names_every_template() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.stem for p in GRAPHS if f"| {p.stem.replace('-', ' ')} |" not in text] == []


def test_help_pages_have_nodes() -> None:
    assert sorted(p.stem for p in (ROOT / "web" / "docs").glob("*.md")) == NODES
