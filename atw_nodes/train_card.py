"""The card of a checkpoint that was trained here: what it is, what it was made from, how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoints import read_tensors, weights_sha
from .networks import GeneratorConfig
from .types import SignalSpec

_KIND = {
    "category": "one of the categories",
    "absolute": "units as the face is to show them, 0 to 1",
    "relative": "change of the units, from -1 to 1",
}


def card(path: Path, signal: SignalSpec, config: GeneratorConfig, facts: Mapping[str, Any]) -> str:
    """Markdown for the checkpoint at ``path``. facts: its metadata's ``training``."""
    tensors, _ = read_tensors(path)
    count = sum(v.numel() for v in tensors.values())
    settings, losses = facts.get("settings", {}), facts.get("losses", {})
    start = f", from {facts['from']}" if facts.get("from") else ""
    lines = [
        f"# {path.stem}",
        "",
        f"{count / 1e6:.1f} million parameters, {config.size} x {config.size}, "
        f"{path.stat().st_size / 1e6:.1f} MB.",
        "",
        f"SHA-256 of the weights: `{weights_sha(tensors)}`",
        "",
        "| | |",
        "|---|---|",
        f"| signal | {signal.kind}: {_KIND[signal.kind]}: {', '.join(signal.names)} |",
        f"| made by | {facts.get('steps')} steps of the paper's Algorithm 1{start} |",
        f"| data | {facts.get('data')}, {facts.get('skipped', 0)} left out |",
        f"| licence of the data | {facts.get('licence')} |",
        "",
        "## Losses, mean of the last 100 steps",
        "",
        "| loss | value |",
        "|---|---|",
        *(f"| {name} | {value:g} |" for name, value in losses.items()),
        "",
        "## Settings",
        "",
        "```toml",
        *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),  # TOML writes these alike
        "```",
        "",
        "## Not known",
        "",
        "Nobody has written here yet whom it works for, on whom it was measured, and what it is not for.",
        "",
    ]
    return "\n".join(lines)
