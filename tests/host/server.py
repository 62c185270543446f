"""A real ComfyUI with this pack, in a folder of its own, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACK = "Other-name"  # any folder name will do; where it has a space, hosts with a new aiohttp serve no help pages


def installed() -> Path | None:
    """Where ComfyUI is: $COMFYUI_PATH, or comfy-cli's default."""
    for place in (os.environ.get("COMFYUI_PATH"), "~/comfy/ComfyUI"):
        if place and (Path(place).expanduser() / "main.py").is_file():
            return Path(place).expanduser()
    return None


def python_of(comfy: Path) -> str:
    """Its Python: $COMFYUI_PYTHON, a virtual environment inside it, or this one."""
    inside = [comfy / v / "bin" / "python" for v in (".venv", "venv")]
    found = [os.environ.get("COMFYUI_PYTHON", ""), *(str(p) for p in inside if p.is_file()), sys.executable]
    return next(f for f in found if f)


CARD = {"--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram"}  # none goes with --cpu


class RefusedError(Exception):
    """The server's answer to a prompt that it does not take."""


class Server:
    """``folder``: everything it writes. flags: beside --cpu, or on the graphics card if one of them says
    how much of it to use. others: single-file packs beside ours.
    """

    def __init__(
        self, comfy: Path, folder: Path, flags: tuple[str, ...] = (), others: tuple[Path, ...] = ()
    ) -> None:
        self.folder = folder
        for name in ("custom_nodes", "models/atw", "input", "output", "temp", "user"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        link = folder / "custom_nodes" / PACK
        if not link.exists():
            link.symlink_to(ROOT)
        for other in others:
            shutil.copy(other, folder / "custom_nodes" / other.name)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        command = [python_of(comfy), "main.py", "--port", str(self.port)]
        command += [] if CARD & set(flags) else ["--cpu"]
        command += ["--base-directory", str(folder), "--database-url", f"sqlite:///{folder}/comfy.db", *flags]
        self._file = self.log.open("w")
        # threads that spin while they wait make a busy machine four times as slow
        calm = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            command, cwd=comfy, stdout=self._file, stderr=subprocess.STDOUT, env=calm
        )

    def wait(self, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError(f"ComfyUI did not start:\n{self.text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._file.close()

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace")

    def raw(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:  # noqa: ANN401
        return json.loads(self.raw(path))

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            raise RefusedError(e.read().decode()) from None
        return json.loads(text) if text else None

    def start(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt; its id."""
        return self.post("/prompt", {"prompt": prompt, "client_id": uuid.uuid4().hex})["prompt_id"]

    def finish(self, number: str, seconds: float = 900) -> dict[str, Any]:
        """Its entry in the history, once it ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.get(f"/history/{number}").get(number)
            if entry and entry["status"].get("status_str") in ("success", "error"):
                return entry
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI died:\n{self.text()[-3000:]}")
            time.sleep(0.1)
        raise TimeoutError(f"prompt {number} is still running after {seconds} s")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue, wait, and return the history entry."""
        return self.finish(self.start(prompt))

    def good(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """``run``, which has to succeed."""
        entry = self.run(prompt)
        assert entry["status"]["status_str"] == "success", error_of(entry)
        return entry

    def error(self, prompt: dict[str, Any]) -> str:
        """What ``run`` shows on the node that fails, as it has to."""
        entry = self.run(prompt)
        assert entry["status"]["status_str"] == "error", "was expected to fail"
        return error_of(entry)

    def files(self, entry: dict[str, Any], *nodes: str) -> list[Path]:
        """Every file that the run shows, or those of ``nodes`` alone."""
        found = []
        for node, shown in entry["outputs"].items():
            if nodes and node not in nodes:
                continue
            for kind in ("images", "gifs", "video"):
                for f in shown.get(kind, []):
                    if isinstance(f, dict) and "filename" in f:
                        found.append(self.folder / f["type"] / f.get("subfolder", "") / f["filename"])
        return found

    def until(self, test: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                raise TimeoutError("waited in vain")
            time.sleep(0.02)

    def busy(self) -> float:
        """Seconds of processor time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Peak resident memory in bytes since the last ``reset_peak``."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def error_of(entry: dict[str, Any]) -> str:
    """The message shown on the node that failed."""
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_error":
            return f"{data['node_type']}: {data['exception_message']}"
    return ""
