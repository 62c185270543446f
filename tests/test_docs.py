"""The pages: links that lead somewhere, small figures, an API page that says what the code says; CI's files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name: str) -> dict:
    loaded = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    loaded["on"] = loaded.pop(True)  # YAML 1.1 reads the key "on" as true
    return loaded


def test_tests_run_the_readmes_command_on_the_oldest_python_and_a_newer_one() -> None:
    job = workflow("test.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.12"]
    command = job["steps"][-1]["run"]
    assert command.startswith("make test")
    pinned = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert pinned and f"TORCH={pinned[1]}+cpu" in command


def test_publishing_waits_for_a_version_and_takes_the_token_from_the_secrets() -> None:
    flow = workflow("publish.yml")
    assert flow["on"]["push"] == {"branches": ["main"], "paths": ["pyproject.toml"]}
    publish = flow["jobs"]["publish"]
    assert publish["needs"] == "version" and "fresh == 'true'" in publish["if"]
    (action,) = [s for s in publish["steps"] if "publish-node-action" in s["uses"]]
    assert action["with"] == {"personal_access_token": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}


@pytest.mark.parametrize(
    ("before", "now", "asked", "fresh"),
    [
        ("0.1.0", "0.1.0", "false", "false"),
        ("0.1.0", "0.2.0", "false", "true"),
        (None, "0.1.0", "false", "true"),
        ("0.1.0", "0.1.0", "true", "true"),
    ],
)
def test_a_version_is_fresh_if_it_changed(
    tmp_path: Path, before: str | None, now: str, asked: str, fresh: str
) -> None:
    """The step's own script, in a repository."""
    (script,) = [s["run"] for s in workflow("publish.yml")["jobs"]["version"]["steps"] if "run" in s]

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(version: str) -> str:
        (tmp_path / "pyproject.toml").write_text(
            f'[project]\nversion = "{version}" # note\n[x]\n', encoding="utf-8"
        )
        git("add", ".")
        git("commit", "--quiet", "--allow-empty", "-m", "x")
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    first = commit(before) if before else "0" * 40
    commit(now)
    out = tmp_path / "out.txt"
    env = {"BEFORE": first, "ASKED": asked, "GITHUB_OUTPUT": str(out), "PATH": "/usr/bin:/bin"}
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=tmp_path, check=True, env=env
    )
    assert out.read_text(encoding="utf-8") == f"fresh={fresh}\n"
