"""Signals made by hand: keyframes, idle motion, blends; looked at as a plot; kept in files."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui

from .driving import Driving, as_signal
from .expressions import presets
from .host import inside, output_name, to_image
from .idle import blinks, idle
from .keyframes import INTERPOLATIONS, parse_keyframes, sequence
from .nodes_guard import guarded, schema
from .nodes_parts import SignalSocket
from .signal_curves import BLENDS, blend, resample
from .signal_files import load_signal, save_signal
from .signal_plot import plot
from .signals import MAX_SECONDS, MAX_STEPS, UNITS
from .types import AtwError, InputError, Signal

KEYFRAMES = """# seconds: units and expressions
0:
0.8: smiling=0.9
1.6: smiling=0.9
1.8: smiling=0.9, AU45=1
2.0: smiling=0.9
2.8:"""
ASSETS = Path(__file__).resolve().parents[1] / "assets" / "signals"
EXAMPLES = {f"example: {n}": ASSETS / n for n in ("talking.csv", "delighted.json")}  # append only
SIGNAL_FILES = (".json", ".csv")
FORMATS = ["json", "csv"]  # append only: shared workflows name them


def rate_input() -> Any:  # noqa: ANN401 (the host's type)
    return io.Float.Input(
        "fps", default=24.0, min=1.0, max=120.0, step=1.0, tooltip="Steps a second: the clip's frames."
    )


# --- files of the input folder ----------------------------------------------------------------------------


def input_names(*suffixes: str) -> list[str]:
    """Our own examples, then files right in ComfyUI's input folder, that end so."""
    found: list[str] = []
    with suppress(OSError), os.scandir(folder_paths.get_input_directory()) as entries:
        found = [e.name for e in entries if e.name.lower().endswith(suffixes) and e.is_file()]
    return [*(n for n in EXAMPLES if n.endswith(suffixes)), *sorted(found)]


def input_file(name: str, *suffixes: str) -> Path:
    """The file of a name from ``input_names``, and of nothing else."""
    folder = Path(folder_paths.get_input_directory())
    if name not in input_names(*suffixes):
        raise InputError(
            f"{str(name)[:200]!r} is no file in ComfyUI/input; put a {' or '.join(suffixes)} file right there "
            "and refresh the page (R)"
        )
    return EXAMPLES[name] if name in EXAMPLES else inside(folder / name, [folder])


def file_input(*suffixes: str) -> Any:  # noqa: ANN401
    return io.Combo.Input(
        "file",
        options=input_names(*suffixes),
        tooltip=f"A {' or '.join(suffixes)} file in ComfyUI/input, or an example. Refresh the page (R) after adding one.",
    )


def complaint(check: Callable[[], Any]) -> bool | str:
    """What the host wants of ``validate_inputs``: True, or what is wrong."""
    try:
        check()
    except AtwError as e:
        return str(e)
    return True


def stamp(name: str, *suffixes: str) -> str:
    """Changes when the file does."""
    stat = input_file(name, *suffixes).stat()
    return f"{name} {stat.st_mtime_ns} {stat.st_size}"


# --- nodes ------------------------------------------------------------------------------------------------


class Keyframes(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWKeyframes",
            display_name="ATW Keyframes",
            category="ATW",
            description="The face at a few moments, written as text; everything between is interpolated.",
            search_aliases=["timeline", "animation curve", "schedule"],
            inputs=[
                io.String.Input(
                    "text",
                    default=KEYFRAMES,
                    multiline=True,
                    tooltip="A line a keyframe: seconds, a colon, then units and expressions, as in 0.5: AU12=0.8, AU45=1. What a keyframe does not name is 0 there.",
                ),
                rate_input(),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=MAX_SECONDS,
                    step=0.1,
                    tooltip="Length; 0 ends with the last keyframe.",
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(INTERPOLATIONS),
                    default="ease",
                    tooltip="How a keyframe goes on to the next, where its line does not say.",
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    def validate_inputs(cls, text: str | None = None) -> bool | str:  # None where it comes over a wire
        return complaint(lambda: text is None or parse_keyframes(text, expressions=presets()))

    @classmethod
    @guarded
    def execute(cls, text: str, fps: float, seconds: float, interpolation: str) -> io.NodeOutput:
        keys = parse_keyframes(text, expressions=presets())
        made = sequence(keys, fps, seconds or None, tuple(UNITS), interpolation)
        return io.NodeOutput(made)


class BlendSignals(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWBlendSignals",
            display_name="ATW Blend Signals",
            category="ATW",
            description="Two signals in one: added, mixed, or unit by unit the stronger one. A signal of one step holds for all steps of the other.",
            search_aliases=["combine signals", "add expressions", "mix signals"],
            inputs=[
                SignalSocket.Input("a", tooltip="A named expression counts as the change that it adds."),
                SignalSocket.Input("b", tooltip="A named expression counts as the change that it adds."),
                io.Combo.Input(
                    "how",
                    options=list(BLENDS),
                    default="add",
                    tooltip="add: a + amount x b. mix: from a (amount 0) to b (amount 1). max: of a and amount x b what is further from 0.",
                ),
                io.Float.Input("amount", default=1.0, min=-2.0, max=2.0, step=0.05, tooltip="How much of b."),
                io.Boolean.Input(
                    "fit",
                    default=True,
                    label_on="b follows a",
                    label_off="must match",
                    tooltip="b follows a: b is brought to a's frame rate and length; its last step is held, what is beyond a is cut.",
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    @guarded
    def execute(cls, a: Driving, b: Driving, how: str, amount: float, fit: bool) -> io.NodeOutput:
        first, second = as_signal(a), as_signal(b)
        return io.NodeOutput(blend(first, fitted(second, first) if fit else second, how, amount))


def fitted(signal: Signal, to: Signal) -> Signal:
    """``signal`` at the rate and the length of ``to``, where both have more than one step."""
    if 1 in (len(signal), len(to)):
        return signal
    if to.fps and signal.fps and abs(to.fps - signal.fps) > 1e-6:
        signal = resample(signal, fps=to.fps)
    steps = torch.arange(len(to)).clamp(max=len(signal) - 1)
    return replace(signal, values=signal.values[steps], fps=to.fps)


class IdleMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWIdleMotion",
            display_name="ATW Idle Motion",
            category="ATW",
            description="Signs of life for a face at rest: blinks at irregular moments, and small slow movements of brows, lids and lips.",
            search_aliases=["blink", "breathing", "idle animation", "noise"],
            inputs=[
                io.Int.Input(
                    "seed", default=0, min=0, max=2**32 - 1, tooltip="Another seed, another course."
                ),
                io.Int.Input("frames", default=120, min=1, max=MAX_STEPS, tooltip="Length of the clip."),
                rate_input(),
                io.Float.Input(
                    "blinks",
                    default=15.0,
                    min=0.0,
                    max=60.0,
                    step=1.0,
                    tooltip="Blinks a minute on average: 17 at rest, 26 in conversation, 4 to 5 reading.",
                ),
                io.Float.Input(
                    "closing",
                    default=1.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="How far the lids close: 1 is shut.",
                ),
                io.Float.Input(
                    "motion", default=1.0, min=0.0, max=3.0, step=0.1, tooltip="How much the rest moves."
                ),
            ],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    @guarded
    def execute(
        cls,
        seed: int,
        frames: int,
        fps: float,
        blinks: float,  # noqa: A002
        closing: float,
        motion: float,
    ) -> io.NodeOutput:
        lids = _blinks(frames, fps, seed, blinks, closing)
        return io.NodeOutput(blend(idle(frames, fps, seed, motion), lids))


_blinks = blinks  # the input of the node above has this name


class SignalPlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSignalPlot",
            display_name="ATW Signal Plot",
            category="ATW",
            description="A signal as a picture: one line a unit that moves, over seconds.",
            search_aliases=["graph", "chart", "curve preview"],
            inputs=[
                SignalSocket.Input("signal"),
                io.Int.Input("width", default=768, min=200, max=4096, step=8, tooltip="In pixels."),
                io.Int.Input("height", default=384, min=100, max=4096, step=8, tooltip="In pixels."),
            ],
            outputs=[io.Image.Output(display_name="image")],
            is_output_node=True,  # it shows the plot itself
        )

    @classmethod
    @guarded
    def execute(cls, signal: Driving, width: int, height: int) -> io.NodeOutput:
        shown = to_image(plot(as_signal(signal), width, height))
        return io.NodeOutput(shown, ui=ui.PreviewImage(shown, cls=cls))


class SaveSignal(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSaveSignal",
            display_name="ATW Save Signal",
            category="ATW",
            description="Keeps a signal in ComfyUI's output folder, as JSON (exact) or CSV (for spreadsheets). With a single step it is an expression of your own.",
            search_aliases=["export signal", "save expression", "preset"],
            inputs=[
                SignalSocket.Input("signal", tooltip="A named expression counts as the change that it adds."),
                io.String.Input(
                    "filename_prefix", default="signals/ATW", tooltip="Inside ComfyUI's output folder."
                ),
                io.Combo.Input(
                    "format", options=FORMATS, default="json", tooltip="json is exact; csv opens anywhere."
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    @guarded
    def execute(cls, signal: Driving, filename_prefix: str, format: str) -> io.NodeOutput:  # noqa: A002
        path, name, subfolder = output_name(filename_prefix, f".{format}", (0, 0))
        save_signal(as_signal(signal), path)
        return io.NodeOutput(ui=ui.PreviewText(f"output/{subfolder}/{name}".replace("//", "/")))


class LoadSignal(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWLoadSignal",
            display_name="ATW Load Signal",
            category="ATW",
            description="A signal from a file in ComfyUI's input folder: one that ATW Save Signal wrote, or keyframes as JSON.",
            search_aliases=["import signal", "load expression", "preset"],
            inputs=[file_input(*SIGNAL_FILES)],
            outputs=[SignalSocket.Output(display_name="signal")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return complaint(lambda: file and input_file(file, *SIGNAL_FILES))

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> str:
        return stamp(file, *SIGNAL_FILES) if file else ""

    @classmethod
    @guarded
    def execute(cls, file: str) -> io.NodeOutput:
        path = input_file(file, *SIGNAL_FILES)
        return io.NodeOutput(load_signal(path, relative=False, expressions=presets()))


NODES: list[type[io.ComfyNode]] = [Keyframes, BlendSignals, IdleMotion, SignalPlot, SaveSignal, LoadSignal]
