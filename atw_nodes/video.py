"""Frames to video files, one at a time: memory does not grow with the length of a clip.

YUV is BT.709, limited range, tagged so and converted so. GIF gets a palette a frame. A path without a
suffix is a folder of PNG files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from PIL import Image
from torch import Tensor

from .encoders import ANY_SIZE, Encoding, encoding
from .files import (
    CLIP_SUFFIXES,
    atomic_folder,
    atomic_path,
    over_white,
    set_webp_length,
    to_bytes,
    unwritable,
    with_alpha,
)
from .sound import CopiedTrack, Sound, SoundFile, SoundTrack
from .types import InputError, OutputError, ShapeError

_SOUND = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
_LEVELS = {"h264": 139264 * 256, "h265": 35651584}  # pixels in a frame of the highest level


def is_clip(path: str | Path) -> bool:
    """True where ``ClipWriter`` takes the path: a clip's suffix, none, or a folder. ``.webp`` is both."""
    path = Path(path)
    return path.suffix.lower() in CLIP_SUFFIXES or not path.suffix or path.is_dir()


class _Sink(Protocol):
    def write(self, pixels: np.ndarray, index: int) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class ClipWriter:
    """Writes frames to a clip; a context manager. The clip takes its name when the block ends well, or never.

    path: its suffix chooses the format, none means a folder of ``frame_00000.png`` files (8 bit).
    codec: one of ``encoders.CODECS`` that fits it; None is H.264, in .webm VP9. chroma: "444" keeps colour as
    sharp as light. hardware: "nvenc", "videotoolbox", "qsv", or "auto": what works, else the processor.
    quality: 1..100 as for JPEG; 90 is CRF 16 in H.264 and 24 in VP9. GIF, PNG, ProRes and FFV1 have no such
    choice.
    loop: GIF and WebP play for ever. metadata: title, comment and the like, and any other key (not in GIF,
    WebP and PNG). sound: as long as the frames, then cut or followed by silence; that of a
    file is copied as it is.
    note: after construction, what the user may want to know about the size, or None. frames: written so far.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float | Fraction,
        *,
        quality: int = 90,
        loop: bool = True,
        metadata: Mapping[str, str] | None = None,
        sound: Sound | SoundFile | None = None,
        codec: str | None = None,
        chroma: str = "420",
        hardware: str | None = None,
    ) -> None:
        self.path, self.width, self.height, self.frames = Path(path), width, height, 0
        self.fps = _rate(fps)
        self._format = encoding(self.path, codec, chroma, hardware, (width, height))
        self.note = _size_note(self._format, self.path, width, height)
        if self.path.suffix.lower() == ".gif" and self.fps > 50:
            raise OutputError(
                f"{path}: GIF shows at most 50 frames a second, not {float(fps):g}; choose .webp or .mp4"
            )
        if not 1 <= quality <= 100:
            raise InputError(f"quality is {quality}; expected 1 to 100")
        if sound is not None and self._format.container not in _SOUND:
            raise OutputError(f"{path}: this format carries no sound; choose .mp4, .mov, .mkv or .webm")
        self._quality, self._loop, self._metadata = quality, loop, dict(metadata or {})
        self._sound = sound
        self._stack = ExitStack()

    def __enter__(self) -> ClipWriter:
        with ExitStack() as stack:
            place = atomic_folder if self._format.container == "folder" else atomic_path
            temp = stack.enter_context(place(self.path))
            with unwritable(self.path, FFmpegError):
                self._sink: _Sink = self._open(temp)
            stack.push(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def write(self, frame: Tensor, alpha: Tensor | None = None) -> None:
        """Add [3,H,W] or [1,3,H,W], uint8 or float in [0,1]. Formats without alpha show it over white."""
        pixels = to_bytes(frame, name="frame")
        if pixels.shape[:2] != (self.height, self.width):
            found = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise ShapeError(f"frame {self.frames} is {found}, the clip is {self.width}x{self.height}")
        if alpha is not None:
            pixels = with_alpha(pixels, to_bytes(alpha, 1, "alpha"))
            pixels = pixels if self._format.container in ("folder", "webp") else over_white(pixels)
        with unwritable(self.path, FFmpegError):
            self._sink.write(pixels, self.frames)
        self.frames += 1

    def _open(self, temp: Path) -> _Sink:
        if self._format.container == "folder":
            return _FolderSink(temp)
        options = self._format.options(self._quality, self.width * self.height, self._format.pixel_format)
        size = (self.width, self.height)
        return _VideoSink(
            temp, self._format, size, self.fps, options, self._loop, self._metadata, self._sound
        )

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None and not self.frames:
                raise OutputError(f"{self.path} was not written: the clip has no frames; give at least one")
            if kind is None:
                with unwritable(self.path, FFmpegError):
                    self._sink.close()
        finally:
            self._sink.abort()


def _rate(fps: float | Fraction) -> Fraction:
    try:
        rate = Fraction(fps).limit_denominator(1001)
    except (ValueError, OverflowError, TypeError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise InputError(f"fps is {fps}; expected a number above 0 and up to 1000")
    return rate


def _size_note(form: Encoding, path: Path, width: int, height: int) -> str | None:
    """What happens to frames of this size; ``OutputError`` if the encoder does not take them."""
    if width < 1 or height < 1:
        raise InputError(f"clip size {width}x{height} is empty; expected at least 1x1")
    if form.container == "folder":
        return form.note
    if min(width, height) < form.least:
        raise OutputError(
            f"{path}: {width}x{height} is too small, {form.encoder} takes {form.least} a side; choose h264"
        )
    _check_large(form, path, width, height)
    notes = [form.note] if form.note else []
    across, down = form.steps
    if width % across or height % down:
        padded = f"{width + width % across}x{height + height % down}"
        what = "row or column: 4:2:0 needs even sides" if down == 2 else "column: 4:2:2 needs an even width"
        notes.append(f"{width}x{height} padded to {padded} by repeating the last {what}")
    if width * height > _LEVELS.get(form.codec, width * height):
        name = {"h264": "H.264", "h265": "H.265"}[form.codec]
        notes.append(
            f"{width}x{height} is beyond every {name} level: many players will refuse it; .webm may do better"
        )
    return "; ".join(notes) or None


def _check_large(form: Encoding, path: Path, width: int, height: int) -> None:
    most = form.most
    if (
        width <= most[0] and height <= most[1] and (width + 128) * (height + 128) < 2**28
    ):  # FFmpeg's own limit
        return
    other = "a folder of PNG" if most == ANY_SIZE else ".webm or a folder of PNG"
    ends = f"{most[0]}" if most[0] == most[1] else f"{most[0]} by {most[1]},"
    limit = f"{form.encoder} ends at {ends} a side and 268 megapixels"
    raise OutputError(
        f"{path}: {width}x{height} is too large, {limit}; choose {other} (a name without suffix)"
    )


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, pixels: np.ndarray, index: int) -> None:
        Image.fromarray(pixels).save(self._folder / f"frame_{index:05d}.png", compress_level=3)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _VideoSink:
    """A file encoded by FFmpeg as frames arrive."""

    def __init__(
        self,
        temp: Path,
        form: Encoding,
        size: tuple[int, int],
        fps: Fraction,
        options: dict[str, str],
        loop: bool,
        metadata: dict[str, str],
        sound: Sound | SoundFile | None,
    ) -> None:
        self._tick, self._form, self._scale = 1 / fps, form, VideoReformatter()
        muxing = {"gif": {"loop": "0" if loop else "-1"}, "webp": {"loop": "0" if loop else "1"}}
        muxing |= dict.fromkeys(("mp4", "mov"), {"movflags": "+faststart+use_metadata_tags"})
        self._file = av.open(str(temp), "w", format=form.container, options=muxing.get(form.container, {}))
        self._file.metadata.update(metadata)
        stream: Any = self._file.add_stream(form.encoder, rate=fps, options=options)
        stream.width, stream.height = (
            side + side % step for side, step in zip(size, form.steps, strict=True)
        )
        stream.pix_fmt = form.pixel_format
        context = stream.codec_context
        context.time_base, context.thread_count = self._tick, 0
        if form.tag:
            context.codec_tag = form.tag
        _tag_colours(context, form)
        self._track = _track(self._file, sound, form.container)
        self._temp, self._size, self._loop, self._count = temp, size, loop, 0
        self._stream, self._graph = stream, _palette_graph(size, self._tick) if form.codec == "gif" else None

    def write(self, pixels: np.ndarray, index: int) -> None:
        height, width = pixels.shape[:2]
        across, down = self._form.steps
        if width % across or height % down:
            pixels = np.pad(pixels, ((0, height % down), (0, width % across), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
        if self._graph is None:
            frame = self._scale.reformat(frame, format=self._form.pixel_format, **self._colours())
        frame.pts, frame.time_base, frame.duration = index, self._tick, 1
        self._count = index + 1
        if self._graph is None:
            self._file.mux(self._stream.encode(frame))
        else:
            self._through_graph(self._graph, frame)
        if self._track:
            self._track.until(self._count * self._tick)

    def _colours(self) -> dict[str, Any]:
        if not self._form.is_yuv:
            return {}
        return {
            "dst_colorspace": Colorspace.ITU709,
            "dst_color_range": ColorRange.MPEG,
            "interpolation": _EXACT,
        }

    def _through_graph(self, graph: Graph, frame: av.VideoFrame | None) -> None:
        graph.vpush(frame)
        with suppress(BlockingIOError, EOFError):  # nothing more to pull
            while True:
                self._file.mux(self._stream.encode(graph.vpull()))

    def close(self) -> None:
        if self._graph is not None:
            self._through_graph(self._graph, None)
        last = self._stream.encode(None)
        if self._form.encoder == "libx265" and self._count <= 2:
            for packet in last:  # of a clip shorter than its delay, x265 leaves the decoding times unset
                packet.dts = packet.pts
        self._file.mux(last)
        if self._track:
            self._track.close()
        self._file.close()
        if self._form.container == "webp":
            set_webp_length(self._temp, round(1000 * self._count * self._tick), self._size, self._loop)

    def abort(self) -> None:
        with suppress(Exception):
            self._file.close()
        if self._track:
            self._track.abort()


def _tag_colours(context: Any, form: Encoding) -> None:  # noqa: ANN401 (PyAV's)
    """BT.709 for YUV; sRGB for lossless RGB."""
    if form.is_yuv:
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    elif form.codec == "ffv1":
        context.color_range, context.colorspace = ColorRange.JPEG, 0  # 0: RGB, in FFmpeg's words
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1


def _track(file: Any, sound: Sound | SoundFile | None, container: str) -> SoundTrack | CopiedTrack | None:  # noqa: ANN401
    if isinstance(sound, SoundFile):
        return CopiedTrack(file, sound)
    return SoundTrack(file, sound, _SOUND[container]) if sound else None


def _palette_graph(size: tuple[int, int], tick: Fraction) -> Graph:
    """Frame in, the same frame in its own best 256 colours out."""
    graph = Graph()
    source = graph.add_buffer(width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=tick)
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
