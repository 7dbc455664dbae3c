"""What an index is made of: the stored vectors of a space, less the removed ones, streamed into index order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indexer.index.matrix import BLOCK

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float32, Int64

    from indexer.corpus import Space


@dataclass(frozen=True)
class Material:
    """The vectors to index, as one version of the table of a space holds them.

    Attributes:
        space: whose vectors they are.
        dataset: the opened table of vectors.
        removed: rows that are left out.
        columns: the records' names in row order, which decide the order; None where there are none.
    """

    space: Space
    dataset: Any
    removed: Int64[np.ndarray, " m"]
    columns: pa.Table | None

    @cached_property
    def stored_rows(self) -> Int64[np.ndarray, " s"]:
        """The row of each entry of the table."""
        rows: Int64[np.ndarray, " s"] = self.dataset.to_table(columns=["row"]).column("row").to_numpy()
        return rows

    @cached_property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The rows to index, ascending."""
        import numpy as np

        return np.setdiff1d(self.stored_rows, self.removed)

    def read_all(self) -> Iterator[tuple[Int64[np.ndarray, " b"], Float32[np.ndarray, "b d"]]]:
        """Rows and unit vectors, batch by batch in the order of the table; removed ones too."""
        for batch in self.dataset.to_batches(columns=["row", "vector"], batch_size=BLOCK):
            yield batch.column("row").to_numpy(), self._as_matrix(batch.column("vector"))

    def read_some(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        """The unit vectors of some rows, in the order asked for."""
        import numpy as np

        order = np.argsort(self.stored_rows, kind="stable")
        places = order[np.searchsorted(self.stored_rows, rows, sorter=order)]
        column = self.dataset.take(places.tolist(), columns=["vector"]).column("vector")
        return self._as_matrix(column.combine_chunks())

    def _as_matrix(self, column: Any) -> Float32[np.ndarray, "n d"]:
        import numpy as np

        flat = column.flatten().to_numpy(zero_copy_only=False)
        values: Float32[np.ndarray, "n d"] = flat.astype(np.float32).reshape(-1, self.space.dimension)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values
