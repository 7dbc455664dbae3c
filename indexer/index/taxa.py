"""Taxonomic order: every taxon stands at few, mostly one, ranges of positions, so that a clade is scanned at one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.terms import RANKS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Int64

ORDER_COLUMNS = (*RANKS, "scientificName")
"""Positions are sorted by these, a missing name after every other, and then by row."""

TAXON_COLUMNS = (*ORDER_COLUMNS, "vernacularName")
"""Columns whose names may be asked for as a taxon."""


def order_rows(rows: Int64[np.ndarray, " n"], columns: pa.Table | None) -> Int64[np.ndarray, " n"]:
    """The rows in taxonomic pre-order (see `ORDER_COLUMNS`); records without names come last.

    Args:
        rows: rows to order.
        columns: the records in row order, with those of `TAXON_COLUMNS` that there are; None keeps the order of rows.
    """
    import numpy as np

    rows = np.sort(rows)
    names = [name for name in ORDER_COLUMNS if columns is not None and name in columns.column_names]
    if columns is None or not names:
        return rows
    keys = []
    for name in names:
        codes, n_names = _sorted_codes(columns, name)
        here = codes[rows]
        keys.append(np.where(here < 0, n_names, here))
    ordered: Int64[np.ndarray, " n"] = rows[np.lexsort(keys[::-1])]
    return ordered


def find_taxa(rows: Int64[np.ndarray, " n"], columns: pa.Table | None) -> pa.Table:
    """Where each taxon stands in an order of rows: `rank`, `name`, `start`, `stop` (positions, stop excluded).

    Sorted by name without regard to case, then rank and start. A taxon has several lines where it does not stand
    together: a homonym, a lineage with holes, records appended later.
    """
    import numpy as np
    import pyarrow as pa

    found: dict[str, list[pa.Array]] = {"rank": [], "name": [], "start": [], "stop": []}
    for rank in TAXON_COLUMNS:
        if columns is None or rank not in columns.column_names or not len(rows):
            continue
        encoded = _encode(columns, rank)
        codes = _codes(encoded)[rows]
        start = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
        stop = np.append(start[1:], len(codes))
        has_name = codes[start] >= 0
        found["rank"].append(pa.array([rank] * int(has_name.sum()), pa.string()))
        found["name"].append(encoded.dictionary.take(pa.array(codes[start[has_name]])))
        found["start"].append(pa.array(start[has_name], pa.int64()))
        found["stop"].append(pa.array(stop[has_name], pa.int64()))
    return _sort_taxa(found)


def _sort_taxa(found: dict[str, list[pa.Array]]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = {"rank": pa.string(), "name": pa.string(), "start": pa.int64(), "stop": pa.int64()}
    table = pa.table({name: pa.chunked_array(found[name], kind) for name, kind in kinds.items()})
    keys = table.append_column("key", pc.utf8_lower(table.column("name")))
    order = pc.sort_indices(keys, [("key", "ascending"), ("rank", "ascending"), ("start", "ascending")])
    return table.take(order)


def _sorted_codes(columns: pa.Table, name: str) -> tuple[Int64[np.ndarray, " r"], int]:
    """Per record the place of its name among the sorted names, -1 where it has none; and how many names there are."""
    import numpy as np
    import pyarrow.compute as pc

    encoded = _encode(columns, name)
    places = np.empty(len(encoded.dictionary) + 1, np.int64)
    places[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    places[-1] = -1
    return places[_codes(encoded)], len(encoded.dictionary)


def _encode(columns: pa.Table, name: str) -> pa.DictionaryArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = columns.column(name).cast(pa.string())
    named = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    encoded = named.combine_chunks().dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _codes(encoded: pa.DictionaryArray) -> Int64[np.ndarray, " r"]:
    import numpy as np

    codes: Int64[np.ndarray, " r"] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
