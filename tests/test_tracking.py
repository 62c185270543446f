"""Who is who in a video: scripted scenes, no pictures of faces."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from atw_nodes.signals import EYE_CORNERS
from atw_nodes.tracking import EYE_POINTS, OneEuro, Track, follow
from atw_nodes.types import ShapeError

FPS = 20.0
Positions = Callable[[int], list[tuple[float, float]]]


def face(x: float, y: float, apart: float = 40.0) -> np.ndarray:
    """Landmarks around (x, y) with eyes ``apart`` pixels."""
    points = np.random.default_rng(1).uniform(-1, 1, (478, 2)) * apart
    for sign, corners in zip((-0.5, 0.5), EYE_CORNERS, strict=True):
        points[list(corners)] = (sign * apart, 0)
    return points + (x, y)


class Scene:
    """Faces at scripted places; counts how often it is asked to look and to look near."""

    def __init__(self, places: Positions, noise: float = 0.0) -> None:
        self.places, self.noise, self.looks, self.nears, self.time = places, noise, 0, 0, -1
        self.random = np.random.default_rng(0)

    def _seen(self) -> list:
        return [
            (face(x, y) + self.random.normal(0, self.noise, (478, 2)), np.array([x / 100]), 0.95)
            for x, y in self.places(self.time)
        ]

    def look(self, image: torch.Tensor) -> list:
        self.looks += 1
        return self._seen()

    def near(self, image: torch.Tensor, known) -> list:
        self.nears += 1
        seen = self._seen()
        return [s for s in seen if any(np.abs(s[0] - k).mean() < 20 for k in known)]

    def frames(self, count: int, cut: int | None = None) -> Iterator[torch.Tensor]:
        g = torch.Generator().manual_seed(0)
        images = torch.rand(2, 1, 3, 4, 4, generator=g).repeat_interleave(8, -1).repeat_interleave(8, -2)
        for self.time in range(count):
            yield images[int(cut is not None and self.time >= cut)]


def run(
    places: Positions, count: int = 40, noise: float = 0.0, cut: int | None = None
) -> tuple[list[Track], Scene]:
    scene = Scene(places, noise)
    return follow(scene.frames(count, cut), scene.look, scene.near, FPS), scene


def centres(track: Track) -> np.ndarray:
    return np.mean([track.landmarks[:, list(c)].mean(1) for c in EYE_CORNERS], 0)


def test_no_frames_no_tracks() -> None:
    assert run(lambda t: [(50, 50)], count=0)[0] == []


def test_a_still_face_gets_steadier() -> None:
    (track,), _ = run(
        lambda t: [(100, 80)], count=80, noise=0.15
    )  # 0.4 % of the eye distance, as the network has
    assert len(track.landmarks) == 80 and track.start == 0
    assert track.landmarks[20:].std(0).mean() < 0.15 / 3
    assert np.allclose(centres(track)[-1], (100, 80), atol=0.3)


def test_a_fast_move_is_not_late() -> None:
    (track,), _ = run(
        lambda t: [(100 + 8 * max(0, min(t - 20, 20)), 80)], count=60
    )  # 4 eye distances a second
    truth = np.array([100 + 8 * max(0, min(t - 20, 20)) for t in range(60)])
    late = (truth - centres(track)[:, 0])[24:40]
    assert late.max() < 8, late  # less than one frame's way


def test_crossing_faces_keep_their_names() -> None:
    tracks, _ = run(lambda t: [(60 + 6 * t, 80), (300 - 6 * t, 130)], count=40)
    assert len(tracks) == 2
    for track, (first, last) in zip(
        sorted(tracks, key=lambda t: t.identity), ((60, 294), (300, 66)), strict=True
    ):
        assert abs(centres(track)[0, 0] - first) < 3 and abs(centres(track)[-1, 0] - last) < 12


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_track() -> None:
    def gap(length: int) -> Positions:
        return lambda t: [] if 15 <= t < 15 + length else [(100 + t, 80)]

    (track,), _ = run(gap(6))
    assert len(track.landmarks) == 40
    assert (track.confidence[15:21] == 0).all() and (track.confidence[21:] > 0.9).all()
    assert np.allclose(np.diff(centres(track)[:, 0])[12:24], 1, atol=0.5)
    tracks, _ = run(gap(14))
    first, second = sorted(tracks, key=lambda t: t.start)
    assert (first.identity, first.start, len(first.landmarks)) == (0, 0, 15)
    assert second.identity == 1 and 29 <= second.start < 29 + FPS / 2


def test_units_are_bridged_too() -> None:
    (track,), _ = run(lambda t: [] if 10 <= t < 15 else [(100 + 2 * t, 80)])
    assert track.units.shape == (40, 1)
    assert (np.diff(track.units[:, 0]) >= -1e-6).all()


def test_nothing_is_carried_over_a_cut() -> None:
    tracks, _ = run(lambda t: [(100, 80)], cut=20)
    assert [(t.start, len(t.landmarks)) for t in sorted(tracks, key=lambda t: t.start)] == [(0, 20), (20, 20)]


def test_a_flash_is_no_cut() -> None:
    def frames() -> Iterator[torch.Tensor]:
        base = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
        for t in range(20):
            yield base + (0.5 if t == 10 else 0.0)

    scene = Scene(lambda t: [(100, 80)])
    assert len(follow(frames(), scene.look, scene.near, FPS)) == 1


def test_searching_is_rare() -> None:
    _, scene = run(lambda t: [(100, 80)], count=60)
    assert scene.looks <= 7 and scene.nears >= 53


def test_a_newcomer_is_noticed_and_named() -> None:
    tracks, _ = run(lambda t: [(100, 80)] + ([(300, 90)] if t >= 13 else []))
    assert len(tracks) == 2
    assert 13 <= tracks[1].start <= 13 + FPS / 2


def test_larger_faces_come_first() -> None:
    scene = Scene(lambda t: [])
    scene._seen = lambda: [(face(60, 60, 20), np.zeros(1), 0.9), (face(250, 60, 60), np.zeros(1), 0.9)]  # type: ignore[method-assign]
    tracks = follow(scene.frames(5), scene.look, lambda i, k: scene._seen(), FPS)
    assert [t.identity for t in tracks] == [1, 0]


def test_a_glimpse_is_dropped_unless_sure() -> None:
    scene = Scene(lambda t: [])
    scene._seen = lambda: [(face(60, 60), np.zeros(1), 0.6)] if scene.time < 2 else []  # type: ignore[method-assign]
    assert follow(scene.frames(30), scene.look, lambda i, k: scene._seen(), FPS) == []


def test_frames_are_not_kept() -> None:
    alive: list[weakref.ref] = []
    scene = Scene(lambda t: [(100, 80)])

    def frames() -> Iterator[torch.Tensor]:
        for scene.time in range(30):
            gc.collect()
            assert sum(r() is not None for r in alive) <= 1
            image = torch.rand(1, 3, 16, 16)
            alive.append(weakref.ref(image))
            yield image
            del image

    follow(frames(), scene.look, scene.near, FPS)
    assert len(alive) == 30


def test_landmarks_that_nobody_asks_for_are_not_kept() -> None:
    """They were a long video's memory: 4 KB a frame, and four times that while they were smoothed."""
    seen: list[weakref.ref] = []
    scene = Scene(lambda t: [] if 10 <= t < 13 else [(100 + t, 80)])
    true = scene._seen

    def watched() -> list:
        sightings = true()
        gc.collect()
        assert sum(r() is not None for r in seen) <= 2, "of a sighting or two, however many there were"
        seen.extend(weakref.ref(marks) for marks, _, _ in sightings)
        return sightings

    scene._seen = watched  # type: ignore[method-assign]
    (few,) = follow(scene.frames(30), scene.look, scene.near, FPS, EYE_POINTS)
    (all_,), _ = run(scene.places, 30)
    assert len(seen) == 27 and few.landmarks.shape == (30, 4, 2)
    assert np.array_equal(few.landmarks, all_.landmarks[:, list(EYE_POINTS)])
    assert np.array_equal(few.confidence, all_.confidence) and np.array_equal(few.units, all_.units)


def test_frames_of_another_size_are_refused() -> None:
    scene = Scene(lambda t: [])
    with pytest.raises(ShapeError, match="video frame 1"):
        follow(iter([torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9)]), scene.look, scene.near, FPS)


def test_one_euro_keeps_constants_and_follows_ramps() -> None:
    flat = np.full((10, 3), 2.5)
    assert np.array_equal(OneEuro(30.0)(flat), flat)
    ramp = np.arange(60.0)[:, None]
    assert np.abs(OneEuro(30.0, 1.0, beta=1.0)(ramp) - ramp)[30:].max() < 1.0
