from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from indexer.errors import ImageError
from indexer.images import decode_image
from indexer.jpeg import ALIGNMENT, UnusualSamplingError, decode_jpeg

END = b"\xff\xd9"
RESTART = re.compile(rb"(\xff[\xd0-\xd7])")


def photograph(height: int = 120, width: int = 160) -> np.ndarray:
    """A picture whose every block has many coefficients, as a photograph's."""
    y, x = np.mgrid[:height, :width]
    slopes = np.stack([x * 150 // width, y * 150 // height, (x + y) * 70 // width], axis=-1)
    return (slopes + np.random.default_rng(0).integers(0, 60, (height, width, 3))).astype(np.uint8)


def encode(image: np.ndarray | Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = photograph() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "JPEG", quality=88, **options)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, name="moth.jpg").pixels


WHOLE = encode()
MIDDLE = len(WHOLE) // 2
TABLES = WHOLE.index(b"\xff\xc4")
WITH_RESTARTS = encode(restart_marker_rows=1)
PROGRESSIVE = encode(progressive=True)
LAST_SCAN = PROGRESSIVE.rindex(b"\xff\xda")


def pad_restart_intervals(data: bytes) -> bytes:
    return b"".join(part if i % 2 else part + bytes(3) for i, part in enumerate(RESTART.split(data)))


@pytest.mark.parametrize("sampling", ["444", "422", "420", "440", "411"])
def test_every_sampling_of_colour_gives_what_pillow_gives(sampling: str) -> None:
    data = simplejpeg.encode_jpeg(photograph(), colorsubsampling=sampling)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decode(data).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}, {"subsampling": "4:4:4"}]
)
def test_every_layout_gives_what_pillow_gives(options: dict[str, Any]) -> None:
    data = encode(**options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decode(data).astype(int) - expected).max() <= 1


def test_a_grey_file_gives_three_equal_channels() -> None:
    data = encode(Image.fromarray(photograph()).convert("L"))
    expected = np.repeat(np.asarray(Image.open(io.BytesIO(data)))[:, :, None], 3, axis=2)
    assert np.abs(decode(data).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(WHOLE + b"panorama" * 99, WHOLE, id="data behind the end"),
        pytest.param(WHOLE[:-2], WHOLE, id="no end marker"),
        pytest.param(WHOLE[:-1], WHOLE, id="half an end marker"),
        pytest.param(WHOLE[:-2] + bytes(700) + END, WHOLE, id="zeros before the end"),
        pytest.param(WHOLE[:-2] + b"\xaa" * 700 + END, WHOLE, id="one byte repeated before the end"),
        pytest.param(WHOLE[:-2] + b"aligned" + END, WHOLE, id="a few bytes before the end"),
        pytest.param(WHOLE[:TABLES] + b"stray" + WHOLE[TABLES:], WHOLE, id="bytes between header segments"),
        pytest.param(WHOLE.replace(b"JFIF\0\1", b"JFIF\0\0"), WHOLE, id="JFIF revision 0"),
        pytest.param(pad_restart_intervals(WITH_RESTARTS), WITH_RESTARTS, id="padded restart intervals"),
        pytest.param(
            PROGRESSIVE[:LAST_SCAN] + bytes(9) + PROGRESSIVE[LAST_SCAN:], PROGRESSIVE, id="padding between scans"
        ),
        pytest.param(
            WHOLE[:TABLES] + b"stray" + WHOLE[TABLES:-2] + bytes(9), WHOLE, id="strays, padding and no end marker"
        ),
    ],
)
def test_what_is_harmless_changes_no_pixel(data: bytes, expected: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    np.testing.assert_array_equal(decode(data), decode(expected))
    assert capfd.readouterr() == ("", "")


def test_an_adobe_transform_that_does_not_exist_means_ycbcr() -> None:
    adobe = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, 7)
    np.testing.assert_array_equal(decode(WHOLE[:2] + adobe + WHOLE[2:]), decode(WHOLE))


def zeroed(data: bytes, n: int) -> bytes:
    return data[:MIDDLE] + bytes(n) + data[MIDDLE + n :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(WHOLE[:MIDDLE], "truncated: the file ends before", id="cut"),
        pytest.param(WHOLE[:-6], "truncated: the file ends before", id="cut by a few bytes"),
        pytest.param(WHOLE[:MIDDLE] + END, "premature end of data segment", id="cut, end marker appended"),
        pytest.param(PROGRESSIVE[:MIDDLE] + END, "premature end of data segment", id="progressive, cut, end appended"),
        pytest.param(PROGRESSIVE[:LAST_SCAN], "truncated: the file ends before", id="last scan missing"),
        pytest.param(zeroed(WHOLE, 128), r"blocks .* are lost: \d+ extraneous", id="128 bytes zeroed"),
        pytest.param(zeroed(WHOLE, 512), r"blocks .* are lost: \d+ extraneous", id="a sector zeroed"),
        pytest.param(WHOLE[:MIDDLE] + bytes(MIDDLE), "truncated", id="filled with zeros"),
        pytest.param(WHOLE[:MIDDLE] + bytes(MIDDLE) + END, "premature end", id="filled with zeros up to the end"),
        pytest.param(
            WHOLE[:TABLES] + b"stray" + WHOLE[TABLES:MIDDLE] + END, "premature end", id="strays, and cut behind them"
        ),
        pytest.param(WHOLE[:-2] + bytes(range(1, 99)) + END, "blocks .* are lost", id="leftover picture data"),
        pytest.param(
            b"".join(part for i, part in enumerate(RESTART.split(WITH_RESTARTS)) if i != 5),
            "blocks .* are lost|instead of RST",
            id="a restart marker missing",
        ),
        pytest.param(
            WITH_RESTARTS[: RESTART.search(WITH_RESTARTS, MIDDLE).start()] + END,  # type: ignore[union-attr]
            "found marker 0xd9 instead of RST",
            id="cut at a restart marker, end marker appended",
        ),
        pytest.param(WHOLE[:MIDDLE] + b"\xff\xc0" * 9 + WHOLE[MIDDLE:], "damaged or cut short", id="header in between"),
    ],
)
def test_what_has_lost_picture_data_is_refused_with_the_reason(
    data: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageError, match=rf"^moth\.jpg: .*JPEG.*({reason}).*Fetch the file again"):
        decode(data)
    assert capfd.readouterr() == ("", "")


def test_a_cmyk_file_that_was_cut_and_ended_is_refused() -> None:
    data = encode(Image.fromarray(photograph()).convert("CMYK"))
    assert decode(data).shape == (120, 160, 3)
    with pytest.raises(ImageError, match="premature end of data segment"):
        decode(data[: len(data) // 2] + END)


def test_fewer_bytes_than_an_alignment_may_stand_before_the_end() -> None:
    decode(WHOLE[:-2] + bytes(range(1, ALIGNMENT)) + END)
    with pytest.raises(ImageError, match="extraneous bytes before marker 0xd9"):
        decode(WHOLE[:-2] + bytes(range(1, 2 * ALIGNMENT)) + END)


def grey_ground(sampling: tuple[int, int, int]) -> bytes:
    """A 24 x 8 JPEG of middle grey: every coefficient of it is 0, coded in one bit."""

    def segment(marker: int, *body: int) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + bytes(body)

    n_blocks = sum((factor >> 4) * (factor & 15) for factor in sampling)
    n_mcus = 3 // (sampling[0] >> 4)
    bits = "00" * n_blocks * n_mcus
    bits += "1" * (-len(bits) % 8)
    one_code = (1, *[0] * 15, 0)
    components = [value for i, factor in enumerate(sampling) for value in (i + 1, factor, 0)]
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, 0, *[1] * 64),
            segment(0xC0, 8, 0, 8, 0, 24, 3, *components),
            segment(0xC4, 0x00, *one_code),
            segment(0xC4, 0x10, *one_code),
            segment(0xDA, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0),
            int(bits, 2).to_bytes(len(bits) // 8, "big"),
            END,
        ]
    )


def test_a_file_of_zeros_is_a_picture_too() -> None:
    assert (decode(grey_ground((0x11, 0x11, 0x11))) == 128).all()


def test_pillow_reads_what_is_sampled_in_thirds() -> None:
    data = grey_ground((0x31, 0x11, 0x11))
    with pytest.raises(UnusualSamplingError):
        decode_jpeg(data)
    pixels = decode(data)
    assert pixels.shape == (8, 24, 3)
    assert (pixels == 128).all()
