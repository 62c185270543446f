"""Every codec: what it goes into, that tags, times and colours come back, and what is refused before any work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from atw_nodes import encoders
from atw_nodes.clips import probe, read_frames
from atw_nodes.encoders import CODECS, HARDWARE, encoding
from atw_nodes.files import CLIP_SUFFIXES
from atw_nodes.types import AtwError, InputError, OutputError
from atw_nodes.video import ClipWriter

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 30, 90)]
# codec, suffix, chroma, pixel format, FFmpeg's name for the decoded codec, colours off by at most
CASES = [
    ("h264", ".mp4", "420", "yuv420p", "h264", 3),
    ("h264", ".mkv", "444", "yuv444p", "h264", 3),
    ("h265", ".mp4", "420", "yuv420p", "hevc", 3),
    ("h265", ".mov", "444", "yuv444p", "hevc", 3),
    ("h265", ".mkv", "420", "yuv420p", "hevc", 3),
    ("av1", ".mp4", "420", "yuv420p", "av1", 4),
    ("av1", ".webm", "420", "yuv420p", "av1", 4),
    ("av1", ".mkv", "444", "yuv444p", "av1", 4),
    ("vp9", ".mp4", "420", "yuv420p", "vp9", 4),
    ("vp9", ".webm", "444", "yuv444p", "vp9", 4),
    ("prores", ".mov", "420", "yuv422p10le", "prores", 2),
    ("prores", ".mov", "444", "yuv444p12le", "prores", 2),
    ("ffv1", ".mkv", "420", "bgr0", "ffv1", 0),
]


def plain(colour: tuple[int, int, int], height: int = 64, width: int = 96) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, height, width)


def noise(height: int, width: int, seed: int) -> Tensor:
    return torch.randint(
        0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def write(path: Path, frames: list[Tensor], fps: float | Fraction = 24, **options: Any) -> ClipWriter:  # noqa: ANN401
    height, width = frames[0].shape[-2:]
    with ClipWriter(path, width, height, fps, **options) as clip:
        for frame in frames:
            clip.write(frame)
    return clip


def needs(codec: str, chroma: str = "420") -> None:
    """Skips where this FFmpeg was built without any encoder for it."""
    able = [e.name for e in encoders._CODECS[codec].encoders if chroma in e.formats]
    if not any(encoders._built(name) for name in able):
        pytest.skip(f"this FFmpeg was built without {' and '.join(able)}")


@pytest.mark.parametrize(("codec", "suffix", "chroma", "form", "name", "off"), CASES)
def test_what_is_written_comes_back(
    tmp_path: Path, codec: str, suffix: str, chroma: str, form: str, name: str, off: int
) -> None:
    needs(codec, chroma)
    path, rate = tmp_path / f"x{suffix}", Fraction(24000, 1001)
    clip = write(path, [plain(c) for c in COLOURS], rate, codec=codec, chroma=chroma)
    assert (clip.note, clip.frames) == (None, len(COLOURS))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert context.codec.canonical_name == name and context.pix_fmt == form
        tags = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
        assert tags == ((2, 0, 1, 13) if codec == "ffv1" else (1, 1, 1, 1))
        assert stream.average_rate == rate
        if codec == "h265" and suffix != ".mkv":
            assert context.codec_tag == "hvc1"
        decoded = list(container.decode(stream))
        assert stream.time_base is not None
        times = [f.pts * stream.time_base for f in decoded if f.pts is not None]
    assert len(times) == len(COLOURS)
    assert max(abs(t - i / rate) for i, t in enumerate(times)) <= Fraction(1, 2000)
    if codec != "ffv1":
        assert {(f.colorspace, f.color_range) for f in decoded} == {(1, 1)}
    for frame, colour in zip(read_frames(path), COLOURS, strict=True):
        assert (frame.int() - plain(colour).int()).abs().max() <= off


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (1, 1), (300, 400)])
def test_ffv1_gives_back_every_bit(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [noise(*size, seed) for seed in range(3)]
    assert write(tmp_path / "x.mkv", frames, codec="ffv1").note is None
    for got, want in zip(read_frames(tmp_path / "x.mkv"), frames, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9"])
def test_444_keeps_thin_lines_of_colour(tmp_path: Path, codec: str) -> None:
    needs(codec, "444")
    suffix = ".webm" if codec == "vp9" else ".mp4"
    lines = plain((60, 60, 60)).clone()
    lines[0, :, ::2], lines[2, :, 1::2] = 220, 220
    off = {}
    for chroma in ("420", "444"):
        path = tmp_path / f"{chroma}{suffix}"
        write(path, [lines] * 3, codec=codec, chroma=chroma, quality=98)
        off[chroma] = (next(read_frames(path)).float() - lines.float()).abs().mean()
    assert off["444"] < 4 < 20 < off["420"]


@pytest.mark.parametrize(("codec", "suffix", "chroma", "form", "name", "off"), CASES)
def test_padding_is_as_chroma_needs(
    tmp_path: Path, codec: str, suffix: str, chroma: str, form: str, name: str, off: int
) -> None:
    needs(codec, chroma)
    path = tmp_path / f"x{suffix}"
    clip = write(path, [plain((200, 30, 90), 67, 101)] * 2, codec=codec, chroma=chroma)
    size = {"yuv420p": (102, 68), "yuv422p10le": (102, 67)}.get(form, (101, 67))
    assert (probe(path).width, probe(path).height) == size
    if size == (101, 67):
        assert clip.note is None
    else:
        why = "4:2:0 needs even sides" if form == "yuv420p" else "4:2:2 needs an even width"
        assert (
            clip.note and clip.note.startswith(f"101x67 padded to {size[0]}x{size[1]}") and why in clip.note
        )
    frame = next(read_frames(path))
    assert (frame.int() - torch.tensor((200, 30, 90))[:, None, None]).abs().max() <= off + 3


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9"])
def test_quality_is_heard(tmp_path: Path, codec: str) -> None:
    needs(codec)
    frames = [noise(64, 64, seed) for seed in range(3)]
    for quality in (40, 95):
        write(tmp_path / f"{quality}.mkv", frames, codec=codec, quality=quality)
    low, high = (os.path.getsize(tmp_path / f"{q}.mkv") for q in (40, 95))
    assert high > 1.3 * low


def test_suffixes_are_those_of_files() -> None:
    assert set(encoders._CONTAINERS) == {*CLIP_SUFFIXES, ""}
    for suffix, codec in encoders._DEFAULTS.items():
        assert suffix in encoders._CODECS[codec].suffixes


@pytest.mark.parametrize("suffix", [*CLIP_SUFFIXES, ""])
@pytest.mark.parametrize("codec", CODECS)
def test_the_default_and_itself_by_name_are_one(codec: str, suffix: str) -> None:
    path = Path(f"x{suffix}")
    if suffix in encoders._CODECS[codec].suffixes:
        needs(codec)
        assert encoding(path, codec).codec == codec
        assert (encoding(path) == encoding(path, codec)) is (encoders._DEFAULTS[suffix] == codec)
    else:
        with pytest.raises(OutputError, match=f"{suffix or 'a folder'} does not take {codec}; choose "):
            encoding(path, codec)


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        (
            "x.webm",
            {"codec": "h265"},
            OutputError,
            r"\.webm does not take h265; choose av1 or vp9 for it, or",
        ),
        ("x.webm", {"codec": "h265"}, OutputError, r"for h265 \.mp4, \.mov or \.mkv$"),
        ("x.gif", {"codec": "h264"}, OutputError, "choose gif for it"),
        ("frames", {"codec": "ffv1"}, OutputError, r"a folder does not take ffv1; choose png .* ffv1 \.mkv$"),
        ("x.mp4", {"codec": "png"}, OutputError, "for png a name without suffix"),
        ("x.mp4", {"codec": "mpeg2"}, InputError, "codec is 'mpeg2'; expected one of h264, h265"),
        ("x.mp4", {"chroma": "422"}, InputError, "chroma is '422'; expected one of 420, 444"),
        ("x.mp4", {"hardware": "amf"}, InputError, "hardware is 'amf'; expected one of auto, nvenc"),
        ("x.webp", {"chroma": "444"}, OutputError, "webp has no such chroma; choose h264, "),
        (
            "x.mov",
            {"codec": "prores", "hardware": "nvenc"},
            OutputError,
            "nvenc encodes h264, h265 or av1, not",
        ),
        (
            "x.mp4",
            {"chroma": "444", "hardware": "qsv"},
            OutputError,
            "h264_qsv has no chroma 444; leave hard",
        ),
    ],
)
def test_what_does_not_fit_is_refused_first(
    tmp_path: Path, name: str, options: dict[str, Any], kind: type[AtwError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        ClipWriter(tmp_path / name, 64, 64, 24, **options)
    assert "\n" not in str(caught.value) and not os.listdir(tmp_path)


def test_sizes_beyond_the_encoder(tmp_path: Path) -> None:
    needs("h265")
    with pytest.raises(OutputError, match="8x8 is too small, libx265 takes 64 a side; choose h264"):
        ClipWriter(tmp_path / "x.mp4", 8, 8, 24, codec="h265")
    note = ClipWriter(tmp_path / "x.mp4", 8192, 8192, 24, codec="h265").note
    assert note and "beyond every H.265 level" in note
    if encoding(tmp_path / "x.webm", "av1").encoder == "libsvtav1":
        with pytest.raises(OutputError, match="libsvtav1 ends at 16384 by 8704"):
            ClipWriter(tmp_path / "x.webm", 4096, 9000, 24, codec="av1")


def test_an_encoder_that_ffmpeg_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoders._built
    monkeypatch.setattr(
        encoders, "_built", lambda name: name not in ("libsvtav1", "libaom-av1") and real(name)
    )
    message = "av1 with chroma 420: this FFmpeg has no libsvtav1 or libaom-av1; choose h264, .*ffv1"
    with pytest.raises(OutputError, match=message):
        ClipWriter(tmp_path / "x.webm", 64, 64, 24, codec="av1")
    monkeypatch.setattr(encoders, "_built", lambda name: name != "libsvtav1")
    assert encoding(tmp_path / "x.webm", "av1").encoder == "libaom-av1"


# --- hardware ---------------------------------------------------------------------------------------------


def working(kind: str) -> bool:
    encoder = encoders._MACHINES[kind][1]["h264"]
    return encoders._fault(encoder, encoder.formats["420"], None) is None


@pytest.mark.parametrize("kind", HARDWARE[1:])
def test_hardware_that_is_not_there(tmp_path: Path, kind: str) -> None:
    if working(kind):
        pytest.skip(f"{kind} works here")
    with pytest.raises(OutputError, match=f"hardware {kind}: h264_{kind} needs .*; leave hardware out"):
        ClipWriter(tmp_path / "x.mp4", 64, 64, 24, hardware=kind)
    assert not os.listdir(tmp_path)


def test_auto_falls_back_and_says_so(tmp_path: Path) -> None:
    if any(map(working, HARDWARE[1:])):
        pytest.skip("there is hardware")
    clip = write(tmp_path / "x.mp4", [noise(32, 48, 1)] * 2, hardware="auto")
    assert clip.note and clip.note.startswith(
        "no hardware encodes h264 here, the processor does: h264_nvenc needs"
    )
    write(tmp_path / "y.mp4", [noise(32, 48, 1)] * 2)
    assert (tmp_path / "x.mp4").read_bytes() == (tmp_path / "y.mp4").read_bytes()


@pytest.mark.parametrize("kind", HARDWARE[1:])
@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_hardware_that_is_there(tmp_path: Path, kind: str, codec: str) -> None:
    encoder = encoders._MACHINES[kind][1].get(codec)
    if encoder is None or encoders._fault(encoder, encoder.formats["420"], None):
        pytest.skip(f"{kind} does not encode {codec} here")
    path = tmp_path / "x.mp4"
    write(path, [plain(c, 256, 256) for c in COLOURS], codec=codec, hardware=kind)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (1, 1)
    for frame, colour in zip(read_frames(path), COLOURS, strict=True):
        assert (frame.int() - plain(colour, 256, 256).int()).abs().max() <= 6


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, tuple[int, int]]]]:
    """qsv that works up to 4096 a side, x264 in its place; what was tried."""
    tried: list[tuple[str, tuple[int, int]]] = []

    def trial(name: str, form: str, size: tuple[int, int], options: object) -> str | None:
        tried.append((name, size))
        return None if name == "h264_qsv" and max(size) <= 4096 else "Function not implemented"

    monkeypatch.setattr(encoders, "trial", trial)
    monkeypatch.setattr(encoders, "_built", lambda name: True)
    yield tried


def test_auto_takes_the_first_that_works(tmp_path: Path, machine: list[tuple[str, tuple[int, int]]]) -> None:
    got = encoding(tmp_path / "x.mp4", hardware="auto", size=(641, 481))
    assert (got.encoder, got.note, got.steps) == ("h264_qsv", None, (2, 2))
    assert machine == [
        ("h264_nvenc", (256, 256)),
        ("h264_videotoolbox", (256, 256)),
        *(("h264_qsv", size) for size in ((256, 256), (642, 482))),
    ]


def test_a_size_that_hardware_does_not_take(tmp_path: Path, machine: object) -> None:
    with pytest.raises(OutputError, match="it works, but not at 8192x64: Function not implemented"):
        encoding(tmp_path / "x.mp4", hardware="qsv", size=(8192, 64))
    got = encoding(tmp_path / "x.mp4", hardware="auto", size=(8192, 64))
    assert got.encoder == "libx264" and got.note and "not at 8192x64" in got.note


@pytest.mark.parametrize(
    ("options", "key", "sign"),
    [("_nvenc", "cq", -1), ("_qsv", "global_quality", -1), ("_videotoolbox", "global_quality", 1)],
)
def test_hardware_hears_quality(options: str, key: str, sign: int) -> None:
    values = [int(getattr(encoders, options)(q, 2**20, "yuv420p")[key]) for q in (1, 50, 90, 100)]
    assert values == sorted(values, reverse=sign < 0) and values[0] != values[-1]
    assert all(1 <= v <= (51 if sign < 0 else 11800) for v in values)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_short_clips_of_h265(tmp_path: Path, count: int) -> None:
    needs("h265")
    for suffix in (".mp4", ".mkv"):
        frames = [plain(COLOURS[k % 7], 67, 101) for k in range(count)]
        write(tmp_path / f"x{suffix}", frames, codec="h265")
        assert len(list(read_frames(tmp_path / f"x{suffix}"))) == count
