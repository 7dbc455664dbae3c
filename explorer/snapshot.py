"""What one search sees from its beginning to its end: one index and one list of removed records.

A job may append, remove and rebuild at any moment. A search that is under way keeps the snapshot it began with; the
next one begins with what is on disk then.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from indexer.corpus import Corpus, Space
from indexer.files import read_stamp
from indexer.index.background import Background, measure_background
from indexer.index.opened import VectorIndex, open_index
from indexer.removals import is_among, without_rows
from indexer.vectors import read_vectors

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int64

BACKGROUND_SAMPLE = 5_000
SPECIES_COLUMNS = ("species", "scientificName")


class IndexedRows:
    """An opened index and what belongs to its rows, read when first needed."""

    def __init__(self, corpus: Corpus, space: Space) -> None:
        self._corpus = corpus
        self._space = space
        self.index: VectorIndex = open_index(space)

    @cached_property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The rows that the index holds, ascending, removed ones included."""
        import numpy as np

        return np.sort(self.index.rows)

    @cached_property
    def occurrences(self) -> Int64[np.ndarray, " m"]:
        """Per row of the corpus a number that its occurrence shares; an occurrence is given once and stays."""
        import numpy as np

        column = self._corpus.read_columns(["occurrence_id"], with_removed=True).column("occurrence_id")
        codes: Int64[np.ndarray, " m"] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        return codes

    @cached_property
    def species(self) -> Int64[np.ndarray, " m"]:
        """Per row of the corpus a number that its species shares; -1 where no species is named.

        The species is that of the column `species`, else the `scientificName`.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        names = [name for name in SPECIES_COLUMNS if name in self._corpus.column_types()]
        if not names:
            return np.full(self._corpus.count_rows(), -1)
        table = self._corpus.read_columns(names, with_removed=True)
        texts = [pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in table.columns]
        encoded = pc.coalesce(*texts).combine_chunks().dictionary_encode()
        codes: Int64[np.ndarray, " m"] = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        return codes

    def read_vectors(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
        """The unit vectors of records as the encoder made them, not as the index may have calibrated them.

        A record that the index does not hold gets zeros, which are like nothing.
        """
        import numpy as np

        is_held = is_among(rows, self.rows)
        vectors = np.zeros((len(rows), self._space.dimension), np.float32)
        vectors[is_held] = read_vectors(self._space, rows[is_held].tolist())
        return vectors

    @cached_property
    def raw_background(self) -> Background:
        """Scores of random pairs by the raw cosine."""
        if self.index.calibration is None:
            return self.index.facts.background
        return measure_background(len(self.sample), lambda places: self.sample[places], seed=0)

    @cached_property
    def calibrated_sample(self) -> Float32[np.ndarray, "m d"]:
        """The sample as the index holds it, calibrated."""
        calibration = self.index.calibration
        return self.sample if calibration is None else calibration.apply(self.sample)[0]

    @cached_property
    def sample(self) -> Float32[np.ndarray, "m d"]:
        """Vectors of random records, for the percentiles of queries that random pairs are no scale for."""
        import numpy as np

        rng = np.random.default_rng(0)
        picked = rng.choice(self.rows, min(BACKGROUND_SAMPLE, len(self.rows)), replace=False)
        if self.index.calibration is None:  # the very values that hits are scored with, so that a record ties itself
            return self.index.vectors_at(picked)
        return read_vectors(self._space, [int(row) for row in picked])


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One moment of a space.

    Attributes:
        indexed: the index and what belongs to it; shared by snapshots that differ in removed records alone.
        removed: rows, ascending.
        stamps: of the index's description and of the list of removed records, taken before these were read.
    """

    indexed: IndexedRows
    removed: Int64[np.ndarray, " m"]
    stamps: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def index(self) -> VectorIndex:
        """The opened index."""
        return self.indexed.index

    @cached_property
    def rows(self) -> Int64[np.ndarray, " n"]:
        """The rows that may answer, ascending: indexed and not removed."""
        return without_rows(self.indexed.rows, self.removed)

    @cached_property
    def hidden(self) -> Int64[np.ndarray, " h"]:
        """The removed rows that the index still holds, ascending."""
        held: Int64[np.ndarray, " h"] = self.removed[is_among(self.removed, self.indexed.rows)]
        return held

    @cached_property
    def images_per_occurrence(self) -> Int64[np.ndarray, " o"]:
        """How many images that may answer each occurrence has, by its number in `indexed.occurrences`."""
        return self.count_images(self.rows)

    def count_images(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " o"]:
        """How many of the given rows each occurrence has."""
        import numpy as np

        numbers = self.indexed.occurrences
        return np.bincount(numbers[rows], minlength=int(numbers.max()) + 1)


class LatestSnapshot:
    """The newest snapshot of a space. Safe to ask from several threads; asking costs microseconds."""

    def __init__(self, corpus: Corpus, space: Space) -> None:
        self._corpus = corpus
        self._space = space
        self._lock = threading.Lock()
        self._latest: Snapshot | None = None

    def look(self) -> Snapshot:
        """The snapshot of this moment; opened anew only where the index or the removed records changed."""
        latest = self._latest
        if latest is None or latest.stamps != self._read_stamps():
            with self._lock:
                latest = self._latest
                stamps = self._read_stamps()
                if latest is None or latest.stamps != stamps:
                    latest = self._latest = self._take(latest, stamps)
        return latest

    def _read_stamps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return read_stamp(self._space.index_path), read_stamp(self._corpus.removed_path)

    def _take(self, former: Snapshot | None, stamps: tuple[tuple[int, ...], tuple[int, ...]]) -> Snapshot:
        """A snapshot no older than the stamps; what is newer is taken again at the next look."""
        keeps_index = former is not None and former.stamps[0] == stamps[0]
        indexed = former.indexed if former is not None and keeps_index else IndexedRows(self._corpus, self._space)
        return Snapshot(indexed=indexed, removed=self._corpus.removed_rows(), stamps=stamps)
