"""Data to train on, inside a graph."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from .dataset_view import listed, opened, overview, stamp, summary
from .example_faces import drawn_faces
from .host import Progress, inside, to_image
from .manifest import Manifest
from .nodes_guard import guarded, schema
from .nodes_parts import PORTRAIT
from .types import AtwError, InputError

DatasetSocket = io.Custom("ATW_DATASET")
EXAMPLE = "example: drawn faces"  # shared workflows name it


def source_names() -> list[str]:
    """Our own example, then what the input folder offers."""
    return [EXAMPLE, *listed(Path(folder_paths.get_input_directory()))]


def place_of(source: str) -> Path:
    """The manifest or folder of a name from ``source_names``, and of nothing else."""
    if source == EXAMPLE:
        return Path(folder_paths.get_temp_directory()) / "ATW_drawn_faces"
    root = Path(folder_paths.get_input_directory())
    if source not in source_names():
        raise InputError(
            f"{str(source)[:200]!r} is no data set in ComfyUI/input; put a folder with one subfolder a category, "
            "or a CSV with a column image, there and refresh the page (R)"
        )
    return inside(root / source, [root])


def within(manifest: Manifest, place: Path) -> None:
    """Refuse a table that shows photos from elsewhere: anybody who can upload one could look around."""
    root = place if place.is_dir() else Path(folder_paths.get_input_directory())
    for file in {r.image.parent: r.image for r in manifest.rows}.values():
        try:
            inside(file, [root, Path(folder_paths.get_input_directory())])
        except InputError as error:
            raise InputError(
                f"{place.name} names {file}, which lies outside ComfyUI/input; put the photos there, or train on "
                "the command line"
            ) from error


class Dataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ATWDataset",
            display_name="ATW Dataset",
            category="ATW/training",
            description="Labelled photos to train on: a manifest (CSV) or a folder with one subfolder a category, inside ComfyUI's input folder.",
            search_aliases=["training data", "manifest", "celeba", "openface"],
            inputs=[
                io.Combo.Input(
                    "source",
                    options=source_names(),
                    tooltip="A CSV with a column image, or a folder of photos sorted into categories, in ComfyUI/input; refresh the page (R) after adding one. The example is 16 drawn pictures to try it with.",
                )
            ],
            outputs=[
                DatasetSocket.Output(display_name="dataset"),
                io.Image.Output(display_name="overview"),
                io.String.Output(display_name="summary"),
            ],
        )  # no output node: ComfyUI would run it, and say all is well, where the rest of the graph is refused

    @classmethod
    def validate_inputs(cls, source: str | None = None) -> bool | str:
        try:  # before anything runs; what comes over a wire is None here
            if source is not None:
                place_of(source)
        except AtwError as e:
            return str(e)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: str | None = None) -> str:
        with suppress(AtwError, OSError):
            return f"{source} {stamp(place_of(str(source)))}"
        return str(source)

    @classmethod
    @guarded
    def execute(cls, source: str) -> io.NodeOutput:
        place, bars = place_of(source), []
        if source == EXAMPLE:
            drawn_faces(place, PORTRAIT)

        def tell(done: int, total: int) -> None:
            if not bars:
                bars.append(Progress(total))
            bars[0].step()

        manifest = opened(place, tell)
        within(manifest, place)
        shown = to_image(overview(manifest)[None])
        return io.NodeOutput(manifest, shown, summary(manifest), ui=ui.PreviewImage(shown, cls=cls))


NODES: list[type[io.ComfyNode]] = [Dataset]
