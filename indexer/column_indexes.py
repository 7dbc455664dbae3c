"""Lance's scalar indexes over the columns of the records, so that a filter need not read every record.

Measured on 500,000 records (`benchmarks/column_indexes.py`): one country of 150 took 29 ms and takes 8, one species of
5,000 25 and 9, a record id 22 and 5; five indexes take 2 s of one core to build. What most records meet, as
`sex = 'male'`, takes as long as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from indexer.files import is_table
from indexer.terms import RECORD_ID

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.corpus import Corpus

LEAST_RECORDS = 50_000
"""Below, every record is read in a few milliseconds."""
MAX_VALUES = 20_000
"""Different texts of a column up to which each gets a bitmap of its records."""
BITMAP, BTREE = "BITMAP", "BTREE"
IDENTIFIERS = (RECORD_ID, "occurrence_id")
_UNASKED = frozenset({"row", "uri", "sha256", "thumbnail"})


def index_columns(corpus: Corpus) -> None:
    """Index the columns that are not indexed yet, and extend the indexes by new records; the caller holds the lock.

    Texts of few values get a bitmap for each, numbers and identifiers a sorted list; long texts get none. Every index
    is one atomic commit, and records that none holds yet are read as before, so that a filter is right at any moment.
    """
    if not is_table(corpus.records_path):
        return
    dataset = corpus.open_records()
    n = dataset.count_rows()
    if n < LEAST_RECORDS:
        return
    known = {description.field_names[0]: description for description in dataset.describe_indices()}
    if any(description.num_rows_indexed < n for description in known.values()):
        dataset.optimize.optimize_indices()
    for column, kind in _choose_kinds(dataset, [name for name in dataset.schema.names if name not in known]):
        dataset.create_scalar_index(column, kind)


def _choose_kinds(dataset: Any, columns: list[str]) -> Iterator[tuple[str, str]]:
    """Each column that is worth an index, with its kind."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    for column in columns:
        kind: pa.DataType = dataset.schema.field(column).type
        if column in _UNASKED:
            continue
        if column in IDENTIFIERS or types.is_integer(kind) or types.is_floating(kind) or types.is_temporal(kind):
            yield column, BTREE
        elif types.is_boolean(kind):
            yield column, BITMAP
        elif types.is_string(kind) or types.is_large_string(kind):
            values = dataset.to_table(columns=[column]).column(column)
            if pc.count_distinct(values).as_py() <= MAX_VALUES:
                yield column, BITMAP
