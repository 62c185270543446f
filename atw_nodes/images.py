"""Photos to tensors and back: every bit, colour profile, EXIF block and alpha plane that can be kept is kept.

Pillow decodes. Where it would cut 16 bits a channel down to 8 (colour PNG and TIFF), FFmpeg does.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from .files import (
    STILL_SUFFIXES,
    atomic_path,
    file_head,
    over_white,
    reason,
    to_bytes,
    unwritable,
    with_alpha,
)
from .types import InputError, OutputError

MAX_PIXELS = 16384 * 16384
_READABLE = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC"

_SIDE_LIMIT = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXIF_MARK = b"Exif\0\0"
_ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x0112, 0x8769, 0x8825
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_EXTRA, _TIFF_SAMPLE_FORMAT = 258, 262, 338, 339
_TIFF_WORDS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)  # description ... copyright
_DEEP_CHANNELS = {"gray16": 1, "ya16": 2, "rgb48": 3, "rgba64": 4}
_pillow_limit = threading.Lock()  # Image.MAX_IMAGE_PIXELS and the warning filters belong to the whole process


@dataclass(frozen=True)
class Photo:
    """An upright photo and what its file said about it.

    pixels: [1,3,H,W] RGB, uint8, or float32 in [0,1] for sources deeper than 8 bits.
    alpha: [1,1,H,W] of the same type (255 or 1.0 is opaque), never premultiplied; None for opaque formats.
    icc: the RGB profile of ``pixels``; None means sRGB (CMYK and grey profiles are applied and dropped).
    exif: the block, starting with ``Exif\\0\\0``; its orientation is reset to 1, its thumbnail unlinked.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[-1])


def read_photo(path: str | Path) -> Photo:
    """The first picture of an image file, upright. Every failure is an ``InputError`` of one line."""
    path = Path(path)
    head = file_head(path)
    try:
        with path.open("rb") as file:
            image = _load(file, head)
            turn, exif = _orientation_and_exif(image)
            pixels, icc = _pixels(image, file, head)
    except Exception as error:  # Pillow's decoders fail in a dozen ways
        raise InputError(f"{path} {_refusal(error, head)}") from error
    pixels = _upright(pixels, turn)
    colour = torch.from_numpy(pixels[..., :3].copy()).movedim(-1, 0)[
        None
    ]  # colours together, as files have them
    alpha = torch.from_numpy(pixels[..., 3].copy())[None, None] if pixels.shape[2] == 4 else None
    return Photo(colour, alpha, icc, exif)


def _refusal(error: Exception, head: bytes) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"is too large ({reason(error)}); expected at most 16384x16384 pixels"
    if not isinstance(error, UnidentifiedImageError):
        return f"is damaged or cut short ({reason(error)}); expected a whole {_READABLE} file"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "is a TIFF of a kind that cannot be read; expected 8 or 16 bit integers a channel, not floats"
    return f"is not an image (it starts with {head[:8]!r}); expected {_READABLE}"


def _load(file: IO[bytes], head: bytes) -> Image.Image:
    """The decoded Pillow image, with room for 268 megapixels and not one more."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF and b"avif" not in head:
        try:
            from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            fix = "pip install pillow-heif, or save it as JPEG or PNG"
            raise InputError(f"is a HEIC photo, which needs one more package: {fix}") from error
        register_heif_opener()
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            image = Image.open(file)
            image.info["stored turn"] = getattr(image, "tag_v2", {}).get(_ORIENTATION, 1)
            image.load()  # which turns a TIFF upright
        finally:
            Image.MAX_IMAGE_PIXELS = before
    return image


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF orientation 1..8 applied to [H,W,C]."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _orientation_and_exif(image: Image.Image) -> tuple[int, bytes | None]:
    """Orientation 1..8 and the EXIF block to keep. A broken block is dropped: the photo itself is fine."""
    turn, kept = 1, None
    with suppress(Exception):
        exif = image.getexif()
        turn = int(exif.get(_ORIENTATION, 1))
        raw = image.info.get("exif")
        if not raw:  # TIFF mixes these tags with its layout's
            words = Image.Exif()
            words.update({tag: exif[tag] for tag in _TIFF_WORDS if tag in exif})
            words.update({tag: ifd for tag in (_EXIF_IFD, _GPS_IFD) if (ifd := exif.get_ifd(tag))})
            raw = words.tobytes() if len(words) else None
        kept = _without_turn(raw) if raw else None
    return turn, kept


def _without_turn(raw: bytes) -> bytes:
    """The block with IFD0's orientation overwritten in place, so that maker notes keep their offsets."""
    body = bytearray(raw.removeprefix(_EXIF_MARK))
    end = "<" if body[:2] == b"II" else ">"
    (ifd,) = struct.unpack_from(end + "I", body, 4)
    (count,) = struct.unpack_from(end + "H", body, ifd)
    after = ifd + 2 + 12 * count
    for at in range(ifd + 2, after, 12):
        tag, kind = struct.unpack_from(end + "HH", body, at)
        if tag == _ORIENTATION:
            struct.pack_into(end + ("I" if kind == 4 else "H"), body, at + 8, 1)
    if len(body) >= after + 4:  # no IFD1: its thumbnail shows the face as it was
        struct.pack_into(end + "I", body, after, 0)
    return _EXIF_MARK + bytes(body)


def _pixels(image: Image.Image, file: IO[bytes], head: bytes) -> tuple[np.ndarray, bytes | None]:
    """[H,W,3 or 4] in uint8, or float32 for deep sources, and the profile that still describes it."""
    icc = image.info.get("icc_profile") or b""
    rgb_icc = icc if icc[16:20] == b"RGB " else None
    if _is_deep(image, head):
        return _upright(_deep_pixels(image, file), image.info["stored turn"]), rgb_icc
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # JPEG 2000, PGM
        return np.repeat(np.asarray(image, np.float32)[..., None] / np.float32(65535), 3, 2), rgb_icc
    if image.mode in ("I", "F"):
        raise InputError(
            f"holds numbers of no fixed range (mode {image.mode}); expected 8 or 16 bit integers"
        )
    if image.mode in ("CMYK", "LAB") or (image.mode in ("L", "LA") and icc and not rgb_icc):
        return _managed(image, icc), None
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), rgb_icc


def _managed(image: Image.Image, icc: bytes) -> np.ndarray:
    """sRGB from CMYK, Lab or grey through the profile; by Pillow's plain formula where there is none."""
    inks = image.convert("L") if image.mode == "LA" else image
    convert: Any = ImageCms.profileToProfile
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        profile = ImageCms.createProfile("LAB") if image.mode == "LAB" else io.BytesIO(icc)
        rgb = convert(inks, profile, ImageCms.createProfile("sRGB"), intent, outputMode="RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError):
        rgb = inks.convert("RGB")
    alpha = np.asarray(image.getchannel("A"))[..., None] if inks is not image else None
    return with_alpha(np.asarray(rgb), alpha)


def _is_deep(image: Image.Image, head: bytes) -> bool:
    """True for 16-bit grey and RGB; refuses the TIFF kinds whose range is anyone's guess."""
    if image.format == "PNG":
        return head[24] == 16  # IHDR's bit depth
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits, kinds = set(tags.get(_TIFF_BITS, (1,))), set(tags.get(_TIFF_SAMPLE_FORMAT, (1,)))
    if max(bits) <= 8 or image.mode == "CMYK":  # of inks, Pillow takes the upper 8 bits
        return False
    if bits != {16} or kinds != {1} or tags.get(_TIFF_PHOTOMETRIC) not in (0, 1, 2):
        kind = {2: "signed integers", 3: "floats"}.get(max(kinds), "integers")
        raise InputError(f"is a TIFF of {max(bits)}-bit {kind}; expected 8 or 16 bit unsigned grey or RGB")
    return True


def _deep_pixels(image: Image.Image, file: IO[bytes]) -> np.ndarray:
    """[H,W,3 or 4] float32 = v / 65535, decoded by FFmpeg."""
    import av
    from av.error import FFmpegError

    file.seek(0)
    try:
        with av.open(file, "r", format=f"{image.format}_pipe".lower()) as container:
            frame = next(container.decode(video=0))
        channels = _DEEP_CHANNELS[frame.format.name[:-2]]
    except (FFmpegError, StopIteration, KeyError) as error:
        raise InputError(
            f"is a 16-bit {image.format} of a kind that cannot be read; save it as PNG"
        ) from error
    plane: Any = frame.planes[0]
    raw = np.frombuffer(plane, ">u2" if frame.format.is_big_endian else "<u2")
    values = raw.reshape(frame.height, -1)[:, : frame.width * channels].astype(np.float32)
    values = (values / np.float32(65535)).reshape(frame.height, frame.width, channels)
    if channels in (1, 3):
        return np.repeat(values, 3, 2) if channels == 1 else values
    rgb, alpha = np.repeat(values[..., :-1], 3 if channels == 2 else 1, 2), values[..., -1:]
    extra = getattr(image, "tag_v2", {}).get(_TIFF_EXTRA)
    if extra == (1,):  # premultiplied
        rgb = np.clip(rgb / np.maximum(alpha, np.float32(1 / 65535)), 0, 1)
    return rgb if extra == (0,) else with_alpha(rgb, alpha)


def write_still(
    path: str | Path,
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    quality: int = 95,
) -> None:
    """Write [1,3,H,W] or [3,H,W], uint8 or float in [0,1], under its final name only when it is complete.

    PNG and TIFF are lossless. PNG has 16 bits where the floats are not all k/255; all else has 8.
    JPEG is 4:4:4 and shows ``alpha`` over white; WebP is lossless at quality 100. JPEG cannot hold
    an EXIF block above 64 kB and then goes without; TIFF with an EXIF block is not compressed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in STILL_SUFFIXES:
        raise OutputError(
            f"{path} has the unknown suffix {suffix!r}; expected one of {', '.join(STILL_SUFFIXES)}"
        )
    top = 65535 if suffix == ".png" and (_between_steps(pixels) or _between_steps(alpha)) else 255
    array = with_alpha(to_bytes(pixels, top=top), None if alpha is None else to_bytes(alpha, 1, "alpha", top))
    limit = _SIDE_LIMIT.get(suffix, 2**31)
    if max(array.shape[:2]) > limit:
        size = f"{array.shape[1]}x{array.shape[0]}"
        raise OutputError(
            f"{path}: {size} is too large, {suffix} ends at {limit} a side; choose .png or .tif"
        )
    with atomic_path(path) as temp, unwritable(path, ValueError, RuntimeError, struct.error):
        if top == 65535:
            _write_png16(temp, array, icc, exif)
        else:
            _write_with_pillow(temp, array, quality, icc_profile=icc, exif=exif)


def _between_steps(values: Tensor | None) -> bool:
    """True for floats that 8 bits cannot hold."""
    if values is None or not values.is_floating_point():
        return False
    values = values.detach().float()
    return not bool((values.mul(255).round_().div_(255) - values).abs_().le(1e-6).all())


def _write_with_pillow(temp: Path, array: np.ndarray, quality: int, **kept: bytes | None) -> None:
    suffix = temp.suffix.lower()
    options: dict[str, Any] = {key: value for key, value in kept.items() if value}
    if suffix in (".jpg", ".jpeg"):
        array = over_white(array)
        options |= {"quality": quality, "subsampling": 0}
        if len(kept["exif"] or b"") > 65533:
            del options["exif"]
    elif suffix == ".webp":
        options |= {"quality": quality, "lossless": quality >= 100, "exact": True}
    elif suffix != ".png":
        options |= (
            {"exif": _tiff_exif(exif)} if (exif := kept["exif"]) else {"compression": "tiff_adobe_deflate"}
        )
    Image.fromarray(array).save(temp, **options)


def _tiff_exif(raw: bytes) -> Image.Exif:
    """The block with its sections spelt out: so Pillow writes them to TIFF, if it is not compressed."""
    exif = Image.Exif()
    exif.load(raw)
    for section in (_EXIF_IFD, _GPS_IFD):
        if section in exif:
            exif[section] = {tag: value for tag, value in exif.get_ifd(section).items() if tag != 0xA005}
    return exif


def _write_png16(temp: Path, array: np.ndarray, icc: bytes | None, exif: bytes | None) -> None:
    """16-bit PNG, which Pillow does not write: every row as its difference to the one above it (filter 2)."""
    height, width, channels = array.shape
    rows = array.astype(">u2").view(np.uint8).reshape(height, -1)
    lines = np.pad(np.diff(rows, axis=0, prepend=np.uint8(0)), ((0, 0), (1, 0)), constant_values=2)
    kind = 6 if channels == 4 else 2
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"iCCP": b"ICC Profile\0\0" + zlib.compress(icc) if icc else None,
        b"eXIf": exif.removeprefix(_EXIF_MARK) if exif else None,
        b"IDAT": zlib.compress(lines.tobytes(), 6),
        b"IEND": b"",
    }
    with temp.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks.items():
            if data is not None:
                check = zlib.crc32(data, zlib.crc32(name))
                file.writelines((struct.pack(">I", len(data)), name, data, struct.pack(">I", check)))
