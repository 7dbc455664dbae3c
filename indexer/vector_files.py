"""Vectors that another program made: Parquet files of emb-explorer, hpc-inference and TreeOfLife-200M-Embeddings.

One row per image with an id (`record_id`, `uuid`, `file`, `id`), a vector (`emb`, `embedding`, `emb_<model>`) and any
records' columns. Whether vectors are of unit length differs between files that are otherwise alike (of the two sets of
TreeOfLife-200M-Embeddings one is, one is not), so it is measured and every vector is brought to unit length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from indexer.cells import Columns, name_records, read_cells
from indexer.errors import SourceError
from indexer.occurrences import find_repeats, occurrence_ids
from indexer.tables import PARQUET_SUFFIXES, Faults, RawTable, raw_from_arrow, read_parquet, read_table
from indexer.terms import DISPLAY_NAME, FILE, RECORD_ID, assign_columns, find_term, own_name, plain_name, sort_columns

VECTOR = "emb"
_VECTOR_NAMES = ("emb", "embedding", "embeddings", "vector", "features")
_ID_NAMES = ("recordid", "uuid", "imageuuid", "photouuid", "imageid", "photoid")
_UNIT_TOLERANCE = 2e-3  # float16 keeps a unit vector's length to about 1e-3


@dataclass(frozen=True, kw_only=True)
class VectorFile:
    """Vectors with the records that they belong to, row by row.

    `records` has record_id (unique), occurrence_id, uri (None: no image is known here), display_name and the other
    columns as in `sources.Source`. `rejected` are the (record id, reason) of the rows whose vector cannot be
    used; `notes` tell the user how the file was read, and which lengths its vectors had.
    """

    path: Path
    records: pa.Table
    vectors: Float32[np.ndarray, "n d"]
    rejected: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def _list_parquet(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder; vectors are read from Parquet. Check the path.")
    if path.is_file():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in PARQUET_SUFFIXES and file.is_file()]
    files = [file for file in files if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)]
    if not files:
        raise SourceError(f"{path}: no Parquet file in this folder; vectors are read from Parquet. Check the path.")
    return files


def _read_all(path: Path) -> pa.Table:
    files = _list_parquet(path)
    tables = [read_parquet(file) for file in files]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SourceError(
            f"{path}: its {len(files):,} files have different columns ({error}); "
            "one import takes files of one kind. Import them one by one."
        ) from error
    if table.num_rows == 0:
        raise SourceError(f"{path}: no row; a vector file has one row per image. Check how it was written.")
    return table


def _is_vector_type(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _find_vector_column(schema: pa.Schema, asked: str | None, path: Path) -> str:
    found: list[str] = [field.name for field in schema if _is_vector_type(field.type)]
    if asked is not None:
        if asked in found:
            return asked
        reason = f"'{asked}' is {schema.field(asked).type}" if asked in schema.names else f"no column '{asked}'"
        raise SourceError(
            f"{path.name}: {reason}; vectors are lists of floats, here {', '.join(found) or 'none'}. "
            "Name one with --column emb=<column>."
        )
    named = [name for name in found if name.lower() in _VECTOR_NAMES]
    candidates = named[:1] or [name for name in found if name.lower().startswith("emb_")] or found
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise SourceError(
            f"{path.name}: several columns hold vectors: {', '.join(candidates)}; a space holds one model's. "
            "Name one with --column emb=<column>."
        )
    raise SourceError(
        f"{path.name}: no column of vectors; it is a list of floats per row, named emb, embedding or emb_<model>, "
        f"and the columns are {', '.join(schema.names)}. Check how the file was written."
    )


def _find_id_column(names: Sequence[str], path: Path) -> str:
    plain = {plain_name(name): name for name in reversed(names)}
    files = [name for name in names if find_term(name) == FILE]
    found = (
        [plain[name] for name in _ID_NAMES if name in plain]
        + files
        + [plain[name] for name in ("id",) if name in plain]
    )
    if not found:
        raise SourceError(
            f"{path.name}: no column of ids; it is looked for as record_id, uuid, file or id, "
            f"and the columns are {', '.join(names)}. Name it with --column record_id=<column>."
        )
    return found[0]


def _read_ids(values: pa.ChunkedArray, raw: RawTable, column: str) -> pa.ChunkedArray:
    """The ids as text; a path is written with `/`, as records of a source are named.

    Raises:
        SourceError: ids are missing or repeated; all such rows are listed.
    """
    ids = values
    if find_term(column) == FILE:
        ids = pc.replace_substring_regex(pc.replace_substring(ids, "\\", "/"), r"^(\./)+", "")
    faults = Faults(raw.path.name, first_row=raw.first_row)
    for row in pc.indices_nonzero(pc.is_null(ids)).to_pylist():
        faults.add(row, f"'{column}' is empty")
    for row, first in find_repeats(ids):
        faults.add(row, f"'{column}' {ids[row].as_py()} stands in row {first + raw.first_row} too")
    faults.raise_any("Every row needs an id of its own. Name another column with --column record_id=<column>.")
    return ids


def _commonest(lengths: Int64[np.ndarray, " n"]) -> int:
    values, counts = np.unique(lengths[lengths > 0], return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else 0


def _stack(chunks: Sequence[pa.Array], has_length: Bool[np.ndarray, " n"], d: int) -> Float32[np.ndarray, "n d"]:
    """One row per list; rows of another length stay NaN."""
    stacked = np.full((len(has_length), d), np.nan, dtype=np.float32)
    start = 0
    for chunk in chunks:
        here = has_length[start : start + len(chunk)]
        good = chunk if here.all() else chunk.filter(pa.array(here))
        stacked[start : start + len(chunk)][here] = good.flatten().to_numpy(zero_copy_only=False).reshape(len(good), d)
        start += len(chunk)
    return stacked


def _reason(row: int, lengths: Int64[np.ndarray, " n"], norms: Float32[np.ndarray, " n"], d: int) -> str:
    if lengths[row] < 1:
        return "no vector"
    if lengths[row] != d:
        return f"the vector has {lengths[row]:,} numbers; the others have {d:,}"
    return "the vector is zero" if norms[row] == 0 else "the vector holds numbers that are missing or infinite"


def read_unit_vectors(
    column: pa.ChunkedArray,
) -> tuple[Float32[np.ndarray, "m d"], Float32[np.ndarray, " m"], Int64[np.ndarray, " m"], dict[int, str]]:
    """Unit vectors, their raw lengths and row numbers, and a reason for each row that has no usable vector.

    The dimension is the commonest length of the lists. Rows without a vector, of another length, with numbers that are
    missing or infinite, or of length zero are left out.
    """
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy().astype(np.int64)
    d = _commonest(lengths)
    vectors = _stack(column.chunks, lengths == d, d)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))  # linalg.norm would copy all of them
    is_good = np.isfinite(norms) & (norms > 0) & (d > 0)
    reasons = {int(row): _reason(int(row), lengths, norms, d) for row in np.flatnonzero(~is_good)}
    rows = np.flatnonzero(is_good)
    vectors = vectors if len(rows) == len(vectors) else vectors[rows]
    vectors /= norms[rows, None]
    return vectors, norms[rows], rows, reasons


def _describe_lengths(norms: Float32[np.ndarray, " m"]) -> str:
    low, high = float(norms.min()), float(norms.max())
    if max(abs(low - 1), abs(high - 1)) <= _UNIT_TOLERANCE:
        return "vectors are of unit length"
    return f"vectors have lengths {low:.3g} to {high:.3g}; they are scaled to unit length"


def _join_metadata(columns: Columns, ids: pa.ChunkedArray, other: Columns, other_ids: pa.ChunkedArray) -> Columns:
    """The columns with those of the metadata beside them; where both have one, empty cells are filled from it."""
    positions = pc.index_in(ids, value_set=other_ids.combine_chunks())
    joined = dict(columns)
    for name, values in other.items():
        found = values.take(positions)
        if name not in joined:
            joined[name] = found
        elif joined[name].type == found.type:
            joined[name] = pc.coalesce(joined[name], found)
        else:
            joined[own_name(name, joined)] = found
    return joined


@dataclass(frozen=True, kw_only=True)
class _Records:
    """The columns of a table without the record ids, the ids, and the table's own name of each column."""

    columns: Columns
    ids: pa.ChunkedArray
    assigned: Mapping[str, str]
    notes: tuple[str, ...] = ()


def _read_records(raw: RawTable, id_column: str, column_map: Mapping[str, str]) -> _Records:
    """The records of the table. The id column becomes `record_id`, and stays `file` where it is one too."""
    mapping = {RECORD_ID: id_column} | dict(column_map)
    assigned = assign_columns(raw.columns, mapping, where=raw.path.name)
    columns = read_cells(raw, assigned)
    ids = _read_ids(columns.pop(RECORD_ID), raw, id_column)
    return _Records(columns=columns, ids=ids, assigned=assigned, notes=raw.notes)


def _split_map(column_map: Mapping[str, str], raw: RawTable, other: RawTable) -> tuple[dict[str, str], dict[str, str]]:
    """The part of `column_map` for the vector file, and the part for the columns that only the metadata has."""
    theirs = {term: name for term, name in column_map.items() if name in other.columns and name not in raw.columns}
    return {term: name for term, name in column_map.items() if term not in theirs}, theirs


def _add_metadata(raw: RawTable, id_column: str, metadata: Path, column_map: Mapping[str, str]) -> _Records:
    other = read_table(metadata)
    ours, theirs = _split_map(column_map, raw, other)
    records = _read_records(raw, id_column, ours)
    ids = records.ids
    other_id = theirs.pop(RECORD_ID, None) or (
        id_column if id_column in other.columns else _find_id_column(list(other.columns), metadata)
    )
    found = _read_records(other, other_id, theirs)
    n_found = pc.sum(pc.is_in(ids, value_set=found.ids.combine_chunks())).as_py()
    if not n_found:
        raise SourceError(
            f"{metadata.name}: none of its {len(found.ids):,} values of '{other_id}' is an id of the vectors, such as "
            f"{ids[0].as_py()}; the two are joined on it. Name it with --column record_id=<column>."
        )
    note = f"{metadata.name}: joined on '{other_id}', {n_found:,} of {len(ids):,} vectors have a row there"
    return _Records(
        columns=_join_metadata(records.columns, ids, found.columns, found.ids),
        ids=ids,
        assigned={**found.assigned, **records.assigned},
        notes=(*raw.notes, *other.notes, note),
    )


def _make_records(records: _Records, table: Path) -> pa.Table:
    columns, ids = records.columns, records.ids
    occurrences = occurrence_ids(columns, ids, assigned=records.assigned, table=table)
    first: Columns = {RECORD_ID: ids, "occurrence_id": occurrences}
    first["uri"] = pa.chunked_array([pa.nulls(len(ids), pa.string())])
    first[DISPLAY_NAME] = name_records(columns, len(ids))
    return pa.table(first | {name: columns[name] for name in sort_columns(columns) if name not in first})


def read_vector_file(
    path: Path, *, column_map: Mapping[str, str] | None = None, metadata: Path | None = None
) -> VectorFile:
    """The vectors and records of a Parquet file, or of a folder of them, with every vector at unit length.

    `column_map` ({term: column}) also takes `emb` for the column of vectors. `metadata` is a table (CSV, TSV, Parquet)
    of further columns, joined on the id; where both have a column, the vector file's cells come first. The order is
    that of the rows, and of the sorted files. All is held in memory:
    a million vectors of 768 take 3 GB, and about three times that while they are read.

    Raises:
        SourceError: not Parquet, no column of vectors or ids, ids missing or repeated, or no usable vector at all.
    """
    mapping = {RECORD_ID if find_term(term) == RECORD_ID else term: name for term, name in (column_map or {}).items()}
    table = _read_all(path)
    vector_column = _find_vector_column(table.schema, mapping.pop(VECTOR, None), path)
    raw = raw_from_arrow(path, table.drop_columns([vector_column]))
    asked = mapping.get(RECORD_ID)
    id_column = asked if asked is not None and asked in raw.columns else _find_id_column(list(raw.columns), path)
    vectors, norms, rows, reasons = read_unit_vectors(table.column(vector_column))
    if not len(rows):
        raise SourceError(
            f"{path}: none of its {raw.n_rows:,} vectors can be used: {reasons[0]}. Check '{vector_column}'."
        )
    if metadata is None:
        records = _read_records(raw, id_column, mapping)
    else:
        records = _add_metadata(raw, id_column, metadata, mapping)
    origin = f"{path.name}: vectors from '{vector_column}', ids from '{id_column}'"
    return VectorFile(
        path=path,
        records=_make_records(records, (metadata or path).resolve()).take(pa.array(rows)),
        vectors=vectors,
        rejected=tuple((records.ids[row].as_py(), reason) for row, reason in reasons.items()),
        notes=(origin, f"{path.name}: {_describe_lengths(norms)}", *records.notes),
    )
