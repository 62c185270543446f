"""The architecture, held by reading every import: strictly downward, no host, nothing unsafe."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "atw_nodes"
FLOORS: dict[int, set[str]] = {
    0: {"types"},
    1: {"files", "pyramid", "signals", "warp"},
    2: {"clips", "faces", "images", "kernels", "losses", "metrics", "networks", "sheets", "tiles", "video"},
    3: {"checkpoints", "data", "reswarp"},
    4: {"animate", "training"},
    5: {"cli", "host"},
    6: {"__main__"},
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
HOST = (
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "folder_paths",
    "nodes",
    "server",
    "execution",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import; level 1 is a relative one inside the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_strictly_downward(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return  # loads lazily from any room
    assert here in FLOOR, f"{path.name} has no floor; put it on the table of this test and of ARCHITECTURE"
    for level, name in imports(path):
        target = name.split(".")[0]
        if level == 1 and target not in ("__version__", here):
            assert FLOOR[target] < FLOOR[here], (
                f"{here} (floor {FLOOR[here]}) imports {target} (floor {FLOOR[target]})"
            )
        assert level <= 2, f"{path.name} reaches out of the package: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_library_knows_no_host_and_imports_itself_relatively(path: Path) -> None:
    for level, name in imports(path):
        top = name.split(".")[0]
        if level == 0:
            assert top != "atw_nodes", (
                f"{path.name}: absolute import of {name}; the pack runs under any folder name"
            )
            allowed = path.stem == "host" or path.stem.startswith("nodes_")
            assert allowed or top not in HOST, f"{path.name} imports {name}; only host.py and the nodes may"
            assert top not in ("pickle", "cv2", "mediapipe", "insightface"), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [*MODULES, ROOT / "__init__.py", ROOT / "nodes.py"], ids=lambda p: p.name)
def test_nothing_is_executed_or_unpickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "pickle.loads", "os.system"), (
                f"{path.name}: {called}"
            )


def test_one_grid_sample() -> None:
    calls = [p.name for p in MODULES if "grid_sample(" in p.read_text(encoding="utf-8")]
    assert calls == ["warp.py"]


def test_library_does_not_print() -> None:
    for path in MODULES:
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not any(ast.unparse(c.func) == "print" for c in calls), f"{path.name} prints"


def test_entry_point_declares_v3_only() -> None:
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert "comfy_entrypoint" in text
    assert "NODE_CLASS_MAPPINGS" not in text
