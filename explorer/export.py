"""Export: records, and vectors on request, as plain Parquet or CSV."""

from __future__ import annotations

from pathlib import Path

from explorer.filters import Filter, find_rows
from indexer.corpus import Corpus
from indexer.errors import QueryError
from indexer.files import write_atomically

FORMATS = (".parquet", ".csv")


def export_records(corpus: Corpus, file: Path, *, space_name: str | None = None, where: str | None = None) -> int:
    """Write all columns of the records (thumbnails left out) and return how many were written.

    With `space_name` the file holds, as emb-explorer and TreeOfLife-200M-Embeddings do, a `uuid` (the record_id) and
    an `emb` (unit vector, list of float32) beside them, for the records that have a vector in that space.
    QueryError for another kind of file, or for vectors in a CSV.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    from indexer.vectors import embedded_rows, read_vectors

    _check_file(file, with_vectors=space_name is not None)
    rows = find_rows(corpus, Filter(where=where))
    if rows is None:
        rows = corpus.live_rows()
    space = corpus.open_space(space_name) if space_name is not None else None
    if space is not None:
        rows = np.intersect1d(rows, embedded_rows(space))
    table = corpus.read_rows(rows)
    if space is not None:
        vectors = read_vectors(space, rows.tolist())
        emb = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), space.dimension).cast(pa.list_(pa.float32()))
        table = table.append_column("uuid", table.column("record_id")).append_column("emb", emb)
    write = pq.write_table if file.suffix.lower() == ".parquet" else pa_csv.write_csv
    write_atomically(file, lambda part: write(table, str(part)))
    return int(table.num_rows)


def _check_file(file: Path, *, with_vectors: bool) -> None:
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise QueryError(f"{file.name}: {suffix or 'no'} ending; {' and '.join(FORMATS)} are written. Rename the file.")
    if with_vectors and suffix == ".csv":
        raise QueryError(f"{file.name}: vectors do not fit a CSV. Name a .parquet file.")
