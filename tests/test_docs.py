"""The pages: links that lead somewhere, small figures, an API page that says what the code says; CI's files."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from atw_nodes import __version__
from atw_nodes.train_config import RunConfig

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


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    found: set[str] = set()
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := re.match(r"#+ +(.*)", line)):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            stem = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            found.add(next(s for n in range(999) if (s := f"{stem}-{n}" if n else stem) not in found))
    return found


def broken(page: Path, text: str) -> list[str]:
    """Relative links of ``text``, as of ``page``, that lead nowhere."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    faults = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(ROOT)
        if not inside or not target.exists() or (anchor and anchor not in anchors(target)):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["[x](nothing.md)", "![x](figures/nothing.jpg)", "[x](README.md#no-such-heading)", "[x](../../x)"]
)
def test_a_link_that_leads_nowhere_is_found(text: str) -> None:
    assert broken(ROOT / "docs" / "README.md", text)
    assert not broken(ROOT / "docs" / "README.md", f"```\n{text}\n```\n[x](README.md#documentation)")


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in PAGES[1:] if p.name != "README.md" and f"({p.name})" not in index] == []


def test_figures_are_small_and_used() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in PAGES)
    for figure in (ROOT / "docs" / "figures").iterdir():
        assert figure.stat().st_size < 250_000, figure.name
        assert f"figures/{figure.name}" in text, figure.name


def test_the_api_page_says_what_the_docstrings_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "api_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_option_of_training_is_explained() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(
        encoding="utf-8"
    )
    losses = [f.name for f in fields(RunConfig) if f.name.startswith("lambda_")]
    assert [n for n in [*losses, "sigma", "n_critic", "rate", "ema"] if f"`{n}`" not in text] == []


def test_the_changelog_has_a_heading_for_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", text, re.M)
    assert released[:1] == [__version__]
