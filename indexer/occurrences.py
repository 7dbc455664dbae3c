"""Which record is which, and which records share an occurrence: the identifiers of a table's rows."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from indexer.terms import RECORD_ID, plain_name


def find_repeats(values: pa.ChunkedArray) -> list[tuple[int, int]]:
    """(position, position of the first) of every value that was there before; None is never a repeat."""
    if pc.count_distinct(values).as_py() == len(values) - values.null_count:
        return []
    first: dict[str, int] = {}
    repeats = []
    for position, value in enumerate(values.to_pylist()):
        if value is not None and first.setdefault(value, position) != position:
            repeats.append((position, first[value]))
    return repeats


def is_identifier(values: pa.ChunkedArray) -> bool:
    """Whether every record has a value and no two the same."""
    return values.null_count == 0 and not find_repeats(values)


def _catalogue_numbers(columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray | None:
    if "catalogNumber" not in columns or "institutionCode" not in columns:
        return None
    parts = [columns["institutionCode"]]
    if "collectionCode" in columns:
        parts.append(pc.fill_null(columns["collectionCode"], ""))
    return pc.binary_join_element_wise(*parts, columns["catalogNumber"], ":")


def _source_ids(columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray | None:
    """TreeOfLife's `source_id`, which numbers occurrences within their source."""
    if "source_id" not in columns or "datasetName" not in columns:
        return columns.get("source_id")
    return pc.binary_join_element_wise(columns["datasetName"], columns["source_id"], ":")


def occurrence_ids(
    columns: Mapping[str, pa.ChunkedArray], record_ids: pa.ChunkedArray, *, id_column: str | None = None
) -> pa.ChunkedArray:
    """The occurrence of each record: the first identifier that the record has, else its own record id.

    In this order: occurrenceID, gbifID, source and source id, institution, collection and catalogue number, and a
    `uuid` that several images share (as in iNaturalist's photo lists). Nothing is guessed from file names.
    `id_column` is the table's name for the column of record ids.
    """
    candidates = [columns.get("occurrenceID"), columns.get("gbifID"), _source_ids(columns), _catalogue_numbers(columns)]
    if id_column is not None and plain_name(id_column) == "uuid":
        candidates.append(columns.get(RECORD_ID))
    return pc.coalesce(*(values for values in candidates if values is not None), record_ids)
