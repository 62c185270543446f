"""A run in a thread: watched, cancelled, failed; losses as series that can be drawn. The drawn example."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.example_faces import drawn_faces
from atw_nodes.manifest import Manifest, read_manifest
from atw_nodes.train_live import Live, loss_map
from atw_nodes.training_state import last_step
from atw_nodes.types import InputError

from .tiny_training import drawn, tiny

PORTRAIT = Path(__file__).resolve().parents[1] / "assets" / "portrait-4k.jpg"


class CancelledError(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(drawn(tmp_path_factory.mktemp("faces")))


def nothing() -> None:
    pass


def test_it_trains_where_gradients_are_off(data: Manifest, tmp_path: Path) -> None:
    config = tiny(data.path, tmp_path / "run")
    for k in (1, 2):
        live = Live(config, data, 3)
        with torch.inference_mode(), closing(live.pictures(nothing)) as pictures:
            assert [p.ndim for p in pictures] == [4, 4, 4]
        assert live.step == last_step(tmp_path / "run") == 3 * k and live.sheet.float().std() > 5
    assert len(loss_map(config)["loss"]) == 6


def test_cancelled_it_has_saved_and_ended(data: Manifest, tmp_path: Path) -> None:
    config, seen = tiny(data.path, tmp_path / "run", save_every=100_000), []

    def check() -> None:
        if len(seen) > 2:
            raise CancelledError

    live = Live(config, data, 100_000)
    with pytest.raises(CancelledError), closing(live.pictures(check)) as pictures:
        seen.extend(p.shape for p in pictures)
    assert not live._thread.is_alive()
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert last_step(tmp_path / "run") == live.step == len(log) >= 3
    assert load_checkpoint(tmp_path / "run" / "model.safetensors").training["steps"] == live.step


def test_what_fails_in_the_thread_is_told(data: Manifest, tmp_path: Path) -> None:
    live = Live(tiny(data.path, tmp_path / "run", size=36), data, 1)
    with pytest.raises(InputError, match="discriminator of .* cannot be built"):
        list(live.pictures(nothing))
    assert not live._thread.is_alive() and not (tmp_path / "run").exists()


def test_losses_are_weighted_and_can_be_drawn(tmp_path: Path) -> None:
    config = tiny(tmp_path, tmp_path, lambda_warp=0.0)
    assert set(loss_map(config)) == {"loss"} and len(set(loss_map(config)["loss"])) == 2, (
        "before the first step"
    )
    names = ("cycle", "adversarial", "driving", "refine")
    for values in ([1.0], [1.0, 1.0, 1.0], [0.0, 0.0], [2.0, 3.0]):
        lines = [
            {"step": k, "images_per_s": 5} | {f"generator/{n}": v for n in names}
            for k, v in enumerate(values)
        ]
        (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(x | {"critics/reading": 9}) for x in lines))
        series = loss_map(config)
        assert all(series[n] == values for n in names) and set(series) == {*names, "loss"}
        loss = series["loss"]
        assert max(loss) > min(loss), values
        assert loss[-len(values) :] == pytest.approx([22 * v for v in values])


def test_losses_that_are_no_numbers_are_not_drawn(tmp_path: Path) -> None:
    lines = [{"step": k, "generator/cycle": v} for k, v in enumerate([1.0, float("nan"), 2.0])]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert loss_map(tiny(tmp_path, tmp_path))["loss"] == [10.0, 20.0]


def test_the_drawn_example(tmp_path: Path) -> None:
    file = drawn_faces(tmp_path / "temp" / "faces", PORTRAIT)
    manifest = read_manifest(file)
    assert len(manifest.rows) == 16 and not manifest.skipped
    assert manifest.categories == ("neutral", "smiling") and manifest.units == ("AU10", "AU12", "AU25")
    rows = {r.image.name: r for r in manifest.rows}
    calm, glad = rows["look-1-smile-000.png"], rows["look-1-smile-100.png"]
    assert set(calm.units.values()) == {0.0} and glad.units == {"AU10": 0.44, "AU12": 0.68, "AU25": 0.48}
    pixels = [
        torch.frombuffer(bytearray(Image.open(r.image).tobytes()), dtype=torch.uint8) for r in (calm, glad)
    ]
    assert (pixels[0].float() - pixels[1].float()).abs().mean() > 0.3, "it smiles"
    before = file.stat().st_mtime_ns
    assert drawn_faces(file.parent, PORTRAIT) == file and file.stat().st_mtime_ns == before, "made once"
    file.unlink()  # ComfyUI's temp folder, half emptied
    assert drawn_faces(file.parent, PORTRAIT).is_file()
