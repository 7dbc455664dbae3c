"""Records taken out of a corpus: hidden from every reader at once, kept on disk, and brought back when asked.

A removed record keeps its row, its columns and its vectors; what is stored is the list of removed rows. An index and a
map that were made before still hold it, which is why every reader looks at the list first; they drop it when they are
next made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import CorpusError
from indexer.files import explaining_full_disk, read_stamp, write_atomically

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Bool, Int64

    from indexer.corpus import Corpus

REMOVED_FILE = "removed.parquet"
LOCK_SECONDS = 30


def removals_schema() -> pa.Schema:
    """The schema of `removed.parquet`: a row, when it was removed (ISO 8601, UTC), and why."""
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in ("removed", "reason")]
    return pa.schema([pa.field("row", pa.int64(), nullable=False), *texts])


def read_removals(path: Path) -> pa.Table:
    """The removed records by row, ascending; no line where there is no such file.

    CorpusError where the file cannot be read: to take it for an empty one would show what was removed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return removals_schema().empty_table()
    try:
        return pq.ParquetFile(path).read().select(removals_schema().names).cast(removals_schema())
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorpusError(
            f"{path}: not the list of removed records that Morphospace wrote ({error}). Restore it from a copy; or "
            "delete it, which brings every removed record back, and remove them again."
        ) from error


def read_removed_rows(path: Path) -> Int64[np.ndarray, " m"]:
    """The rows that `removed.parquet` lists, ascending; kept in memory for as long as the file stays the same."""
    return _read_rows(path, read_stamp(path))


@lru_cache(maxsize=16)
def _read_rows(path: Path, stamp: tuple[int, ...]) -> Int64[np.ndarray, " m"]:
    rows: Int64[np.ndarray, " m"] = read_removals(path).column("row").to_numpy().copy()
    rows.setflags(write=False)
    return rows


def without_rows(rows: Int64[np.ndarray, " n"], removed: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " k"]:
    """The given rows, in their order, that are not among the removed ones (which are ascending)."""
    return rows[~is_among(rows, removed)] if len(removed) else rows


def is_among(rows: Int64[np.ndarray, " n"], listed: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, " n"]:
    """Whether each row is among the listed ones, which are ascending."""
    import numpy as np

    if not len(listed):
        return np.zeros(len(rows), bool)
    places = np.minimum(np.searchsorted(listed, rows), len(listed) - 1)
    found: Bool[np.ndarray, " n"] = listed[places] == rows
    return found


def remove_records(corpus: Corpus, rows: Int64[np.ndarray, " n"], *, reason: str = "") -> int:
    """Hide records from now on, in one atomic step; how many of them were not removed before.

    Needs no lock of the corpus, so that a record can be taken out while a job runs. What was removed before keeps its
    time and its reason. CorpusError for a row that no record has.
    """
    import numpy as np
    import pyarrow as pa

    with _lock_removals(corpus):
        strange = rows[(rows < 0) | (rows >= corpus.count_rows())]
        if len(strange):
            raise CorpusError(
                f"{corpus.name}: no record has row {strange[0]}. Name rows below {corpus.count_rows():,}."
            )
        former = read_removals(corpus.removed_path)
        added = np.setdiff1d(rows, former.column("row").to_numpy())
        if len(added):
            texts = [[_now()] * len(added), [reason] * len(added)]
            table = pa.Table.from_arrays(
                [pa.array(added), *(pa.array(text, pa.string()) for text in texts)], schema=removals_schema()
            )
            _write(corpus, pa.concat_tables([former, table]).sort_by("row"))
    return len(added)


def restore_records(corpus: Corpus, rows: Int64[np.ndarray, " n"]) -> int:
    """Bring removed records back, in one atomic step; how many of the given ones were removed.

    They are searched again at once where the index still holds them, else after the next indexing job.
    """
    import numpy as np

    with _lock_removals(corpus):
        former = read_removals(corpus.removed_path)
        stays = ~np.isin(former.column("row").to_numpy(), rows)
        if not stays.all():
            _write(corpus, former.filter(stays))
    return int((~stays).sum())


def _write(corpus: Corpus, removals: pa.Table) -> None:
    import pyarrow.parquet as pq

    write_atomically(corpus.removed_path, lambda part: pq.write_table(removals, part))


@contextmanager
def _lock_removals(corpus: Corpus) -> Iterator[None]:
    """One removal at a time; what a killed one left is cleared."""
    from filelock import FileLock, Timeout

    lock = FileLock(corpus.path / ".removed-lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise CorpusError(
            f"{corpus.name}: another process has been removing records for {LOCK_SECONDS} s. Run this again later."
        ) from None
    try:
        for leftover in corpus.path.glob(f".{REMOVED_FILE}.*.part"):
            leftover.unlink(missing_ok=True)
        with explaining_full_disk(corpus.path):
            yield
    finally:
        lock.release()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
