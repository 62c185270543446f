"""Servers started in other ways. Each takes its time to start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import PROBE
from .prompts import clip, images, measured, parts, picture, reswarp, saved
from .server import Server

pytestmark = pytest.mark.slow


def smoke(server: Server) -> None:
    """A still of bytes, one of floats and a clip; strength 0 is the photo."""
    server.wait()
    box = {"n3_where": "box", "n3_side": 100, "n5_target": False}
    for strength in (0.0, 1.0):
        prompt = reswarp(parts(**box, n5_strength=strength)) | {"1": picture("float", 130, 110)}
        found = measured(server, prompt, ["8", 0], ["1", 0], ["3", 1])
        assert found["outside"] == 0 and (found["apart"] == 0) == (strength == 0)
        assert found["type"] == "torch.float32"
    assert server.files(server.good(images(reswarp(parts()), ["8", 0])), "99")
    assert server.files(server.good(clip(parts(n7_frames=3))), "9")
    assert "IMPORT FAILED" not in server.text()


def test_without_a_cache_without_metadata_read_only_models(comfy: Path, tmp_path: Path) -> None:
    flags = ("--cache-none", "--disable-metadata", "--disable-smart-memory", "--force-fp16")
    server = Server(comfy, tmp_path, flags, (PROBE,))
    try:
        smoke(server)
        (file,) = server.files(server.good(saved(parts(n7_frames=2))), "8")
        assert b"ATWExpression" not in file.read_bytes(), "no workflow where the host was told not to"
        pack = (tmp_path / "custom_nodes").resolve()
        assert not list(pack.glob("*/output")) and not list(pack.glob("*/temp")), "nothing is written here"
    finally:
        server.stop()


@pytest.mark.gpu
@pytest.mark.parametrize("flag", ["--normalvram", "--lowvram", "--novram", "--highvram", "--gpu-only"])
def test_on_a_graphics_card(comfy: Path, tmp_path: Path, flag: str) -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no graphics card here")
    server = Server(comfy, tmp_path, (flag,), (PROBE,))
    try:
        smoke(server)
        devices = json.dumps(server.get("/system_stats")["devices"])
        assert "cuda" in devices
    finally:
        server.stop()
