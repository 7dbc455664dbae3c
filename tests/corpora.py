"""Small corpora whose answers a person can compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from indexer.corpus import Corpus, Space, create_corpus
from indexer.index.settings import BuildSettings
from indexer.job import refresh_index
from indexer.records import admit_columns, append_records
from indexer.vectors import append_vectors


def make_vector_corpus(
    path: Path,
    vectors: Float32[np.ndarray, "n d"],
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
    record_ids: Sequence[str] | None = None,
    occurrence_ids: Sequence[str] | None = None,
    exact_up_to: int = 200_000,
) -> tuple[Corpus, Space]:
    """A corpus without images around the given directions, in the space `given`."""
    corpus = create_corpus(path)
    n = len(vectors)
    ids = list(record_ids or [f"r{i}" for i in range(n)])
    records = pa.table(
        {
            "record_id": ids,
            "occurrence_id": list(occurrence_ids or ids),
            "uri": pa.nulls(n, pa.string()),
            **(columns or {}),
        }
    )
    with corpus.lock():
        admit_columns(corpus, records.schema)
        rows = append_records(corpus, records, [None] * n)
        space = corpus.add_space("given", dimension=vectors.shape[1], encoder=None)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        append_vectors(space, np.array(rows, np.int64), unit.astype(np.float32))
        refresh_index(corpus, space, lambda line: None, settings=BuildSettings(exact_up_to=exact_up_to))
    return corpus, space


def angles(*degrees: float) -> Float32[np.ndarray, "n 2"]:
    """Unit vectors in the plane: the score of two is the cosine of the angle between them."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
