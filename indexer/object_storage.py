"""Object storage: images and tables under `s3://bucket/key` addresses, read through fsspec and s3fs (extra `s3`).

Keys, region and endpoint come from the environment, as AWS's own tools read them: AWS_ACCESS_KEY_ID, AWS_PROFILE,
AWS_ENDPOINT_URL for other makers' stores, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from indexer.errors import ImageError, SourceError

_ADDRESS = re.compile(r"s3://[^/]+(/.*)?", re.IGNORECASE)
_COLLAPSED = re.compile(r"s3:/(?=[^/])", re.IGNORECASE)


def is_object(address: str) -> bool:
    """Whether the text is an address of object storage."""
    return _ADDRESS.fullmatch(address) is not None


def read_address(place: Path | str) -> str | None:
    """The address of object storage that a path stands for, without a closing slash; None for a path of this machine.

    `Path` makes `s3:/bucket` of `s3://bucket`.
    """
    address = _COLLAPSED.sub("s3://", str(place)).rstrip("/")
    return address if is_object(address) else None


def open_storage() -> Any:
    """The file system of s3fs; SourceError where it is not installed."""
    import fsspec

    try:
        return fsspec.filesystem("s3")
    except ImportError:
        raise SourceError(
            "s3://: s3fs, which reads object storage, is not installed. Install it with: pip install 'morphospace[s3]'"
        ) from None


def list_objects(folder: str) -> list[str]:
    """The keys of all objects below a folder, relative to it, sorted.

    Raises:
        SourceError: the storage cannot be reached or refuses.
    """
    storage = open_storage()
    try:
        # What was listed before may have changed, and s3fs remembers.
        storage.invalidate_cache()
        found = storage.find(folder)
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot be listed ({error}). Check the address and the AWS_… variables (keys, region, endpoint)."
        ) from error
    start = len(folder.removeprefix("s3://")) + 1
    return sorted(key[start:] for key in found if not key.endswith("/"))


def read_object(address: str, *, at_most: int) -> bytes:
    """The bytes of one object.

    Raises:
        ImageError: there is none, it may not be read, or it holds more than `at_most` bytes.
    """
    storage = open_storage()
    try:
        size = storage.info(address, refresh=True)["size"]
        if size > at_most:
            raise ImageError(f"{address}: the object has {size:,} bytes; at most {at_most:,} are read.")
        data: bytes = storage.cat_file(address)
    except FileNotFoundError:
        raise ImageError(f"{address}: there is no such object; check the address.") from None
    except PermissionError:
        raise ImageError(f"{address}: the object may not be read with these keys; ask for the right to.") from None
    except OSError as error:
        raise ImageError(f"{address}: the object could not be read ({error}).") from error
    return data


def stamp_object(address: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; (-1, -1) where there is no such object."""
    try:
        facts = open_storage().info(address, refresh=True)
    except OSError:
        return -1, -1
    changed = facts.get("LastModified")
    return int(facts["size"]), int(changed.timestamp()) * 10**9 if changed else 0


@contextmanager
def fetch_table(address: str) -> Iterator[Path]:
    """A copy of a table on this machine, of the same name, for as long as the context lasts.

    Raises:
        SourceError: there is none, or it cannot be read.
    """
    with TemporaryDirectory(prefix="morphospace-") as folder:
        copy = Path(folder) / address.rsplit("/", 1)[-1]
        try:
            open_storage().get_file(address, str(copy))
        except OSError as error:
            raise SourceError(f"{address}: the table cannot be read ({error}). Check the address.") from error
        yield copy
