"""Groups of records: codes for names, sums, means, shuffles inside groups, and folds that keep groups whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

UNKNOWN = -1
MOST_UNITS = 20_000
"""Rows that a statistic uses; of more, the largest groups are thinned at random."""
MOST_IN_GROUP = 250
"""Rows of one group that a statistic uses."""


def code_names(names: Sequence[str | None]) -> Int64[np.ndarray, " n"]:
    """Each name's place among the sorted distinct names; -1 for None and for empty text."""
    places = {name: i for i, name in enumerate(sorted({name for name in names if name}))}
    return np.array([places[name] if name else UNKNOWN for name in names], dtype=np.int64)


def recode(codes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The same groups with codes from 0 on, none left unused."""
    fresh: Int64[np.ndarray, " n"] = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return fresh


def sum_groups(
    values: Float64[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"], n_groups: int
) -> Float64[np.ndarray, "g d"]:
    """The sum of each group's rows."""
    from scipy.sparse import csr_matrix

    n = len(codes)
    chosen = csr_matrix((np.ones(n), (codes, np.arange(n))), shape=(n_groups, n))
    sums: Float64[np.ndarray, "g d"] = chosen @ values
    return sums


def average_groups(values: Float64[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "g d"]:
    """The mean of each group's rows; codes run from 0 without gaps."""
    counts = np.bincount(codes)
    means: Float64[np.ndarray, "g d"] = sum_groups(values, codes, len(counts)) / counts[:, None]
    return means


def centre_in_groups(values: Float64[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n d"]:
    """Each row minus the mean of its group."""
    centred: Float64[np.ndarray, "n d"] = values - average_groups(values, codes)[codes]
    return centred


def shuffle_in_groups(
    codes: Int64[np.ndarray, " n"], *, n_shuffles: int, rng: np.random.Generator
) -> Int64[np.ndarray, "p n"]:
    """Places of rows, each row of the answer a random permutation that keeps every group to itself."""
    base = np.argsort(codes, kind="stable")
    places = np.empty((n_shuffles, len(codes)), dtype=np.int64)
    places[:, base] = np.argsort(codes + rng.random((n_shuffles, len(codes))), axis=1)
    return places


def assign_folds(codes: Int64[np.ndarray, " n"], n_folds: int) -> Int64[np.ndarray, " n"]:
    """A fold for each row: groups stay whole, and the largest goes first, to the fold that is emptiest."""
    counts = np.bincount(codes)
    filled = np.zeros(n_folds, dtype=np.int64)
    fold_of = np.empty(len(counts), dtype=np.int64)
    for group in np.argsort(-counts, kind="stable"):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += counts[group]
    folds: Int64[np.ndarray, " n"] = fold_of[codes]
    return folds


def assign_blocks(n_groups: int, n_blocks: int) -> Int64[np.ndarray, " g"]:
    """A block for each group, in turn; at most one block per group."""
    return np.arange(n_groups) % min(n_blocks, n_groups)


def keep_contrasted(
    species: Int64[np.ndarray, " n"], values: Int64[np.ndarray, " n"], *, n_each: int
) -> Bool[np.ndarray, " n"]:
    """Rows of species that have at least `n_each` rows of either value, 0 and 1; rows coded below 0 are not kept."""
    known = (species >= 0) & (values >= 0)
    n_species = max(0, int(species.max(initial=0))) + 1
    counts = [np.bincount(species[known & (values == value)], minlength=n_species) for value in (0, 1)]
    has_both = np.minimum(*counts) >= n_each
    kept: Bool[np.ndarray, " n"] = known & has_both[np.maximum(species, 0)]
    return kept


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What counts as independent: one row per occurrence, species and value.

    Attributes:
        vectors: The mean of each unit's records, of the type of theirs; not of unit length where they differ.
        occurrences: The occurrence of each unit, coded from 0 without gaps; units that share one are not independent.
        species: Its species; below 0 where it is not known.
        values: Its value, -1 where it is not known; None where none were given.
        counts: Its records.
        of_records: The unit of each record.
    """

    vectors: Float[np.ndarray, "m d"]
    occurrences: Int64[np.ndarray, " m"]
    species: Int64[np.ndarray, " m"]
    values: Int64[np.ndarray, " m"] | None
    counts: Int64[np.ndarray, " m"]
    of_records: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.counts)

    def average(self, numbers: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
        """The mean over each unit's records of those that are finite; nan where none is."""
        known = np.isfinite(numbers)
        sums = np.bincount(self.of_records[known], weights=numbers[known], minlength=len(self))
        n = np.bincount(self.of_records[known], minlength=len(self))
        means: Float64[np.ndarray, " m"] = np.divide(sums, n, out=np.full(len(self), np.nan), where=n > 0)
        return means


def collapse_occurrences(
    vectors: Float[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    values: Int64[np.ndarray, " n"] | None,
    species: Int64[np.ndarray, " n"],
) -> Units:
    """One row per occurrence, so that one with many images counts once.

    Records of an occurrence that differ in species or in value (as the two views of a specimen do) stay apart, each
    kind as a row of its own, and so do those without one; `Units.occurrences` tells which rows belong together.

    Args:
        vectors: One row per record.
        occurrences: A code per record, 0 or more.
        values: Codes of a column, -1 where it is empty; None where no column matters.
        species: A code per record, below 0 where it is not known.
    """
    kinds = np.maximum(species, UNKNOWN) + 1
    if values is not None:
        kinds = kinds * (int(values.max(initial=UNKNOWN)) + 2) + np.maximum(values, UNKNOWN) + 1
    keys = recode(occurrences) * (int(kinds.max(initial=0)) + 1) + kinds
    first, of_records, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)[1:]
    return Units(
        vectors=_average_kinds(vectors, of_records, counts),
        occurrences=recode(occurrences)[first],
        species=species[first],
        values=None if values is None else values[first],
        counts=counts.astype(np.int64),
        of_records=of_records.astype(np.int64),
    )


def _average_kinds(
    vectors: Float[np.ndarray, "n d"], codes: Int64[np.ndarray, " n"], counts: Int64[np.ndarray, " m"]
) -> Float[np.ndarray, "m d"]:
    """Means in the vectors' own precision: at 100,000 records a copy in float64 would be 0.6 GB."""
    from scipy.sparse import csr_matrix

    n, dtype = len(codes), vectors.dtype
    shares = (1 / counts)[codes].astype(dtype)
    means: Float[np.ndarray, "m d"] = csr_matrix((shares, (codes, np.arange(n))), shape=(len(counts), n)) @ vectors
    return means


def cap_groups(
    codes: Int64[np.ndarray, " n"],
    *,
    rng: np.random.Generator,
    n_most: int = MOST_UNITS,
    n_each: int = MOST_IN_GROUP,
) -> Bool[np.ndarray, " n"]:
    """The choice of at most `n_each` rows of a group and about `n_most` in all, the largest groups thinned first.

    Every group keeps two rows, or all it has where that is fewer, even where that makes more than `n_most`.
    """
    counts = np.bincount(codes)
    cap = n_each
    while cap > 2 and np.minimum(counts, cap).sum() > n_most:
        cap -= 1
    order = np.lexsort((rng.random(len(codes)), codes))
    place_in_group = np.arange(len(codes)) - (np.cumsum(counts) - counts)[codes[order]]
    kept = np.zeros(len(codes), dtype=bool)
    kept[order] = place_in_group < cap
    return kept
