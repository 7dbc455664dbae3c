"""Groups of records: codes for names, sums, means, shuffles inside groups, and folds that keep groups whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

UNKNOWN = -1


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
    n_species = int(species.max(initial=-1)) + 1
    counts = [np.bincount(species[known & (values == value)], minlength=n_species) for value in (0, 1)]
    has_both = np.minimum(*counts) >= n_each
    kept: Bool[np.ndarray, " n"] = known & has_both[np.maximum(species, 0)]
    return kept
