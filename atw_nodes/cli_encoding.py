"""How the command line has clips encoded: the options of every command that writes some."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .encoders import CHROMA, CODECS, HARDWARE, encoding
from .terminal import bounded
from .types import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a clip is encoded."""
    parser.add_argument("--codec", choices=CODECS, help="of a clip (default: h264; vp9 in .webm)")
    parser.add_argument("--chroma", choices=CHROMA, help="444: colour as sharp as light (default: 420)")
    parser.add_argument("--hardware", choices=HARDWARE,
                        help="encode on a chip; auto: on one that works, else on the processor")  # fmt: skip
    parser.add_argument("--quality", type=bounded(int, 1, 100), metavar="1..100",
                        help="of a clip, as for JPEG (default: 90)")  # fmt: skip


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What of it ``ClipWriter`` is to be told."""
    names = ("codec", "chroma", "hardware", "quality")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def check_options(args: argparse.Namespace, output: Path, still: bool = False) -> None:
    """Refuse what does not fit ``output``, before any work."""
    given = options_of(args)
    if still and given:
        raise InputError(f"--{next(iter(given))} is for clips, {output} is a picture; leave it out")
    if not still:
        given.pop("quality", None)
        encoding(output, **given)
