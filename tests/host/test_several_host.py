"""Several faces in one photo, through every node that an ATW_FRAME of all faces goes into."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from atw_nodes.clips import read_frames

from .prompts import changed, images, node
from .server import Server

Prompt = dict[str, Any]


def two(**changes: Any) -> Prompt:
    """Two portraits side by side, as 3, both in one frame, up to the generator."""
    prompt = {
        "1": node("ATWExamplePortrait", size=256),
        "2": node("ImageFlip", image=["1", 0], flip_method="y-axis: horizontally"),
        "3": node(
            "ImageStitch",
            image1=["1", 0],
            image2=["2", 0],
            direction="right",
            match_image_size=True,
            spacing_width=0,
            spacing_color="white",
        ),
        "4": node("ATWFaceFrame", image=["3", 0], where="all faces", index=0, x=0, y=0, side=512),
        "5": node("ATWLoadModel", checkpoint="atw-smile-128", hub=""),
        "6": node("ATWExpression", expression="smiling", strength=1.0, target=False),
        "7": node("ATWSignalPerFace", signal_2=["6", 0]),
        "8": node("ATWDecompose", image=["3", 0], frame=["4", 0], size=128, upsampling="bilinear"),
        "9": node("ATWGenerator", model=["5", 0], low=["8", 0], signal=["6", 0], frame=["4", 0]),
    }
    return changed(prompt, **changes)


def still(prompt: Prompt) -> Prompt:
    wires = {"residuals": ["8", 1], "motion": ["9", 0], "refined": ["9", 2]}
    return images(prompt | {"10": node("ATWResWarp", **wires, mode="aligned", gate=True)}, ["10", 0])


def moved(server: Server, prompt: Prompt) -> tuple[bool, bool]:
    """Whether the left and the right half of the result differ from the photo."""
    entry = server.good(prompt | {"98": node("SaveImage", images=["3", 0], filename_prefix="photo")})
    (after,), (before,) = (server.files(entry, n) for n in ("99", "98"))
    change = np.asarray(Image.open(after)) != np.asarray(Image.open(before))
    half = change.shape[1] // 2
    return bool(change[:, :half].any()), bool(change[:, half:].any())


def per_face(*signals: list[Any] | None) -> Prompt:
    """A still in which each face has a signal of its own."""
    wires = {f"signal_{k}": s for k, s in enumerate(signals, 1) if s}
    return still(two(n9_signal=["7", 0]) | {"7": node("ATWSignalPerFace", **wires)})


def test_one_signal_for_all_or_one_each(server: Server) -> None:
    smile = ["6", 0]
    assert moved(server, still(two())) == (True, True)
    first, second = moved(server, per_face(smile)), moved(server, per_face(None, smile))
    assert sorted([first, second]) == [(False, True), (True, False)]
    assert moved(server, per_face()) == (False, False)


def test_clips_of_several_faces(server: Server) -> None:
    prompt = two(n9_signal=["7", 0])
    prompt["11"] = node("ATWInterpolateMotion", motion=["9", 0], frames=4, curve="ease", start=0.0, end=1.0)
    wires = {
        "model": ["5", 0],
        "residuals": ["8", 1],
        "mode": "aligned",
        "gate": True,
        "fps": 24.0,
        "note": True,
    }
    render = node("ATWRenderVideo", **wires, signal=["7", 0], motion=["11", 0])
    save = node("SaveVideo", video=["12", 0], filename_prefix="video/t", format="auto", codec="auto")
    (file,) = server.files(server.good(prompt | {"12": render, "13": save}), "13")
    assert sum(1 for _ in read_frames(file)) == 4
    keys = node("ATWKeyframes", text="0:\n0.2: AU12=1", fps=10.0, seconds=0.0, interpolation="linear")
    prompt |= {"14": keys, "7": node("ATWSignalPerFace", signal_1=["14", 0], signal_2=["6", 0])}
    given = wires | {"signal": ["7", 0], "filename_prefix": "video/s", "format": "webp"}
    (file,) = server.files(server.good(prompt | {"12": node("ATWSaveVideo", **given)}), "12")
    assert sum(1 for _ in read_frames(file)) >= 2


def test_one_node_animates_all(server: Server) -> None:
    given = {"expression": "smiling", "strength": 1.0, "frames": 1, "fps": 24.0, "curve": "pulse"}
    given |= {"mode": "aligned", "note": True, "model": ["5", 0], "frame": ["4", 0]}
    prompt = {k: v for k, v in two().items() if k in "12345"}
    prompt["9"] = node("ATWAnimatePortrait", image=["3", 0], **given)
    assert moved(server, images(prompt, ["9", 1])) == (True, True)


def test_what_does_not_fit_together(server: Server) -> None:
    for changes, text in (
        ({"n8_frame": None}, "low is 1 of 128x128, this model takes 2 images"),
        (
            {"n9_signal": ["7", 0], "n4_where": "auto"},
            "signals for 2 faces were given, but the frame holds 1",
        ),
    ):
        prompt = still(two(**changes))
        prompt["8"]["inputs"] = {k: v for k, v in prompt["8"]["inputs"].items() if v is not None}
        assert text in server.error(prompt)
    joined = images(two() | {"10": node("ATWSignalPlot", signal=["7", 0], width=200, height=100)}, ["10", 0])
    assert "this node takes one; change each face's signal first" in server.error(joined)


def test_a_frame_of_two_shows_both_numbers(server: Server) -> None:
    entry = server.good(images({k: v for k, v in two().items() if k in "1234"}, ["4", 2]))
    (file,) = server.files(entry, "99")
    page = np.asarray(Image.open(file).convert("RGB")).astype(int)
    green = (np.abs(page - (80, 220, 100)).max(-1) < 60).any(0)
    assert green[: len(green) // 2].any() and green[len(green) // 2 :].any()


def animated(first: list[Any]) -> Prompt:
    """A video of three equal frames, as 3; as 6, that of ``first`` with a smile."""
    smile = {"signal": ["4", 0], "model": ["5", 0], "mode": "aligned", "gate": True, "note": True}
    return {
        "1": node("ATWExamplePortrait", size=256),
        "2": node("RepeatImageBatch", image=["1", 0], amount=3),
        "3": node("CreateVideo", images=["2", 0], fps=20.0),
        "4": node("ATWExpression", expression="smiling", strength=1.0, target=False),
        "5": node("ATWLoadModel", checkpoint="atw-smile-128", hub=""),
        "6": node("ATWAnimateVideo", video=first, faces="largest", **smile),
    }


def saved(number: str) -> Prompt:
    return node("SaveVideo", video=[number, 0], filename_prefix="v", format="auto", codec="auto")


def test_a_full_card_is_survived_by_videos_too(server: Server) -> None:
    """The first tries run out of memory: less is worked on, the result is the same."""
    prompt = animated(["3", 0]) | {"8": saved("6")}
    (whole,) = server.files(server.good(prompt), "8")
    prompt["9"] = node("ProbeFull", thing=["3", 0], fails=2)
    prompt["6"]["inputs"]["video"] = ["9", 0]
    (got,) = server.files(server.good(prompt), "8")
    pairs = list(zip(read_frames(whole), read_frames(got), strict=True))
    assert len(pairs) == 3 and all((a.int() - b.int()).abs().max() <= 8 for a, b in pairs)
    prompt["9"]["inputs"]["fails"] = 99
    assert "out of memory" in server.error(prompt).lower()
    prompt["9"]["inputs"]["fails"] = 0
    server.good(prompt)


def test_a_video_is_animated_frame_by_frame(server: Server) -> None:
    prompt = animated(["3", 0])
    again = prompt["6"]["inputs"] | {"video": ["6", 0], "faces": "all faces"}
    prompt["7"] = node("ATWAnimateVideo", **again)  # of a file
    prompt |= {"8": saved("3"), "9": saved("7")}
    entry = server.good(prompt)
    (before,), (after,) = (server.files(entry, n) for n in "89")
    pairs = list(zip(read_frames(before), read_frames(after), strict=True))
    assert len(pairs) == 3
    for a, b in pairs:
        apart = (a.int() - b.int()).abs().amax(0)
        assert int(apart[150:200, 90:170].max()) > 20, "the mouth moves"
        assert float(apart[:20].float().mean()) < 3, "the rest is but encoded anew"
    empty = {"1": node("EmptyImage", width=128, height=128, batch_size=2, color=0)}
    empty["3"] = node("CreateVideo", images=["1", 0], fps=20.0)
    empty |= {k: prompt[k] for k in "456"}
    empty["9"] = prompt["9"] | {"inputs": prompt["9"]["inputs"] | {"video": ["6", 0]}}
    assert "nobody is seen in the video" in server.error(empty)
