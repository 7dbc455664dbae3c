"""Tokens: a query vector or a selection of rows as a short text that fits a link."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexer.errors import QueryError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int8

SELECTION_LIMIT = 6_000
"""Characters that a selection may take in a link; browsers and proxies cut addresses off at 8,000 and more."""
MAX_SELECTED = 2_000_000
MAX_DIMENSION = 8_192
_SEPARATOR = "~"
_REPAIR = "The link was cut or changed; copy it again from where it was made."


def pack_image(vector: Float32[np.ndarray, " d"], *, fingerprint: str, name: str) -> str:
    """A query image as text: the space's fingerprint, the direction of its vector in 8 bits a value, and a name.

    Only the direction counts, so the scale of the 8 bits need not be kept. At 128 dimensions and more the cosine
    to the true vector is above 0.999.
    """
    import numpy as np

    scaled: Int8[np.ndarray, " d"] = np.round(127 * vector / np.abs(vector).max()).astype(np.int8)
    return _SEPARATOR.join((fingerprint, _encode(scaled.tobytes()), name))


def image_name(token: str) -> str:
    """The name of the image that a token stands for; QueryError where it is no token."""
    return _split_image(token)[2]


def image_fingerprint(token: str) -> str:
    """The fingerprint of the space that a token was made for; QueryError where it is no token."""
    return _split_image(token)[0]


def unpack_image(token: str, *, fingerprint: str) -> Float32[np.ndarray, " d"]:
    """The unit vector that `pack_image` wrote; QueryError where the token is damaged or of another fingerprint."""
    import numpy as np

    made_with, packed, name = _split_image(token)
    if made_with != fingerprint:
        raise QueryError(
            f"image {name}: its vector was made with the encoder {made_with}, this space with {fingerprint}; "
            "they cannot be compared. Upload the image again, or choose the space that the link was made in."
        )
    values = np.frombuffer(_decode(packed, f"image {name}"), np.int8).astype(np.float32)
    if not 0 < len(values) <= MAX_DIMENSION or not values.any():
        raise QueryError(f"image {name}: {len(values)} values, which are no vector. {_REPAIR}")
    vector: Float32[np.ndarray, " d"] = values / np.linalg.norm(values)
    return vector


def pack_rows(rows: Sequence[int]) -> str:
    """Rows as text: ascending, the steps between them as variable-length integers, deflated. Repeats are dropped."""
    packed = bytearray()
    previous = -1
    for row in sorted(set(rows)):
        _append_varint(packed, row - previous - 1)
        previous = row
    return _encode(zlib.compress(bytes(packed), 9))


def unpack_rows(token: str) -> tuple[int, ...]:
    """The rows that `pack_rows` wrote, ascending; QueryError where the token is damaged or too long."""
    inflater = zlib.decompressobj()
    try:
        packed = inflater.decompress(_decode(token, "selection"), MAX_SELECTED)
    except zlib.error as error:
        raise QueryError(f"selection: {error}. {_REPAIR}") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise QueryError(f"selection: incomplete, or more than {MAX_SELECTED:,} records. {_REPAIR}")
    rows = []
    previous = -1
    for step in _read_varints(packed):
        previous += step + 1
        rows.append(previous)
    return tuple(rows)


def _split_image(token: str) -> tuple[str, str, str]:
    fields = token.split(_SEPARATOR, 2)
    if len(fields) != 3 or not all(fields[:2]):
        raise QueryError(f"image {token[:40]!r}: not an image of a link. {_REPAIR}")
    return fields[0], fields[1], fields[2]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise QueryError(f"{where}: {error}. {_REPAIR}") from error


def _append_varint(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(0x80 | number & 0x7F)
        number >>= 7
    packed.append(number)


def _read_varints(packed: bytes) -> list[int]:
    """Little-endian groups of 7 bits, the high bit set on all but the last; QueryError where the last one is cut."""
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise QueryError(f"selection: a row number of more than 63 bits. {_REPAIR}")
        if byte < 0x80:
            numbers.append(number)
            number, shift = 0, 0
    if shift:
        raise QueryError(f"selection: it ends inside a number. {_REPAIR}")
    return numbers
