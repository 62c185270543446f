"""Photos in and out: the right values for every kind of file, nothing half-written, clear errors."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from atw_nodes import images
from atw_nodes.files import atomic_path, over_white
from atw_nodes.images import Photo, read_photo, write_still
from atw_nodes.types import InputError, OutputError, ShapeError

RNG = np.random.default_rng(7)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(height: int, width: int, channels: int, top: int = 256) -> np.ndarray:
    kind = np.uint8 if top == 256 else np.uint16
    return RNG.integers(0, top, (height, width, channels)).astype(kind)


def planes(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.uint16 else array).permute(2, 0, 1)[
        None
    ]


def png(array: np.ndarray, kind: int, extra: bytes = b"") -> bytes:
    """An unfiltered 16-bit PNG, written by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def transparent_colour(array: np.ndarray) -> bytes:
    data = array.astype(">u2").tobytes()
    return struct.pack(">I", len(data)) + b"tRNS" + data + struct.pack(">I", zlib.crc32(b"tRNS" + data))


def tiff(
    array: np.ndarray, end: str, photometric: int, extra: int | None = None, kind: int = 1, turn: int = 1
) -> bytes:
    """An uncompressed TIFF, written by hand."""
    height, width, channels = array.shape
    data = array.astype(array.dtype.newbyteorder(end)).tobytes()
    bits = array.dtype.itemsize * 8
    tags = [(256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * channels), (259, "H", [1])]
    tags += [
        (262, "H", [photometric]),
        (273, "I", [0]),
        (274, "H", [turn]),
        (277, "H", [channels]),
        (278, "I", [height]),
    ]
    tags += [(279, "I", [len(data)])] + ([(338, "H", [extra])] if extra is not None else [])
    tags += [(339, "H", [kind] * channels)]
    blob, body, after = b"", b"", 8 + 2 + 12 * len(tags) + 4
    pixels_at = after + sum(2 * len(v) for _, t, v in tags if t == "H" and len(v) > 2)
    for tag, letter, values in tags:
        packed = struct.pack(end + letter * len(values), *([pixels_at] if tag == 273 else values))
        if len(packed) > 4:
            blob, packed = blob + packed, struct.pack(end + "I", after + len(blob))
        kind_code = 3 if letter == "H" else 4
        body += struct.pack(end + "HHI", tag, kind_code, len(values)) + packed.ljust(4, b"\0")
    magic = (b"II" if end == "<" else b"MM") + struct.pack(end + "HIH", 42, 8, len(tags))
    return magic + body + struct.pack(end + "I", 0) + blob + data


def cmyk_profile() -> bytes:
    """A CMYK profile in which no ink is white, cyan ink alone is a middle grey, and all else is black."""
    table = bytes([0, 128, 128]) * 16
    corners = [bytes([0, 128, 128])] * 16
    corners[0], corners[8] = bytes([255, 128, 128]), bytes([128, 128, 128])  # C varies slowest
    table = b"".join(corners)
    ramp = bytes(range(256))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1" + b"\0" * 4 + bytes([4, 3, 2, 0]) + unit + ramp * 4 + table + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    head = bytearray(128)
    struct.pack_into(">I4sI4s4s4s", head, 0, 144 + len(lut), b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head[36:40] = b"acsp"
    struct.pack_into(">3i", head, 68, 63190, 65536, 54061)
    return bytes(head) + tags + lut


def same(photo: Photo, rgb: np.ndarray, alpha: np.ndarray | None = None) -> None:
    assert torch.equal(photo.pixels, planes(rgb))
    if alpha is None:
        assert photo.alpha is None
    else:
        assert photo.alpha is not None
        assert torch.equal(photo.alpha, planes(alpha))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 33)])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_round_trip(tmp_path: Path, suffix: str, size: tuple[int, int], channels: int) -> None:
    array, path = noise(*size, channels), tmp_path / f"x{suffix}"
    alpha = planes(array[..., 3:]) if channels == 4 else None
    write_still(path, planes(array[..., :3]), alpha=alpha)
    photo = read_photo(path)
    same(photo, array[..., :3], array[..., 3:] if channels == 4 else None)
    assert (photo.height, photo.width) == size
    assert os.listdir(tmp_path) == [path.name]


def test_lossless_webp_keeps_colour_under_alpha(tmp_path: Path) -> None:
    array = noise(9, 6, 4)
    array[:4, :, 3] = 0
    write_still(tmp_path / "x.webp", planes(array[..., :3]), alpha=planes(array[..., 3:]), quality=100)
    same(read_photo(tmp_path / "x.webp"), array[..., :3], array[..., 3:])


def test_strided_and_unbatched_pixels(tmp_path: Path) -> None:
    array = noise(6, 8, 3)
    write_still(tmp_path / "x.png", planes(array)[0, :, ::2, 1::3])
    same(read_photo(tmp_path / "x.png"), array[::2, 1::3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = noise(5, 8, 3)
    stored = {  # what a camera writes so that the tag turns it upright
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    path = tmp_path / f"x{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    photo = read_photo(path)
    same(photo, upright)
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010F] == "Maker"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
def test_profile_and_exif_are_kept(tmp_path: Path, suffix: str, depth: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    pixels = planes(noise(8, 8, 3, 2**depth)) / (65535 if depth == 16 else 1)
    pixels = pixels if depth == 16 else pixels.byte()
    write_still(tmp_path / f"x{suffix}", pixels, icc=SRGB, exif=exif.tobytes())
    photo = read_photo(tmp_path / f"x{suffix}")
    assert photo.icc == SRGB
    assert photo.exif is not None and photo.exif.startswith(b"Exif\0\0")
    kept = Image.Exif()
    kept.load(photo.exif)
    assert kept[0x010F] == "Maker"


def test_thumbnail_of_the_old_face_is_unlinked(tmp_path: Path) -> None:
    ifd = struct.pack("<HHHIHH", 1, 0x0112, 3, 1, 6, 0)
    raw = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd + struct.pack("<I", 26) + ifd + struct.pack("<I", 0)
    Image.fromarray(noise(8, 4, 3)).save(tmp_path / "x.jpg", exif=raw)
    photo = read_photo(tmp_path / "x.jpg")
    assert photo.exif == raw[:24] + b"\1" + raw[25:28] + b"\0\0\0\0" + raw[32:]
    assert (photo.height, photo.width) == (4, 8)


def test_a_broken_exif_block_does_not_cost_the_photo(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 4, 3)).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    photo = read_photo(tmp_path / "x.png")
    assert photo.exif is None
    assert (photo.height, photo.width) == (8, 4)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_not_cut(tmp_path: Path, kind: int, channels: int) -> None:
    array = noise(5, 7, channels, 65536)
    (tmp_path / "x.png").write_bytes(png(array, kind))
    photo = read_photo(tmp_path / "x.png")
    values = planes(array) / 65535
    colour = values[:, :-1] if channels in (2, 4) else values
    assert torch.equal(photo.pixels, colour.expand(-1, 3, -1, -1))
    assert (photo.alpha is None) == (channels in (1, 3))
    if photo.alpha is not None:
        assert torch.equal(photo.alpha, values[:, -1:])


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3)])
def test_16_bit_png_with_a_transparent_colour(tmp_path: Path, kind: int, channels: int) -> None:
    array = noise(5, 7, channels, 65536)
    (tmp_path / "x.png").write_bytes(png(array, kind, transparent_colour(array[2, 3])))
    photo = read_photo(tmp_path / "x.png")
    wanted = torch.ones(1, 1, 5, 7)
    wanted[0, 0, 2, 3] = 0
    assert photo.alpha is not None
    assert torch.equal(photo.alpha, wanted)
    assert torch.equal(photo.pixels, (planes(array) / 65535).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("end", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_not_cut(tmp_path: Path, end: str, channels: int) -> None:
    array = noise(5, 7, channels, 65536)
    extra = 2 if channels == 4 else None
    (tmp_path / "x.tif").write_bytes(tiff(array, end, 1 if channels == 1 else 2, extra))
    photo = read_photo(tmp_path / "x.tif")
    values = planes(array) / 65535
    assert torch.equal(photo.pixels, values[:, :3].expand(-1, 3, -1, -1))
    assert (photo.alpha is None) == (channels < 4)
    if photo.alpha is not None:
        assert torch.equal(photo.alpha, values[:, 3:])


def test_16_bit_tiff_special_kinds(tmp_path: Path) -> None:
    array = noise(5, 7, 1, 65536)
    (tmp_path / "white.tif").write_bytes(tiff(array, "<", 0))  # 0 is white
    inverted = planes(65535 - array) / 65535
    assert torch.equal(read_photo(tmp_path / "white.tif").pixels, inverted.expand(-1, 3, -1, -1))
    premultiplied = np.array([[[100, 200, 300, 1000], [0, 0, 0, 0]]], np.uint16)
    (tmp_path / "pre.tif").write_bytes(tiff(premultiplied, "<", 2, 1))
    wanted = torch.tensor([[[[0.1, 0.0]], [[0.2, 0.0]], [[0.3, 0.0]]]])
    assert torch.allclose(read_photo(tmp_path / "pre.tif").pixels, wanted, atol=1e-6)


def test_16_bit_float_source_is_written_at_16_bit(tmp_path: Path) -> None:
    array = noise(70, 9, 4, 65536)
    values = planes(array) / 65535
    write_still(tmp_path / "x.png", values[:, :3], alpha=values[:, 3:])
    photo = read_photo(tmp_path / "x.png")
    assert torch.equal(photo.pixels, values[:, :3])
    assert photo.alpha is not None and torch.equal(photo.alpha, values[:, 3:])
    with Image.open(tmp_path / "x.png") as image:  # a second reader agrees, to its 8 bits
        assert np.abs(np.asarray(image).astype(int) - (array >> 8)).max() <= 1


def test_floats_that_8_bits_hold_are_written_at_8_bit(tmp_path: Path) -> None:
    array = noise(5, 7, 3)
    write_still(tmp_path / "x.png", planes(array).float() / 255)
    same(read_photo(tmp_path / "x.png"), array)


def test_out_of_range_floats_are_clipped_and_nan_refused(tmp_path: Path) -> None:
    pixels = torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1)
    write_still(tmp_path / "x.tif", pixels)
    assert read_photo(tmp_path / "x.tif").pixels.flatten().tolist() == [0, 128, 255]
    with pytest.raises(InputError, match="NaN"):
        write_still(tmp_path / "y.tif", pixels * float("nan"))


def test_grey_one_bit_and_grey_alpha(tmp_path: Path) -> None:
    grey = noise(4, 6, 1)
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.bmp")
    same(read_photo(tmp_path / "grey.bmp"), np.repeat(grey, 3, 2))
    Image.fromarray(grey[..., 0] > 127).save(tmp_path / "bit.png")
    same(read_photo(tmp_path / "bit.png"), np.repeat((grey > 127).astype(np.uint8) * 255, 3, 2))
    both = noise(4, 6, 2)
    Image.fromarray(both, "LA").save(tmp_path / "la.png")
    same(read_photo(tmp_path / "la.png"), np.repeat(both[..., :1], 3, 2), both[..., 1:])


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palette_with_transparency(tmp_path: Path, suffix: str) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / f"x{suffix}", transparency=1)
    photo = read_photo(tmp_path / f"x{suffix}")
    assert photo.alpha is not None
    assert photo.alpha.flatten().tolist() == [255, 0, 255]
    assert photo.pixels[0, :, 0, 0].tolist() == [255, 0, 0]
    assert photo.pixels[0, :, 0, 2].tolist() == [0, 0, 255]


def test_partly_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "x.png", transparency=bytes([10, 128, 255]))
    same(
        read_photo(tmp_path / "x.png"),
        np.eye(3, dtype=np.uint8)[None] * 255,
        np.array([[[10], [128], [255]]], np.uint8),
    )


def test_first_frame_of_an_animated_gif(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second])
    assert read_photo(tmp_path / "x.gif").pixels[0, :, 1, 1].tolist() == [255, 0, 0]


def test_cmyk_without_a_profile(tmp_path: Path) -> None:
    for path in (tmp_path / "x.jpg", tmp_path / "x.tif"):
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(path)
        red, green, blue = read_photo(path).pixels[0, :, 4, 4].tolist()
        assert red <= 3 and green >= 252 and blue >= 252


def test_cmyk_goes_through_its_profile_which_is_then_dropped(tmp_path: Path) -> None:
    for name, inks, grey in (
        ("none", (0, 0, 0, 0), 255),
        ("cyan", (255, 0, 0, 0), 119),
        ("black", (0, 0, 0, 255), 0),
    ):
        Image.new("CMYK", (8, 8), inks).save(tmp_path / f"{name}.tif", icc_profile=cmyk_profile())
        photo = read_photo(tmp_path / f"{name}.tif")
        assert photo.icc is None
        assert (photo.pixels[0, :, 4, 4].int() - grey).abs().max() <= 3


def test_a_profile_of_other_colours_is_not_kept(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "x.png", icc_profile=cmyk_profile())
    assert read_photo(tmp_path / "x.png").icc is None


def test_jpeg_is_444_and_shows_alpha_over_white(tmp_path: Path) -> None:
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    pixels[:, 0, :, ::2] = 255  # red and black columns: 4:2:0 would mix their colours
    alpha = torch.full((1, 1, 16, 16), 255, dtype=torch.uint8)
    alpha[..., 8:, :] = 0
    write_still(tmp_path / "x.jpg", pixels, alpha=alpha)
    photo = read_photo(tmp_path / "x.jpg")
    assert photo.alpha is None
    assert (photo.pixels[..., :8, :].int() - pixels[..., :8, :].int()).abs().max() < 24
    assert photo.pixels[..., 8:, :].min() > 240
    half = over_white(np.array([[[200, 100, 0, 128]]], np.uint8))
    assert half.tolist() == [[[227, 177, 127]]]


def test_a_profile_through_jpeg_with_a_large_exif_block(tmp_path: Path) -> None:
    raw = b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 0) + b"\0" * 70000
    write_still(tmp_path / "x.jpg", torch.zeros(3, 8, 8, dtype=torch.uint8), exif=raw, icc=SRGB)
    photo = read_photo(tmp_path / "x.jpg")
    assert (photo.exif, photo.icc) == (None, SRGB)


def unreadable(folder: Path) -> dict[str, tuple[bytes, str]]:
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(buffer, "PNG")
    floats = np.ones((2, 2, 1), np.float32)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40
    return {
        "empty.jpg": (b"", "0 bytes"),
        "clip.mp4": (b"\0\0\0\x18ftypisom" + b"\0" * 40, "not an image"),
        "text.jpg": (b"hello world", "not an image .it starts with b'hello wo'"),
        "cut.png": (buffer.getvalue()[:3000], "damaged or cut short"),
        "float.tif": (tiff(floats, "<", 1, None, 3), "32-bit floats"),
        "rgbfloat.tif": (tiff(np.ones((2, 2, 3), np.float32), "<", 2, None, 3), "kind that cannot be read"),
        "deep.tif": (tiff(np.ones((2, 2, 1), np.uint32), "<", 1), "32-bit integers"),
        "photo.heic": (heic, "pip install pillow-heif"),
    }


@pytest.mark.parametrize("name", list(unreadable(Path())))
def test_unreadable_files(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    data, message = unreadable(tmp_path)[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_photo(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_photo(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_photo(tmp_path)


def test_large_photos_pass_and_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.new("1", (12000, 9000)).save(tmp_path / "big.png")  # 108 megapixels: Pillow would warn
    monkeypatch.setattr(
        images, "_pixels", lambda image, file, head: (np.zeros((*image.size, 3), np.uint8)[:1], None)
    )
    assert read_photo(tmp_path / "big.png").height == 1
    for side in (17000, 40000):
        head = png(np.zeros((1, 1, 3), np.uint16), 2)
        size = struct.pack(">II", side, side)
        bomb = (
            head[:16]
            + size
            + head[24:29]
            + struct.pack(">I", zlib.crc32(b"IHDR" + size + head[24:29]))
            + head[33:]
        )
        (tmp_path / "bomb.png").write_bytes(bomb)
        with pytest.raises(InputError, match="too large .*16384x16384"):
            read_photo(tmp_path / "bomb.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), atomic_path(path) as temp:
            assert temp.parent == tmp_path and temp.suffix == ".png" and temp.name.startswith(".")
            temp.write_bytes(b"half")
            raise error
        assert (os.listdir(tmp_path), path.read_bytes()) == (["x.png"], b"old")
    with atomic_path(path) as temp:
        temp.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert (os.listdir(tmp_path), path.read_bytes()) == (["x.png"], b"new")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_still(tmp_path / "x.png", torch.zeros(3, 2, 2, dtype=torch.uint8))
    old = (tmp_path / "x.png").read_bytes()

    def full(self: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="x.png cannot be written: No space left on device; check the disk"):
        write_still(tmp_path / "x.png", torch.ones(3, 2, 2, dtype=torch.uint8))
    assert os.listdir(tmp_path) == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == old


def test_finished_work_that_cannot_take_its_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    message = "x.png cannot be written: .*; what was made is complete and kept as "
    with pytest.raises(OutputError, match=message) as caught, atomic_path(path) as temp:
        temp.write_bytes(b"new")
        path.mkdir()
    assert str(caught.value).endswith(f" kept as {temp}") and "\n" not in str(caught.value)
    assert temp.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == sorted([temp.name, "x.png"])


def test_a_still_in_use_elsewhere_is_kept_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pixels = tmp_path / "x.png", torch.full((3, 2, 2), 7, dtype=torch.uint8)
    path.write_bytes(b"old")

    def busy(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(
        OutputError, match="x.png cannot be written: Permission denied; .* kept as "
    ) as caught:
        write_still(path, pixels)
    assert path.read_bytes() == b"old"
    kept = Path(str(caught.value).split(" kept as ")[1])
    assert torch.equal(read_photo(kept).pixels[0], pixels)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    pixels = torch.zeros(3, 2, 2, dtype=torch.uint8)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dir.png").mkdir()
    cases = {
        tmp_path / "none" / "x.png": "there is no folder",
        tmp_path / "file" / "x.png": "is a file, not a folder",
        tmp_path / "dir.png": "is a folder",
        tmp_path / "x.psd": r"unknown suffix '.psd'; expected one of .png, .jpg",
        tmp_path / "x": "unknown suffix ''",
        tmp_path / f"{'x' * 300}.png": "too long",
    }
    for path, message in cases.items():
        with pytest.raises(OutputError, match=message) as caught:
            write_still(path, pixels)
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["dir.png", "file"]


def test_sizes_beyond_the_format(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"70000x1 is too large, .jpg ends at 65535 .*choose .png"):
        write_still(tmp_path / "x.jpg", torch.zeros(3, 1, 70000, dtype=torch.uint8))
    with pytest.raises(OutputError, match="ends at 16383"):
        write_still(tmp_path / "x.webp", torch.zeros(3, 1, 16384, dtype=torch.uint8))


def test_wrong_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(ShapeError, match="expected .3, H, W"):
        write_still(path, torch.zeros(1, 8, 8))
    with pytest.raises(ShapeError, match=r"type torch.int64, expected uint8 or float"):
        write_still(path, torch.zeros(3, 8, 8, dtype=torch.int64))
    with pytest.raises(ShapeError, match="alpha is 4x4, the pixels are 8x8"):
        write_still(path, torch.zeros(3, 8, 8), alpha=torch.zeros(1, 4, 4))
    assert os.listdir(tmp_path) == []


def test_a_turned_16_bit_tiff(tmp_path: Path) -> None:
    upright = noise(5, 8, 3, 65536)
    (tmp_path / "x.tif").write_bytes(tiff(np.rot90(upright, 1), "<", 2, turn=6))
    assert torch.equal(read_photo(tmp_path / "x.tif").pixels, planes(upright) / 65535)


def test_every_section_of_exif_survives_each_format(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x829A] = (1, 60)
    exif.get_ifd(0x8825)[1] = "N"
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_still(tmp_path / f"x{suffix}", torch.zeros(3, 8, 8, dtype=torch.uint8), exif=exif.tobytes())
        kept = Image.Exif()
        kept.load(read_photo(tmp_path / f"x{suffix}").exif or b"")
        found = (kept[0x010F], kept.get_ifd(0x8769)[0x829A], kept.get_ifd(0x8825)[1])
        assert found == ("Maker", (1, 60), "N")
