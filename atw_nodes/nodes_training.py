"""Training inside a graph: a run, steps of it, and the model that comes out."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import os
import re
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management as mm
import folder_paths
from comfy_api.latest import io, ui

from .checkpoints import bundled, load_checkpoint, save_checkpoint
from .files import atomic_path, unwritable
from .host import FOLDER, Model, Progress, inside, load_file, log, out_of_memory, to_image
from .manifest import Manifest
from .nodes_dataset import DatasetSocket
from .nodes_guard import guarded, schema
from .nodes_parts import ModelSocket
from .train_config import KINDS, RunConfig, Training, begun, settings_of
from .training_state import last_step
from .types import InputError, OutputError

if TYPE_CHECKING:
    from .train_live import Live

TrainerSocket, LossSocket = io.Custom("ATW_TRAINER"), io.Custom("LOSS_MAP")
MODES = ["resume", "new", "fine-tune"]  # append only
RUNS = "ATW-training"  # inside ComfyUI's output folder
# what a run was begun with, and stays
SHAPE = ("signal", "start", "size", "width", "conditioning", "paper", "critic_width", "critic_layers", "seed")
_NAME = re.compile(r"\w([\w .-]{0,78}[\w-])?")
_WEIGHTS = {
    "lambda_cyc": (10.0, "Eq. 6: back from the result to the photo. Keeps identity."),
    "lambda_adv": (1.0, "Eq. 5: looks real to the discriminator."),
    "lambda_drv": (1.0, "Eq. 7: the result shows what was asked for."),
    "lambda_warp": (1.0, "Eq. 8: the warped image shows it already."),
    "lambda_ref": (10.0, "Eq. 9: refinement changes little."),
    "sigma": (10.0, "Eq. 1: penalty on the discriminator's gradient."),
    "lambda_landmark": (
        0.0,
        "Ours: motion at the landmarks of a person's other photo. Needs a prepared set.",
    ),
    "lambda_photometric": (0.0, "Ours: the person's other photo itself. Needs a prepared set."),
    "lambda_smooth": (0.0, "Ours: motion that varies little from pixel to pixel."),
}


def run_folder(name: str) -> Path:
    """Where the run of that name lives, inside ComfyUI's output folder."""
    if not _NAME.fullmatch(name):
        raise InputError(f"run is {name[:80]!r}; expected a plain name of letters, digits, spaces, . _ or -")
    root = Path(folder_paths.get_output_directory()) / RUNS
    return inside(root / name, [folder_paths.get_output_directory()])


class Trainer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWTrainer",
            display_name="ATW Trainer",
            category="ATW/training",
            description="A training run by its name: begins it, goes on with it, or fine-tunes a model. It lives in ComfyUI's output folder, under ATW-training.",
            search_aliases=["fine-tune", "gan", "training run"],
            inputs=[
                io.String.Input("run", default="my-run", tooltip="Name of the run, a folder of its own."),
                io.Combo.Input(
                    "mode",
                    options=MODES,
                    default="resume",
                    tooltip="resume: go on with the run; where there is none, begin it, from the model if one is connected. new: only begin, from nothing. fine-tune: only begin, from the model. A run is never begun over another.",
                ),
                io.Combo.Input(
                    "signal",
                    options=list(KINDS),
                    default="auto",
                    tooltip="What drives the model: categories, or action units as shown (absolute) or as a change (relative). auto: relative units where the data have any.",
                ),
                io.Int.Input(
                    "batch", default=4, min=1, max=512, tooltip="Photos an update; the paper's is 10."
                ),
                io.Int.Input(
                    "size", default=128, min=32, max=512, step=32, tooltip="Side of the small image."
                ),
                io.Int.Input("width", default=32, min=4, max=256, tooltip="Channels of the first layers."),
                io.Int.Input(
                    "n_critic", default=5, min=1, max=20, tooltip="Updates of the discriminators a step."
                ),
                io.Float.Input("rate", default=1e-4, min=1e-6, max=1e-2, step=1e-6, tooltip="Adam's rate."),
                *(
                    io.Float.Input(name, default=value, min=0.0, max=1000.0, step=0.1, tooltip=tip)
                    for name, (value, tip) in _WEIGHTS.items()
                ),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1, tooltip="Of weights, data and crops."),
                ModelSocket.Input(
                    "model", optional=True, tooltip="To fine-tune. A run that was begun keeps its own."
                ),
            ],
            outputs=[TrainerSocket.Output(display_name="trainer")],
        )

    @classmethod
    def fingerprint_inputs(cls, run: str | None = None, **_: Any) -> str:  # noqa: ANN401
        """The run's last saved step, so that queueing again goes on; a name that comes over a wire is not
        known here.
        """
        if run is None:
            return str(time.time_ns())
        with suppress(InputError):
            return f"{run} {last_step(run_folder(run))}"
        return run

    @classmethod
    @guarded
    def execute(cls, run: str, mode: str, model: Model | None = None, **settings: Any) -> io.NodeOutput:  # noqa: ANN401
        folder = run_folder(run)
        config = RunConfig("-", str(folder), critic_width=settings["width"], **settings)
        if begun(folder):
            config = _as_begun(config, folder, run, mode)
        elif mode == "fine-tune" and model is None:
            raise InputError("fine-tune needs a model to begin from; connect ATW Load Model")
        elif mode == "new" and model is not None:
            raise InputError(
                f"a model is connected, but mode new begins run {run!r} without one; set mode to fine-tune, or "
                "disconnect the model"
            )
        elif model is not None:
            config = replace(config, start=str(model.checkpoint.path))
        return io.NodeOutput(Training(config, last_step(folder) or 0))


def _as_begun(config: RunConfig, folder: Path, run: str, mode: str) -> RunConfig:
    """``config`` for going on: what the run was built as stays."""
    if mode != "resume":
        raise InputError(
            f"run {run!r} is there already, {last_step(folder) or 0} steps long; set mode to resume to go on with "
            "it, or give the new run another name"
        )
    old = settings_of(folder)
    kept = {k: getattr(old, k) for k in SHAPE if getattr(old, k) != getattr(config, k)}
    if kept.keys() - {"start"}:
        log.info("run %s keeps %s", run, ", ".join(f"{k} {v}" for k, v in kept.items() if k != "start"))
    return replace(config, **kept)


class TrainStep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWTrainStep",
            display_name="ATW Train Step",
            category="ATW/training",
            description="Trains for some steps and saves. Queue again to go on; cancelling saves as well. The sheet shows photo, motion, coarse, refined and the way back.",
            search_aliases=["train", "wgan"],
            inputs=[
                TrainerSocket.Input("trainer"),
                DatasetSocket.Input("dataset"),
                io.Int.Input(
                    "steps",
                    default=100,
                    min=1,
                    max=1_000_000,
                    tooltip="One step: five updates of the discriminators, one of the generator.",
                ),
            ],
            outputs=[
                TrainerSocket.Output(display_name="trainer"),
                ModelSocket.Output(display_name="model", tooltip="The average of the last steps."),
                LossSocket.Output(display_name="loss", tooltip="For Plot Loss Graph."),
                io.Image.Output(display_name="sheet"),
            ],
            is_output_node=True,
        )

    @classmethod
    @guarded
    def execute(cls, trainer: Training, dataset: Manifest, steps: int) -> io.NodeOutput:
        from .train_live import loss_map  # what trains is not loaded at the host's start

        mm.unload_all_models()
        device = mm.get_torch_device()
        where = str(device) if device.type == "cuda" else "cpu"
        config = replace(trainer.config, data=str(dataset.path), sample_every=0, device=where)
        live = _trained(config, dataset, steps)
        model, sheet = load_file(Path(config.out) / "model.safetensors"), to_image(live.sheet[None])
        shown = ui.PreviewImage(sheet, cls=cls)
        return io.NodeOutput(Training(config, live.step), model, loss_map(config), sheet, ui=shown)


def _trained(config: RunConfig, dataset: Manifest, steps: int) -> Live:
    """``steps`` more of the run, with the node's progress bar."""
    from .train_live import Live

    live, progress = Live(config, dataset, steps), Progress(steps)
    try:
        with closing(live.pictures(mm.throw_exception_if_processing_interrupted)) as pictures:
            for picture in pictures:
                progress.step(picture)
    except Exception as error:
        if out_of_memory(error):
            raise InputError(
                f"training ran out of memory with batch {config.batch}, size {config.size}, width {config.width}; "
                "lower the batch, or begin a smaller run"
            ) from error
        raise
    return live


class SaveModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWSaveModel",
            display_name="ATW Save Model",
            category="ATW/training",
            description="Saves a model with its card into ComfyUI/models/atw, where ATW Load Model finds it. Nothing is overwritten: names are numbered.",
            inputs=[
                ModelSocket.Input("model", tooltip="The model of ATW Train Step, or any other."),
                io.String.Input("name", default="my-model", tooltip="Of the file in models/atw."),
                io.String.Input(
                    "licence",
                    default="",
                    tooltip="Of the photos it was trained on, for the model's card. Empty: not stated, or as the run had it.",
                ),
            ],
            outputs=[io.String.Output(display_name="file")],
            is_output_node=True,
        )

    @classmethod
    @guarded
    def execute(cls, model: Model, name: str, licence: str) -> io.NodeOutput:
        from .train_card import card

        path, kept = _free(name), model.checkpoint
        facts = {**kept.training, **({"licence": licence.strip()} if licence.strip() else {})}
        save_checkpoint(path, kept.generator, kept.signal, facts)
        load_checkpoint(path)  # what was written can be read
        with atomic_path(path.with_suffix(".md")) as temporary:
            text = card(path, kept.signal, kept.generator.config, facts)
            temporary.write_text(text, encoding="utf-8")
        log.info("saved %s", path.name)
        return io.NodeOutput(path.name, ui=ui.PreviewText(path.name))


def _free(name: str) -> Path:
    """A new file in models/atw, numbered where the name is taken."""
    stem = name.removesuffix(".safetensors")
    if not _NAME.fullmatch(stem):
        raise OutputError(
            f"name is {name[:80]!r}; expected a plain name of letters, digits, spaces, . _ or -"
        )
    folder, k = Path(folder_paths.get_folder_paths(FOLDER)[0]), 1
    with unwritable(folder / stem):
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"{stem}{'' if k == 1 else f'-{k}'}.safetensors"
        if path.stem not in bundled() and not any(map(os.path.lexists, (path, path.with_suffix(".md")))):
            return path
        k += 1


NODES: list[type[io.ComfyNode]] = [Trainer, TrainStep, SaveModel]
