"""One server and one page for all tests of this folder; skipped, saying what is missing, where they cannot be.

ATW_FRONTEND=FOLDER     a comfyui-frontend-package's ``static`` folder, instead of the host's own page
ATW_SHOTS=FOLDER        pictures of every graph after its run are put there
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.host.server import ROOT, Server, installed

from .page import QUIET, ComfyPage, chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("playwright", reason="no driver here: pip install playwright")
    if chromium() is None:
        pytest.skip("no Chromium here: install it, or set CHROMIUM")
    comfy = installed()
    if comfy is None:
        pytest.skip("no ComfyUI here: set COMFYUI_PATH, or install it to ~/comfy/ComfyUI")
    page = os.environ.get("ATW_FRONTEND")
    running = Server(
        comfy, tmp_path_factory.mktemp("comfy"), ("--front-end-root", os.path.abspath(page)) if page else ()
    )
    shutil.copy(
        ROOT / "assets" / "icon.png", running.folder / "input" / "example.png"
    )  # every ComfyUI has one
    try:
        running.wait()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[ComfyPage]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(QUIET))
        shown = ComfyPage(browser.new_page(viewport={"width": 1600, "height": 900}))
        shown.open(server.url)
        yield shown
        browser.close()
