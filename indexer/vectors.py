"""The vectors of a space: one unit vector per row, stored as float16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError
from indexer.files import is_table
from indexer.removals import is_among, without_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32, Int64

    from indexer.corpus import Space


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Vectors in memory, sorted by row.

    Attributes:
        rows: the records' rows, ascending, without repeats.
        values: unit length after the rounding of float16 is undone by normalising again.
        version: of the Lance table they were read from.
    """

    rows: Int64[np.ndarray, " n"]
    values: Float32[np.ndarray, "n d"]
    version: int


def vector_schema(dimension: int) -> pa.Schema:
    """The schema of `vectors.lance`."""
    import pyarrow as pa

    return pa.schema(
        [pa.field("row", pa.int64(), nullable=False), pa.field("vector", pa.list_(pa.float16(), dimension))]
    )


def open_vectors(space: Space) -> Any | None:
    """The latest version of the vectors table (a `lance.LanceDataset`), or None while nothing is embedded."""
    if not is_table(space.vectors_path):
        return None
    import lance

    return lance.dataset(str(space.vectors_path))


def append_vectors(space: Space, rows: Int64[np.ndarray, " n"], values: Float32[np.ndarray, "n d"]) -> None:
    """Add unit vectors in one atomic commit."""
    import lance
    import numpy as np
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values, dtype=np.float16).ravel(), pa.float16())
    column = pa.FixedSizeListArray.from_arrays(flat, space.dimension)
    table = pa.Table.from_arrays([pa.array(rows, pa.int64()), column], schema=vector_schema(space.dimension))
    mode = "append" if is_table(space.vectors_path) else "create"
    lance.write_dataset(table, str(space.vectors_path), mode=mode)


def embedded_rows(space: Space) -> Int64[np.ndarray, " n"]:
    """The rows that have a vector in this space, ascending, removed records included."""
    import numpy as np

    dataset = open_vectors(space)
    if dataset is None:
        return np.empty(0, np.int64)
    rows: Int64[np.ndarray, " n"] = np.sort(dataset.to_table(columns=["row"]).column("row").to_numpy())
    return rows


def live_rows(space: Space) -> Int64[np.ndarray, " n"]:
    """The rows that have a vector in this space and were not removed, ascending."""
    return without_rows(embedded_rows(space), space.removed_rows())


def load_vectors(space: Space) -> Vectors:
    """The vectors of all records but the removed ones, in memory (4 bytes per value).

    CorpusError while nothing is embedded.
    """
    import numpy as np

    dataset = open_vectors(space)
    if dataset is None:
        raise CorpusError(f"{space.name}: no vector is stored yet. Run `morphospace index` to embed the images.")
    table = dataset.to_table()
    rows = table.column("row").to_numpy()
    order = np.argsort(rows, kind="stable")
    order = order[~is_among(rows[order], space.removed_rows())]
    return Vectors(
        rows=rows[order], values=_as_matrix(table.column("vector"), space.dimension)[order], version=dataset.version
    )


def read_vectors(space: Space, rows: list[int]) -> Float32[np.ndarray, "n d"]:
    """The unit vectors of the given rows, in that order; CorpusError naming the rows that have none."""
    import numpy as np

    dataset = open_vectors(space)
    if dataset is None or not rows:
        return np.empty((0, space.dimension), np.float32)
    stored = dataset.to_table(columns=["row"]).column("row").to_numpy()
    order = np.argsort(stored, kind="stable")
    places = np.searchsorted(stored, rows, sorter=order)
    found = places < len(stored)
    found[found] = stored[order[places[found]]] == np.asarray(rows)[found]
    if not found.all():
        raise CorpusError(
            f"{space.name}: {int((~found).sum())} records have no vector (first: row {np.asarray(rows)[~found][0]}). "
            "Run `morphospace index` again to embed them."
        )
    return _as_matrix(dataset.take(order[places].tolist(), columns=["vector"]).column("vector"), space.dimension)


def _as_matrix(column: Any, dimension: int) -> Float32[np.ndarray, "n d"]:
    import numpy as np

    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.empty(0, np.float16)
    values = flat.astype(np.float32).reshape(-1, dimension)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values
