"""The API twin of a workflow: what the browser sends when Run is pressed, made without one.

    python recipes/twins.py                     write tests/api/*.json from workflows/*.json
    python recipes/twins.py --record URL        first record /object_info of a running ComfyUI, as far as used
    python recipes/twins.py --release VERSION   then keep all graphs as VERSION's, for tests/test_workflows.py

Needs tests/api/object_info.json, the inputs of every node that a workflow uses, as recorded.
"""

from __future__ import annotations

import argparse
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INFO = ROOT / "tests" / "api" / "object_info.json"
RELEASED = ROOT / "tests" / "workflows_released"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
SILENT = ("Note", "MarkdownNote")  # the page's own, never sent
MUTED = (2, 4)  # the page's modes: never, bypassed


def widgets(node: dict[str, Any]) -> list[str]:
    """Names of a node type's widgets in the order of ``widgets_values``; "" is a value that is not sent."""
    names = []
    for group in ("required", "optional"):
        for name, (kind, *rest) in node["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if (kind in WIDGETS or isinstance(kind, list)) and not options.get("forceInput"):
                names.append(name)
                if options.get("control_after_generate") or (
                    name in ("seed", "noise_seed") and kind == "INT"
                ):
                    names.append("")
                if options.get("image_upload") or options.get("video_upload"):
                    names.append("")
    return names


def sockets(node: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """(name, type, optional) of the inputs that only a wire can fill, in their order."""
    found = []
    for group in ("required", "optional"):
        for name, (kind, *_) in node["input"].get(group, {}).items():
            if name not in widgets(node):
                found.append((name, kind if isinstance(kind, str) else "COMBO", group == "optional"))
    return found


def default(node: dict[str, Any], name: str) -> Any:  # noqa: ANN401
    """What the page puts into a widget to begin with."""
    kind, *rest = next(group[name] for group in node["input"].values() if name in group)
    options = rest[0] if rest else {}
    choices = kind if isinstance(kind, list) else options.get("options", [])
    return options.get("default", choices[0] if choices else "")


def twin(graph: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """A graph in the page's format -> the same as a prompt; a widget newer than the graph has its default."""
    alive = {n["id"]: n for n in graph["nodes"] if n.get("mode", 0) not in MUTED and n["type"] not in SILENT}
    links = {link[0]: link for link in graph["links"]}
    prompt: dict[str, Any] = {}
    for number, node in alive.items():
        spec, given = info[node["type"]], node.get("widgets_values", [])
        values = {
            n: given[k] if k < len(given) else default(spec, n) for k, n in enumerate(widgets(spec)) if n
        }
        for entry in node.get("inputs", []):
            link = links.get(entry.get("link"))
            if link and link[1] in alive:
                values[entry["name"]] = [str(link[1]), link[2]]
        prompt[str(number)] = {"class_type": node["type"], "inputs": values}
    return prompt


def record(url: str, graphs: list[dict[str, Any]]) -> None:
    with urllib.request.urlopen(f"{url.rstrip('/')}/object_info") as answer:
        everything = json.load(answer)
    used = {n["type"] for g in graphs for n in g["nodes"] if n["type"] not in SILENT}
    used = sorted(used | {name for name in everything if name.startswith("ATW")})
    keep = {name: {k: everything[name][k] for k in ("input", "output", "output_name")} for name in used}
    for node in keep.values():  # what lies in somebody's folders is nobody else's business
        for group in node["input"].values():
            for spec in group.values():
                if len(spec) > 1 and isinstance(spec[1], dict):
                    if spec[1].get("image_upload"):
                        spec[0] = []
                    if spec[1].get("video_upload"):
                        spec[1]["options"] = []
    INFO.parent.mkdir(parents=True, exist_ok=True)
    INFO.write_text(json.dumps(keep, indent=1, sort_keys=False) + "\n", encoding="utf-8")


def release(version: str, files: list[Path]) -> None:
    folder, sockets_then = RELEASED / version, INFO.parent / "released" / f"{version}.json"
    folder.mkdir(parents=True, exist_ok=True)
    sockets_then.parent.mkdir(exist_ok=True)
    shutil.copy(INFO, sockets_then)
    for file in files:
        shutil.copy(file, folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", metavar="URL")
    parser.add_argument("--release", metavar="VERSION")
    args = parser.parse_args()
    files = sorted((ROOT / "workflows").glob("*.json"))
    graphs = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in files}
    if args.record:
        old = [json.loads(p.read_text(encoding="utf-8")) for p in RELEASED.glob("*/*.json")]
        record(args.record, [*graphs.values(), *old])
    info = json.loads(INFO.read_text(encoding="utf-8"))
    for name, graph in graphs.items():
        text = json.dumps(twin(graph, info), indent=1) + "\n"
        (INFO.parent / name).write_text(text, encoding="utf-8")
        print(name)
    if args.release:
        release(args.release, files)


if __name__ == "__main__":
    main()
