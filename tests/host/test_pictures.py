"""IMAGE of every kind in, the same values out: bits, floats, half precision, alpha, grey, batches, sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from .prompts import images, measured, node, parts, picture, reswarp, saved, video
from .server import Server


def on(image: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A still of an image of noise, whose face is said to be in a box."""
    prompt = reswarp(parts(n3_where="box", n3_x=20, n3_y=10, n3_side=120, **changes))
    prompt["1"] = image
    return prompt


STILL = {"n5_strength": 0.0, "n5_target": False}


@pytest.mark.parametrize("kind", ["bytes", "float"])
def test_wide_images_through_save_image(server: Server, kind: str) -> None:
    """1350 wide: strength 0 equals the source in every bit, as Save Image writes both; animated, all outside
    the face's box does.
    """
    box = {"n3_where": "box", "n3_x": 500, "n3_y": 100, "n3_side": 400}
    wide = picture(kind, 1350, 700)
    for changes in (STILL, {"n5_strength": 1.0, "n5_target": False}):
        prompt = reswarp(parts(**box, **changes)) | {"1": wide}
        prompt["97"] = node("SaveImage", images=["1", 0], filename_prefix="source")
        entry = server.good(images(prompt, ["8", 0]))
        (ours,), (theirs,) = server.files(entry, "99"), server.files(entry, "97")
        a, b = (np.array(Image.open(f).convert("RGB")) for f in (ours, theirs))
        if changes is STILL:
            assert np.array_equal(a, b)
        else:
            assert not np.array_equal(a[100:500, 500:900], b[100:500, 500:900])
            a[100:500, 500:900] = b[100:500, 500:900]
            assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["bytes", "float", "half", "wide"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_are_kept(server: Server, kind: str, channels: int) -> None:
    image = picture(kind, 181, 150, channels)
    still = measured(server, on(image, **STILL), ["8", 0], ["1", 0], ["3", 1])
    assert still["apart"] == 0 and still["type"] == "torch.float32"
    assert still["shape"] == [1, 150, 181, 4 if channels == 4 else 3]
    moved = measured(server, on(image, n5_target=False), ["8", 0], ["1", 0], ["3", 1])
    assert moved["outside"] == 0 and moved["apart"] > 0
    if kind == "wide":
        assert moved["low"] < -0.2 and moved["high"] > 1.2
    else:
        assert moved["low"] >= 0 and moved["high"] <= 1


def test_what_cannot_be_animated_says_so(server: Server) -> None:
    def error(image: dict[str, Any]) -> str:
        return server.error(images(on(image), ["8", 0]))

    assert "a batch of 3; one photo is animated at a time: pick one with ImageFromBatch" in error(
        picture("bytes", 150, 150, batch=3)
    )
    assert "is an empty batch" in error(picture("bytes", 150, 150, batch=0))
    assert "holds NaN or infinite values" in error(picture("nan", 150, 150))
    assert "expected images [batch, height, width, 1 to 4]" in error(picture("bytes", 150, 150, 7))
    assert "outside the photo" in error(picture("bytes", 5, 5))


def test_masks(server: Server) -> None:
    image = {"1": picture("bytes", 200, 150), "2": node("SolidMask", value=1.0, width=80, height=70)}
    image["4"] = node("SolidMask", value=0.0, width=200, height=150)
    frame = node("ATWFaceFrame", image=["1", 0], where="auto", index=0, x=0, y=0, side=512, mask=["4", 0])
    shown = node("PreviewImage", images=["3", 2])
    text = server.error(image | {"3": frame, "5": shown})
    assert "face mask is empty (nothing above 0.5); paint over the face" in text
    small = frame | {"inputs": frame["inputs"] | {"mask": ["2", 0]}}
    text = server.error(image | {"3": small, "5": shown})
    assert "mask is 80x70, the photo is 200x150; use one size" in text
    put = node("MaskComposite", destination=["4", 0], source=["2", 0], x=60, y=40, operation="add")
    good = frame | {"inputs": frame["inputs"] | {"mask": ["6", 0]}}
    entry = server.good(image | {"3": good, "5": shown, "6": put})
    assert server.files(entry, "5")


def test_a_full_card_is_survived(server: Server) -> None:
    """The first tries run out of memory: less is worked on, the result is the same."""
    prompt = reswarp(parts())
    prompt["90"] = node("ProbeFull", thing=["4", 1], fails=2)
    prompt["91"] = prompt["8"] | {"inputs": prompt["8"]["inputs"] | {"residuals": ["90", 0]}}
    found = measured(server, prompt, ["91", 0], ["8", 0], ["3", 1])
    assert found["apart"] <= 1 / 255 + 1e-6
    prompt["90"]["inputs"]["fails"] = 99
    text = server.error(images(prompt, ["91", 0]))
    assert "out of memory" in text.lower()
    prompt["90"]["inputs"]["fails"] = 0
    server.good(images(prompt, ["91", 0]))


def test_alpha_in_clips(server: Server) -> None:
    prompt = saved(parts(n3_where="box", n3_x=20, n3_y=10, n3_side=120, n7_frames=3), format="webp")
    (file,) = server.files(server.good(prompt | {"1": picture("float", 150, 140, 4)}), "8")
    with Image.open(file) as clip:
        assert clip.n_frames == 3 and clip.mode == "RGBA" and clip.size == (150, 140)


def test_sound_that_is_none(server: Server) -> None:
    for value in ('{"waveform": null}', "[]", '"text"'):
        prompt = video(parts(n7_frames=2), n8_audio=["90", 0]) | {"90": node("ProbeThing", json=value)}
        prompt["9"] = node("SaveVideo", video=["8", 0], filename_prefix="a", format="auto", codec="auto")
        assert "audio holds no sound" in server.error(prompt)
