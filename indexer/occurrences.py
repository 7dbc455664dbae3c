"""Which record is which, and which records share an occurrence: the identifiers of a table's rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from indexer.terms import RECORD_ID, plain_name

# Names of columns whose values are unique beyond their table by definition; specimen_id and the like are not.
_GLOBAL = frozenset({"occurrenceid", "observationuuid"})
_DIGITS = r"^[0-9]+$"


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


def _within(table: Path, values: pa.ChunkedArray | None) -> pa.ChunkedArray | None:
    """The values, plain numbers behind the name of their table and its folder: `siteA/records.csv:12`."""
    if values is None:
        return None
    numbered = pc.binary_join_element_wise(f"{table.parent.name}/{table.name}", values, ":")
    return pc.if_else(pc.match_substring_regex(values, _DIGITS), numbered, values)


def _stated(columns: Mapping[str, pa.ChunkedArray], assigned: Mapping[str, str], table: Path) -> pa.ChunkedArray | None:
    values = columns.get("occurrenceID")
    is_global = plain_name(assigned.get("occurrenceID", "")) in _GLOBAL
    return values if is_global else _within(table, values)


def _source_ids(columns: Mapping[str, pa.ChunkedArray], table: Path) -> pa.ChunkedArray | None:
    """TreeOfLife's `source_id`, which numbers occurrences within their source."""
    if "source_id" not in columns or "datasetName" not in columns:
        return _within(table, columns.get("source_id"))
    return pc.binary_join_element_wise(columns["datasetName"], columns["source_id"], ":")


def occurrence_ids(
    columns: Mapping[str, pa.ChunkedArray], record_ids: pa.ChunkedArray, *, assigned: Mapping[str, str], table: Path
) -> pa.ChunkedArray:
    """The occurrence of each record: the first identifier that the record has, else its own record id.

    In this order: occurrenceID, gbifID, source and source id, institution, collection and catalogue number, and a
    `uuid` that several images share (as in iNaturalist's photo lists). Nothing is guessed from file names.

    `assigned` tells the table's own name of each column. Under other names than occurrenceID (or observation_uuid),
    such as specimen_id, observation_id and a column named by `--column occurrenceID=…`, a value of plain digits counts
    the specimens of one table, as does a source_id without datasetName and such a `uuid`. It gets the name of the
    `table` and its folder before it, so that specimen 12 of two tables is two occurrences.
    """
    candidates = [_stated(columns, assigned, table), columns.get("gbifID")]
    candidates += [_source_ids(columns, table), _catalogue_numbers(columns)]
    if plain_name(assigned.get(RECORD_ID, "")) == "uuid":
        candidates.append(_within(table, columns.get(RECORD_ID)))
    return pc.coalesce(*(values for values in candidates if values is not None), record_ids)
