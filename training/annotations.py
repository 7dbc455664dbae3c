"""What the records say about each picture: names and trait values as examples, for captions and for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from indexer.terms import RANKS
from training.captions import UNSPOKEN, hash_claims, hash_lineage, list_facts
from training.examples import SEPARATOR, Example

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Int32, Int64

VERNACULAR = "vernacularName"
MAX_KEPT = 100_000
"""Different descriptions whose hashes are kept at hand."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """An example with the hashes that the losses compare.

    Attributes:
        lineage: One hash per rank, 0 where it is not named.
        facts: One hash per fact, filled up with 0.
    """

    example: Example
    lineage: Int64[np.ndarray, " 7"]
    facts: Int64[np.ndarray, " f"]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The records by position, four bytes a cell.

    Attributes:
        columns: The trait columns.
        codes: Per record and column (the ranks, the common name, the traits) the place in that column's `values`, or
            -1 where the cell is empty.
        values: Per column its different cells, each as its values.
        n_facts: Facts of the record that has most, or more; every row of facts is as long.
    """

    columns: tuple[str, ...]
    codes: Int32[np.ndarray, "n k"]
    values: tuple[tuple[tuple[str, ...], ...], ...]
    n_facts: int
    _kept: dict[bytes, Description] = field(default_factory=dict, repr=False)

    def read_example(self, position: int) -> Example:
        """What is known about one picture."""
        return self.describe(position).example

    def describe(self, position: int) -> Description:
        """What is known about one picture, with its hashes; those of equal records are made once."""
        row = self.codes[position]
        key = row.tobytes()
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            found = self._kept[key] = self._describe(row.tolist())
        return found

    def _describe(self, row: list[int]) -> Description:
        cells = [values[code] if code >= 0 else () for code, values in zip(row, self.values, strict=True)]
        names = [" ".join(cell) or None for cell in cells[: len(RANKS) + 1]]
        traits = dict(zip(self.columns, cells[len(RANKS) + 1 :], strict=True))
        example = Example(
            ranks=tuple(names[:-1]),
            vernacular=names[-1],
            traits={name: cell for name, cell in traits.items() if cell},
        )
        facts = np.zeros(self.n_facts, dtype=np.int64)
        hashes = dict.fromkeys(hash_claims(list_facts(example, self.columns)))
        facts[: len(hashes)] = list(hashes)
        lineage = np.array(hash_lineage(example), dtype=np.int64)
        return Description(example=example, lineage=lineage, facts=facts)


def annotate_records(records: pa.Table, columns: Sequence[str]) -> Annotations:
    """The annotations of a dataset's records; a trait column that the records lack is empty."""
    names = (*RANKS, VERNACULAR, *columns)
    coded = [_code_column(records, name, splits=name in columns) for name in names]
    values = tuple(cells for _, cells in coded)
    most = sum(max(map(len, cells), default=0) for cells in values)
    codes = np.stack([codes for codes, _ in coded], axis=1)
    return Annotations(columns=tuple(columns), codes=codes, values=values, n_facts=most)


def find_described(records: pa.Table, columns: Sequence[str]) -> Int64[np.ndarray, " m"]:
    """Positions of the records of which anything can be said: a rank, the common name, or a value of `columns`."""
    return np.flatnonzero((annotate_records(records, columns).codes >= 0).any(axis=1))


def _code_column(
    records: pa.Table, name: str, *, splits: bool
) -> tuple[Int32[np.ndarray, " n"], tuple[tuple[str, ...], ...]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in records.column_names:
        return np.full(records.num_rows, -1, dtype=np.int32), ()
    coded = pc.dictionary_encode(records.column(name).cast(pa.string()).combine_chunks())
    cells = [_split_cell(text) if splits else (text.strip(),) for text in coded.dictionary.to_pylist()]
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    empty = np.array([not any(cell) for cell in cells] + [True])
    codes[empty[codes]] = -1
    return codes, tuple(cells)


def _split_cell(text: str) -> tuple[str, ...]:
    values = (part.strip() for part in text.split(SEPARATOR.strip()))
    return tuple(value for value in values if value.lower() not in UNSPOKEN)
