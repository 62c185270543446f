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
  previews: (n.imgs || []).filter(i => i.src.startsWith('blob:')).length,
  videos: (n.videoContainer?.querySelectorAll('video') || []).length }))"""

# drawn without a graphics card, 60 pictures a second take a core that the server needs
CALM = "() => app.extensionManager.setting.set('LiteGraph.Canvas.MaximumFps', 8)"
# beside Run, on new pages and on old ones
ARROW = "[data-testid=queue-mode-menu-trigger], [data-testid=queue-button] .p-splitbutton-dropdown"
# a template's title; which of them a page shows first, the host's disk decides
CARD = re.compile(r"^\s*\d+-[a-z-]+\s*$")
DIALOG = "[role=dialog]:visible, .p-dialog:visible"
VIEW = "() => [app.canvas.ds.scale, ...app.canvas.ds.offset]"
FIND = "const node = app.graph._nodes.find(n => n.type === kind)"
# where a point of the graph is on the screen
SPOT = """([x, y]) => {
  const box = app.canvas.canvas.getBoundingClientRect(), ds = app.canvas.ds
  return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
}"""
# [left, top, width, height] of a widget in the graph
WIDGET = f"""([kind, name]) => {{
  {FIND}, widget = node.widgets.find(w => w.name === name)
  return [node.pos[0], node.pos[1] + widget.last_y, node.size[0], 20, widget.value, widget.options]
}}"""
# where a socket is in the graph; side: inputs or outputs
SOCKET = f"""([kind, side, name]) => {{
  {FIND}, slot = node[side].findIndex(s => s.name === name)
  return [...node.getConnectionPos(side === 'inputs', slot)]
}}"""
TITLE = f"kind => {{ {FIND}; return [node.pos[0] + node.size[0] / 2, node.pos[1] - 15] }}"
SHOWN = (
    f"kind => {{ {FIND}; return (node.imgs || []).filter(i => i.naturalWidth > 0).map(i => i.src).join() }}"
)
# milliseconds from the next release of the mouse until a node shows another picture
AWAIT = f"""kind => {{
  {FIND}, seen = () => (node.imgs || []).filter(i => i.complete && i.naturalWidth).map(i => i.src).join()
  const before = seen()
  window.atwPicture = new Promise(done => window.addEventListener('pointerup', () => {{
    const begun = performance.now()
    const timer = setInterval(() => {{
      if (seen() && seen() !== before) {{ clearInterval(timer); done(performance.now() - begun) }}
    }}, 5)
  }}, {{capture: true, once: true}}))
}}"""


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
        return self.page.locator(DIALOG).all_inner_texts()

    def choose(self, pack: str, name: str) -> None:
        """Open a template as a person does, from the page's template browser."""
        self.page.evaluate("() => void app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        offered = self.page.locator(DIALOG)
        offered.get_by_text(pack, exact=True).first.click()
        self.page.evaluate("() => app.graph.clear()")
        wanted = offered.get_by_text(name, exact=True).first
        offered.get_by_text(CARD).first.hover()
        for _ in range(40):  # cards appear as one scrolls
            if wanted.count():
                break
            self.page.mouse.wheel(0, 500)
            self.page.wait_for_timeout(150)
        wanted.click()
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

    def mode(self, name: str) -> None:
        """What the arrow beside Run offers: ``Run``, ``Run (On Change)``, ``Run (Instant)``."""
        self.page.locator(ARROW).click()
        item = self.page.get_by_role("menuitem", name=name, exact=True)
        item.click()
        self.page.wait_for_timeout(500)
        if item.is_visible():  # newer pages leave it open, and swallow the click elsewhere that closes it
            self.page.mouse.click(800, 890)
            item.wait_for(state="hidden")

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the graph is on the screen."""
        return tuple(self.page.evaluate(SPOT, [x, y]))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, between points of the graph."""
        self.page.mouse.move(*self.spot(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.spot(*end), steps=5)
        self.page.mouse.up()

    def slide(self, kind: str, name: str, value: float) -> float:
        """Move a slider with the mouse; seconds until the node shows another picture."""
        left, top, width, height, now, limits = self.page.evaluate(WIDGET, [kind, name])
        inner, low, high = width - 30, limits["min"], limits["max"]  # 15 on either side are not the slider
        places = [(left + 15 + inner * (v - low) / (high - low), top + height / 2) for v in (now, value)]
        self.page.evaluate(AWAIT, kind)
        self.drag(*places)
        found = self.page.evaluate(WIDGET, [kind, name])[4]
        assert abs(found - value) < 0.1, f"the slider was to stand at {value}, it stands at {found}"
        return self.page.evaluate("() => window.atwPicture") / 1000

    def connect(self, kind: str, output: str, to: str, name: str) -> None:
        """Drag a wire, from an output by its name to the input ``name`` of another node."""
        ends = ([kind, "outputs", output], [to, "inputs", name])
        self.drag(*(self.page.evaluate(SOCKET, end) for end in ends))

    def unmute(self, kind: str) -> None:
        """Click a node, press Ctrl+M."""
        self.page.mouse.click(*self.spot(*self.page.evaluate(TITLE, kind)))
        self.page.keyboard.press("Control+m")

    def upload(self, kind: str, path: Path) -> None:
        """Click a node's upload button, choose a file."""
        left, top, width, height, *_ = self.page.evaluate(WIDGET, [kind, "upload"])
        with self.page.expect_file_chooser() as asked:
            self.page.mouse.click(*self.spot(left + width / 2, top + height / 2))
        asked.value.set_files(str(path))
        self.page.wait_for_timeout(1000)

    def shown(self, kind: str) -> bytes:
        """The picture that a node shows, as a file."""
        return self.page.request.get(self.page.evaluate(SHOWN, kind)).body()

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
