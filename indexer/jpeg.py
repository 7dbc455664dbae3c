"""JPEG files: their pixels, or what libjpeg found missing.

libjpeg repairs what it can, says so and goes on, so that most programs show a cut photograph with a grey lower half
and call it read. Here its first complaint stops the decoder, and the rule is:

==============================================================  ====================================================
complaint                                                       what is done
==============================================================  ====================================================
premature end of file or of a data segment, bad Huffman or      refused: blocks of the picture are lost
arithmetic code, a restart marker missing, inconsistent scans,
and every error that libjpeg does not survive
bytes between header segments; a JFIF revision or an Adobe      left out or set right, then decoded again: they are
colour transform that libjpeg does not know                     not part of the picture
no end marker, behind a file of one scan                        added, then decoded again: the picture is whole, or
                                                                the next complaint says that it is not
bytes left over before a marker within the picture data         padding (one byte repeated, or fewer than
                                                                `ALIGNMENT` bytes before the end) is left out, then
                                                                decoded again; anything else is refused: a block
                                                                that is overwritten leaves the bytes of others over
==============================================================  ====================================================

Bytes behind the end marker are never looked at: cameras keep further pictures there. A few bytes overwritten in the
picture data may give other valid codes; that is beyond any decoder.

Source: ITU-T T.81, B.1; the warnings are JWRN_… in libjpeg's ``jerror.h``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

ALIGNMENT = 16
"""Cameras fill up the picture data to a multiple of at most this many bytes, not always with one value."""

_START, _END, _SCAN, _JFIF, _ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, _END)})

_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
_SCAN_END = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"(\xff+[\xd0-\xd7])")

_MAY_BE_HARMLESS = re.compile(
    r"extraneous bytes before marker|Premature end of JPEG file|JFIF revision number|Adobe color transform"
)
_LEFT_OVER_AT_END = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


class UnusualSamplingError(ValueError):
    """The colour channels are stored at resolutions that this decoder does not know."""


def decode_jpeg(data: bytes, colours: str = "RGB") -> UInt8[np.ndarray, "h w c"]:
    """The pixels as they are stored, of a file whose picture is whole.

    Args:
        data: The bytes of the file.
        colours: "RGB", also for grey files; or "CMYK" for files with four channels.

    Raises:
        UnusualSamplingError: another decoder has to be asked.
        ValueError: part of the picture is lost; the message says why, in the words of this module's rule.
    """
    from simplejpeg import decode_jpeg as decode

    pixels: UInt8[np.ndarray, "h w c"]
    complaints: list[str] = []
    for prepare in (bytes, _tidy_header, _leave_out_padding):
        data = prepare(data)
        try:
            pixels = decode(data, colours)
            return pixels
        except ValueError as error:
            complaints.append(str(error))
        if not _MAY_BE_HARMLESS.search(complaints[-1]):
            break
    left_over = _LEFT_OVER_AT_END.search(complaints[-1])
    if left_over and int(left_over[1]) < ALIGNMENT:
        pixels = decode(data, colours, strict=False)
        return pixels
    if "subsampling" in complaints[-1]:
        raise UnusualSamplingError(complaints[-1])
    raise ValueError(_say_what_is_lost(complaints))


def _say_what_is_lost(complaints: list[str]) -> str:
    if "Premature end of JPEG file" in complaints[0]:
        return "truncated"
    lost = complaints[-1].removeprefix("Corrupt JPEG data: ")
    return f"blocks of the picture are lost: {lost}" if "extraneous bytes" in lost else lost


def _tidy_header(data: bytes) -> bytes:
    """The segments without what lies between them, with an end marker, and with labels that libjpeg knows."""
    segments = list(_split_segments(data))
    scans = [segment for segment in segments if segment[1] == _SCAN]
    if segments[-1:] == scans:
        segments.append(bytes((0xFF, _END)))
    return bytes((0xFF, _START)) + b"".join(map(_relabel, segments))


def _split_segments(data: bytes) -> Iterator[bytes]:
    """Each segment from its marker on, a scan with its picture data, up to and with the end marker."""
    at = 2
    while found := _MARKER.search(data, at):
        start, marker = found.end() - 2, found[1][0]
        at = found.end()
        if marker not in _WITHOUT_LENGTH and marker != _END:
            at += int.from_bytes(data[at : at + 2], "big")
        if marker == _SCAN:
            behind = _SCAN_END.search(data, at)
            at = behind.start() if behind else len(data)
        yield data[start:at]
        if marker == _END:
            return


def _relabel(segment: bytes) -> bytes:
    """A JFIF segment of revision 1, an Adobe segment whose transform is YCbCr if it was none that exists."""
    if segment[1] == _JFIF and segment[4:9] == b"JFIF\0":
        return segment[:9] + b"\x01" + segment[10:]
    if segment[1] == _ADOBE and segment[4:9] == b"Adobe" and segment[15:16] > b"\x02":
        return segment[:15] + b"\x01" + segment[16:]
    return segment


def _leave_out_padding(data: bytes) -> bytes:
    """The tidied file, its picture data without a repeated byte before each marker."""
    return b"\xff\xd8" + b"".join(
        b"".join(_strip_padding(part) for part in _RESTART.split(segment)) if segment[1] == _SCAN else segment
        for segment in _split_segments(data)
    )


def _strip_padding(part: bytes) -> bytes:
    """The part without the byte that it ends with again and again; 0 also where it stands alone."""
    last = part[-1:]
    bare = part.rstrip(last)
    if last == b"\xff" or not last:
        return part
    if bare.endswith(b"\xff"):  # a zero that belongs to it: T.81, B.1.1.5
        bare += last
    return bare if last == b"\0" or len(part) - len(bare) > 1 else part
