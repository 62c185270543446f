"""Clips out and in: colours, times, sizes and counts are right, and nothing half-written is left behind."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from atw_nodes import clips
from atw_nodes.clips import probe, read_frames
from atw_nodes.files import CLIP_SUFFIXES
from atw_nodes.images import read_photo
from atw_nodes.types import InputError, OutputError, ShapeError
from atw_nodes.video import ClipWriter, is_clip

COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
    (255, 255, 0),
    (128, 128, 128),
    (200, 30, 90),
]
YUV = (".mp4", ".mov", ".mkv", ".webm")


def plain(colour: tuple[int, int, int], height: int = 32, width: int = 32) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, height, width)


def write(path: Path, frames: list[Tensor], fps: float | Fraction = 24, **options: Any) -> ClipWriter:  # noqa: ANN401
    height, width = frames[0].shape[-2:]
    with ClipWriter(path, width, height, fps, **options) as clip:
        for frame in frames:
            clip.write(frame)
    return clip


def by_709(frame: av.VideoFrame) -> np.ndarray:
    """The middle pixel through the limited-range BT.709 equations, without any library."""
    y, u, v = (
        float(np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[p.height // 2, p.width // 2])  # type: ignore
        for p in frame.planes
    )
    luma, blue, red = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    return 255 * np.array([luma + 1.5748 * red, luma - 0.18733 * blue - 0.46813 * red, luma + 1.8556 * blue])


@pytest.mark.parametrize("suffix", YUV)
def test_pixels_are_converted_by_709_and_tagged_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, [plain(colour) for colour in COLOURS])
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
        context = container.streams.video[0].codec_context
        tags = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
        assert tags == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"
        assert context.name == ("vp9" if suffix == ".webm" else "h264")
        assert suffix == ".webm" or context.profile == "High"
    assert len(decoded) == len(COLOURS)
    for frame, colour in zip(decoded, COLOURS, strict=True):
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert np.abs(by_709(frame) - colour).max() <= 3
    for frame, colour in zip(read_frames(path), COLOURS, strict=True):
        assert (frame.int() - plain(colour).int()).abs().max() <= 3


@pytest.mark.parametrize("fps", [24, 25, 29.97002997, 12.5, Fraction(24000, 1001), 60])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_times_are_exact(tmp_path: Path, suffix: str, fps: float | Fraction) -> None:
    path, rate = tmp_path / f"x{suffix}", Fraction(fps).limit_denominator(1001)
    write(path, [plain(COLOURS[i % 8], 16, 16) for i in range(12)], fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        times = [frame.pts * stream.time_base for frame in container.decode(stream) if frame.pts is not None]
    step = Fraction(1, 2000) if suffix in (".mkv", ".webm") else 0  # Matroska counts milliseconds
    assert len(times) == 12
    assert max(abs(time - i / rate) for i, time in enumerate(times)) <= step
    info = probe(path)
    assert (info.width, info.height, info.fps, info.has_audio) == (16, 16, rate, False)
    assert info.frames == (12 if suffix in (".mp4", ".mov") else None)
    assert info.duration == pytest.approx(12 / rate, abs=1e-6 if step == 0 else 1e-3)


@pytest.mark.parametrize(("suffix", "step"), [(".gif", 10), (".webp", 1)])
def test_gif_and_webp_times_and_loop(tmp_path: Path, suffix: str, step: int) -> None:
    for loop in (True, False):
        path = tmp_path / f"x{suffix}"
        write(path, [plain(COLOURS[i]) for i in range(8)], 24, loop=loop)
        with Image.open(path) as image:
            assert image.n_frames == 8
            total = 0
            for index in range(8):
                image.seek(index)
                image.load()
                assert abs(total - 1000 * index / 24) <= step
                total += image.info["duration"]
            assert abs(total - 8000 / 24) <= step + 1
            assert image.info.get("loop", 1) == (0 if loop else 1)
        info = probe(path)
        assert (info.width, info.height) == (32, 32)
        assert info.duration == pytest.approx(8 / 24, abs=(step + 1) / 1000)
        frames = list(read_frames(path))
        assert len(frames) == 8
        for frame, colour in zip(frames, COLOURS, strict=True):
            assert (frame.int() - plain(colour).int()).abs().max() <= 8


@pytest.mark.parametrize("fps", [10, 24, Fraction(24000, 1001), 59.94, 1000])
@pytest.mark.parametrize(
    "shades", [[0, 60, 60, 60, 250], [0, 60, 250, 250, 250], [60, 60, 60, 250], [60] * 7, [60], [0, 250]]
)
def test_equal_frames_of_a_webp_keep_their_time(tmp_path: Path, shades: list[int], fps: Any) -> None:  # noqa: ANN401
    """libwebp merges them: every change comes when it should, and the end."""
    path, rate = tmp_path / "x.webp", Fraction(fps).limit_denominator(1001)
    write(path, [plain((shade,) * 3, 9, 15) for shade in shades], fps)
    changes = [i for i, shade in enumerate(shades) if i == 0 or shade != shades[i - 1]]
    begins = [1000 * i // rate for i in changes] + [round(1000 * len(shades) / rate)]
    with Image.open(path) as image:
        times = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            times.append(image.info["duration"])
        assert image.info["loop"] == 0
    assert times == [end - begin for begin, end in zip(begins, begins[1:], strict=False)]
    info = probe(path)
    assert (info.width, info.height, info.frames, info.duration) == (15, 9, len(changes), begins[-1] / 1000)
    for frame, i in zip(read_frames(path), changes, strict=True):
        assert (frame.int() - shades[i]).abs().max() <= 4
    assert torch.equal(read_photo(path).pixels[0], next(read_frames(path)))
    assert read_photo(path).alpha is None


def test_equal_frames_with_alpha(tmp_path: Path) -> None:
    alpha = torch.arange(0, 256, 16, dtype=torch.uint8).expand(1, 16, 16)
    with ClipWriter(tmp_path / "x.webp", 16, 16, 8, loop=False) as clip:
        for _ in range(4):
            clip.write(plain((250, 20, 30), 16, 16), alpha)
    photo = read_photo(tmp_path / "x.webp")
    assert photo.alpha is not None and torch.equal(photo.alpha[0], alpha)
    assert probe(tmp_path / "x.webp").duration == 0.5
    with Image.open(tmp_path / "x.webp") as image:
        assert image.info["loop"] == 1


def test_gif_has_a_palette_for_each_frame(tmp_path: Path) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(16, 16)
    zero = torch.zeros_like(ramp)
    frames = [
        torch.stack([ramp, zero, zero]),
        torch.stack([zero, ramp, zero]),
        torch.stack([zero, zero, ramp]),
    ]
    write(tmp_path / "x.gif", frames, 10)
    for got, want in zip(read_frames(tmp_path / "x.gif"), frames, strict=True):
        assert (got.int() - want.int()).abs().max() <= 12  # 768 colours: one palette would be off by far more


@pytest.mark.parametrize("suffix", CLIP_SUFFIXES)
@pytest.mark.parametrize("size", [(33, 47), (1, 1), (17, 32)])
def test_odd_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    height, width = size
    path = tmp_path / f"x{suffix}"
    note = write(path, [plain((200, 30, 90), height, width)] * 2 + [plain((0, 0, 0), height, width)]).note
    frames = list(read_frames(path))
    padded = (height + height % 2, width + width % 2) if suffix in YUV else size
    assert frames[0].shape == (3, *padded)
    assert (frames[0].int() - plain((200, 30, 90), *padded).int()).abs().max() <= 8  # also in the padding
    if suffix in YUV:
        assert note is not None and f"{width}x{height} padded to {padded[1]}x{padded[0]}" in note
    else:
        assert note is None


def test_even_sizes_get_no_note(tmp_path: Path) -> None:
    assert ClipWriter(tmp_path / "x.mp4", 64, 32, 24).note is None
    assert "beyond every H.264 level" in (ClipWriter(tmp_path / "x.mp4", 8192, 8192, 24).note or "")


def test_floats_strides_and_batches_are_the_same_frame(tmp_path: Path) -> None:
    base = torch.randint(0, 256, (3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    variants = [base, base[None], base.float() / 255, base.permute(1, 2, 0).contiguous().permute(2, 0, 1)]
    wide = torch.zeros(3, 8, 24, dtype=torch.uint8)
    wide[..., ::2] = base
    write(tmp_path / "frames", [*variants, wide[..., ::2], base.double() / 255])
    assert sorted(os.listdir(tmp_path / "frames")) == [f"frame_{i:05d}.png" for i in range(6)]
    for i in range(6):
        assert torch.equal(read_photo(tmp_path / "frames" / f"frame_{i:05d}.png").pixels[0], base)


def test_alpha(tmp_path: Path) -> None:
    alpha = torch.zeros(1, 16, 16, dtype=torch.uint8)
    alpha[:, :, 8:] = 255
    for name in ("frames", "x.webp", "x.mp4"):
        with ClipWriter(tmp_path / name, 16, 16, 24) as clip:
            clip.write(plain((255, 0, 0), 16, 16), alpha)
            clip.write(plain((255, 0, 0), 16, 16), alpha)
    photo = read_photo(tmp_path / "frames" / "frame_00001.png")
    assert photo.alpha is not None and torch.equal(photo.alpha[0], alpha)
    photo = read_photo(tmp_path / "x.webp")
    assert photo.alpha is not None and torch.equal(photo.alpha[0], alpha)
    frame = next(read_frames(tmp_path / "x.mp4"))
    assert (frame[:, 8, 2].int() - 255).abs().max() <= 6  # white shows through
    assert (frame[:, 8, 13].int() - torch.tensor([255, 0, 0])).abs().max() <= 6


def test_metadata_and_faststart(tmp_path: Path) -> None:
    tags = {"title": "A smile", "comment": "made from one photo"}
    for suffix in YUV:
        write(tmp_path / f"x{suffix}", [plain((9, 9, 9))], metadata=tags)
        with av.open(str(tmp_path / f"x{suffix}")) as container:
            found = {key.lower(): value for key, value in container.metadata.items()}
        assert found | tags == found
    data = (tmp_path / "x.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_quality_is_heard(tmp_path: Path) -> None:
    noise = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(3)]
    for suffix in (".mp4", ".webm", ".webp"):
        for quality in (40, 95):
            write(tmp_path / f"{quality}{suffix}", noise, quality=quality)
        low, high = (os.path.getsize(tmp_path / f"{q}{suffix}") for q in (40, 95))
        assert high > 1.3 * low


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.gif", "x.webp", "frames"])
def test_a_stopped_clip_leaves_nothing(tmp_path: Path, name: str, error: type[BaseException]) -> None:
    if "." in name:
        (tmp_path / name).write_bytes(b"old")
    before = os.listdir(tmp_path)
    with pytest.raises(error), ClipWriter(tmp_path / name, 16, 16, 24) as clip:
        clip.write(plain((1, 2, 3), 16, 16))
        assert len(os.listdir(tmp_path)) == len(before) + 1
        raise error
    assert os.listdir(tmp_path) == before
    assert "." not in name or (tmp_path / name).read_bytes() == b"old"


@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.mkv", "x.gif", "x.webp", "frames"])
def test_a_clip_without_frames_is_not_written(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(OutputError, match="was not written: the clip has no frames"),
        ClipWriter(tmp_path / name, 16, 16, 24),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.mkv", "x.gif", "x.webp", "frames"])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "x.mp4").write_bytes(b"old")
    generator = torch.Generator().manual_seed(3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=f"{name} cannot be written: File too large; check the disk"),
            ClipWriter(tmp_path / name, 128, 128, 24, quality=100) as clip,
        ):
            for _ in range(12):
                clip.write(torch.rand(3, 128, 128, generator=generator))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == b"old"


def test_an_existing_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine.v1"
    folder.mkdir()
    write(folder, [plain((1, 2, 3), 4, 4)])  # empty: it may be used
    assert os.listdir(folder) == ["frame_00000.png"]
    with pytest.raises(OutputError, match="already holds files; choose another name"):
        write(folder, [plain((4, 5, 6), 4, 4)])
    assert read_photo(folder / "frame_00000.png").pixels[0, :, 0, 0].tolist() == [1, 2, 3]
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="is a file; choose another name"):
        write(tmp_path / "file", [plain((4, 5, 6), 4, 4)])
    assert sorted(os.listdir(tmp_path)) == ["file", "mine.v1"]


@pytest.mark.parametrize("name", ["x.mp4", "frames"])
def test_a_finished_clip_that_cannot_take_its_name_is_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with (
        pytest.raises(OutputError, match=f"{name} cannot be written: .* kept as ") as caught,
        ClipWriter(path, 16, 16, 24) as clip,
    ):
        clip.write(plain((9, 9, 9), 16, 16))
        path.mkdir()
        (path / "theirs").write_bytes(b"x")
    kept = Path(str(caught.value).split(" kept as ")[1])
    assert os.listdir(path) == ["theirs"]
    assert os.listdir(kept) == ["frame_00000.png"] if name == "frames" else probe(kept).frames == 1


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dir.mp4").mkdir()
    cases = {
        "none/x.mp4": "there is no folder .*none; create it",
        "none/frames": "there is no folder .*none; create it",
        "file/x.mp4": "is a file, not a folder",
        "file/frames": "is a file, not a folder",
        "dir.mp4": "is a folder; choose another file name",
        "x.avi": r"unknown suffix '.avi'; expected .mp4, .* or none for a folder of PNG",
    }
    for name, message in cases.items():
        with pytest.raises(OutputError, match=message) as caught:
            write(tmp_path / name, [plain((1, 2, 3), 4, 4)])
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["dir.mp4", "file"]


def test_sizes_beyond_the_codec(tmp_path: Path) -> None:
    for name, size, message in (
        (
            "x.mp4",
            (16386, 64),
            "16386x64 is too large, libx264 ends at 16384 .*choose .webm or a folder of PNG",
        ),
        ("x.mp4", (16384, 16384), "libx264 ends at 16384 a side and 268 megapixels"),
        ("x.webp", (16384, 16), "libwebp_anim ends at 16383"),
        ("x.webm", (70000, 16), "choose a folder of PNG"),
    ):
        with pytest.raises(OutputError, match=message):
            ClipWriter(tmp_path / name, *size, 24)
    assert ClipWriter(tmp_path / "frames", 16384, 16384, 24).note is None
    assert os.listdir(tmp_path) == []


def test_wrong_arguments(tmp_path: Path) -> None:
    for fps in (0, -1, float("nan"), float("inf"), 1e9, 1e-9):
        with pytest.raises(InputError, match="fps is .*; expected a number above 0"):
            ClipWriter(tmp_path / "x.mp4", 8, 8, fps)
    with pytest.raises(OutputError, match="at most 50 frames a second, not 60; choose .webp or .mp4"):
        ClipWriter(tmp_path / "x.gif", 8, 8, 60)
    with pytest.raises(InputError, match="quality is 0; expected 1 to 100"):
        ClipWriter(tmp_path / "x.mp4", 8, 8, 24, quality=0)
    with pytest.raises(InputError, match="size 0x8 is empty"):
        ClipWriter(tmp_path / "x.mp4", 0, 8, 24)
    with pytest.raises(ShapeError, match="frame 1 is 6x4, the clip is 8x8"):
        write(tmp_path / "x.mp4", [torch.zeros(3, 8, 8), torch.zeros(3, 4, 6)])
    with pytest.raises(InputError, match="start is -1"):
        read_frames(tmp_path / "x.mp4", start=-1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", CLIP_SUFFIXES)
def test_start_and_count(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, [plain((4 * i, 4 * i, 4 * i), 16, 16) for i in range(60)], 20)
    first = [int(frame[0, 8, 8]) / 4 for frame in read_frames(path, start=2.0, max_frames=3)]
    assert first == pytest.approx([40, 41, 42], abs=0.8)
    assert len(list(read_frames(path, start=1.97))) == 20
    assert list(read_frames(path, max_frames=0)) == []
    assert len(list(read_frames(path))) == 60
    with pytest.raises(InputError, match="no frame at or after 9 s"):
        list(read_frames(path, start=9))


def test_frames_arrive_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.mkv", [plain((i, i, i)) for i in range(100)])
    converted, real = [], clips._pixels

    def counted(*args: Any) -> np.ndarray:  # noqa: ANN401
        converted.append(1)
        return real(*args)

    monkeypatch.setattr(clips, "_pixels", counted)
    frames = read_frames(tmp_path / "x.mkv")
    next(frames)
    next(frames)
    assert len(converted) == 2


def encoded(
    path: Path, colour: tuple[int, int, int], matrix: int, tagged: bool, height: int, turn: int = 0
) -> None:
    """A clip of one colour as another program would have written it; its top left quarter is white."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv420p"
        if tagged:
            stream.codec_context.colorspace = {1: 1, 5: 6}[matrix]
        if turn:
            stream.set_display_rotation(turn)
        pixels = np.full((height, 64, 3), colour, np.uint8)
        pixels[: height // 2, :32] = 255
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix)))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("matrix", "tagged", "height"), [(1, True, 64), (5, True, 720), (5, False, 64), (1, False, 720)]
)
def test_matrix_by_tag_else_by_size(tmp_path: Path, matrix: int, tagged: bool, height: int) -> None:
    encoded(tmp_path / "x.mp4", (220, 40, 60), matrix, tagged, height)
    frame = next(read_frames(tmp_path / "x.mp4"))
    assert (frame[:, height - 4, 60].int() - torch.tensor([220, 40, 60])).abs().max() <= 4


def test_turned_videos_are_read_upright(tmp_path: Path) -> None:
    for turn, corner in ((90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))):  # where the white corner goes
        encoded(tmp_path / "x.mp4", (0, 0, 0), 5, True, 32, turn)
        frame = next(read_frames(tmp_path / "x.mp4"))
        size = (32, 64) if turn == 180 else (64, 32)
        assert frame.shape == (3, *size)
        assert (probe(tmp_path / "x.mp4").height, probe(tmp_path / "x.mp4").width) == size
        assert frame[:, corner[0], corner[1]].min() > 250
        assert frame[:, -1 - corner[0], -1 - corner[1]].max() < 5


def test_sound_is_noticed(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        picture, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=48000)
        picture.width, picture.height, picture.pix_fmt = 16, 16, "yuv420p"
        container.mux(
            picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24"))
        )
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        wave.sample_rate = 48000
        container.mux([*sound.encode(wave), *sound.encode(None), *picture.encode(None)])
    assert probe(tmp_path / "x.mp4").has_audio


@pytest.mark.parametrize("use", [probe, read_frames])
def test_what_is_not_a_video(tmp_path: Path, use: Any) -> None:  # noqa: ANN401
    write(tmp_path / "good.mp4", [plain((i, 90, 0), 64, 64) for i in range(30)])
    data = (tmp_path / "good.mp4").read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.webp")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\ngood.mp4\n")
    for name, content in (
        ("empty.mp4", b""),
        ("text.mp4", b"hello " * 99),
        ("cut.mp4", data[: len(data) // 4]),
    ):
        (tmp_path / name).write_bytes(content)
    cases = {
        "none.mp4": "does not exist",
        "": "is a folder",
        "empty.mp4": "0 bytes",
        "text.mp4": "is not a video that can be read",
        "cut.mp4": "is not a video|is damaged",
        "still.png": "is not a video that can be read .* expected a video .MP4",
        "still.webp": "is a still picture; expected a video",
        "list.m3u8": "is not a video that can be read",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            use(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_video_damaged_in_the_middle(tmp_path: Path) -> None:
    noise = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(12)]
    write(tmp_path / "x.mp4", noise)
    data = bytearray((tmp_path / "x.mp4").read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    (tmp_path / "x.mp4").write_bytes(data)
    with pytest.raises(InputError, match="is damaged .*expected a whole video"):
        list(read_frames(tmp_path / "x.mp4"))


def test_what_counts_as_a_clip(tmp_path: Path) -> None:
    (tmp_path / "v1.0").mkdir()
    assert all(is_clip(name) for name in ("a.mp4", "a.GIF", "a.webp", "frames", tmp_path / "v1.0"))
    assert not any(is_clip(name) for name in ("a.png", "a.jpg", "a.v1"))
