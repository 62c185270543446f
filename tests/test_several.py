"""Several faces in one photo: one pass, no seam, nobody moved by another's signal, order without meaning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from atw_nodes.frames import frame_from_box, frame_from_eyes
from atw_nodes.reswarp import Residuals, ReswarpConfig, ReswarpMode, correction, decompose, reswarp, warped
from atw_nodes.several import BORDER, composite, share
from atw_nodes.tiles import Plane
from atw_nodes.types import FaceFrame, InputError, Motion, ShapeError
from atw_nodes.warp import feather_mask, identity_points, sample
from tests.conftest import photo_like, smooth_field

MODES = list(ReswarpMode)
HEIGHT, WIDTH, EYES = 420, 560, 80.0  # pixels; eye distance of the two faces


def pair(apart: float = 1.5, kind: torch.dtype = torch.float32, size: int = 64) -> list[Residuals]:
    """Two faces whose centres are ``apart`` eye distances from each other, the second a little rolled."""
    photo = photo_like(HEIGHT, WIDTH)
    photo = (photo * 255).round().byte() if kind == torch.uint8 else photo.to(kind)
    x = 280 - apart * EYES / 2
    y = x + apart * EYES
    a = frame_from_eyes((x - EYES / 2, 180), (x + EYES / 2, 180), HEIGHT, WIDTH)
    b = frame_from_eyes((y - EYES / 2, 176), (y + EYES / 2, 184), HEIGHT, WIDTH)
    return [decompose(photo, f, size) for f in (a, b)]


def moved(face: Residuals, amount: float = 0.03, count: int = 1) -> Motion:
    kind = torch.float64 if face.photo.dtype == torch.float64 else torch.float32
    fields = torch.cat([smooth_field(face.size, amount, dtype=kind) for _ in range(count)])
    return Motion(fields * face.mask().to(kind), torch.ones(count, dtype=kind))


def still(motion: Motion) -> Motion:
    return Motion(motion.field, torch.zeros_like(motion.weight))


def painted(faces: list[Residuals], count: int = 1) -> list[Tensor]:
    return [(f.low + torch.randn(count, 3, f.size, f.size) * 0.1).to(f.low) for f in faces]


def plane(frame: FaceFrame) -> Plane:
    return Plane(frame, torch.float64, torch.device("cpu"))


def pixels(frame: FaceFrame) -> Tensor:
    """[H,W,2] canonical positions of all pixels."""
    return plane(frame).points((0, 0, frame.width, frame.height))


def masks(frames: list[FaceFrame]) -> list[Tensor]:
    """s_i·m_i of every face, [H,W]."""
    planes, at = [plane(f) for f in frames], (0, 0, frames[0].width, frames[0].height)
    return [
        share(p, [q for q in planes if q is not p], at, p.points(at)) * feather_mask(p.points(at), 0.08)
        for p in planes
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_one_face_is_the_single_path_bit_for_bit(mode: ReswarpMode, kind: torch.dtype) -> None:
    face = pair(kind=kind)[1]
    motion, images, config = moved(face, count=2), painted([face], 2)[0], ReswarpConfig(mode)
    one = list(composite([face], [motion], [images], config))
    assert all(torch.equal(a, b) for a, b in zip(one, reswarp(face, motion, images, config), strict=True))
    assert torch.equal(next(composite([face], [motion], None)), next(warped(face, motion)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_faces_far_apart_are_each_the_single_path(mode: ReswarpMode, kind: torch.dtype) -> None:
    photo = photo_like(200, 500)
    photo = (photo * 255).round().byte() if kind == torch.uint8 else photo
    faces = [decompose(photo, frame_from_box(x, 20, 150, 200, 500), 64) for x in (10, 320)]
    motions, images, config = [moved(f) for f in faces], painted(faces), ReswarpConfig(mode)
    got = next(composite(faces, motions, images, config))
    alone = [next(reswarp(*g, config)) for g in zip(faces, motions, images, strict=True)]
    expected = torch.cat([alone[0][..., :250], alone[1][..., 250:]], -1)
    assert float((got.double() - expected.double()).abs().max()) <= (1 if kind == torch.uint8 else 1e-5)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_face_apart_beside_two_that_overlap(kind: torch.dtype) -> None:
    """It lies in the corner between them, and stays its own; what a buffer held before does not show."""
    photo = photo_like(200, 200)
    photo = (photo * 255).round().byte() if kind == torch.uint8 else photo
    spots = ((0, 0, 100), (80, 80, 110), (110, 2, 70))
    faces = [decompose(photo, frame_from_box(x, y, side, 200, 200), 64) for x, y, side in spots]
    motions, images = [moved(f, count=2) for f in faces], painted(faces, 2)
    motions[2] = Motion(motions[2].field, torch.tensor([1.0, 0.0]))
    got = [f.clone() for f in composite(faces, motions, images, out=torch.full_like(photo, 7))]
    two = list(composite(faces[:2], motions[:2], images[:2]))
    one = next(reswarp(faces[2], motions[2][:1], images[2][:1]))
    box = (..., slice(2, 72), slice(110, 180))
    assert torch.equal(got[0][box], one[box]) and torch.equal(got[1], two[1])
    assert torch.equal(got[1][box], photo[box])
    got[0][box] = two[0][box] = 0
    assert torch.equal(got[0], two[0])


@pytest.mark.parametrize("mode", MODES)
def test_overlapping_faces_equal_the_formula_written_out(mode: ReswarpMode) -> None:
    faces = pair(kind=torch.float64)
    motions, images, config = [moved(f) for f in faces], painted(faces), ReswarpConfig(mode)
    photo, at = faces[0].photo, identity_points(HEIGHT, WIDTH, like=faces[0].photo)
    shift, places = torch.zeros(HEIGHT, WIDTH, 2).double(), []
    m = masks([f.frame for f in faces])
    for face, motion, mask in zip(faces, motions, m, strict=True):
        points = pixels(face.frame)
        (a, b, _), (c, e, _) = face.frame.matrix
        inside = feather_mask(points, face.frame.feather)
        part = torch.where(inside > 0, mask / inside.clamp_min(1e-300), inside)
        d = sample(motion.field, points[None])[0] * part
        shift += torch.stack([a * d[0] + b * d[1], c * d[0] + e * d[1]], -1)
        places.append(points)
    w = sample(photo, at + shift / shift.new_tensor([WIDTH, HEIGHT]))
    expected = w.clone()
    for face, motion, image, points, mask in zip(faces, motions, images, places, m, strict=True):
        c = correction(face, motion.field, image, config)
        add = sample(c.add, points[None])
        if c.drop is not None:
            add = add - sample(c.drop, points[None]) * w
        expected += mask * add
    expected = torch.where((m[0] > 0) | (m[1] > 0), expected, photo)
    got = next(composite(faces, motions, images, config))
    assert float((got - expected).abs().max()) < 1e-10


def test_shares_part_the_photo_smoothly() -> None:
    faces = pair()
    m = masks([f.frame for f in faces])
    assert float((m[0] + m[1]).max()) <= 1 + 1e-12 and float(min(x.min() for x in m)) >= 0
    middle = (m[0] + m[1])[200:220, 200:360]  # well inside both frames
    assert torch.allclose(middle, torch.ones_like(middle), atol=1e-12), "nothing is lost between them"
    border, feather = BORDER * 1.5 * EYES, 0.08 * EYES / 0.23  # pixels
    steepest = max(float(x.diff(dim=d).abs().max()) for x in m for d in (0, 1))
    assert steepest < 1.6 * max(1 / border, 1 / feather), "no step, as soft as a frame's own edge"


def test_three_faces_never_add_up_to_more_than_one() -> None:
    spots = ((60, 60), (130, 40), (110, 130))
    frames = [frame_from_box(x, y, 200, 400, 400) for x, y in spots]
    m = masks(frames)
    total = m[0] + m[1] + m[2]
    assert float(total[150:250, 150:250].min()) > 0.7 and float(total.max()) <= 1 + 1e-12


def test_no_seam_where_two_faces_meet() -> None:
    """A slope of grey, pulled apart by both faces: it stays as smooth as the border between them is."""
    ramp = torch.linspace(0, 1, WIDTH, dtype=torch.float64).expand(1, 3, HEIGHT, WIDTH).contiguous()
    faces = [decompose(ramp, f.frame, 64) for f in pair()]
    pull, motions = 0.02, []
    for face, sign in zip(faces, (1, -1), strict=True):
        field = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
        field[:, 0] = sign * pull
        motions.append(Motion(field * face.mask().double(), torch.ones(1, dtype=torch.float64)))
    images = [reference(f, m) for f, m in zip(faces, motions, strict=True)]
    got = next(composite(faces, motions, images))
    shift = (got - ramp)[0, 0] * (WIDTH - 1)  # pixels
    side = EYES / 0.23
    for columns, sign in ((slice(180, 250), 1), (slice(310, 380), -1)):
        assert torch.allclose(shift[200, columns] * sign, shift.new_tensor(pull * side), atol=1e-6)
    slope, bend = shift.diff(dim=1), shift.diff(n=2, dim=1)
    border = BORDER * 1.5 * EYES
    assert float(slope[150:300].abs().max()) < 1.6 * 2 * pull * side / border, "slope: only the border's own"
    assert float(bend[150:300, 200:360].abs().max()) < 7 * 2 * pull * side / border**2, "bend: no crease"


def reference(face: Residuals, motion: Motion) -> Tensor:
    """The small image of the face's own warp: nothing to correct."""
    from atw_nodes.tiles import canonical

    return canonical(face.photo, face.frame, face.size, motion.field)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_nobody_is_moved_by_the_other(mode: ReswarpMode, kind: torch.dtype) -> None:
    """1.5 eye distances between centres: the other's side, beyond the soft border, is equal bit for bit."""
    faces = pair(kind=kind)
    motions, images = [moved(f, 0.05) for f in faces], painted(faces)
    only = [motions[0], still(motions[1])]
    got = next(composite(faces, only, images, ReswarpConfig(mode)))
    changed = (got != faces[0].photo).any(1)[0]
    reach = masks([f.frame for f in faces])[0] > 0
    assert not bool(changed[~reach].any()) and float(changed[reach].float().mean()) > 0.8
    beyond = int(280 + (BORDER / 2 * 1.5 + 0.06) * EYES)  # the roll tilts the border a little
    near = slice(120, 300)  # brows to chin
    assert not bool(changed[near, beyond:].any())
    both = next(composite(faces, motions, images, ReswarpConfig(mode)))
    own = (both.double() - got.double()).abs()[..., near, : int(280 - (BORDER / 2 * 1.5 + 0.06) * EYES)]
    assert float(own.max()) <= (1 if kind == torch.uint8 else 1e-4), "nor is the one that moves"


def test_a_moving_neighbour_changes_no_share() -> None:
    faces = pair(kind=torch.float64)
    motions, images = [moved(f) for f in faces], painted(faces)
    slightly = Motion(motions[1].field * 1e-9, motions[1].weight * 1e-9)
    nearly = [images[0], reference(faces[1], slightly)]
    a = next(composite(faces, [motions[0], still(motions[1])], images))
    b = next(composite(faces, [motions[0], slightly], nearly))
    assert float((a - b).abs().max()) < 1e-6


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_order_means_nothing(kind: torch.dtype) -> None:
    photo = photo_like(400, 400)
    photo = (photo * 255).round().byte() if kind == torch.uint8 else photo
    spots = ((60, 60), (130, 40), (110, 130))
    faces = [decompose(photo, frame_from_box(x, y, 200, 400, 400), 64) for x, y in spots]
    motions, images = [moved(f) for f in faces], painted(faces)
    first = next(composite(faces, motions, images))
    for order in ((2, 1, 0), (1, 2, 0)):
        again = next(composite(*([x[i] for i in order] for x in (faces, motions, images))))
        assert torch.equal(first, again)


def test_outside_and_at_rest_it_is_the_photo() -> None:
    faces = pair(3.0)
    motions, images = [moved(f, count=3) for f in faces], painted(faces, 3)
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    motions = [Motion(m.field, w) for m, w in zip(motions, weight, strict=True)]
    fresh = list(composite(faces, motions, images))
    photo = faces[0].photo
    assert torch.equal(fresh[1], photo)
    outside = (masks([f.frame for f in faces])[0] == 0) & (masks([f.frame for f in faces])[1] == 0)
    assert int(outside.sum()) > 0 and all(torch.equal(f[..., outside], photo[..., outside]) for f in fresh)
    buffer = torch.full_like(photo, 7.0)
    reused = [f.clone() for f in composite(faces, motions, images, out=buffer)]
    assert all(torch.equal(a, b) for a, b in zip(fresh, reused, strict=True))


def test_tiles_do_not_show() -> None:
    faces = pair(kind=torch.float64)
    motions, images = [moved(f) for f in faces], painted(faces)
    a, b = (next(composite(faces, motions, images, ReswarpConfig(rows=r))) for r in (256, 32))
    assert float((a - b).abs().max()) < 1e-12


def test_what_does_not_fit_is_named() -> None:
    faces = pair()
    motions, images = [moved(f) for f in faces], painted(faces)
    with pytest.raises(ShapeError, match="2 faces, but 1 motions, 2 refined; give one a face"):
        composite(faces, motions[:1], images)
    with pytest.raises(ShapeError, match="motions have 1, 3 frames; make them equally long"):
        composite(faces, [motions[0], moved(faces[1], count=3)], None)
    with pytest.raises(InputError, match="of different photos"):
        composite([faces[0], pair()[1]], motions, images)
    whole = decompose(faces[0].photo, None, 64)
    with pytest.raises(InputError, match="one of them the whole image"):
        composite([faces[0], whole], motions, images)
    with pytest.raises(ShapeError, match="refined image is 32 wide, the photo was decomposed to 64"):
        composite(faces, motions, [images[0], torch.rand(1, 3, 32, 32)])
