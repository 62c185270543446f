"""One server for all tests of this folder; skipped, saying so, where there is no ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import Server, installed


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    comfy = installed()
    if comfy is None:
        pytest.skip("no ComfyUI here: set COMFYUI_PATH, or install it to ~/comfy/ComfyUI")
    running = Server(comfy, tmp_path_factory.mktemp("comfy"))
    try:
        running.wait()
        yield running
    finally:
        running.stop()
