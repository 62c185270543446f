"""The nodes of signals: made by hand, from files and videos, mixed, shown, kept."""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from atw_nodes.checkpoints import save_checkpoint
from atw_nodes.expressions import EXPRESSIONS
from atw_nodes.networks import GeneratorConfig
from atw_nodes.signals import UNITS
from atw_nodes.sound import Sound
from atw_nodes.types import SignalSpec
from atw_nodes.video import ClipWriter
from tests.conftest import tiny_generator

from .prompts import Prompt, images, node, parts, video
from .server import PACK, ROOT, RefusedError, Server

NODES = [
    *("ATWActionUnits", "ATWKeyframes", "ATWBlendSignals", "ATWIdleMotion", "ATWSignalFromCSV"),
    *("ATWSignalFromLandmarks", "ATWSignalFromVideo", "ATWSaveSignal", "ATWLoadSignal", "ATWSignalPlot"),
]
ZERO = dict.fromkeys(UNITS, 0.0)


@pytest.fixture(scope="module")
def units(server: Server) -> Iterator[str]:
    """The name of a small model that knows all units."""
    n, path = len(UNITS), server.folder / "models" / "atw" / "units.safetensors"
    config = GeneratorConfig(n, size=32, width=4, motion_blocks=1, refine_blocks=1, conditioning="basis")
    torch.manual_seed(0)
    spec = SignalSpec("relative", tuple(UNITS), low=(-1.5,) * n, high=(1.5,) * n)
    save_checkpoint(path, tiny_generator(config), spec, {})
    yield path.name
    path.unlink()


def sliders(
    preset: str = "none", strength: float = 1.0, wires: Prompt | None = None, **moved: float
) -> Prompt:
    return node("ATWActionUnits", preset=preset, strength=strength, **(ZERO | moved), **(wires or {}))


def blended(a: list[Any], b: list[Any], how: str = "add", amount: float = 1.0, fit: bool = True) -> Prompt:
    return node("ATWBlendSignals", a=a, b=b, how=how, amount=amount, fit=fit)


def keyframes(text: str, fps: float = 10.0, seconds: float = 0.0) -> Prompt:
    return node("ATWKeyframes", text=text, fps=fps, seconds=seconds, interpolation="linear")


def file_of(server: Server, prompt: Prompt, source: str, form: str = "json") -> Path:
    """A signal of a prompt that has to succeed, as ATW Save Signal writes it."""
    save = node("ATWSaveSignal", signal=[source, 0], filename_prefix="signals/t", format=form)
    entry = server.good(prompt | {"90": save})
    return server.folder / entry["outputs"]["90"]["text"][0]


def signal_of(server: Server, prompt: Prompt, source: str = "1") -> dict[str, Any]:
    return json.loads(file_of(server, prompt, source).read_text())


def column(signal: dict[str, Any], name: str) -> list[float]:
    at = signal["units"].index(name)
    return [row[at] for row in signal["values"]]


def test_they_are_there_and_say_what_they_are(server: Server) -> None:
    info = server.get("/object_info")
    for name in NODES:
        shown = info[name]
        assert shown["category"] == "ATW" and shown["description"]
        for group in ("required", "optional"):
            for key, (kind, options) in shown["input"].get(group, {}).items():
                wire = kind.startswith("ATW_") and key in ("signal", "model")
                assert options.get("tooltip") or wire, f"{name}.{key} says nothing"
        page = server.raw(f"/extensions/{urllib.parse.quote(PACK)}/docs/{name}.md").decode()
        assert page.startswith("# "), name
    for name in ("ATWExpression", "ATWAnimatePortrait"):
        kind, options = info[name]["input"]["required"]["expression"]
        choices = options["options"] if kind == "COMBO" else kind
        assert choices[:2] == ["smiling", "neutral"] and "fear" in choices


# --- sliders ----------------------------------------------------------------------------------------------


def test_sliders_preset_and_signal_add_up(server: Server) -> None:
    base = node("ATWExpression", expression="smiling", strength=0.5, target=True)
    prompt = {"2": base, "1": sliders("happiness", 0.5, {"signal": ["2", 0]}, AU12=-0.2, AU45=0.3)}
    signal = signal_of(server, prompt)
    assert signal["absolute"] is False and len(signal["values"]) == 1
    assert column(signal, "AU12") == pytest.approx([0.5 * EXPRESSIONS["happiness"]["AU12"] - 0.2 + 0.34])
    assert column(signal, "AU45") == pytest.approx([0.3])


def test_the_preview_is_small_and_follows_the_sliders(server: Server, units: str) -> None:
    prompt = {
        "2": node("ATWExamplePortrait", size=1024),
        "3": node("ATWLoadModel", checkpoint=units, hub=""),
        "4": node("ATWFaceFrame", image=["2", 0], where="auto", index=0, x=0, y=0, side=512),
    }
    wires = {"image": ["2", 0], "model": ["3", 0]}

    def shown(given: Prompt, **moved: float) -> np.ndarray:
        (file,) = server.files(server.good(prompt | {"1": sliders(wires=given, **moved)}), "1")
        return np.asarray(Image.open(file).convert("RGB")).astype(int)

    calm = shown(wires)
    smile, framed = shown(wires, AU12=1.0), shown(wires | {"frame": ["4", 0]}, AU12=1.0)
    assert calm.shape == (768, 768, 3)
    assert np.abs(smile - calm).max() > 20
    moved = [np.abs(one - calm).max(2) > 20 for one in (smile, framed)]
    (top, left), (y, x) = (np.argwhere(one).mean(0) for one in moved)
    assert abs(top - y) < 25 and abs(left - x) < 25  # the same face, found on the large photo
    assert not any(one[:, :20].any() for one in moved)  # nothing moves at the edge


def test_without_an_image_there_is_no_preview_and_no_crash(server: Server) -> None:
    prompt = images({"1": sliders(AU12=1.0)}, ["1", 1])
    prompt["90"] = node("ATWSaveSignal", signal=["1", 0], filename_prefix="t", format="json")
    assert set(server.good(prompt)["outputs"]) == {"90"}  # the page is told why 99 made nothing


def test_a_frame_of_another_photo_is_refused(server: Server, units: str) -> None:
    prompt = {
        "2": node("ATWExamplePortrait", size=512),
        "3": node("ATWExamplePortrait", size=256),
        "4": node("ATWFaceFrame", image=["3", 0], where="whole image", index=0, x=0, y=0, side=512),
        "5": node("ATWLoadModel", checkpoint=units, hub=""),
        "1": sliders(wires={"image": ["2", 0], "frame": ["4", 0], "model": ["5", 0]}),
    }
    assert "make the frame for this photo" in server.error(prompt)


# --- made by hand -----------------------------------------------------------------------------------------


def test_keyframes(server: Server) -> None:
    signal = signal_of(server, {"1": keyframes("0:\n0.2: AU12=0.8, AU45=1\n0.4: happiness=0.5")})
    assert (signal["fps"], len(signal["values"])) == (10.0, 5)
    half = 0.5 * EXPRESSIONS["happiness"]["AU12"]
    assert column(signal, "AU12") == pytest.approx([0, 0.4, 0.8, (0.8 + half) / 2, half])
    assert len(signal_of(server, {"1": keyframes("0: AU12=1", seconds=3.0)})["values"]) == 30
    with pytest.raises(RefusedError, match="line 2"):
        server.start(
            {"1": keyframes("0:\nsoon: AU12=1"), "2": node("ATWSignalPlot", signal=["1", 0])}
            | {"3": node("ATWSaveSignal", signal=["1", 0], filename_prefix="t", format="json")}
        )


def test_idle_motion_blended_under_keyframes(server: Server) -> None:
    idle = node("ATWIdleMotion", seed=3, frames=300, fps=25.0, blinks=40.0, closing=1.0, motion=1.0)
    assert max(column(signal_of(server, {"1": idle}), "AU45")) == pytest.approx(1)
    prompt = {"1": idle, "2": keyframes("0: AU12=0.5", 10.0, 2.0), "3": blended(["2", 0], ["1", 0])}
    signal = signal_of(server, prompt, "3")
    assert (signal["fps"], len(signal["values"])) == (10.0, 20)
    assert column(signal, "AU12")[0] == pytest.approx(0.5)
    assert "resample" in server.error(
        images(
            prompt
            | {
                "3": blended(["2", 0], ["1", 0], fit=False),
                "4": node("ATWSignalPlot", signal=["3", 0], width=300, height=200),
            },
            ["4", 0],
        )
    )


def test_the_plot_is_a_picture(server: Server) -> None:
    plot = node("ATWSignalPlot", signal=["1", 0], width=640, height=240)
    (file,) = server.files(server.good(images({"1": keyframes("0:\n1: AU12=1"), "2": plot}, ["2", 0])), "99")
    picture = np.asarray(Image.open(file).convert("RGB"))
    assert picture.shape == (240, 640, 3) and picture.min() == 0 and picture.max() == 255
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_is_saved_comes_back(server: Server, form: str) -> None:
    made = {"1": keyframes("0: AU12=0.25\n1: AU04=1")}
    saved = file_of(server, made, "1", form)
    assert saved.is_relative_to(server.folder / "output") and saved.suffix == f".{form}"
    assert file_of(server, made | {"2": blended(["1", 0], ["1", 0])}, "2", form) != saved  # numbered
    shutil.copy(saved, server.folder / "input" / f"mine.{form}")
    assert signal_of(server, {"1": node("ATWLoadSignal", file=f"mine.{form}")}) == signal_of(server, made)


@pytest.mark.parametrize("prefix", ["../t", "/tmp/t", "a/../../t"])
def test_signals_stay_in_the_output_folder(server: Server, prefix: str) -> None:
    save = node("ATWSaveSignal", signal=["1", 0], filename_prefix=prefix, format="json")
    assert "ATWSaveSignal" in server.error({"1": sliders(AU12=1.0), "2": save})
    assert not list(server.folder.parent.glob("t_0*")) and not list(Path("/tmp").glob("t_0*"))


def table(path: Path, frames: int = 5) -> None:
    rows = ["frame, face_id, timestamp, confidence, success, AU12_r, AU45_r"]
    rows += [f"{k + 1}, 0, {k / 25:.3f}, 0.98, 1, {1 + k / 2:.2f}, 0.00" for k in range(frames)]
    path.write_text("\n".join(rows) + "\n")


def from_csv(file: str, driving: str = "relative", gain: float = 1.0, face: int = -1) -> Prompt:
    return node("ATWSignalFromCSV", file=file, driving=driving, gain=gain, smoothing=0.0, face=face)


def test_a_table_of_openface(server: Server) -> None:
    table(server.folder / "input" / "aus.csv")
    signal = signal_of(server, {"1": from_csv("aus.csv", gain=2.0)})
    assert signal["fps"] == 25.0 and not signal["absolute"]
    assert column(signal, "AU12") == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=1e-5)
    signal = signal_of(server, {"1": from_csv("aus.csv", "absolute")})
    assert signal["absolute"] and column(signal, "AU12")[0] == pytest.approx(0.2)
    prompt = {
        "1": from_csv("aus.csv", face=7),
        "2": node("ATWSignalPlot", signal=["1", 0], width=300, height=200),
    }
    assert "no face 7" in server.error(images(prompt, ["2", 0]))


@pytest.mark.parametrize("kind", ["ATWSignalFromCSV", "ATWLoadSignal"])
@pytest.mark.parametrize("name", ["../out.csv", "/etc/passwd", "link.csv", "none.csv", ""])
def test_files_come_from_the_input_folder(server: Server, kind: str, name: str) -> None:
    table(server.folder / "out.csv")
    link = server.folder / "input" / "link.csv"
    if not link.is_symlink():
        link.symlink_to(server.folder / "out.csv")
    given = from_csv(name) if kind == "ATWSignalFromCSV" else node(kind, file=name)
    prompt = {"1": given, "2": node("ATWSignalPlot", signal=["1", 0], width=300, height=200)}
    try:
        said = server.error(images(prompt, ["2", 0]))
    except RefusedError as e:
        said = str(e)
    assert "expected one of" in said or "ComfyUI" in said or "missing" in said


# --- other people's faces ---------------------------------------------------------------------------------


def test_blendshapes_of_the_hosts_landmarks(server: Server) -> None:
    def face(left: float, smile: float) -> dict[str, Any]:
        shapes = {"mouthSmileLeft": smile, "mouthSmileRight": smile}
        return {"bbox_xyxy": [left, 0, left + 100, 100 + left / 10], "blendshapes": shapes}

    near, far = [face(10, 0.2), face(300, 0.9)], [face(302, 0.8), face(12, 0.6)]
    wires = {"fps": 12.5, "driving": "relative", "gain": 1.0, "smoothing": 0.0}
    given = node("ProbeThing", json=json.dumps({"frames": [near, [], far], "image_size": [480, 640]}))
    prompt = {"1": node("ATWSignalFromLandmarks", landmarks=["2", 0], face=1, **wires), "2": given}
    signal = signal_of(server, prompt)
    assert signal["fps"] == 12.5
    assert column(signal, "AU12") == pytest.approx([0, 0.2, 0.4], abs=1e-5)  # the smaller one, all along
    prompt["2"] = node("ProbeThing", json='{"frames": [[]], "image_size": [4, 4]}')
    assert "no frame has a face" in server.error(
        images(prompt | {"3": node("ATWSignalPlot", signal=["1", 0], width=300, height=200)}, ["3", 0])
    )


def driving_clip(path: Path, face: bool = True) -> None:
    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
        small = torch.from_numpy(np.array(im.resize((192, 192)))).permute(2, 0, 1)
    tone = Sound(0.5 * torch.sin(torch.arange(8000) * 0.1)[None], 16000)
    with ClipWriter(path, 192, 192, Fraction(12), sound=tone) as clip:
        for _ in range(4):
            clip.write(small if face else torch.zeros_like(small))


def followed(**inputs: Any) -> Prompt:
    return node("ATWSignalFromVideo", driving="relative", gain=1.0, smoothing=0.0, face=0, **inputs)


def test_a_video_drives_a_clip_with_its_sound(server: Server, units: str) -> None:
    driving_clip(server.folder / "input" / "driver.mp4")
    prompt = video(parts(n2_checkpoint=units, n4_size=32))
    for unused in ("5", "6", "7"):
        del prompt[unused]
    prompt["10"] = node("LoadVideo", file="driver.mp4")
    prompt["11"] = followed(video=["10", 0])
    inputs = prompt["8"]["inputs"]
    del inputs["motion"]
    prompt["8"]["inputs"] = inputs | {"signal": ["11", 0], "audio": ["11", 1], "fps": ["11", 2]}
    prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="d", format="auto", codec="auto")
    (file,) = server.files(server.good(prompt), "9")
    with av.open(str(file)) as clip:
        assert clip.streams.video[0].average_rate == 12 and clip.streams.audio
        assert sum(1 for _ in clip.decode(video=0)) == 4


def test_a_video_of_images_drives_too(server: Server) -> None:
    prompt = {
        "2": node("ATWExamplePortrait", size=192),
        "3": node("RepeatImageBatch", image=["2", 0], amount=3),
        "4": node("CreateVideo", images=["3", 0], fps=20.0),
        "1": followed(video=["4", 0]),
    }
    signal = signal_of(server, prompt)
    assert (signal["fps"], len(signal["values"])) == (20.0, 3)


def test_a_video_without_a_face(server: Server) -> None:
    driving_clip(server.folder / "input" / "dark.mp4", face=False)
    prompt = {"10": node("LoadVideo", file="dark.mp4"), "1": followed(video=["10", 0])}
    prompt["2"] = node("ATWSignalPlot", signal=["1", 0], width=300, height=200)
    assert "no face number 1" in server.error(images(prompt, ["2", 0]))


def test_an_expression_that_the_model_lacks_units_for(server: Server, units: str) -> None:
    prompt = images(parts(n5_expression="anger"), ["6", 2])
    assert "needs AU04" in server.error(prompt)
    assert "it knows neutral, smiling" in server.error(prompt)
    server.good(images(parts(n5_expression="anger", n2_checkpoint=units, n4_size=32), ["6", 2]))
