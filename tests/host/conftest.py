"""One server for all tests of this folder; skipped, saying so, where there is no ComfyUI."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import ROOT, Server, installed, python_of

PROBE = Path(__file__).with_name("probe.py")


@pytest.fixture(scope="session")
def comfy() -> Path:
    """Where ComfyUI is."""
    found = installed()
    if found is None:
        pytest.skip("no ComfyUI here: set COMFYUI_PATH, or install it to ~/comfy/ComfyUI")
    return found


@pytest.fixture(scope="session")
def server(comfy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # bytecode as any start but the very first finds it, wherever Python was told not to write any
    ours = [ROOT / "atw_nodes", ROOT / "nodes.py", ROOT / "__init__.py"]
    subprocess.run([python_of(comfy), "-m", "compileall", "-q", *map(str, ours)], check=True)
    running = Server(comfy, tmp_path_factory.mktemp("comfy"), others=(PROBE,))
    try:
        running.wait()
        yield running
    finally:
        running.stop()
