"""Signals of many steps; weights from other nodes; landmarks of the host's own detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from .prompts import changed, clip, images, measured, node, parts, reswarp, saved, video
from .server import Server

LANDMARKS = Path(__file__).with_name("landmarks.json")


def steps(
    values: list[list[float]], names: str = "AU12 AU25", fps: float = 0.0, absolute: bool = False
) -> Any:
    return node("ProbeSteps", names=names, values=json.dumps(values), fps=fps, absolute=absolute)


RAMP = [[0.0, 0.0], [0.4, 0.2], [0.8, 0.4], [0.0, 0.0]]


def test_a_signal_of_steps_gives_batches(server: Server) -> None:
    prompt = reswarp(parts()) | {"5": steps(RAMP)}
    entry = server.good(images(prompt, ["8", 0]) | {"97": node("PreviewImage", images=["6", 2])})
    assert len(server.files(entry, "97")) == len(server.files(entry, "99")) == 4
    first, _, third, last = (np.asarray(Image.open(f)) for f in server.files(entry, "99"))
    assert np.array_equal(first, last) and not np.array_equal(first, third)
    prompt = images(prompt, ["1", 0])
    (photo,) = server.files(server.good(prompt), "99")
    assert np.array_equal(first, np.asarray(Image.open(photo)))


def frames_of(path: Path) -> tuple[int, float]:
    with av.open(str(path)) as file:
        rate = float(file.streams.video[0].average_rate or 0)
        return sum(1 for _ in file.decode(video=0)), rate


def test_a_clip_has_a_frame_a_step_at_the_signals_rate(server: Server) -> None:
    prompt = clip(parts())
    del prompt["8"]["inputs"]["motion"]
    for fps, expected in ((0.0, 24.0), (12.5, 12.5)):
        (file,) = server.files(server.good(prompt | {"5": steps(RAMP, fps=fps)}), "9")
        assert frames_of(file) == (4, expected)
    prompt = saved(parts())
    del prompt["8"]["inputs"]["motion"]
    (file,) = server.files(server.good(prompt | {"5": steps(RAMP, fps=30.0)}), "8")
    assert frames_of(file) == (4, 30.0)


def test_units_that_the_model_does_not_know(server: Server) -> None:
    prompt = images(parts(), ["6", 2])
    server.good(prompt | {"5": steps([[0.5, 0.5, 0.0]], "AU12 AU45 AU99")})
    assert "atw-smile-128 does not know AU45: left out" in server.text()
    text = server.error(prompt | {"5": steps([[0.5]], "AU45")})
    assert "the signal moves AU45, this model knows AU10, AU12, AU25 alone; choose another" in text


def test_units_as_shown_are_not_added_again(server: Server) -> None:
    """A face driven to what it shows stays as it is: the units of the frame come off."""
    prompt = reswarp(parts()) | {"5": steps([[0.0, 0.0, 0.0]], "AU10 AU12 AU25", absolute=True)}
    calm = measured(server, prompt, ["8", 0], ["1", 0], ["3", 1])
    prompt["5"] = steps([[0.0, 1.0, 0.0]], "AU10 AU12 AU25", absolute=True)
    assert measured(server, prompt, ["8", 0], ["1", 0], ["3", 1])["apart"] > calm["apart"]


def test_motion_and_steps_have_to_agree(server: Server) -> None:
    text = server.error(clip(parts()) | {"5": steps(RAMP)})
    assert "4 frames; only a single one can be interpolated" in text
    prompt = clip(parts())
    prompt["90"] = steps(RAMP)
    text = server.error(changed(prompt, n8_signal=["90", 0]))
    assert "motion has 5 frames but the signal has 4 steps" in text
    server.good(changed(prompt, n7_frames=4, n8_signal=["90", 0]))


@pytest.mark.parametrize("kind", ["ProbeThing", "ProbeListed"])
def test_weights_from_another_node(server: Server, kind: str) -> None:
    """A list as one value, and a list whose values come one after the other, are the same clip."""
    prompt = clip(parts(n7_weights=["90", 0])) | {"90": node(kind, json="[0, 0.5, 1.0]")}
    (file,) = server.files(server.good(prompt), "9")
    assert frames_of(file)[0] == 3


def found(form: str = "numpy", faces: Any = ((0, 0, 256),), size: tuple[int, int] = (256, 256)) -> Any:
    inputs = {"file": str(LANDMARKS), "faces": json.dumps(faces), "form": form}
    return node("ProbeLandmarks", **inputs, width=size[0], height=size[1])


def framed(**landmarks: Any) -> dict[str, Any]:
    prompt = parts(n3_landmarks=["90", 0]) | {"90": found(**landmarks)}
    return prompt | {"97": node("PreviewImage", images=["3", 2]), "96": node("MaskToImage", mask=["3", 1])}


@pytest.mark.parametrize("form", ["numpy", "list", "tensor"])
def test_landmarks_of_the_host_say_where_the_face_is(server: Server, form: str) -> None:
    own = parts() | {"90": node("MaskToImage", mask=["3", 1])}
    prompt = framed(form=form) | {f"5{k}": v for k, v in own.items() if k in "3"}
    prompt["53"] = parts()["3"]
    prompt["95"] = node("MaskToImage", mask=["53", 1])
    told = measured(server, prompt, ["96", 0], ["95", 0], ["3", 1])
    assert told["apart"] < 0.5, "about where our own network finds it"


def test_several_faces_the_largest_first(server: Server) -> None:
    """Two faces side by side in an image twice as wide; index 1 is the smaller, on the left."""
    faces = [[0, 60, 128], [200, 0, 256]]
    for index, left in ((0, 200), (1, 0)):
        prompt = framed(faces=faces, size=(512, 256))
        prompt["1"] = node("ProbePicture", kind="bytes", width=512, height=256)
        changed(prompt, n3_index=index)
        entry = server.good(prompt | {"94": node("PreviewImage", images=["96", 0])})
        mask = np.asarray(Image.open(server.files(entry, "94")[0]).convert("L"))
        columns = np.nonzero(mask.max(0))[0]
        assert left - 40 <= columns.mean() - (128 if index == 0 else 64) <= left + 40
    prompt = framed(faces=faces, size=(512, 256))
    prompt["1"] = node("ProbePicture", kind="bytes", width=512, height=256)
    assert "no face number 3 in the landmarks given (2 found)" in server.error(changed(prompt, n3_index=2))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"size": (300, 200)}, "are of an image of 300x200, the photo is 256x256; detect on this photo"),
        ({"faces": []}, "no face number 1 in the landmarks given (0 found)"),
        ({"form": "nan"}, "NaN or infinite"),
        ({"form": "few"}, "shape [68, 2]; expected [478, 2]"),
        ({"faces": [[0, 0, 0]]}, "do not make a face"),
        ({"faces": [[1e5, 1e5, 256]]}, "outside the photo"),
    ],
)
def test_landmarks_that_are_none(server: Server, given: dict[str, Any], text: str) -> None:
    assert text in server.error(framed(**given))


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        '{"frames": 7}',
        "[]",
        '{"image_size": [256, 256], "frames": [[7]]}',
        '{"image_size": "ab", "frames": [7]}',
        '{"image_size": [256, 256], "frames": [[{"landmarks_xy": "x"}]]}',
    ],
)
def test_things_that_are_no_landmarks(server: Server, value: str) -> None:
    prompt = framed() | {"90": node("ProbeThing", json=value)}
    text = server.error(prompt)
    assert "landmarks" in text and "Error" not in text, text


def test_a_video_without_motion_or_steps_is_one_frame(server: Server) -> None:
    prompt = video(parts())
    del prompt["8"]["inputs"]["motion"]
    prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="one", format="auto", codec="auto")
    (file,) = server.files(server.good(prompt), "9")
    assert frames_of(file)[0] == 1
