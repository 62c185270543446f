"""A video as the photo: faces followed, frames without one untouched, sound kept, no memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

import atw_nodes.animate as animate
from atw_nodes.checkpoints import Checkpoint, load_checkpoint
from atw_nodes.cli import main
from atw_nodes.clips import probe, read_frames, read_sound
from atw_nodes.images import read_photo
from atw_nodes.pyramid import downsample
from atw_nodes.rendering import Room, video_frames
from atw_nodes.reswarp import ReswarpConfig
from atw_nodes.signals import curve
from atw_nodes.sound import Sound
from atw_nodes.types import FaceFrame, InputError, ShapeError
from atw_nodes.video import ClipWriter
from atw_nodes.video_source import Cast, animate_video, fixed, watch
from tests.conftest import ROOT, photo_like

SIDE, FPS, SEEN, BLANK = 224, Fraction(25), 8, 4


def scene() -> list[Tensor]:
    """A face that drifts to the right, and after a cut nobody: [3,SIDE,SIDE+32] uint8 each."""
    portrait = downsample(read_photo(ROOT / "assets" / "portrait-4k.jpg").pixels, (SIDE, SIDE))[0]
    frames = []
    for k in range(SEEN):
        page = torch.full((3, SIDE, SIDE + 32), 0.4)
        page[..., 2 * k : 2 * k + SIDE] = portrait
        frames.append((page.clamp(0, 1) * 255).round().byte())
    empty = (photo_like(SIDE, SIDE + 32)[0] * 255).byte()
    return [*frames, *[empty] * BLANK]


@pytest.fixture(scope="module")
def shot() -> list[Tensor]:
    return scene()


@pytest.fixture(scope="module")
def cast(shot: list[Tensor]) -> Cast:
    return watch(iter(shot), float(FPS))


@pytest.fixture
def model(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def video(shot: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene with a tone, as a file."""
    path = tmp_path_factory.mktemp("video") / "scene.mkv"
    tone = Sound(torch.sin(torch.arange(24000) * 0.1)[None] * 0.5, 48000)
    with ClipWriter(path, SIDE + 32, SIDE, FPS, quality=100, sound=tone) as clip:
        for frame in shot:
            clip.write(frame)
    return path


def run(*args: object) -> int:
    return main(["animate", *(str(a) for a in args), "--quiet"])


def stills(folder: Path) -> list[Tensor]:
    return [read_photo(p).pixels[0] for p in sorted(folder.iterdir())]


def test_the_face_is_followed(cast: Cast) -> None:
    assert len(cast) == SEEN + BLANK and len(cast.shown) == 1
    assert [len(there) for there in cast.places] == [1] * SEEN + [0] * BLANK
    middles = [sum(x for x, _ in there[0][1].corners()) / 4 for there in cast.places[:SEEN]]
    steps = torch.tensor(middles).diff()
    assert float(steps.min()) > 0.3 and float(steps.max()) < 3.5, "it drifts by 2 pixels a frame"
    assert set(cast.shown[0]) >= {"AU12", "AU25"}


def test_only_the_face_changes_and_nothing_where_there_is_none(
    shot: list[Tensor], cast: Cast, model: Checkpoint
) -> None:
    made = [f.clone() for f in animate_video(shot, model, cast, [torch.ones(1, 3)])]
    assert len(made) == len(shot)
    for frame, got, there in zip(shot, made, cast.places, strict=True):
        changed = (frame != got[0]).any(0)
        if there:
            x0, y0, x1, y1 = there[0][1].bounds()
            assert bool(changed.any())
            changed[y0:y1, x0:x1] = False
        assert not bool(changed.any())


def test_zero_is_the_video(shot: list[Tensor], cast: Cast, model: Checkpoint) -> None:
    for signals, weights in (([torch.zeros(1, 3)], None), ([torch.ones(1, 3)], [0.0] * len(shot))):
        made = animate_video(shot, model, cast, signals, weights=weights)
        assert all(torch.equal(frame, got[0]) for frame, got in zip(shot, made, strict=True))


def test_a_signal_of_steps_goes_with_the_frames(shot: list[Tensor], cast: Cast, model: Checkpoint) -> None:
    steps = torch.tensor([0.0, 0.0, 1.0])[:, None].expand(-1, 3)  # the last holds
    by_step = [f.clone() for f in animate_video(shot, model, cast, [steps])]
    whole = [f.clone() for f in animate_video(shot, model, cast, [torch.ones(1, 3)])]
    assert all(torch.equal(f, g[0]) for f, g in zip(shot[:2], by_step[:2], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(by_step[2:], whole[2:], strict=True))
    eased = [
        f.clone() for f in animate_video(shot, model, cast, [torch.ones(1, 3)], weights=curve("ease", 12))
    ]
    assert torch.equal(eased[0][0], shot[0]) and not torch.equal(eased[5], whole[5])


def test_frames_are_not_kept(cast: Cast, model: Checkpoint) -> None:
    held: list[weakref.ref[Tensor]] = []

    def thin() -> Iterator[Tensor]:
        for frame in scene():
            own = frame.clone()
            held.append(weakref.ref(own))
            del frame
            yield own

    for _ in animate_video(thin(), model, cast, [torch.ones(1, 3)]):
        gc.collect()
        assert sum(h() is not None for h in held) <= 2


def test_it_goes_on_with_less_when_memory_runs_out(
    shot: list[Tensor], cast: Cast, model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the frame at which it happened, on as many rows as were left then; each frame comes once."""
    true, rows, fails, readings = animate.frames_of, [], {2, 3}, []

    def thin(faces, lows, config, out, alpha, filled) -> Iterator[Tensor]:
        rows.append(config.rows)
        if len(rows) - 1 in fails:
            raise MemoryError
        yield from true(faces, lows, config, out, alpha, filled)

    def read() -> Iterator[Tensor]:
        readings.append(len(rows))
        return iter(shot)

    def made() -> list[Tensor]:
        given = (model, cast, [torch.ones(1, 3)], [0], ReswarpConfig(), Room(torch.device("cpu")))
        full = (lambda error: isinstance(error, MemoryError), gc.collect)
        return [f.clone() for f in video_frames(read, *given, *full)]

    whole = made()
    assert readings == [0], "where there is room, the video is read once"
    monkeypatch.setattr(animate, "frames_of", thin)
    got = made()
    assert rows == [256, 256, 256, 128, *[64] * (SEEN - 2)] and readings[1:] == [0, 3, 4]
    assert len(got) == len(shot)
    assert all((a.int() - b.int()).abs().max() <= 1 for a, b in zip(got, whole, strict=True))
    fails.update(range(100))
    with pytest.raises(MemoryError):  # there is nothing less
        made()


def test_who_is_chosen() -> None:
    a, b = (FaceFrame(((s, 0, 5), (0, s, 5)), 100, 100) for s in (50.0, 30.0))
    cast = Cast((((0, a), (1, b)), ((1, b),), ()), ({}, {}))
    assert cast.at(0, [0]) == [(0, a)] and cast.at(0, [1]) == [(1, b)] and len(cast.at(0)) == 2
    assert cast.at(1, [0]) == [(1, b)] and cast.at(1, [1]) == [] and cast.at(2) == []
    assert len(fixed(3, a, {})) == 3 and fixed(3, a, {}).at(2) == [(0, a)]


def test_what_does_not_fit(shot: list[Tensor], cast: Cast, model: Checkpoint) -> None:
    with pytest.raises(ShapeError, match="2 signals for 1 faces"):
        next(animate_video(shot, model, cast, [torch.ones(1, 3)] * 2))
    with pytest.raises(ShapeError, match="more than the 2 frames"):
        list(animate_video(shot, model, fixed(2, cast.places[0][0][1], {}), [torch.zeros(1, 3)]))
    with pytest.raises(InputError, match="nobody is seen in the video's 3 frames"):
        watch([torch.zeros(3, 64, 64, dtype=torch.uint8)] * 3, 25.0)


def test_command_keeps_time_and_sound(
    video: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, common = tmp_path / "out.mp4", ("--checkpoint", tiny_checkpoint, "--au", "AU12=1")
    assert run(video, "-o", out, *common) == 0
    assert f"nobody is seen in {BLANK} of {SEEN + BLANK} frames" in capsys.readouterr().err
    assert len(list(read_frames(out))) == SEEN + BLANK and probe(out).fps == FPS
    heard = read_sound(out)
    assert heard is not None and float(heard.samples.abs().max()) > 0.3
    folder = tmp_path / "frames"
    assert run(video, "-o", folder, *common, "--frames", 3, "--face", "all") == 0
    before = list(read_frames(video))
    assert [bool((a != b).any()) for a, b in zip(stills(folder), before, strict=False)] == [True] * 3


def test_command_at_zero_is_the_decoded_video(video: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    common = ("--checkpoint", tiny_checkpoint, "--strength", 0, "--au", "AU12=1")
    for options in ((), ("--face", "whole"), ("--curve", "pulse")):
        folder = tmp_path / "-".join(("zero", *options))
        assert run(video, "-o", folder, *common, *options) == 0
        assert all(torch.equal(a, b) for a, b in zip(stills(folder), read_frames(video), strict=True))


def test_command_with_keyframes_and_a_driver(video: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    keys, table = tmp_path / "keys.json", tmp_path / "aus.csv"
    keys.write_text('{"0": {}, "0.12": {"AU12": 1}}')
    rows = ["frame, face_id, timestamp, confidence, success, AU12_r"]
    table.write_text("\n".join(rows + [f"{k + 1}, 0, {k / 25:.3f}, 0.98, 1, {k}.0" for k in range(4)]) + "\n")
    before = list(read_frames(video))
    for name, options in (("keys", ("--keyframes", keys)), ("table", ("--drive", table))):
        assert run(video, "-o", tmp_path / name, "--checkpoint", tiny_checkpoint, *options) == 0
        made = stills(tmp_path / name)
        assert len(made) == SEEN + BLANK and torch.equal(made[0], before[0])
        assert not torch.equal(made[3], before[3]) and not torch.equal(made[7], before[7])


@pytest.mark.parametrize(
    ("out", "options", "text"),
    [
        ("o.png", (), "a video becomes a clip; choose .mp4"),
        ("o.mp4", ("--fps", "10"), "--fps is for photos"),
        ("o.mp4", ("--sheet", "s.png"), "--sheet is for photos"),
        ("o.mp4", ("--landmarks", "mediapipe"), "followed by our own network"),
        ("o.mp4", ("--face", "all", "--face-index", "1"), "--face-index is for --face auto"),
    ],
)
def test_command_errors(
    video: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    out: str,
    options: tuple[str, ...],
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(tmp_path / o) if o.endswith(".png") else o for o in options]
    assert run(video, "-o", tmp_path / out, "--checkpoint", tiny_checkpoint, *given) == 2
    assert text in capsys.readouterr().err and not (tmp_path / out).exists()
