"""Training in a graph: data, a run, steps of it, the model that comes out; queued again, chained, cancelled."""

from __future__ import annotations

import shutil
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atw_nodes.checkpoints import load_checkpoint
from atw_nodes.train_run import read_log
from atw_nodes.training_state import last_step
from tests.tiny_training import drawn

from .prompts import Prompt, node
from .server import PACK, RefusedError, Server

EXAMPLE = "example: drawn faces"
LAMBDAS = {"lambda_cyc": 10.0, "lambda_adv": 1.0, "lambda_drv": 1.0, "lambda_warp": 1.0, "lambda_ref": 10.0}
LAMBDAS |= {"sigma": 10.0, "lambda_landmark": 0.0, "lambda_photometric": 0.0, "lambda_smooth": 0.0}
SMALL = {"batch": 2, "size": 32, "width": 4, "n_critic": 2, "rate": 1e-4, "seed": 0}


@pytest.fixture(scope="module")
def source(server: Server) -> Iterator[str]:
    """A manifest of 8 pictures in the input folder, by the name that the node offers."""
    folder = server.folder / "input" / "faces"
    drawn(folder)
    yield "faces/manifest.csv"
    shutil.rmtree(folder)


def training(source: str, run: str, steps: int = 3, **changes: Any) -> Prompt:
    """Data as 1, trainer as 2, steps as 3."""
    settings = {"run": run, "mode": "resume", "signal": "category", **SMALL, **LAMBDAS, **changes}
    return {
        "1": node("ATWDataset", source=source),
        "2": node("ATWTrainer", **settings),
        "3": node("ATWTrainStep", trainer=["2", 0], dataset=["1", 0], steps=steps),
    }


def folder_of(server: Server, run: str) -> Path:
    return server.folder / "output" / "ATW-training" / run


def steps_of(server: Server, run: str) -> int | None:
    return last_step(folder_of(server, run))


def choices(server: Server, kind: str, name: str) -> list[str]:
    found, options = server.get(f"/object_info/{kind}")[kind]["input"]["required"][name]
    return found if isinstance(found, list) else options["options"]


def test_they_are_there_and_say_what_they_are(server: Server) -> None:
    info = server.get("/object_info")
    for name in ("ATWDataset", "ATWTrainer", "ATWTrainStep", "ATWSaveModel"):
        shown = info[name]
        assert shown["category"] == "ATW/training" and shown["description"]
        for group in ("required", "optional"):
            for key, (kind, options) in shown["input"].get(group, {}).items():
                assert options.get("tooltip") or kind in ("ATW_TRAINER", "ATW_DATASET"), f"{name}.{key}"
        page = server.raw(f"/extensions/{urllib.parse.quote(PACK)}/docs/{name}.md").decode()
        assert page.startswith("# "), name


def test_data_appear_when_they_are_put_there(server: Server) -> None:
    assert choices(server, "ATWDataset", "source")[0] == EXAMPLE
    folder = server.folder / "input" / "mine"
    with pytest.raises(RefusedError, match="'mine' is no data set in ComfyUI/input; put a folder with one"):
        server.start(training("mine", "none"))
    for name in ("glad", "sad"):
        (folder / name).mkdir(parents=True)
        noise = np.random.default_rng(len(name)).integers(0, 256, (70, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name / "1.png")
    (folder / "sad" / "2.png").write_bytes(b"no picture")
    assert "mine" in choices(server, "ATWDataset", "source"), "seen without a restart"
    prompt = {"1": node("ATWDataset", source="mine"), "9": node("PreviewAny", source=["1", 2])}
    text = server.good(prompt)["outputs"]["9"]["text"][0]
    assert "2 photos" in text and "glad 1, sad 1" in text and "2.png" in text, text
    shutil.copy(folder / "glad" / "1.png", folder / "sad" / "3.png")  # one more, though there twice
    assert "2 left out" in server.good(prompt)["outputs"]["9"]["text"][0], "a new photo is seen"
    shutil.rmtree(folder)


def test_train_save_load_animate(server: Server, source: str) -> None:
    prompt = training(source, "first")
    prompt["4"] = node("ATWSaveModel", model=["3", 1], name="first", licence="drawn by a test")
    prompt["5"] = node("LossGraphNode", loss=["3", 2], filename_prefix="loss")
    prompt["6"] = node("PreviewImage", images=["3", 3])
    assert "first.safetensors" not in choices(server, "ATWLoadModel", "checkpoint")
    entry = server.good(prompt)
    for number in ("1", "3", "5", "6"):
        (picture,) = server.files(entry, number)
        assert np.asarray(Image.open(picture).convert("RGB")).std() > 5, number
    assert steps_of(server, "first") == 3
    assert len(read_log(folder_of(server, "first"))["generator/cycle"]) == 3
    assert entry["outputs"]["4"]["text"] == ["first.safetensors"]
    saved = server.folder / "models" / "atw" / "first.safetensors"
    made = load_checkpoint(saved)
    assert made.training["steps"] == 3 and made.training["licence"] == "drawn by a test"
    card = saved.with_suffix(".md").read_text()
    assert "drawn by a test" in card and made.sha in card and str(server.folder) not in card
    assert "first.safetensors" in choices(server, "ATWLoadModel", "checkpoint"), "seen without a restart"
    animate = {
        "1": node("ATWExamplePortrait", size=256),
        "2": node("ATWLoadModel", checkpoint="first.safetensors", hub=""),
        "3": node("ATWFaceFrame", image=["1", 0], where="auto", index=0, x=0, y=0, side=512),
        "4": node("ATWDecompose", image=["1", 0], frame=["3", 0], size=32, upsampling="bilinear"),
        "5": node("ATWExpression", expression="smiling", strength=1.0, target=True),
        "6": node("ATWGenerator", model=["2", 0], low=["4", 0], signal=["5", 0], frame=["3", 0]),
        "7": node("SaveImage", images=["6", 2], filename_prefix="t"),
    }
    (file,) = server.files(server.good(animate), "7")
    assert np.asarray(Image.open(file).convert("RGB")).shape == (32, 32, 3)


def test_saving_overwrites_nothing(server: Server) -> None:
    load = node("ATWLoadModel", checkpoint="atw-smile-128", hub="")
    names = []
    for licence in ("", "again"):
        save = node("ATWSaveModel", model=["1", 0], name="atw-smile-128", licence=licence)
        names += server.good({"1": load, "2": save})["outputs"]["2"]["text"]
    assert names == ["atw-smile-128-2.safetensors", "atw-smile-128-3.safetensors"]
    assert set(names) <= set(choices(server, "ATWLoadModel", "checkpoint"))
    bad = {"1": load, "2": node("ATWSaveModel", model=["1", 0], name="../away", licence="")}
    assert "name is '../away'; expected a plain name" in server.error(bad)


def test_queued_again_it_goes_on(server: Server, source: str) -> None:
    prompt = training(source, "again", 2)
    server.good(prompt)
    assert steps_of(server, "again") == 2
    server.good(prompt)
    assert steps_of(server, "again") == 4
    assert len(read_log(folder_of(server, "again"))["generator/cycle"]) == 4


def test_two_steps_in_one_graph(server: Server, source: str) -> None:
    prompt = training(source, "chain", 2)
    prompt["4"] = node("ATWTrainStep", trainer=["3", 0], dataset=["1", 0], steps=1)
    for k in (1, 2):
        server.good(prompt)
        assert steps_of(server, "chain") == 3 * k
    assert load_checkpoint(folder_of(server, "chain") / "model.safetensors").training["steps"] == 6


def test_a_run_keeps_what_it_was_begun_with(server: Server, source: str) -> None:
    server.good(training(source, "kept", 1))
    for mode in ("new", "fine-tune"):
        told = server.error(training(source, "kept", 1, mode=mode))
        assert (
            "run 'kept' is there already, 1 steps long; set mode to resume" in told and "another name" in told
        )
    server.good(training(source, "kept", 1, width=8, size=64, seed=5, lambda_cyc=3.0))
    assert steps_of(server, "kept") == 2
    assert "run kept keeps size 32, width 4, critic_width 4, seed 0" in server.text()
    server.good(training(source, "kept-2", 1, mode="new"))
    assert steps_of(server, "kept-2") == 1


def test_fine_tuning(server: Server, source: str) -> None:
    prompt = training(source, "old", 1)
    prompt["4"] = node("ATWSaveModel", model=["3", 1], name="old", licence="")
    server.good(prompt)
    prompt = training(source, "tuned", 1, mode="fine-tune", signal="auto", width=8)
    assert "fine-tune needs a model to begin from; connect ATW Load Model" in server.error(prompt)
    load = {"5": node("ATWLoadModel", checkpoint="old.safetensors", hub="")}
    prompt["2"]["inputs"]["model"] = ["5", 0]
    prompt["2"]["inputs"]["mode"] = "new"
    assert "a model is connected, but mode new begins run 'tuned' without" in server.error(prompt | load)
    prompt["2"]["inputs"]["mode"] = "fine-tune"
    server.good(prompt | load)
    made = load_checkpoint(folder_of(server, "tuned") / "model.safetensors")
    assert made.training["from"] == "old" and made.generator.config.width == 4
    prompt["2"]["inputs"]["mode"] = "resume"
    server.good(prompt | load)
    assert steps_of(server, "tuned") == 2
    (server.folder / "models" / "atw" / "old.safetensors").rename(
        server.folder / "models" / "atw" / "new.safetensors"
    )
    load["5"]["inputs"]["checkpoint"] = "new.safetensors"
    server.good(prompt | load)
    assert steps_of(server, "tuned") == 3, "what it began from may be gone"
    prompt["2"]["inputs"]["run"] = "tuned-2"
    server.good(prompt | load)
    made = load_checkpoint(folder_of(server, "tuned-2") / "model.safetensors")
    assert made.training["from"] == "new" and made.training["steps"] == 1


def test_cancelling_saves(server: Server, source: str) -> None:
    prompt = training(source, "long", 100_000)
    number = server.start(prompt)
    log = folder_of(server, "long") / "log.jsonl"
    server.until(lambda: log.exists() and log.read_text().count("\n") > 2, 120)
    begun = time.monotonic()
    server.post("/interrupt", {})
    entry = server.finish(number, 60)
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]
    assert time.monotonic() - begun < 20
    step = steps_of(server, "long")
    assert step is not None and 3 <= step < 100_000 and log.read_text().count("\n") == step
    time.sleep(1)
    assert steps_of(server, "long") == step == log.read_text().count("\n"), "nothing trains on"
    assert load_checkpoint(folder_of(server, "long") / "model.safetensors").training["steps"] == step
    server.good(training(source, "long", 2))
    assert steps_of(server, "long") == step + 2


def test_links_that_lead_out_are_refused(server: Server, source: str, tmp_path: Path) -> None:
    link = server.folder / "input" / "linked.csv"
    link.symlink_to(drawn(tmp_path / "elsewhere"))
    with pytest.raises(RefusedError, match="'linked.csv' leads out of ComfyUI's folders"):
        server.start(training(link.name, "out"))
    link.unlink()
    (server.folder / "output" / "ATW-training").mkdir(exist_ok=True)
    folder_of(server, "out").symlink_to(tmp_path)
    assert "'out' leads out of ComfyUI's folders" in server.error(training(source, "out"))
    assert not list(tmp_path.glob("*.safetensors"))
    folder_of(server, "out").unlink()


def test_a_single_loss_is_drawn(server: Server, source: str) -> None:
    """ComfyUI's graph divides by the range of what it draws, which of one value is 0."""
    prompt = training(source, "one", 1)
    prompt["4"] = node("LossGraphNode", loss=["3", 2], filename_prefix="one")
    (picture,) = server.files(server.good(prompt), "4")
    assert np.asarray(Image.open(picture).convert("RGB")).std() > 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n2_run": "../away"}, "run is '../away'; expected a plain name"),
        ({"n2_run": ""}, "run is ''; expected a plain name"),
        ({"n2_batch": 0}, None),
        ({"n1_source": ["8", 0]}, "source is 'me'; expected one of example: drawn faces, faces/"),
        (dict.fromkeys((f"n2_{k}" for k in LAMBDAS), 0.0), "all weights of the generator's losses are 0"),
        ({"n2_rate": float("nan")}, "rate is nan; expected"),
        ({"n2_signal": "relative", "n1_source": "faces/plain.csv"}, "no AU columns"),
        ({"n1_source": "faces/one.csv"}, "1 categories (neutral)"),
        ({"n2_lambda_landmark": 1.0}, "losses on landmarks or pairs need it"),
        ({"n3_trainer": ["1", 0]}, None),
        ({"n3_trainer": ["8", 0]}, "trainer is str; connect what ATW Trainer gives"),
        ({"n3_dataset": ["8", 0]}, "dataset is str; connect what ATW Dataset gives"),
    ],
)
def test_what_is_wrong_is_said(server: Server, source: str, change: dict[str, Any], told: str | None) -> None:
    folder = (server.folder / "input" / source).parent
    (folder / "plain.csv").write_text("image,category\n0.png,neutral\n1.png,smiling\n")
    (folder / "one.csv").write_text("image,category\n0.png,neutral\n2.png,neutral\n")
    prompt = training(source, "wrong", 1) | {"8": node("ProbeThing", json='"me"')}
    for key, value in change.items():
        prompt[key[1]]["inputs"][key[3:]] = value
    if told is None:
        with pytest.raises(RefusedError):
            server.start(prompt)
    else:
        assert told in server.error(prompt)
    assert not folder_of(server, "wrong").exists()


def test_a_table_shows_photos_of_the_input_folder_alone(server: Server, source: str) -> None:
    secret = server.folder / "secret"
    table = drawn(secret)
    named = server.folder / "input" / "elsewhere.csv"
    rows = table.read_text().splitlines()
    named.write_text("\n".join([rows[0], *(f"{secret}/{r}" for r in rows[1:])]))
    try:
        said = server.error(training("elsewhere.csv", "elsewhere"))
        assert "which lies outside ComfyUI/input; put the photos there" in said
    finally:
        named.unlink()
