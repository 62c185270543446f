"""The architecture, held by reading every import: strictly downward, no host, nothing unsafe."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "atw_nodes"
FLOORS: dict[int, set[str]] = {
    0: {"threads", "train_weights", "types"},
    1: {
        "distributed",
        "encoders",
        "extras",
        "files",
        "peaks",
        "pipeline",
        "precision",
        "pyramid",
        "signals",
        "sound",
        "warp",
    },
    2: {
        "ab_page",
        "clips",
        "detail_network",
        "discriminators",
        "expressions",
        "face_network",
        "flow",
        "folds",
        "frames",
        "idle",
        "images",
        "losses",
        "mediapipe_landmarks",
        "networks",
        "sheets",
        "signal_curves",
        "signal_plot",
        "tiles",
        "tracking",
        "video",
    },
    3: {
        "lift_motion",
        "kernels",
        "checkpoints",
        "data",
        "detail",
        "keyframes",
        "metrics",
        "metrics_networks",
        "paper_losses",
        "pictures",
        "signal_csv",
        "signal_sources",
    },
    4: {"reswarp", "driving", "faces", "manifest", "signal_files", "train_card", "training_state"},
    5: {
        "lift",
        "generation",
        "lift_crop",
        "sockets",
        "several",
        "label_sampler",
        "manifest_sources",
        "prepare",
        "signal_video",
        "terminal",
        "training",
    },
    6: {
        "animate",
        "cli_encoding",
        "algorithm",
        "cli_faces",
        "cli_signals",
        "cli_manifest",
        "dataset_view",
        "evaluate_pairs",
        "evaluate_report",
        "render_jobs",
    },
    7: {
        "evaluate_methods",
        "measuring",
        "example_faces",
        "video_source",
        "ray_pool",
        "render_table",
        "train_config",
        "worker_pool",
    },
    8: {"rendering", "cli_lift", "cli_video", "cli_render", "train_run", "evaluate"},
    9: {"cli_train", "cli_evaluate", "train_live"},
    10: {"cli", "host"},
    11: {"__main__", "nodes_guard", "nodes_video"},
    12: {"nodes_parts"},
    13: {"nodes_dataset", "nodes_metrics", "nodes_motion", "nodes_signals", "nodes_units"},
    14: {"nodes_clip", "nodes_sources", "nodes_training"},
    15: {"nodes_lift", "nodes_several"},
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
FORBIDDEN = ("pickle", "cv2", "mediapipe", "insightface")
# (room, package): inside a function there, nowhere else: the test below
OPTIONAL = {("mediapipe_landmarks", "mediapipe"), ("extras", "cv2")}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import; a ``from`` import names what it takes as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = f"{node.module}." if node.module else ""
            yield from ((node.level, stem + alias.name) for alias in node.names)


def broken(name: str, source: str) -> list[str]:
    """What a module of the package, ``name`` its path inside it, does against the table."""
    tree = ast.parse(source)
    parts = name.removesuffix(".py").split("/")
    here, faults = parts[0], []
    for level, imported in imports(tree):
        first, leaf = imported.split(".")[0], imported.split(".")[-1]
        if level > len(parts):
            faults.append(f"reaches out of the package: {imported}")
        elif level == len(parts):  # relative to the package itself
            if first != here and first != "__version__" and FLOOR.get(first, 99) >= FLOOR[here]:
                faults.append(f"floor {FLOOR[here]} imports {first} (floor {FLOOR.get(first, 'none')})")
        elif level == 0:
            if first == "atw_nodes":
                faults.append(f"absolute import of {imported}; the pack runs under any folder name")
            if first in HOST and not (here == "host" or here.startswith("nodes_")):
                faults.append(f"imports {first}; only host.py and the nodes may")
            if first in FORBIDDEN and (here, first) not in OPTIONAL:
                faults.append(f"imports {first}")
            if imported == "torch.load" or (leaf == "grid_sample" and name != "warp.py"):
                faults.append(f"imports {imported}")
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    faults += [f"calls {c}" for c in called & {"eval", "exec", "torch.load", "os.system", "print"}]
    faults += ["calls grid_sample"] * (name != "warp.py" and any(c.endswith("grid_sample") for c in called))
    return faults


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_keep_to_the_table(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return  # loads lazily from any room
    assert here in FLOOR, f"{path.name} has no floor; put it on the table of this test and of ARCHITECTURE"
    name = path.relative_to(PACKAGE).as_posix()
    faults = broken(name, path.read_text(encoding="utf-8"))
    assert not faults, f"{name}: {'; '.join(faults)}"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("warp.py", "from .reswarp import decompose"),
        ("warp.py", "from . import pyramid"),
        ("warp.py", "from . import types, animate"),
        ("warp.py", "def f():\n    from ..nodes import AtwExtension"),
        ("cli.py", "def f():\n    from .host import device"),
        ("kernels/eager.py", "from ..animate import animate"),
        ("kernels/eager.py", "from ...nodes import AtwExtension"),
        ("data.py", "import comfy.utils"),
        ("data.py", "import atw_nodes.types"),
        ("data.py", "from pickle import loads"),
        ("data.py", "from torch import load"),
        ("data.py", "torch.load('x')"),
        ("data.py", "eval('1')"),
        ("data.py", "print('x')"),
        ("tiles.py", "F.grid_sample(a, b)"),
        ("tiles.py", "from torch.nn.functional import grid_sample as g"),
    ],
)
def test_the_table_is_enforced(name: str, source: str) -> None:
    assert broken(name, source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("warp.py", "from .types import Motion\nF.grid_sample(a, b)"),
        ("kernels/eager.py", "from ..warp import backward_warp\nfrom .fused import f"),
        ("cli.py", "from . import __version__, animate"),
        ("host.py", "import comfy.utils, folder_paths"),
        ("nodes_clip.py", "import comfy.utils"),
    ],
)
def test_the_table_allows_what_it_should(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOOR, "nodes_clip", 6)
    assert broken(name, source) == []


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


def test_entry_point_declares_v3_only() -> None:
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert "comfy_entrypoint" in text
    assert "NODE_CLASS_MAPPINGS" not in text


@pytest.mark.parametrize(("name", "package"), sorted(OPTIONAL))
def test_the_optional_import_waits_until_it_is_called(name: str, package: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    top = [
        name
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for _, name in imports(node)
    ]
    assert package in {name for _, name in imports(tree)}
    assert not any(name.split(".")[0] == package for name in top)
