"""What sockets carry, without ComfyUI: signals onto models, images and landmarks as they come."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from atw_nodes.driving import Named, PerFace, as_signal, joined, paired, rate_of, vectors
from atw_nodes.reswarp import decompose
from atw_nodes.sockets import (
    Decomposed,
    Found,
    landmarks_of,
    to_frames,
    to_low,
    to_painted,
    to_photo,
    to_sound,
)
from atw_nodes.types import FaceFrame, InputError, ShapeError, Signal, SignalSpec

NAMES = ("AU10", "AU12", "AU25")
PRESETS = {"smiling": {"AU12": 1.0, "AU25": 0.5}}


def spec(kind: str = "relative") -> SignalSpec:
    return SignalSpec(kind, NAMES, low=(-1.5,) * 3, high=(1.5,) * 3, presets=PRESETS)  # type: ignore[arg-type]


def test_named_expressions() -> None:
    shown = {"AU12": 0.4, "AU25": 0.05}
    target, _ = vectors(Named("smiling", 0.5), spec(), shown)
    assert torch.allclose(target, torch.tensor([[0.0, 0.3, 0.25]])), "a little open counts as closed"
    change, _ = vectors(Named("smiling", 0.5, False), spec(), shown)
    assert torch.allclose(change, torch.tensor([[0.0, 0.5, 0.25]]))
    assert len(Named("smiling", 1.0)) == 1


def test_steps_onto_models_of_every_kind() -> None:
    shown = {"AU10": 0.2, "AU12": 0.4}
    steps = Signal(torch.tensor([[0.5, 9.0], [0.0, 0.0]]), ("AU12", "AU45"))
    values, dropped = vectors(steps, spec(), shown)
    assert dropped == ("AU45",) and torch.allclose(values, torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    values, _ = vectors(steps, spec("absolute"), shown)
    assert torch.allclose(values[0], torch.tensor([0.2, 0.9, 0.0]))
    seen = dataclasses.replace(steps, absolute=True)
    values, _ = vectors(seen, spec(), shown)
    assert torch.allclose(values, torch.tensor([[0.0, 0.1, 0.0], [0.0, -0.4, 0.0]])), "AU10 is left alone"
    values, _ = vectors(seen, spec("absolute"), shown)
    assert torch.allclose(values[0], torch.tensor([0.2, 0.5, 0.0]))
    wild, _ = vectors(Signal(torch.tensor([[99.0]]), ("AU10",)), spec(), {})
    assert wild.tolist() == [[1.5, 0.0, 0.0]], "no further than the model was trained"


def test_a_signal_that_the_model_cannot_follow() -> None:
    with pytest.raises(InputError, match="moves AU45, AU99, this model knows AU10, AU12, AU25 alone"):
        vectors(Signal(torch.ones(1, 2), ("AU45", "AU99")), spec(), {})
    still, dropped = vectors(Signal(torch.zeros(2, 1), ("AU45",)), spec(), {})
    assert not still.any() and dropped == ()


def test_sockets_cannot_be_changed() -> None:
    found = Found(FaceFrame.whole(8, 8), {"AU12": 1.0})
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.frame = FaceFrame.whole(9, 9)  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.units["AU12"] = 0.0  # type: ignore[index]
    held = Decomposed(decompose(torch.rand(1, 3, 40, 30), None, 16), torch.rand(1, 1, 40, 30), {})
    assert held.get_ram_usage() == 4 * (40 * 30 * 4 + 16 * 16 * 3) and held.size == (40, 30)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_bytes_stay_bytes(channels: int) -> None:
    levels = torch.randint(0, 256, (1, 300, 20, channels))
    photo, alpha = to_photo(levels / 255)
    assert photo.dtype == torch.uint8 and photo.shape == (1, 3, 300, 20)
    assert torch.equal(photo[0, 0].long(), levels[0, ..., 0])
    assert (alpha is None) == (channels in (1, 3))
    if alpha is not None:
        assert torch.equal(alpha[0, 0].long(), levels[0, ..., -1])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_other_values_stay_as_they_are(kind: torch.dtype) -> None:
    image = torch.rand(1, 300, 20, 3).to(kind)
    photo, _ = to_photo(image)
    assert photo.dtype == kind and torch.equal(photo.movedim(1, -1), image)
    image = torch.zeros(1, 300, 20, 3)
    image[0, 299, 3, 1] = 1.5
    assert torch.equal(to_photo(image)[0].movedim(1, -1), image)
    assert Decomposed(decompose(to_photo(image)[0]), None, {}).span() == (0.0, 1.5)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (None, "image is NoneType, expected an IMAGE"),
        (torch.zeros(1, 4, 4), "shape .1, 4, 4."),
        (torch.zeros(1, 4, 4, 7), "1 to 4"),
        (torch.zeros(0, 4, 4, 3), "an empty batch"),
        (torch.zeros(1, 0, 4, 3), "shape .1, 0, 4, 3."),
        (torch.zeros(2, 4, 4, 3), "a batch of 2; one photo is animated at a time"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.int64), "type torch.int64"),
        (torch.zeros(1, 1, 1, 3).expand(1, 2**15, 2**15, 3), "more than 256 megapixels"),
        (torch.full((1, 300, 4, 3), torch.nan), "holds NaN"),
    ],
)
def test_images_that_are_none(image: torch.Tensor | None, text: str) -> None:
    with pytest.raises((ShapeError, InputError), match=text):
        to_photo(image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_frames_are_bytes_where_nothing_is_lost(channels: int) -> None:
    levels = torch.randint(0, 256, (3, 300, 20, channels))
    image = levels / 255
    if channels in (2, 4):
        image[..., -1] = 0.1234  # alpha counts for nothing
    frames = to_frames(image)
    want = levels[..., :3] if channels > 2 else levels[..., :1].expand(-1, -1, -1, 3)
    assert frames.dtype == torch.uint8 and torch.equal(frames.movedim(1, -1).long(), want)
    image[2, 299, 19, 0] = 0.1234
    frames = to_frames(image)
    assert frames.dtype == torch.float32 and torch.equal(frames[:, 0], image[..., 0])
    image[1, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="frames holds NaN"):
        to_frames(image)


def test_small_images_keep_their_size_and_values() -> None:
    low = torch.rand(1, 32, 32, 4)
    assert torch.equal(to_low(low, 32).movedim(1, -1), low[..., :3])
    with pytest.raises(ShapeError, match="low is 1 of 32x32, this model takes one image of 128x128"):
        to_low(low, 128)
    with pytest.raises(ShapeError, match="low is 3 of"):
        to_low(low.expand(3, -1, -1, -1), 32)
    with pytest.raises(ShapeError, match="5 frames but refined has 1; connect both .* interpolated"):
        to_painted(low, 5, 32)
    with pytest.raises(ShapeError, match="refined is 32x32, the photo was decomposed to 64"):
        to_painted(low, 1, 64)


def test_sound_is_the_first_of_a_batch() -> None:
    sound = to_sound({"waveform": torch.rand(2, 1, 480), "sample_rate": 48000})
    assert sound is not None and sound.samples.shape == (1, 480) and sound.rate == 48000
    for wrong in ({}, [], {"waveform": torch.zeros(0, 1, 5), "sample_rate": 1}, {"waveform": None}):
        with pytest.raises(InputError, match="holds no sound"):
            to_sound(wrong)
    assert to_sound(None) is None


def test_landmarks_of_the_largest_face_first() -> None:
    def face(side: float) -> dict[str, object]:
        return {"landmarks_xy": np.random.default_rng(0).random((478, 2)) * side}

    given = {"frames": [[face(10), face(100)], [face(500)]], "image_size": (50, 60)}
    assert 90 < landmarks_of(given, 0, (50, 60)).max() < 101
    assert landmarks_of(given, 1, (50, 60)).max() < 11
    with pytest.raises(InputError, match=r"number 3 in the landmarks given \(2 found\)"):
        landmarks_of(given, 2, (50, 60))
    with pytest.raises(ShapeError, match="of an image of 60x50, the photo is 50x60"):
        landmarks_of(given, 0, (60, 50))


def test_signals_are_paired_with_faces_by_order() -> None:
    smile, steps = Named("smiling", 1.0), Signal(torch.zeros(3, 1), ("AU12",), 25.0)
    assert paired(smile, 3) == [smile] * 3
    both = joined([smile, None, steps])
    assert paired(both, 4) == [smile, None, steps, None] and len(both) == 3
    assert joined([both, smile]).signals == (smile, None, steps, smile), "more than one node has sockets for"
    assert rate_of(both) == rate_of(steps) == 25.0 and rate_of(smile) is None
    assert len(PerFace((None,))) == 1
    with pytest.raises(InputError, match="signals for 3 faces were given, but the frame holds 2"):
        paired(both, 2)
    with pytest.raises(InputError, match="of several faces .ATW Signal Per Face., this node takes one"):
        as_signal(both)


def test_small_images_of_several_faces() -> None:
    assert to_low(torch.rand(2, 32, 32, 3), 32, 2).shape == (2, 3, 32, 32)
    with pytest.raises(ShapeError, match="low is 1 of 32x32, this model takes 2 images of 32x32, one a face"):
        to_low(torch.rand(1, 32, 32, 3), 32, 2)
