"""Samples of records without a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from explorer.geometry.sample import Sample
from explorer.taxonomy import build_taxonomy


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at unit length, as stored."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def make_sample(
    vectors: np.ndarray,
    taxa: Mapping[str, Sequence[str]],
    *,
    occurrences: np.ndarray | None = None,
    space: str = "space",
    record_ids: Sequence[str] | None = None,
) -> Sample:
    """A sample whose records are r0, r1, … in rows 100, 101, …, each an occurrence unless told otherwise."""
    n = len(vectors)
    table = pa.table(
        {"record_id": list(record_ids or [f"r{i}" for i in range(n)]), **{k: list(v) for k, v in taxa.items()}}
    )
    codes = np.arange(n) if occurrences is None else np.unique(occurrences, return_inverse=True)[1]
    return Sample(
        space=space,
        rows=np.arange(100, 100 + n),
        vectors=unit(vectors),
        occurrences=codes.astype(np.int64),
        taxonomy=build_taxonomy(table),
        records=table.select(["record_id"]),
    )


def make_species(
    seed: int, *, n_species: int = 12, n_each: int = 12, d: int = 16, spread: float = 0.35
) -> tuple[np.ndarray, list[str]]:
    """Records of equally many species, and their names, "genus species"."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_species), n_each)
    means = rng.normal(size=(n_species, d))
    rows = means[codes] + spread * rng.normal(size=(len(codes), d))
    return unit(rows), [f"Genus{code // 3} species{code}" for code in codes]
