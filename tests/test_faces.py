"""Finding and reading faces: geometry with a stand-in network, behaviour with the bundled one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from atw_nodes import faces
from atw_nodes.checkpoints import FACE, load_checkpoint, load_face_network, save_face_network
from atw_nodes.clips import read_frames
from atw_nodes.face_network import (
    EYES,
    REACH,
    STRIDE,
    FaceNetwork,
    FaceNetworkConfig,
    Reading,
    face_points,
    peaks,
)
from atw_nodes.files import model_folders
from atw_nodes.frames import frame_from_box, frame_from_eyes
from atw_nodes.signals import EYE_CORNERS, to_face
from atw_nodes.types import CheckpointError, InputError, ShapeError
from atw_nodes.video import ClipWriter
from atw_nodes.warp import identity_points
from tests.conftest import ROOT

BUNDLED = any((folder / f"{FACE}.safetensors").is_file() for folder in model_folders())
needs_network = pytest.mark.skipif(not BUNDLED, reason=f"models/{FACE}.safetensors is not in this checkout")


# --- geometry: a network that sees a red and a blue dot exactly -------------------------------------------------


def dots(
    height: int, width: int, pairs: list[tuple[tuple[float, float], tuple[float, float]]]
) -> torch.Tensor:
    """A black photo with a red dot on every left eye and a blue one on every right eye."""
    u = identity_points(height, width)[0] * torch.tensor([width, height])
    image = torch.zeros(3, height, width)
    for left, right in pairs:
        radius = math.dist(left, right) / 6
        for channel, at in ((0, left), (2, right)):
            image[channel] += torch.exp(-0.5 * ((u - torch.tensor(at)) / radius).square().sum(-1))
    return image.clamp(0, 1)[None]


def pieces(content: torch.Tensor) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) of the parts of a sheet [H,W], cut along empty rows and columns."""
    box = (0, content.shape[0], 0, content.shape[1])
    for axis in (0, 1):
        full = content.any(1 - axis).tolist()
        edges = [i for i in range(len(full) + 1) if (i and full[i - 1]) != (i < len(full) and full[i])]
        spans = list(zip(edges[::2], edges[1::2], strict=True))
        if spans != [(0, len(full))]:
            out = []
            for a, b in spans:
                for t, u, v, w in pieces(content[a:b] if axis == 0 else content[:, a:b]):
                    out.append((t + a, u + a, v, w) if axis == 0 else (t, u, v + a, w + a))
            return out
    return [box] if content.any() else []


def centres(image: torch.Tensor) -> torch.Tensor | None:
    """Centres of mass of the red and the blue dots of ``image`` [1,3,h,w]."""
    h, w = image.shape[-2:]
    at = identity_points(h, w)[0] * torch.tensor([w, h])
    masses = [(c - 0.4).clamp_min(0) for c in (image[0, 0], image[0, 2])]
    if min(float(m.sum()) for m in masses) < 0.5:
        return None
    return torch.stack([(at * m[..., None]).sum((0, 1)) / m.sum() for m in masses])


class Reader:
    """Reads the dots of a crop by their centres of mass."""

    def __call__(self, crops: torch.Tensor) -> Reading:
        marks, presence = torch.full((len(crops), 478, 2), 0.5), torch.full((len(crops),), -9.0)
        for i, crop in enumerate(crops):
            eyes = centres(crop[None])
            if eyes is not None:
                presence[i] = 9.0
                for points, eye in zip(EYE_CORNERS, eyes, strict=True):
                    marks[i, list(points)] = eye / crop.shape[-1]
        return Reading(marks, presence, torch.full((len(crops), 1), 0.3))

    def glance(self, crops: torch.Tensor, least: float) -> tuple[torch.Tensor, torch.Tensor]:
        reading = self(crops)
        corners = reading.landmarks[:, [i for eye in EYE_CORNERS for i in eye]]
        eyes = corners.unflatten(1, (2, -1)).mean(2)
        return reading.presence, torch.where(reading.presence[:, None, None] >= least, eyes, 0.0)


class Seer:
    """Finds one pair of dots in every piece of a sheet."""

    config = SimpleNamespace(size=64, units=("AU12",), view=1.0, middle=(0.5, 0.5))
    reader = Reader()

    @staticmethod
    def finder(sheet: torch.Tensor) -> torch.Tensor:
        assert not sheet.shape[-1] % 8 and not sheet.shape[-2] % 8
        maps = torch.zeros(1, 5, sheet.shape[-2] // STRIDE, sheet.shape[-1] // STRIDE)
        maps[:, 0] = -9
        for top, bottom, left, right in pieces((sheet[0] != 0.5).any(0)):
            eyes = centres(sheet[..., top:bottom, left:right])
            if eyes is not None and EYES[0] <= float((eyes[1] - eyes[0]).norm()) <= EYES[1]:
                eyes = eyes + torch.tensor([left, top])
                column, row = (eyes.mean(0) / STRIDE).long().tolist()
                centre = (torch.tensor([column, row]) + 0.5) * STRIDE
                maps[0, 0, row, column] = 9
                maps[0, 1:, row, column] = ((eyes - centre) / REACH).flatten()
        return maps


@pytest.mark.parametrize("size", [(300, 400), (256, 256), (1100, 700), (2200, 3100), (97, 131)])
@pytest.mark.parametrize("apart", [18.0, 55.0, 200.0])
@pytest.mark.parametrize("roll", [0.0, 0.5, -0.4])
def test_eyes_come_back_where_they_are(size: tuple[int, int], apart: float, roll: float) -> None:
    height, width = size
    apart = min(apart, 0.35 * min(size))
    x, y = 0.41 * width, 0.46 * height
    half = (apart / 2 * math.cos(roll), apart / 2 * math.sin(roll))
    eyes = ((x - half[0], y - half[1]), (x + half[0], y + half[1]))
    found = faces.find(dots(height, width, [eyes]), Seer())  # type: ignore[arg-type]
    assert len(found) == 1
    assert np.allclose(found[0].eyes, eyes, atol=0.04 * apart + 0.3)
    want = frame_from_eyes(*eyes, height, width)
    assert np.allclose(found[0].frame.matrix, want.matrix, atol=0.2 * apart + 1)
    assert found[0].units == {"AU12": 0.3}


def test_several_tiles_see_several_faces_largest_first() -> None:
    pairs = [
        ((300.0, 400.0), (360.0, 400.0)),
        ((2900.0, 2100.0), (2980.0, 2110.0)),
        ((3000.0, 300.0), (3022.0, 300.0)),
    ]
    found = faces.find(dots(2400, 3400, pairs), Seer())  # type: ignore[arg-type]
    order = [pairs[1], pairs[0], pairs[2]]
    assert len(found) == 3
    assert np.allclose([f.eyes for f in found], order, atol=4)


def test_a_face_is_reported_once_whatever_the_level() -> None:
    for apart in np.geomspace(17, 300, 9):
        eyes = ((500 - apart / 2, 500.0), (500 + apart / 2, 500.0))
        assert len(faces.find(dots(1000, 1000, [eyes]), Seer())) == 1, apart  # type: ignore[arg-type]


def test_peaks_are_local_and_high_enough() -> None:
    scores = torch.zeros(6, 7)
    scores[1, 1], scores[1, 2], scores[4, 5], scores[5, 0] = 0.9, 0.8, 0.6, 0.2
    assert peaks(scores, 0.5).tolist() == [[1, 1], [4, 5]]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="1, 3, H, W"):
        faces.find(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ShapeError, match="1, 3, H, W"):
        faces.read(torch.zeros(1, 1, 8, 8), frame_from_box(0, 0, 8, 8, 8))


# --- the network and its file ----------------------------------------------------------------------------------


def small(maps: int = 0) -> FaceNetwork:
    torch.manual_seed(0)
    network = FaceNetwork(FaceNetworkConfig(("AU12", "AU25"), size=64, width=6, finder=6, maps=maps))
    for module in network.modules():  # running statistics that are not the trivial ones
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("maps", [0, 8])
def test_folding_normalisations_changes_nothing(maps: int) -> None:
    network = small(maps)
    fused = network.fused()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    image, crops = torch.rand(1, 3, 64, 96), torch.rand(2, 3, 64, 64)
    assert torch.allclose(network.finder(image), fused.finder(image), atol=1e-5)
    assert torch.allclose(network.reader(crops).landmarks, fused.reader(crops).landmarks, atol=1e-5)


@pytest.mark.parametrize("maps", [0, 8])
def test_a_glance_is_half_a_reading(maps: int) -> None:
    network, crops = small(maps), torch.rand(3, 3, 64, 64)
    want = network.reader(crops)
    eyes = torch.stack([want.landmarks[:, list(e)].mean(1) for e in EYE_CORNERS], 1)
    presence, seen = network.reader.glance(crops, -1e9)
    assert torch.allclose(presence, want.presence, atol=1e-5)
    assert torch.allclose(seen, eyes, atol=1e-5)
    least = float(want.presence.detach().sort().values[1])
    assert (network.reader.glance(crops, least)[1].abs().sum((1, 2)) > 0).sum() == 2
    assert not network.reader.glance(crops, 1e9)[1].any()


@pytest.mark.parametrize("size", [(1024, 1024), (768, 1024), (300, 4000), (4000, 3000), (40, 40), (1, 1)])
def test_sheets_hold_every_piece_once_with_room_between(size: tuple[int, int]) -> None:
    levels = faces._levels(torch.zeros(1, 3, *size, dtype=torch.uint8), 40.0)
    seen = {}
    for sheet in faces._sheets(levels):
        taken = torch.zeros(700, 700, dtype=torch.bool)
        for piece in sheet:
            (x, y), (h, w) = piece.at, piece.image.shape[-2:]
            assert x % 8 == y % 8 == 0, "else cells lie elsewhere than alone"
            assert min(x, y) >= faces._PAD
            assert not taken[y - faces._PAD : y + h + faces._PAD, x - faces._PAD : x + w + faces._PAD].any()
            taken[y : y + h, x : x + w] = True
            seen[(piece.whole, piece.corner)] = seen.get((piece.whole, piece.corner), 0) + 1
    assert set(seen.values()) == {1}
    assert {whole for whole, _ in seen} == {(v.shape[-1], v.shape[-2]) for v in levels}


def test_units_are_read_of_the_face_not_of_where_it_is() -> None:
    """Face points forget position, size and roll; heat maps put every landmark inside the crop."""
    marks = torch.rand(1, 478, 2) * 0.4 + 0.3
    turn = 0.8 * torch.tensor([[0.9553, -0.2955], [0.2955, 0.9553]])
    moved = marks @ turn.T + 0.1
    assert torch.allclose(face_points(marks), face_points(moved), atol=1e-3)
    expected = torch.from_numpy(to_face(marks[0].double().numpy()).ravel())
    assert torch.allclose(face_points(marks)[0].double(), expected, atol=1e-4)
    read = small(8).reader(torch.rand(1, 3, 64, 64)).landmarks
    assert bool(((read > 0) & (read < 1)).all())


def test_the_reader_does_not_mind_contrast() -> None:
    network, crops = small(), torch.rand(1, 3, 64, 64)
    bright, dark = network.reader(crops), network.reader(crops * 0.3 + 0.1)
    assert torch.allclose(bright.landmarks, dark.landmarks, atol=0.02)


def test_a_file_comes_back_and_is_no_generator(tmp_path) -> None:
    path = tmp_path / "face.safetensors"
    network = small()
    save_face_network(path, network, {"steps": 1})
    again = load_face_network(path)
    assert again.config == network.config
    crops = torch.rand(1, 3, 64, 64)
    assert torch.allclose(again.reader(crops).landmarks, network.reader(crops).landmarks, atol=2e-2)
    with pytest.raises(CheckpointError, match="face network, not a generator"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="not a face network"):
        load_face_network("atw-smile-128")


def test_a_network_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        FaceNetworkConfig(("AU12",), size=100)


# --- the bundled network ---------------------------------------------------------------------------------------

# Where assets/portrait-4k.jpg has its eyes (recipes/draw_portrait.py), as fractions
PORTRAIT_EYES = (((614 + 0.385 * 2867) / 4096, (414 + 0.47 * 2867) / 4096),
                 ((614 + 0.615 * 2867) / 4096, (414 + 0.47 * 2867) / 4096))  # fmt: skip


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """The drawn portrait at 1024 x 1024."""
    with Image.open(ROOT / "assets" / "portrait-4k.jpg") as im:
        pixels = np.asarray(im.convert("RGB").resize((1024, 1024), Image.Resampling.BOX)).copy()
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def shrunk(image: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(image.float(), size=(side, side), mode="bilinear", antialias=True).round().byte()


@needs_network
@pytest.mark.parametrize("side", [96, 160, 320, 1024])
@pytest.mark.parametrize("light", [1.0, 0.25])
def test_the_portrait_is_found(portrait: torch.Tensor, side: int, light: float) -> None:
    found = faces.find((shrunk(portrait, side).float() * light).round().byte())
    assert len(found) == 1
    apart = (PORTRAIT_EYES[1][0] - PORTRAIT_EYES[0][0]) * side
    assert np.allclose(found[0].eyes, np.array(PORTRAIT_EYES) * side, atol=0.1 * apart)
    left, top, right, bottom = found[0].box
    assert 0 < left < right < side and 0 < top < bottom < side


@needs_network
def test_four_portraits_in_one_image(portrait: torch.Tensor) -> None:
    small = shrunk(portrait, 300)
    assert len(faces.find(torch.cat([torch.cat([small, small.flip(-1)], -1)] * 2, -2))) == 4


@needs_network
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (64, 64), (300, 500), (16, 16384)])
@pytest.mark.parametrize("content", ["black", "white", "grey", "noise"])
def test_nothing_is_found_where_nothing_is(size: tuple[int, int], content: str) -> None:
    g = torch.Generator().manual_seed(3)
    flat = {"black": 0, "white": 255, "grey": 128}
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=g)
    image = noise if content == "noise" else torch.full((1, 3, *size), flat[content], dtype=torch.uint8)
    assert faces.find(image) == []


@needs_network
def test_no_face_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"no face number 1 .*0 faces found.*X,Y,SIDE"):
        faces.largest(torch.zeros(1, 3, 100, 100))


@needs_network
def test_a_float_photo_and_a_byte_photo_read_alike(portrait: torch.Tensor) -> None:
    small = shrunk(portrait, 256)
    a = faces.find(small)[0]
    for kind, close in ((torch.float32, 0.1), (torch.float64, 0.1), (torch.float16, 0.5)):
        b = faces.find((small.double() / 255).to(kind))[0]
        assert np.allclose(a.landmarks, b.landmarks, atol=close), kind


@needs_network
def test_face_from_given_landmarks_is_the_same_type(portrait: torch.Tensor) -> None:
    small = shrunk(portrait, 256)
    own = faces.find(small)[0]
    given = faces.face_from_landmarks(own.landmarks, 256, 256, small)
    assert given.confidence == 1.0 and given.box == own.box
    assert given.units.keys() == own.units.keys()
    assert np.allclose(given.frame.matrix, own.frame.matrix, atol=1e-3)
    assert faces.face_from_landmarks(own.landmarks[:468], 256, 256).units == {}


@needs_network
def test_a_face_is_followed_through_a_video_file(portrait: torch.Tensor, tmp_path) -> None:
    image, path = shrunk(portrait, 320), tmp_path / "clip.mp4"
    with ClipWriter(path, 280, 300, 20) as clip:
        for t in range(12):
            clip.write(image[..., 5:305, 2 * t : 2 * t + 280])
    (track,) = faces.track(read_frames(path), 20)
    assert (track.start, track.landmarks.shape, track.units.shape) == (0, (12, 478, 2), (12, 17))
    assert (track.confidence > 0.9).all()
    middle = track.landmarks[:, [33, 133, 362, 263]].mean(1)
    assert np.allclose(np.diff(middle[2:, 0]), -2, atol=1.2)
    want = np.mean(PORTRAIT_EYES, 0) * 320 - (0, 5)
    assert np.allclose(middle[0], want, atol=6)


@needs_network
def test_held_out_people_are_found_and_read(faces_folder) -> None:
    """A floor under what the model card says, on two people nobody trained on."""
    marks = np.load(faces_folder / "landmarks.npy")
    import csv

    with (faces_folder / "manifest.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    seen: dict[str, float] = {}
    for i, r in enumerate(rows):
        if r["set"] == "london" and r["subject"] in ("036", "134"):
            with Image.open(faces_folder / r["image"]) as im:
                image = torch.from_numpy(np.asarray(im.convert("RGB")).copy()).permute(2, 0, 1)[None]
            (face,) = faces.find(image)
            apart = np.linalg.norm(marks[i][[33, 133]].mean(0) - marks[i][[362, 263]].mean(0))
            assert np.linalg.norm(face.landmarks - marks[i], axis=1).mean() < 0.06 * apart
            seen[r["subject"] + r["expression"]] = face.units["AU12"]
    for person in ("036", "134"):
        assert seen[f"{person}smiling"] > 0.4 > 0.2 > seen[f"{person}neutral"]
