"""One server for all tests of this folder; skipped, saying so, where there is no ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Server, installed

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
    running = Server(comfy, tmp_path_factory.mktemp("comfy"), others=(PROBE,))
    try:
        running.wait()
        yield running
    finally:
        running.stop()
