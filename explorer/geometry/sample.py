"""What the statistics are computed from: vectors, taxa, occurrences and columns of the records of one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

from explorer.taxonomy import NO_TAXON, Taxonomy, build_taxonomy
from indexer.terms import RANKS

if TYPE_CHECKING:
    from indexer.corpus import Corpus, Space


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Records of one space, in the order of their rows.

    Attributes:
        space: Its name.
        rows: Of the records in the corpus, ascending.
        vectors: Of unit length, as the encoder made them; neither centred nor calibrated.
        occurrences: A code per record, from 0 without gaps; records of one occurrence share it.
        taxonomy: Of these records.
        records: `record_id` and the columns that were asked for, a row per record.
    """

    space: str
    rows: Int64[np.ndarray, " n"]
    vectors: Float32[np.ndarray, "n d"]
    occurrences: Int64[np.ndarray, " n"]
    taxonomy: Taxonomy
    records: pa.Table

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lineages(self) -> Int64[np.ndarray, "n 7"]:
        """Each record's taxon at each rank, kingdom to species; -1 where it is not known."""
        lineages: Int64[np.ndarray, "n 7"] = self.taxonomy.lineages[self.taxonomy.of_records]
        return lineages

    def taxa_at(self, rank: str) -> Int64[np.ndarray, " n"]:
        """Each record's taxon at one rank; -1 where it is not known. Homonyms differ."""
        return self.lineages[:, RANKS.index(rank)]

    def name_taxon(self, taxon: int) -> str:
        """The name of a taxon; empty for -1."""
        return self.taxonomy.names[taxon] if taxon != NO_TAXON else ""

    def read_texts(self, column: str) -> list[str | None]:
        """A column as text; None where it is empty."""
        texts: list[str | None] = self.records.column(column).cast(pa.string()).to_pylist()
        return [text.strip() or None if text is not None else None for text in texts]

    def take(self, chosen: Bool[np.ndarray, " n"]) -> Sample:
        """The sample of the chosen records alone."""
        places = np.flatnonzero(chosen)
        taxonomy = replace(self.taxonomy, of_records=self.taxonomy.of_records[places])
        occurrences = np.unique(self.occurrences[places], return_inverse=True)[1].astype(np.int64)
        return Sample(
            space=self.space,
            rows=self.rows[places],
            vectors=self.vectors[places],
            occurrences=occurrences,
            taxonomy=taxonomy,
            records=self.records.take(places),
        )


def gather_sample(
    corpus: Corpus,
    space: Space,
    columns: Sequence[str] = (),
    *,
    rows: Int64[np.ndarray, " m"] | None = None,
    n_most: int | None = None,
    seed: int = 0,
) -> Sample:
    """Read what the statistics need, removed records apart.

    Args:
        corpus: Its records.
        space: Its vectors.
        columns: Columns beside the ranks; the records must have them.
        rows: The records that may be used, ascending; by default all.
        n_most: Where more records are there, this many are drawn at random.
        seed: Fixes the draw.

    Raises:
        CorpusError: Nothing is embedded yet.
    """
    from indexer.vectors import live_rows, read_vectors

    chosen = live_rows(space)
    if rows is not None:
        chosen = np.intersect1d(chosen, rows, assume_unique=True)
    if n_most is not None and len(chosen) > n_most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n_most, replace=False))
    known = corpus.column_types()
    names = dict.fromkeys(["record_id", "occurrence_id", *(rank for rank in RANKS if rank in known), *columns])
    table = corpus.read_columns(list(names), with_removed=True).take(chosen)
    occurrences = table.column("occurrence_id").combine_chunks().dictionary_encode().indices.to_numpy()
    return Sample(
        space=space.name,
        rows=chosen,
        vectors=read_vectors(space, chosen.tolist()),
        occurrences=np.unique(occurrences, return_inverse=True)[1].astype(np.int64),
        taxonomy=build_taxonomy(table),
        records=table.select([name for name in names if name != "occurrence_id"]),
    )
