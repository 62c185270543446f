"""ComfyUI's page in a headless Chromium, used as a person does: pick a template, press Run, look."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET += ("--disable-background-networking", "--disable-component-update")
READY = "() => window.app?.extensionManager?.command && app.canvas && app.graph && window.comfyAPI?.api?.api"
WATCH = """() => {
  window.atwEnd = null
  for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
    comfyAPI.api.api.addEventListener(kind, e => { window.atwEnd = [kind, e.detail] })
}"""
NODES = """() => app.graph._nodes.map(n => ({
  id: n.id, type: n.type, mode: n.mode, pos: [...n.pos], size: [...n.size], errors: !!n.has_errors,
  known: n.type in LiteGraph.registered_node_types,
  pictures: (n.imgs || []).filter(i => i.naturalWidth > 0).length,
  videos: (n.videoContainer?.querySelectorAll('video') || []).length }))"""

# drawn without a graphics card, 60 pictures a second take a core that the server needs
CALM = "() => app.extensionManager.setting.set('LiteGraph.Canvas.MaximumFps', 8)"
VIEW = "() => [app.canvas.ds.scale, ...app.canvas.ds.offset]"


def chromium() -> str | None:
    """Where it is: $CHROMIUM, or on the path."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for n in names if n and (found := shutil.which(n))), None)


class ComfyPage:
    """``page``: Playwright's. Every error that the console shows is kept until ``fresh``."""

    def __init__(self, page: Any) -> None:  # noqa: ANN401
        self.page, self.errors = page, []
        page.on("console", self._heard)
        page.on("pageerror", lambda e: self.errors.append(f"uncaught: {e}"))

    def _heard(self, message: Any) -> None:  # noqa: ANN401
        if message.type == "error":
            place = str(message.location.get("url", ""))
            self.errors.append(f"{message.text} ({place})")

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_function(READY, timeout=120_000)
        self.page.evaluate(WATCH)
        self.page.evaluate(CALM)
        self.page.wait_for_timeout(1500)  # a first visit opens the templates by itself
        self.fresh()

    def fresh(self) -> None:
        """Close what lies over the graph, forget the errors."""
        for _ in range(3):
            if not self.dialogs():
                break
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(300)
        self.errors.clear()

    def faults(self, pack: str) -> list[str]:
        """The errors that are ours: uncaught ones, and those that name the pack or its nodes."""
        return [e for e in self.errors if e.startswith("uncaught") or pack in e or "ATW" in e]

    def dialogs(self) -> list[str]:
        """The words of every dialog that is open."""
        return self.page.locator("[role=dialog]:visible, .p-dialog:visible").all_inner_texts()

    def choose(self, pack: str, name: str) -> None:
        """Open a template as a person does, from the page's template browser."""
        self.page.evaluate("() => void app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self.page.get_by_text(pack, exact=True).first.click()
        self.page.evaluate("() => app.graph.clear()")
        self.page.get_by_text(name, exact=True).first.click()
        self.page.wait_for_function("() => app.graph._nodes.length > 0")
        self.page.wait_for_timeout(600)
        self.whole()

    def whole(self) -> None:
        """Bring the whole graph into view: what is out of it is not drawn and loads no picture."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        before, now = None, self.page.evaluate(VIEW)
        while before != now:  # it glides there
            self.page.wait_for_timeout(400)
            before, now = now, self.page.evaluate(VIEW)

    def load(self, graph: dict[str, Any]) -> None:
        """Open a file, as when it is dropped onto the page."""
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_timeout(300)

    def nodes(self) -> list[dict[str, Any]]:
        return self.page.evaluate(NODES)

    def prompt(self) -> dict[str, Any]:
        """What Run would send."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def saved(self) -> dict[str, Any]:
        """What Save would write."""
        return self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")

    def run(self, seconds: float, shown: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
        """Press Run, wait for the end, and for a picture on every node of the kinds ``shown``;
        (how it ended, what was told).
        """
        self.page.evaluate("() => { window.atwEnd = null }")
        self.page.get_by_role("button", name=re.compile(r"^\s*Run\s*$")).first.click()
        try:
            self.page.wait_for_function("() => window.atwEnd", timeout=seconds * 1000)
        except Exception:
            self.page.evaluate("() => comfyAPI.api.api.interrupt()")  # the next test wants the queue empty
            raise
        for _ in range(20):  # pictures arrive after the end
            if not self.blind(shown):
                break
            self.page.wait_for_timeout(250)
        return tuple(self.page.evaluate("() => window.atwEnd"))

    def blind(self, shown: tuple[str, ...]) -> list[str]:
        """Nodes of the kinds ``shown`` that show nothing."""
        alive = [n for n in self.nodes() if n["mode"] == 0 and n["type"] in shown]
        return [n["type"] for n in alive if not n["pictures"] + n["videos"]]

    def shoot(self, path: Path, width: int = 1920, height: int = 1080) -> None:
        """A picture of the page, the whole graph in view."""
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(700)
        for name in ("Comfy.Minimap.Visible", "Comfy.Graph.CanvasInfo"):
            self.page.evaluate("n => app.extensionManager.setting.set(n, false)", name)
        self.page.mouse.move(width // 2, height - 20)
        self.whole()
        self.page.screenshot(path=str(path))
        self.page.set_viewport_size(before)
