"""Images: the bytes of a file become upright 8-bit RGB pixels, or the true reason why not.

Rules that the pixels follow, whatever the format:

- EXIF orientation is applied; an unreadable EXIF block counts as "stored upright", as in every viewer.
- Transparent parts show ``BACKGROUND`` (white, the ground of most specimen plates).
- Deeper grey or colour samples are scaled, never clipped: white is the smallest 2^b - 1 (b from 8 to the depth of the
  file) that holds the brightest sample of the picture. A full-range 16-bit scan is thus divided by 257, and a 12-bit
  camera frame stored in 16 bits keeps its brightness instead of coming out almost black. Zero stays black. Floating
  point pictures whose brightest sample is at most 1 have white at 1.
- Of several pages or frames the first is taken. CMYK JPEGs are read as ink-inverted, as Adobe writes them.
- Colour profiles are not applied: the encoders were trained on pixels as they are stored.
"""

from __future__ import annotations

import functools
import hashlib
import io
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import ImageError
from indexer.jpeg import UnusualSamplingError, decode_jpeg
from indexer.object_storage import read_address, read_object
from indexer.preprocessing import shrink_pixels

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from jaxtyping import Shaped, UInt8
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000
"""Largest picture that is decoded, from its header: 0.6 GB of pixels, twice a herbarium sheet at 600 dpi."""

MAX_BYTES = 2 * 1024**3
"""Largest file that is read into memory."""

BACKGROUND = (255, 255, 255)
"""The colour that shows through transparent parts."""

THUMBNAIL_SIDE = 256
"""Longest side of a thumbnail in pixels."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF")
_READABLE = "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF and HEIC are read"

# What decoders raise on bytes that do not follow the format; `tests/indexer/test_images.py` cuts and flips to see.
_DECODER_ERRORS = (
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)

_OTHER_FILES = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
)

# EXIF orientation (CIPA DC-008, tag 0x0112) -> swap the axes, then flip vertically, then horizontally
_UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

_TO_RGB = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"})


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One image: its upright pixels and what identifies its file."""

    pixels: UInt8[np.ndarray, "h w 3"]
    sha256: str
    """Of the bytes of the file, in hex."""
    n_bytes: int
    width: int
    """Of the upright image, in pixels, as is the height."""
    height: int
    format: str
    """``JPEG``, ``PNG``, ``WEBP``, ``TIFF``, ``GIF``, ``BMP``, ``AVIF`` or ``HEIF``."""


def read_image(path: Path) -> DecodedImage:
    """The upright RGB pixels of an image file, or of an object at an `s3://` address, with its digest and size.

    Safe to call from several threads; the decoders run outside Python's lock.

    Raises:
        ImageError: the file is missing, unreadable, empty, not an image, of a format that is not read, truncated,
            damaged, or larger than `MAX_PIXELS` or `MAX_BYTES`. The message says which.
    """
    address = read_address(path)
    data = read_object(address, at_most=MAX_BYTES) if address else _read_bytes(path)
    return decode_image(data, name=address or str(path))


def decode_image(data: bytes, *, name: str) -> DecodedImage:
    """The upright RGB pixels of an encoded image, with its digest and size.

    A PNG is held against its checksums, a JPEG against the rule of `indexer.jpeg`. The other formats have no
    checksums: damage inside the picture of a file that is not cut short may pass, where the decoder makes something
    of it.

    Args:
        data: The bytes of an image file.
        name: What error messages call it.

    Raises:
        ImageError: the bytes are not an image that can be decoded whole; the message says why.
    """
    image = _open_header(data, name)
    decode = _decode_jpeg if _is_jpeg(image) else _decode_with_pillow
    pixels = decode(data, image, name)
    height, width, _ = pixels.shape
    return DecodedImage(
        pixels=pixels,
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        width=width,
        height=height,
        format=_format(image),
    )


def make_thumbnail(pixels: UInt8[np.ndarray, "h w 3"], *, side: int = THUMBNAIL_SIDE) -> bytes:
    """A WebP of the image, its longest side at most `side` pixels; smaller images keep their size.

    libwebp's fastest method at quality 75: every image of a job pays for it (see `benchmarks/preprocessing.py`).
    """
    file = io.BytesIO()
    _pillow().fromarray(shrink_pixels(pixels, side)).save(file, "WEBP", quality=75, method=0)
    return file.getvalue()


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
            raise ImageError(f"{path}: {what}; an image file is needed.")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"{path}: the file has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read. Export a smaller copy."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file; check the path.") from None
    except PermissionError:
        raise ImageError(f"{path}: the file may not be read by this user; change its permissions.") from None
    except OSError as error:
        raise ImageError(f"{path}: the file could not be read ({error.strerror or error}).") from error


@functools.cache
def _pillow() -> ModuleType:
    """Pillow's ``Image``, able to open HEIC too."""
    from PIL import Image
    from pillow_heif import register_heif_opener

    register_heif_opener()
    # Pillow's own limit would print a warning for every large sheet; ours is checked in `_open_header`.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    return Image


def _open_header(data: bytes, name: str) -> ImageFile:
    """The image with its header read and nothing decoded."""
    Image = _pillow()
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); fetch it again.")
    try:
        image: ImageFile = Image.open(io.BytesIO(data), formats=_FORMATS)
        _refuse_header(image, name)
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: {_what_else(data)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: {_too_large(f'more than {MAX_PIXELS:,}')}") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name}: the header is damaged or cut short ({error}). Fetch the file again.") from error
    return image


def _refuse_header(image: ImageFile, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(f'{image.width:,} x {image.height:,}')}")
    if image.format == "TIFF" and _is_preview(image):
        raise ImageError(
            f"{name}: the first picture of this TIFF is only a preview, as in camera raw files; {_READABLE}. "
            "Export the photograph as JPEG or TIFF."
        )
    if image.format == "TIFF" and _has_deep_planes(image):
        raise ImageError(f"{name}: 16-bit colour in separate planes is not supported. Export it as 16-bit PNG.")


def _too_large(size: str) -> str:
    return f"the header declares {size} pixels; at most {MAX_PIXELS:,} are decoded. Export a smaller copy."


def _is_preview(image: ImageFile) -> bool:
    """Whether NewSubfileType (TIFF 6.0, tag 254) marks the first page as a reduced-resolution version."""
    kind = getattr(image, "tag_v2", {}).get(254, 0)
    return isinstance(kind, int) and bool(kind & 1)


def _has_deep_planes(image: ImageFile) -> bool:
    """Whether a TIFF has 16-bit colour under PlanarConfiguration 2 (tag 284), of which Pillow makes noise."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(284) == 2 and tags.get(258) in ((16, 16, 16), (16, 16, 16, 16))


def _what_else(data: bytes) -> str:
    """What bytes that Pillow cannot identify are, as far as their first ones tell."""
    for signature, kind in _OTHER_FILES:
        if data.startswith(signature):
            return f"this is {kind}; {_READABLE}. Export it to one of them."
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return f"this is a web page or XML text, not an image; {_READABLE}. Fetch the file again."
    claimed = _claimed_format(data)
    if claimed:
        return (
            f"starts as {claimed}, but the header is damaged, cut short, or of a kind that is not read (bit depth, "
            "channels, compression); 8- and 16-bit grey and colour are read. Fetch it again or export it as 8-bit PNG."
        )
    return f"this is not an image of a known format; {_READABLE}."


def _claimed_format(data: bytes) -> str | None:
    opened = _pillow().OPEN
    return next((name for name in _FORMATS if opened[name][1](data[:16]) is True), None)


def _format(image: ImageFile) -> str:
    # MPO is a JPEG with more pictures behind the first.
    return "JPEG" if image.format == "MPO" else str(image.format)


@contextmanager
def _saying_what_is_damaged(name: str, image: ImageFile) -> Iterator[None]:
    try:
        yield
    except UnusualSamplingError:
        raise
    except _DECODER_ERRORS as error:
        reason = str(error) or type(error).__name__
        if "truncated" in reason:
            what = f"the {_format(image)} is truncated: the file ends before the picture does"
        else:
            what = f"the picture data of this {_format(image)} are damaged or cut short ({reason})"
        raise ImageError(f"{name}: {what}. Fetch the file again.") from error


def _is_jpeg(image: ImageFile) -> bool:
    return image.format in ("JPEG", "MPO")


def _decode_jpeg(data: bytes, header: ImageFile, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels by libjpeg-turbo, which writes packed RGB straight away where Pillow copies twice.

    Pillow, which overlooks that picture data are lost, is left with CMYK, after a check, and unusual sampling.
    """
    is_cmyk = header.mode == "CMYK"
    try:
        with _saying_what_is_damaged(name, header):
            pixels = decode_jpeg(data, "CMYK" if is_cmyk else "RGB")
    except UnusualSamplingError:
        return _decode_with_pillow(data, header, name)
    return _decode_with_pillow(data, header, name) if is_cmyk else _stand_upright(pixels, _orientation(header))


def _decode_with_pillow(data: bytes, image: ImageFile, name: str) -> UInt8[np.ndarray, "h w 3"]:
    import numpy as np

    swapped = _swapped_tiles(image)
    with _saying_what_is_damaged(name, image):
        if image.format == "PNG":
            # load() does not look at the checksums and would fill up a damaged picture with black or streaks.
            _pillow().open(io.BytesIO(data), formats=("PNG",)).verify()
        image.load()
        low = _low_bytes(data, swapped) if swapped else None
    if low:
        pixels = _deep_colour(image, low)
    elif image.mode.startswith(("I", "F")):
        grey = _scale_to_8_bits(_grey_samples(image), name)
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
    else:
        pixels = np.array(_as_rgb(image, name))
    # After load(): a PNG may keep its EXIF behind the pixels, and Pillow turns a TIFF itself.
    return _stand_upright(pixels, _orientation(image))


def _orientation(image: ImageFile) -> object:
    try:
        return image.getexif().get(0x0112, 1)
    except _DECODER_ERRORS:
        return 1


def _stand_upright(pixels: UInt8[np.ndarray, "h w 3"], orientation: object) -> UInt8[np.ndarray, "h w 3"]:
    import numpy as np

    swap, upside_down, mirrored = _UPRIGHT.get(orientation, (False, False, False))  # type: ignore[call-overload]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[::-1] if upside_down else pixels
    pixels = pixels[:, ::-1] if mirrored else pixels
    return np.ascontiguousarray(pixels)


def _as_rgb(image: Image, name: str) -> Image:
    """The loaded image in 8-bit RGB, on `BACKGROUND` where it is transparent."""
    if image.mode not in _TO_RGB:
        raise ImageError(f"{name}: the colour mode {image.mode} is not supported. Export it as RGB.")
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = _pillow().new("RGBA", image.size, BACKGROUND)
    ground.alpha_composite(image.convert("RGBA"))
    flat: Image = ground.convert("RGB")
    return flat


def _grey_samples(image: ImageFile) -> Shaped[np.ndarray, "h w"]:
    import numpy as np

    samples = np.asarray(image)
    # Pillow inverts 8-bit "white is zero" (PhotometricInterpretation 0) but not 16-bit.
    white_is_zero = image.mode == "I;16" and getattr(image, "tag_v2", {}).get(262) == 0
    return np.iinfo(samples.dtype).max - samples if white_is_zero else samples


def _scale_to_8_bits(samples: Shaped[np.ndarray, "*shape"], name: str) -> UInt8[np.ndarray, "*shape"]:
    """The samples with black at 0 and white at the smallest 2^b - 1, b >= 8, that holds the brightest."""
    import numpy as np

    darkest, brightest = float(samples.min()), float(samples.max())
    if not (np.isfinite(darkest) and np.isfinite(brightest)) or darkest < 0:
        raise ImageError(
            f"{name}: the samples range from {darkest:g} to {brightest:g}; black must be 0 and all must be finite. "
            "Export it as 8- or 16-bit."
        )
    white = _white(brightest, is_float=samples.dtype.kind == "f")
    scaled: UInt8[np.ndarray, "*shape"] = (samples * np.float32(255 / white) + np.float32(0.5)).astype(np.uint8)
    return scaled


def _white(brightest: float, *, is_float: bool) -> float:
    if is_float and brightest <= 1:
        return 1.0
    return float(max(255, 2 ** int(-(-brightest // 1)).bit_length() - 1))


def _swapped_tiles(image: ImageFile) -> list[Any]:
    """The tiles of a 16-bit colour image, told to take the other byte of each sample; empty for other images.

    Pillow has no 16-bit colour mode: its unpackers keep the high byte of two. The unpacker of the other byte order
    keeps the low one, so two readings give all 16 bits.
    """
    tiles = [tile._replace(args=_swap(tile.args)) for tile in image.tile]
    return tiles if tiles and all(tile.args for tile in tiles) else []


def _swap(args: Any) -> Any:
    """A tile's arguments with the raw mode of the other byte order; None where it is not 16-bit RGB or RGBA."""
    raw_mode, *rest = (args,) if isinstance(args, str) else args or ("",)
    kind, _, order = str(raw_mode).partition(";16")
    if kind not in ("RGB", "RGBA", "RGBX") or not order:
        return None
    native = "L" if sys.byteorder == "little" else "B"
    other = f"{kind};16{'B' if order.replace('N', native) == 'L' else 'L'}"
    return other if isinstance(args, str) else (other, *rest)


def _low_bytes(data: bytes, tiles: list[Any]) -> Image:
    image: ImageFile = _pillow().open(io.BytesIO(data), formats=_FORMATS)
    image.tile = tiles
    image.load()
    return image


def _deep_colour(high: Image, low: Image) -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB from the high and the low bytes of 16-bit samples, on `BACKGROUND` where transparent."""
    import numpy as np

    samples = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low)
    rgb = _scale_to_8_bits(samples[:, :, :3], "")
    if samples.shape[2] == 3:
        return rgb
    alpha = samples[:, :, 3:].astype(np.float32) / 65535
    flat: UInt8[np.ndarray, "h w 3"] = (rgb * alpha + np.array(BACKGROUND, np.float32) * (1 - alpha) + 0.5).astype(
        np.uint8
    )
    return flat
