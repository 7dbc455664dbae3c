"""Images that were refused, each with its reason: `rejected.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from indexer.errors import CorpusError
from indexer.files import write_atomically
from indexer.object_storage import read_address, stamp_object

ABSENT = (-1, -1)
"""Stamp of a file that is not there."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """One image that was refused.

    Attributes:
        uri: of the file.
        record_id: that the record would have had.
        reason: why, in words.
        n_bytes, modified_ns: size and modification time of the file then (-1 where there was none); a file that
            has changed since is tried again.
    """

    uri: str
    record_id: str
    reason: str
    n_bytes: int
    modified_ns: int

    @property
    def still_stands(self) -> bool:
        """Whether the file is still the one that was refused."""
        return file_stamp(Path(self.uri)) == (self.n_bytes, self.modified_ns)


def file_stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds; (-1, -1) where there is no such file."""
    address = read_address(path)
    if address:
        return stamp_object(address)
    try:
        stat = path.stat()
    except OSError:
        return ABSENT
    return stat.st_size, stat.st_mtime_ns


def reject(uri: str, record_id: str, reason: str) -> Rejection:
    """A rejection of the file as it is now."""
    n_bytes, modified_ns = file_stamp(Path(uri))
    return Rejection(uri=uri, record_id=record_id, reason=reason, n_bytes=n_bytes, modified_ns=modified_ns)


def read_rejections(path: Path) -> dict[str, Rejection]:
    """The refused images by uri; empty where none was refused. CorpusError where another program spoilt the file."""
    if not path.exists():
        return {}
    try:
        found = _read_rows(path)
    except (KeyError, ValueError, TypeError) as error:
        raise CorpusError(
            f"{path}: changed by another program ({type(error).__name__}: {error}). Delete it; the next job "
            "lists the refused images anew."
        ) from error
    return {rejection.uri: rejection for rejection in found}


def _read_rows(path: Path) -> list[Rejection]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Rejection(
            uri=row["uri"],
            record_id=row["record_id"],
            reason=row["reason"],
            n_bytes=int(row["n_bytes"]),
            modified_ns=int(row["modified_ns"]),
        )
        for row in rows
    ]


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """Replace `rejected.csv`, atomically, sorted by uri."""
    ordered = sorted(rejections, key=lambda rejection: rejection.uri)

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Rejection)])
            writer.writerows(astuple(rejection) for rejection in ordered)

    write_atomically(path, write)
