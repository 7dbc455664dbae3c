from __future__ import annotations

import functools
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pillow_heif import register_heif_opener

from indexer.errors import ImageError
from indexer.images import BACKGROUND, MAX_BYTES, MAX_PIXELS, decode_image, make_thumbnail, read_image

pytestmark = [
    # Pillow warns about the metadata of a cut TIFF before it refuses it.
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning"),
    pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning"),
    pytest.mark.filterwarnings("ignore:Metadata Warning:UserWarning"),
]

register_heif_opener()


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture whose eight orientations all differ."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + 2 * y) * 85 // width], axis=-1).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, name="specimen").pixels


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()  # as an object pillow-heif would leave out HEIF's own rotation


def png(samples: np.ndarray) -> bytes:
    """A 16-bit PNG of grey, RGB or RGBA samples, which Pillow cannot write."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png_of(width, height, bits=16, colour={1: 0, 3: 2, 4: 6}[channels], rows=rows)


def png_of(width: int, height: int, *, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(
    samples: np.ndarray, order: Literal["<", ">"] = "<", *, deflate: bool = False, tags: dict[int, int] | None = None
) -> bytes:
    """A TIFF of any samples with its directory first and one strip behind, as microscopes write them."""
    height, width, n = samples.shape
    strip = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    strip = zlib.compress(strip) if deflate else strip
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    directory: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [samples.itemsize * 8] * n,
        259: [8 if deflate else 1],
        262: [1 if n == 1 else 2],
        273: [0],
        277: [n],
        278: [height],
        279: [len(strip)],
        **({338: [2]} if n == 4 else {}),
        339: [kind] * n,
    }
    directory |= {tag: [value] for tag, value in (tags or {}).items()}
    start = 8 + 2 + 12 * len(directory) + 4
    directory[273] = [start + sum(4 * len(values) for values in directory.values() if len(values) > 1)]
    entries, values_behind = b"", b""
    for tag, values in sorted(directory.items()):
        packed = struct.pack(f"{order}{len(values)}L", *values)
        entries += struct.pack(f"{order}HHL", tag, 4, len(values))
        entries += packed if len(values) == 1 else struct.pack(f"{order}L", start + len(values_behind))
        values_behind += packed if len(values) > 1 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, len(directory))
    return head + entries + bytes(4) + values_behind + strip


def deep_samples(white: int, channels: int) -> np.ndarray:
    samples = np.random.default_rng(0).integers(0, white + 1, (20, 30, channels)).astype(np.uint16)
    samples[0, 0, :3] = white
    samples[:, :, 3:] = 65535
    return samples


def test_a_jpeg_gives_the_pixels_that_pillow_gives() -> None:
    data = encode(picture(), "JPEG", quality=88)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decode(data).astype(int) - expected).max() <= 1


def test_an_image_says_what_identifies_its_file(tmp_path: Path) -> None:
    data = encode(picture(), "JPEG", exif=oriented(6))
    (tmp_path / "moth.jpg").write_bytes(data)
    image = read_image(tmp_path / "moth.jpg")
    assert (image.width, image.height, image.format) == (48, 64, "JPEG")
    assert (image.sha256, image.n_bytes) == (sha256(data).hexdigest(), len(data))
    assert image.pixels.shape == (64, 48, 3)


# EXIF orientation -> how an upright picture lies in the file
LAID = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", sorted(LAID))
def test_a_rotated_image_stands_upright(kind: str, orientation: int) -> None:
    stored = Image.fromarray(picture()).transpose(LAID[orientation])
    upright = decode(encode(stored, kind, exif=oriented(orientation)))
    assert upright.shape == (48, 64, 3)
    assert np.abs(upright.astype(int) - picture()).mean() < 3


def test_a_rotated_16_bit_tiff_stands_upright() -> None:
    samples = deep_samples(65535, 3)
    upright = decode(tiff(samples, tags={274: 6}))
    np.testing.assert_array_equal(upright, np.rot90(decode(tiff(samples)), -1))


def test_an_image_whose_exif_is_damaged_is_read_as_stored() -> None:
    whole = encode(picture(), "JPEG", exif=oriented(6))
    damaged = whole.replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*").replace(b"Exif\0\0II*\0", b"Exif\0\0XX*\0")
    assert damaged != whole
    assert decode(damaged).shape == (48, 64, 3)


def test_real_jpegs_in_cmyk_in_grey_and_rotated_show_the_same_upright_scene(shared_data: Path) -> None:
    folder = shared_data / "awkward_images"
    rotated, cmyk, grey = (
        read_image(folder / f"african_elephants_{kind}.jpg").pixels.mean(axis=2)
        for kind in ("with_exif_orientation", "cmyk", "bw")
    )
    assert rotated.shape == cmyk.shape == grey.shape == (1536, 2048)
    assert np.corrcoef(rotated.ravel(), cmyk.ravel())[0, 1] > 0.98
    assert np.corrcoef(rotated.ravel(), grey.ravel())[0, 1] > 0.95


def test_a_real_truncated_jpeg_is_refused(shared_data: Path) -> None:
    with pytest.raises(ImageError, match=r"african_elephants_truncated_file\.jpg: the JPEG is truncated"):
        read_image(shared_data / "awkward_images" / "african_elephants_truncated_file.jpg")


def test_a_real_photograph_of_the_night_is_kept(shared_data: Path) -> None:
    assert read_image(shared_data / "awkward_images" / "blank.jpg").pixels.mean() < 60


def test_a_blank_image_is_valid() -> None:
    assert not decode(encode(np.zeros((8, 8, 3), np.uint8), "PNG")).any()


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    data = encode(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode(data).astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_every_format_keeps_its_colours(kind: str) -> None:
    image = decode_image(encode(picture(), kind), name="specimen")
    assert image.format == kind
    assert np.abs(image.pixels.astype(int) - picture()).mean() < 5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_colour_mode_of_a_tiff_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    np.testing.assert_array_equal(decode(encode(image, "TIFF")), np.asarray(image.convert("RGB")))


def test_a_colour_mode_without_a_conversion_is_refused() -> None:
    with pytest.raises(ImageError, match="colour mode LAB is not supported"):
        decode(encode(Image.new("LAB", (4, 4)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_parts_show_the_background(kind: str) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:, :, 3] = (0, 51, 255)
    flat = decode(encode(pixels, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(flat[0], [BACKGROUND, (204, 204, 204), (0, 0, 0)])


def test_a_transparent_palette_colour_shows_the_background() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(encode(image, kind, transparency=0))[0], [BACKGROUND, (0, 0, 255)])


def test_transparent_grey_shows_the_background() -> None:
    image = Image.fromarray(np.array([[[0, 0], [7, 255]]], np.uint8), "LA")
    np.testing.assert_array_equal(decode(encode(image, "PNG"))[0], [BACKGROUND, (7, 7, 7)])


def test_a_transparent_rgb_colour_shows_the_background() -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    np.testing.assert_array_equal(decode(encode(pixels, "PNG", transparency=(1, 2, 3)))[0], [BACKGROUND, (4, 5, 6)])


@pytest.mark.parametrize(("brightest", "white"), [(65535, 65535), (40000, 65535), (4095, 4095), (800, 1023), (90, 255)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff, little endian", "tiff, big endian", "tiff, deflated"])
def test_16_bit_samples_are_scaled_to_the_depth_that_holds_them(
    brightest: int, white: int, channels: int, kind: str
) -> None:
    samples = deep_samples(brightest, channels)
    pixels = decode(_deep_file(samples, kind))
    expected = samples[:, :, :3] * (255 / white)
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-3


def _deep_file(samples: np.ndarray, kind: str) -> bytes:
    if kind == "png":
        return png(samples)
    return tiff(samples, ">" if "big" in kind else "<", deflate="deflated" in kind)


def test_16_bit_transparent_parts_show_the_background() -> None:
    samples = np.zeros((1, 3, 4), np.uint16)
    samples[0, :, 3] = (0, 13107, 65535)
    np.testing.assert_array_equal(decode(png(samples))[0], [BACKGROUND, (204, 204, 204), (0, 0, 0)])


def test_a_16_bit_grey_tiff_whose_white_is_zero_is_inverted() -> None:
    samples = np.array([[[0], [65535]]], np.uint16)
    np.testing.assert_array_equal(decode(tiff(samples, tags={262: 0}))[0, :, 0], [255, 0])


def test_a_black_16_bit_image_stays_black() -> None:
    assert not decode(tiff(np.zeros((4, 4, 1), np.uint16))).any()


@pytest.mark.parametrize(
    ("samples", "expected"), [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 2047.5, 4095.0], [0, 128, 255])]
)
def test_floating_point_samples_are_scaled(samples: list[float], expected: list[int]) -> None:
    pixels = decode(tiff(np.array(samples, np.float32).reshape(1, 3, 1)))
    np.testing.assert_array_equal(pixels[0, :, 0], expected)


@pytest.mark.parametrize("sample", [-3.0, np.nan, np.inf])
def test_floating_point_samples_without_a_black_are_refused(sample: float) -> None:
    with pytest.raises(ImageError, match="black must be 0 and all must be finite"):
        decode(tiff(np.array([[[sample], [1.0]]], np.float32)))


def test_negative_integer_samples_are_refused() -> None:
    with pytest.raises(ImageError, match="range from -5 to 9"):
        decode(tiff(np.array([[[-5], [9]]], np.int16)))


def test_16_bit_colour_in_separate_planes_is_refused() -> None:
    with pytest.raises(ImageError, match="16-bit colour in separate planes is not supported"):
        decode(tiff(deep_samples(65535, 3), tags={284: 2}))


def test_the_preview_of_a_camera_raw_file_is_refused() -> None:
    with pytest.raises(ImageError, match="only a preview, as in camera raw files"):
        decode(tiff(np.zeros((4, 4, 3), np.uint8), tags={254: 1}))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_the_first_of_several_pictures_is_taken(kind: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("#c80000", "#0000c8"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(first, kind, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(decode(data)[3, 3], (200, 0, 0))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"scientificName,sex\n", "not an image of a known format; JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF and HEIC"),
        (b"\n<!DOCTYPE html><p>404", "a web page or XML text, not an image"),
        (b"%PDF-1.7", "this is a PDF document"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "starts as JPEG, but the header is damaged"),
    ],
)
def test_bytes_that_are_no_image_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^specimen: .*{reason}"):
        decode(data)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: there is no such file"):
        read_image(tmp_path / "gone.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="is not a regular file"):
        read_image(tmp_path / "pipe.jpg")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "slide.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match="2,147,483,649 bytes; at most 2,147,483,648 are read"):
        read_image(tmp_path / "slide.tif")


@pytest.fixture
def locked_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "locked.jpg"
    path.write_bytes(encode(picture(), "JPEG"))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read everything
        os.seteuid(65534)
    yield path
    os.seteuid(user)


def test_a_file_that_may_not_be_read_is_refused(locked_file: Path) -> None:
    with pytest.raises(ImageError, match="may not be read by this user"):
        read_image(locked_file)


@pytest.mark.parametrize("side", [60_000, 15_000])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_decompression_bomb_is_refused_from_its_header(side: int, action: Any) -> None:
    data = png_of(side, side, bits=8, colour=2, rows=b"")
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(ImageError, match=f"pixels; at most {MAX_PIXELS:,} are decoded"):
            decode(data)


@functools.cache
def _whole(kind: str) -> tuple[bytes, np.ndarray]:
    name, _, options = kind.partition(" ")
    noise = np.random.default_rng(1).integers(0, 40, (60, 80, 3)).astype(np.uint8) + picture(60, 80) // 2
    image = Image.fromarray(noise)
    image = image.convert("CMYK") if options == "cmyk" else image
    if options == "deflated":
        data = tiff(noise, deflate=True)
    else:
        data = encode(image, name, **{"progressive": {"progressive": True}}.get(options, {}))
    return data, decode(data)


@pytest.mark.parametrize(
    "kind",
    ["JPEG", "JPEG progressive", "JPEG cmyk", "PNG", "WEBP", "TIFF", "TIFF deflated", "GIF", "BMP", "AVIF", "HEIF"],
)
@settings(max_examples=30, derandomize=True, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_unless_its_picture_is_whole(kind: str, share: float) -> None:
    data, pixels = _whole(kind)
    try:
        cut = decode(data[: int(share * len(data))])
    except ImageError:
        return
    np.testing.assert_array_equal(cut, pixels)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG cmyk", "PNG", "GIF"])
def test_a_download_that_stopped_and_was_filled_with_zeros_is_refused(kind: str) -> None:
    data, _ = _whole(kind)
    half = len(data) // 2
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode(data[:half] + bytes(len(data) - half))


@pytest.mark.filterwarnings("ignore:Tag data larger than file:UserWarning")  # Pillow passes over broken TIFF tags
@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF"]),
    place=st.floats(0, 1, exclude_max=True),
    garbage=st.binary(min_size=1, max_size=8),
)
def test_damaged_files_are_read_or_refused_and_nothing_else(kind: str, place: float, garbage: bytes) -> None:
    data = bytearray(_whole(kind)[0])
    start = int(place**3 * len(data))
    data[start : start + len(garbage)] = garbage
    try:
        pixels = decode(bytes(data))
    except ImageError:
        return
    assert pixels.dtype == np.uint8


def test_pillow_still_refuses_truncated_files() -> None:
    decode(encode(picture(), "PNG"))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_several_threads_read_the_same_pixels() -> None:
    files = [_whole(kind) for kind in ("JPEG", "PNG", "TIFF", "HEIF")] * 8
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(decode, [data for data, _ in files]))
    for pixels, (_, expected) in zip(read, files, strict=True):
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((300, 600), (256, 128)), ((40, 30), (30, 40)), ((2, 2000), (256, 1)), ((256, 256), (256, 256))],
)
def test_a_thumbnail_keeps_the_aspect_and_never_grows(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    thumbnail = Image.open(io.BytesIO(make_thumbnail(picture(*shape))))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", expected)


def test_a_thumbnail_looks_like_the_image() -> None:
    thumbnail = Image.open(io.BytesIO(make_thumbnail(picture(400, 512), side=64)))
    assert thumbnail.size == (64, 50)
    assert np.abs(np.asarray(thumbnail.convert("RGB")).astype(int) - picture(50, 64)).mean() < 4


def test_a_thumbnail_is_made_of_any_view_of_pixels() -> None:
    pixels = picture(300, 400)
    mirrored = pixels[:, ::-1]
    mirrored.flags.writeable = False
    assert make_thumbnail(mirrored) == make_thumbnail(mirrored.copy())
