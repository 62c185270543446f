"""What every command shares at the terminal: options within bounds, a progress bar, notes, outputs checked
early.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .types import InputError, OutputError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """Reports a wrong option like every other error: one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def bounded(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], Any]:
    """An option's type: a number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is out of range; expected {low:g} to {high:g}")
        return value

    parse.__name__ = kind.__name__
    return parse


def progress(items: Iterable[T], total: int, quiet: bool, unit: str = "frames") -> Iterator[T]:
    """Pass ``items`` on, with a bar on stderr: done, rate in ``unit`` a second, time left."""
    begun, shown = time.monotonic(), 0.0
    show = not quiet and sys.stderr.isatty()
    for i, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if show and (now - shown > 0.1 or i == total):
            rate, shown = i / max(now - begun, 1e-6), now
            bar = "#" * (30 * i // total)
            sys.stderr.write(
                f"\r[{bar:<30}] {i}/{total}  {rate:.1f} {unit}/s  {(total - i) / rate:.0f} s left "
            )
            sys.stderr.flush()
    if show:
        sys.stderr.write("\n")


def say(*notes: str | None) -> None:
    """A line on stderr for each of them that is something."""
    sys.stderr.writelines(f"note: {note}\n" for note in notes if note)


def pick_device(name: str) -> torch.device:
    """The device of ``--device``; ``auto`` is the GPU where there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        why = str(e).splitlines()[0]
        raise InputError(f"--device {name}: not usable here ({why}); expected auto, cpu, cuda or mps") from e
    return device


def is_still(output: Path, single: bool) -> bool:
    """Whether ``output`` is a picture; WebP is one if there is a ``single`` frame."""
    from .files import STILL_SUFFIXES

    suffix = output.suffix.lower()
    return suffix in STILL_SUFFIXES and not output.is_dir() and (single or suffix != ".webp")


def check_output(path: Path, what: str) -> None:
    """Fail before the work rather than after it."""
    from .files import CLIP_SUFFIXES, STILL_SUFFIXES

    suffix = path.suffix.lower()
    if suffix and suffix not in (*STILL_SUFFIXES, *CLIP_SUFFIXES) and not path.is_dir():
        known = ", ".join(dict.fromkeys((*CLIP_SUFFIXES, *STILL_SUFFIXES)))
        raise OutputError(
            f"{what} {path}: unknown suffix {suffix!r}; expected one of {known}, or a new folder's name"
        )
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"{what} {path}: there is no folder {parent}; create it or choose another")
