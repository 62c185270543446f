"""Which codecs go into which files, and what FFmpeg is told about each. FFmpeg itself is loaded when asked.

The quality of 1 to 100 becomes each encoder's own measure; at 90 they are about equally far from the frames.
The frames that an encoder holds back are a clip's only memory: their number falls as they grow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .types import InputError, OutputError

CHROMA = ("420", "444")
HARDWARE = ("auto", "nvenc", "videotoolbox", "qsv")
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}
_CONTAINERS |= {".webp": "webp", "": "folder"}
_DEFAULTS = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9", ".gif": "gif"}
_DEFAULTS |= {".webp": "webp", "": "png"}
_STEPS = {
    "yuv420p": (2, 2),
    "nv12": (2, 2),
    "yuv422p10le": (2, 1),
}  # what sides are multiples of, across and down
_LOOKAHEAD = 40 * 2**20  # pixels
_HUGE = 2**24  # pixels in a frame above which look-ahead is cut, or it would take gigabytes
_TRIAL = (256, 256)  # the size of a hardware encoder's trial: some refuse smaller ones

Options = Callable[[int, int, str], dict[str, str]]  # of quality, pixels in a frame, pixel format


def _ahead(pixels: int, least: int = 8) -> int:
    """Frames to look ahead: about 64 MB of them, at any size."""
    return max(least, min(40, _LOOKAHEAD // pixels))


def _h264(quality: int, pixels: int, form: str) -> dict[str, str]:
    few = {"bf": "1", "refs": "2"} if pixels > _HUGE else {}
    few |= {"rc-lookahead": str(_ahead(pixels))}
    profile = "high444" if form == "yuv444p" else "high"
    # a moving face in a still photo: no larger than with "medium", 0.1 dB off, in less than half the time
    return {"crf": str(min(51, 106 - quality)), "profile": profile, "preset": "veryfast"} | few


def _h265(quality: int, pixels: int, form: str) -> dict[str, str]:
    told = {"log-level": "none", "rc-lookahead": str(_ahead(pixels, 5))}
    if pixels > _HUGE:
        told |= {"frame-threads": "1", "bframes": "1", "ref": "2", "b-adapt": "0", "lookahead-slices": "0"}
    params = ":".join(f"{key}={value}" for key, value in told.items())
    return {"crf": str(min(51, 108 - quality)), "preset": "fast", "x265-params": params}


def _svt(quality: int, pixels: int, form: str) -> dict[str, str]:
    os.environ.setdefault("SVT_LOG", "1")  # or it writes its settings to the terminal
    told = {"lookahead": "0", "lp": "2", "pred-struct": "1"} if pixels > _HUGE else {"lp": "4"}
    params = ":".join(f"{key}={value}" for key, value in told.items())
    return {"crf": str(min(63, 112 - quality)), "preset": "8", "svtav1-params": params}


def _aom(quality: int, pixels: int, form: str) -> dict[str, str]:
    ahead = {"lag-in-frames": "0" if pixels > _HUGE else str(min(19, _ahead(pixels)))}
    speed = {"cpu-used": "6", "row-mt": "1", "b": "0"}
    return {"crf": str(min(63, 112 - quality))} | speed | ahead


def _vp9(quality: int, pixels: int, form: str) -> dict[str, str]:
    ahead = {"lag-in-frames": "0", "auto-alt-ref": "0"} if pixels > _HUGE else {}
    speed = {"deadline": "good", "cpu-used": "4", "row-mt": "1", "b": "0"}
    return {"crf": str(min(63, 114 - quality))} | speed | ahead


def _prores(quality: int, pixels: int, form: str) -> dict[str, str]:
    return {"profile": "4444" if form == "yuv444p10le" else "hq", "vendor": "apl0"}


def _ffv1(quality: int, pixels: int, form: str) -> dict[str, str]:
    slices = {"slices": "16"} if pixels > 2**16 else {}
    return {"level": "3", "slicecrc": "1", "g": "1", "coder": "1"} | slices


def _nvenc(quality: int, pixels: int, form: str) -> dict[str, str]:
    # the default of cq, 0, would mean "as it likes"
    held = {"rc-lookahead": "0", "bf": "0" if pixels > _HUGE else "2", "surfaces": "8"}
    return {"rc": "vbr", "cq": str(max(1, min(51, 109 - quality))), "b": "0", "preset": "p5"} | held


def _videotoolbox(quality: int, pixels: int, form: str) -> dict[str, str]:
    return {"flags": "+qscale", "global_quality": str(118 * quality)}  # 118 is FFmpeg's FF_QP2LAMBDA


def _qsv(quality: int, pixels: int, form: str) -> dict[str, str]:
    return {"global_quality": str(max(1, min(51, 108 - quality))), "look_ahead": "0", "async_depth": "2"}


def _plain(quality: int, pixels: int, form: str) -> dict[str, str]:
    return {}


def _webp(quality: int, pixels: int, form: str) -> dict[str, str]:
    return {"quality": str(quality)}


class _Encoder(NamedTuple):
    """FFmpeg's name for an encoder, its pixel format for each chroma, the smallest side, the largest (width,
    height), its options.
    """

    name: str
    formats: dict[str, str]
    least: int
    most: tuple[int, int]
    options: Options


ANY_SIZE, _YUV, _ONLY_420 = (65535, 65535), {"420": "yuv420p", "444": "yuv444p"}, {"420": "yuv420p"}
_ALL, _ISO = (".mp4", ".mov", ".mkv"), (".mp4", ".mkv", ".webm")


class _Codec(NamedTuple):
    """Files that it goes into, and who encodes it: the first that can and that FFmpeg was built with."""

    suffixes: tuple[str, ...]
    encoders: tuple[_Encoder, ...]


_CODECS = {
    "h264": _Codec(_ALL, (_Encoder("libx264", _YUV, 1, (16384, 16384), _h264),)),
    "h265": _Codec(_ALL, (_Encoder("libx265", _YUV, 64, (16384, 16384), _h265),)),
    "av1": _Codec(
        _ISO,
        (
            _Encoder("libsvtav1", _ONLY_420, 4, (16384, 8704), _svt),
            _Encoder("libaom-av1", _YUV, 1, ANY_SIZE, _aom),
        ),
    ),
    "vp9": _Codec((".webm", ".mkv", ".mp4"), (_Encoder("libvpx-vp9", _YUV, 1, ANY_SIZE, _vp9),)),
    "prores": _Codec(
        (".mov",),
        (_Encoder("prores_ks", {"420": "yuv422p10le", "444": "yuv444p10le"}, 1, ANY_SIZE, _prores),),
    ),
    "ffv1": _Codec((".mkv",), (_Encoder("ffv1", dict.fromkeys(CHROMA, "bgr0"), 1, ANY_SIZE, _ffv1),)),
    "gif": _Codec((".gif",), (_Encoder("gif", dict.fromkeys(CHROMA, "pal8"), 1, ANY_SIZE, _plain),)),
    "webp": _Codec((".webp",), (_Encoder("libwebp_anim", {"420": "bgra"}, 1, (16383, 16383), _webp),)),
    "png": _Codec(
        ("",), (_Encoder("png", dict.fromkeys(CHROMA, "rgb24"), 1, (2**31 - 1, 2**31 - 1), _plain),)
    ),
}
CODECS = tuple(_CODECS)
_MACHINES = {
    "nvenc": (
        "an NVIDIA card and its driver",
        {
            "h264": _Encoder("h264_nvenc", _YUV, 1, (8192, 8192), _nvenc),
            "h265": _Encoder("hevc_nvenc", _YUV, 1, (8192, 8192), _nvenc),
            "av1": _Encoder("av1_nvenc", _ONLY_420, 1, (8192, 8192), _nvenc),
        },
    ),
    "videotoolbox": (
        "a Mac with Apple silicon",
        {
            "h264": _Encoder("h264_videotoolbox", _ONLY_420, 1, (16384, 16384), _videotoolbox),
            "h265": _Encoder("hevc_videotoolbox", _ONLY_420, 1, (16384, 16384), _videotoolbox),
        },
    ),
    "qsv": (
        "an Intel graphics chip and its driver",
        {
            "h264": _Encoder("h264_qsv", {"420": "nv12"}, 1, (16384, 16384), _qsv),
            "h265": _Encoder("hevc_qsv", {"420": "nv12"}, 1, (16384, 16384), _qsv),
            "av1": _Encoder("av1_qsv", {"420": "nv12"}, 1, (16384, 16384), _qsv),
        },
    ),
}


@dataclass(frozen=True)
class Encoding:
    """How a clip is written: FFmpeg's names, the smallest and the largest side, and what the user may want to
    know about the choice, or None.
    """

    container: str
    codec: str
    encoder: str
    pixel_format: str
    least: int
    most: tuple[int, int]
    options: Options
    note: str | None = None

    @property
    def steps(self) -> tuple[int, int]:
        """What (width, height) must be multiples of: chroma is kept for so many pixels together."""
        return _STEPS.get(self.pixel_format, (1, 1))

    @property
    def is_yuv(self) -> bool:
        """Whether colours are converted, by BT.709 into the limited range."""
        return self.pixel_format.startswith(("yuv", "nv"))

    @property
    def tag(self) -> str | None:
        """The sign by which Apple's players know H.265."""
        return "hvc1" if self.codec == "h265" and self.container in ("mp4", "mov") else None


def encoding(
    path: Path,
    codec: str | None = None,
    chroma: str = "420",
    hardware: str | None = None,
    size: tuple[int, int] | None = None,
) -> Encoding:
    """What writes ``path``; the errors say what would. hardware: tried on a frame, of ``size`` too if that is
    given, (width, height); "auto" takes the first that works, else none.
    """
    suffix = _suffix_of(path)
    codec = codec or _DEFAULTS[suffix]
    for name, given, known in (
        ("codec", codec, CODECS),
        ("chroma", chroma, CHROMA),
        ("hardware", hardware or "auto", HARDWARE),
    ):
        if given not in known:
            raise InputError(f"{name} is {given!r}; expected one of {', '.join(known)}")
    if suffix not in _CODECS[codec].suffixes:
        fitting = [name for name in CODECS if suffix in _CODECS[name].suffixes]
        others = _CODECS[codec].suffixes
        raise OutputError(
            f"{path}: {suffix or 'a folder'} does not take {codec}; choose {_either(fitting)} for it, "
            f"or for {codec} {_either([s or 'a name without suffix' for s in others])}"
        )
    encoder, note = _hardware(hardware, codec, chroma, size) if hardware else (None, None)
    encoder = encoder or _software(codec, chroma)
    form, container = encoder.formats[chroma], _CONTAINERS[suffix]
    return Encoding(container, codec, encoder.name, form, encoder.least, encoder.most, encoder.options, note)


def _suffix_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _CONTAINERS:
        return suffix
    if suffix and not path.is_dir():
        known = ", ".join(filter(None, _CONTAINERS))
        raise OutputError(
            f"{path} has the unknown suffix {suffix!r}; expected {known} or none for a folder of PNG"
        )
    return ""


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _software(codec: str, chroma: str) -> _Encoder:
    able = [e for e in _CODECS[codec].encoders if chroma in e.formats]
    for encoder in able:
        if encoder.name == "png" or _built(encoder.name):
            return encoder
    others = [n for n in CODECS if any(chroma in e.formats and _built(e.name) for e in _CODECS[n].encoders)]
    missing = (
        f"this FFmpeg has no {_either([e.name for e in able])}" if able else f"{codec} has no such chroma"
    )
    raise OutputError(f"{codec} with chroma {chroma}: {missing}; choose {_either(others)}")


def _hardware(
    wanted: str, codec: str, chroma: str, size: tuple[int, int] | None
) -> tuple[_Encoder | None, str | None]:
    """(encoder, None); with "auto" (None, why) where none works."""
    whys = []
    for name in HARDWARE[1:] if wanted == "auto" else (wanted,):
        needs, encoders = _MACHINES[name]
        encoder = encoders.get(codec)
        if encoder is None:
            whys.append(f"{name} encodes {_either(list(encoders))}, not {codec}")
        elif chroma not in encoder.formats:
            whys.append(f"{encoder.name} has no chroma {chroma}")
        elif why := _fault(encoder, encoder.formats[chroma], size):
            whys.append(f"{encoder.name} needs {needs} ({why})")
        else:
            return encoder, None
    if wanted == "auto":
        return None, f"no hardware encodes {codec} here, the processor does: {'; '.join(whys)}"
    raise OutputError(f"hardware {wanted}: {whys[0]}; leave hardware out, or choose auto")


def _fault(encoder: _Encoder, form: str, size: tuple[int, int] | None) -> str | None:
    """Why a hardware encoder does not work, here or at the clip's size; None where it does."""
    if not _built(encoder.name):
        return "this FFmpeg was built without it"
    if why := trial(encoder.name, form, _TRIAL, encoder.options):
        return why
    if size is None:
        return None
    across, down = _STEPS.get(form, (1, 1))
    even = (size[0] + size[0] % across, size[1] + size[1] % down)
    why = trial(encoder.name, form, even, encoder.options)
    return f"it works, but not at {size[0]}x{size[1]}: {why}" if why else None


@cache
def _built(encoder: str) -> bool:
    import av

    try:
        av.Codec(encoder, "w")
    except ValueError:
        return False
    return True


@cache
def trial(encoder: str, form: str, size: tuple[int, int], options: Options) -> str | None:
    """Encode a black frame; why that failed, or None. To be built in says nothing of the machine."""
    import av
    import numpy as np
    from av.error import FFmpegError

    try:
        context: Any = av.CodecContext.create(encoder, "w")
        context.width, context.height = size
        context.pix_fmt, context.time_base, context.framerate = form, Fraction(1, 24), Fraction(24)
        context.options = options(90, size[0] * size[1], form)
        black = np.zeros((size[1], size[0], 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(black, format="rgb24").reformat(format=form)
        frame.pts = 0
        packets = [*context.encode(frame), *context.encode(None)]
    except (FFmpegError, ValueError, OSError) as error:
        return " ".join(str(getattr(error, "strerror", None) or error).split())
    return None if packets else "it gave no picture"
