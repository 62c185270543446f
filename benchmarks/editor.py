"""How soon the expression editor shows what a slider does: from the release of the mouse to the picture.

    COMFYUI_PATH=~/comfy/ComfyUI python benchmarks/editor.py [--rounds 10] [--markdown FILE]

The template of the editor in a real ComfyUI and a headless Chromium, with Run (On Change), a slider moved by
the mouse: the editor alone (Save Image muted, so that nothing else runs), and the whole template, which also
makes and saves the photo at its own size. Beside it what a prompt took by the server's clock, and its
processor time. Server and page share the processor, and the page draws without a graphics card.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser.page import QUIET, ComfyPage, chromium  # noqa: E402
from tests.host.server import PACK, Server, installed  # noqa: E402

EDITOR = "ATWActionUnits"
MUTE = "kind => { app.graph._nodes.find(n => n.type === kind).mode = 2 }"


def took(server: Server) -> float:
    """Seconds that the last prompt took, by the server's own clock."""
    (entry,) = server.get("/history?max_items=1").values()
    times = {kind: told["timestamp"] for kind, told in entry["status"]["messages"]}
    assert "execution_success" in times, entry["status"]
    return (times["execution_success"] - times["execution_start"]) / 1000


def rest(server: Server) -> None:
    """Wait until nothing is left to do."""
    server.until(lambda: not any(server.get("/queue").values()), 300)
    time.sleep(0.5)


def slid(page: ComfyPage, server: Server, rounds: int) -> list[tuple[float, float, float]]:
    """(click to picture, the prompt on the server, its processor time) in seconds of each move there."""
    found = []
    for k in range(rounds + 1):
        rest(server)
        before = server.busy()
        clicked = page.slide(EDITOR, "AU26", (0.8, 0.1)[k % 2] + 0.05 * (k // 2 % 5))
        rest(server)
        found.append((clicked, took(server), server.busy() - before))
    return found[1:]  # the first warms up


def posted(server: Server, prompt: dict[str, Any], rounds: int) -> list[tuple[float, float, float]]:
    """The same without a page that takes a part of the processor: from the request to the answer."""
    (sliders,) = (n["inputs"] for n in prompt.values() if n["class_type"] == EDITOR)
    found = []
    for k in range(rounds):
        sliders["AU12"] = 0.9 - 0.05 * k
        before, begun = server.busy(), time.monotonic()
        server.good(prompt)
        found.append((time.monotonic() - begun, took(server), server.busy() - before))
    return found


def measured(server: Server, rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(QUIET))
        page = ComfyPage(browser.new_page(viewport={"width": 1600, "height": 900}))
        page.open(server.url)
        page.choose(PACK, "7-expression-editor")
        assert page.run(600, (EDITOR,))[0] == "execution_success"
        page.mode("Run (On Change)")
        whole = slid(page, server, rounds)
        page.page.evaluate(MUTE, "SaveImage")
        alone, prompt = slid(page, server, rounds), page.prompt()
        browser.close()
    found = {"the editor alone": alone, "the whole template": whole}
    return found | {"the editor alone, no page open": posted(server, prompt, rounds)}


def row(name: str, found: list[tuple[float, float, float]]) -> str:
    def told(values: Any) -> str:  # noqa: ANN401
        return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    return f"| {name} | " + " | ".join(told(v) for v in zip(*found, strict=True)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    comfy = installed()
    if comfy is None or chromium() is None:
        sys.exit("needs a ComfyUI (set COMFYUI_PATH) and a Chromium (set CHROMIUM)")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(comfy, Path(folder))
        try:
            server.wait()
            version = server.get("/system_stats")["system"]["comfyui_version"]
            found = measured(server, args.rounds)
        finally:
            server.stop()
    lines = [
        f"| ComfyUI {version}, s | click to picture | the prompt, by the server | its processor time |",
        "|---|---|---|---|",
        *(row(name, values) for name, values in found.items()),
    ]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
