"""Numbers that belong to a species, as beak depth or drought: can they be read from vectors, among relatives?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Used, conclude, find_error
from explorer.geometry.grouping import (
    assign_folds,
    average_groups,
    centre_in_groups,
    recode,
    shuffle_in_groups,
)
from explorer.geometry.probing import N_FOLDS, Reading, read_held_out

MIN_GENERA = 2 * N_FOLDS


@dataclass(frozen=True, kw_only=True)
class EcologyEstimates:
    """Rank correlations inside genera, over single records and over the means of species, and what they rest on."""

    of_records: Estimate
    of_species: Estimate
    used: Used


def probe_ecology(
    vectors: Float64[np.ndarray, "n d"],
    numbers: Float64[np.ndarray, "n a"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    *,
    column: str,
    n_shuffles: int = 199,
    seed: int = 0,
) -> tuple[Finding, Finding] | None:
    """How well a ridge fitted on other genera reads the numbers, apart from what the genus tells.

    Vectors and numbers are both taken relative to the mean of their genus, in the fit and in the reading, and whole
    genera are left out of the fit: a leave-one-out correlation over all species would be biased downwards, and
    relatives share more than ecology. The statistic is Spearman's rank correlation between reading and truth, the mean
    over the columns of `numbers`. Shuffles move the numbers among the species of each genus, all columns together: p
    asks whether the *species* of a genus stand in the right order. The interval leaves out folds of genera in turn,
    from the fits as well.

    Args:
        vectors: One row per record.
        numbers: One or more columns, the mean over a species' records is taken; nan where unknown.
        species: A code per record; those below 0 are left out.
        genera: The same for genera.
        column: Name for the finding.
        n_shuffles: 0 for no null.
        seed: Fixes the shuffles.

    Returns:
        The findings for single records and for species' means; None where fewer than 16 genera have two species with
        different numbers.
    """
    estimates = estimate_ecology(vectors, numbers, species, genera, n_shuffles=n_shuffles, seed=seed)
    if estimates is None:
        return None
    return conclude_ecology(estimates.of_records, column, estimates.used), conclude_ecology(
        estimates.of_species, column, estimates.used, of_species=True
    )


def conclude_ecology(estimate: Estimate, column: str, used: Used, *, of_species: bool = False) -> Finding:
    """The finding of `probe_ecology` for an estimate, or for the mean of several strata's."""
    unit = "the means of species" if of_species else "single records"

    def say(numbers: str) -> str:
        return (
            f"Inside genera that it never saw, a linear probe reads {column} from {unit} with this rank correlation: "
            f"{numbers}."
        )

    name = ("species_rho" if of_species else "rho", column)
    return conclude(estimate, name=name, chance=0.0, side=Side.GREATER, bounds=(-1, 1), used=used, say=say)


def estimate_ecology(
    vectors: Float64[np.ndarray, "n d"],
    numbers: Float64[np.ndarray, "n a"],
    species: Int64[np.ndarray, " n"],
    genera: Int64[np.ndarray, " n"],
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> EcologyEstimates | None:
    """The estimates behind `probe_ecology`."""
    kept = keep_useful(numbers, species, genera)
    if not kept.any():
        return None
    codes, groups = recode(species[kept]), recode(genera[kept])
    if groups.max() + 1 < MIN_GENERA:
        return None
    genus_of = np.empty(int(codes.max()) + 1, dtype=np.int64)
    genus_of[codes] = groups
    of_species = average_groups(numbers[kept].astype(np.float64), codes)
    shuffles = shuffle_in_groups(genus_of, n_shuffles=n_shuffles, rng=np.random.default_rng(seed))
    places = np.vstack([np.arange(len(genus_of))[None], shuffles])
    # Columns: all numbers of the truth, then all of the first shuffle, and so on.
    truths = of_species[places].transpose(1, 0, 2).reshape(len(genus_of), -1)
    wanted = centre_in_groups(truths[codes], groups)
    rows = centre_in_groups(np.asarray(vectors[kept], dtype=np.float64), groups)
    n_columns = numbers.shape[1]
    reading = read_held_out(rows, wanted, assign_folds(groups, N_FOLDS), n_first=n_columns)
    of_records = _Relatives(species=np.arange(len(rows)), genera=groups, wanted=wanted)
    of_means = _Relatives(species=codes, genera=genus_of, wanted=centre_in_groups(truths, genus_of))
    return EcologyEstimates(
        of_records=of_records.estimate(reading, n_columns),
        of_species=of_means.estimate(reading, n_columns),
        used=Used(n=int(kept.sum()), n_groups=int(groups.max()) + 1, left_out=int((~kept).sum())),
    )


@dataclass(frozen=True, kw_only=True)
class _Relatives:
    """What is compared inside genera: records, or the means of species.

    Attributes:
        species: For each record, the row it belongs to: its own, or that of its species.
        genera: The genus of each row.
        wanted: The truth of each row, relative to its genus.
    """

    species: Int64[np.ndarray, " n"]
    genera: Int64[np.ndarray, " m"]
    wanted: Float64[np.ndarray, "m t"]

    def estimate(self, reading: Reading, n_columns: int) -> Estimate:
        """The mean correlation of the first columns, beside that of each further set of columns."""
        values = self._correlate(reading.read, self.wanted).reshape(-1, n_columns).mean(axis=1)
        without = np.array([self._correlate(read, self.wanted[:, :n_columns]).mean() for read in reading.without])
        return Estimate(
            value=float(values[0]), error=find_error(without), degrees=len(without) - 1, shuffled=values[1:]
        )

    def _correlate(
        self, read: Float64[np.ndarray, "n t"], wanted: Float64[np.ndarray, "m t"]
    ) -> Float64[np.ndarray, " t"]:
        """Of the rows whose genus was read."""
        rows = average_groups(read, self.species)
        is_read = np.isfinite(rows).all(axis=1)
        genera = recode(self.genera[is_read])
        ranks = _rank(centre_in_groups(rows[is_read], genera)), _rank(wanted[is_read])
        return _correlate(*ranks)


def _rank(values: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, "n t"]:
    """Ranks; differences that rounding made count as ties."""
    from scipy.stats import rankdata

    ranks: Float64[np.ndarray, "n t"] = rankdata(np.round(values, 12), axis=0)
    return ranks


def _correlate(one: Float64[np.ndarray, "n t"], other: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, " t"]:
    """Pearson's correlation of each column; 0 where one side does not vary."""
    left, right = one - one.mean(axis=0), other - other.mean(axis=0)
    spread = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    correlation: Float64[np.ndarray, " t"] = np.zeros(one.shape[1])
    np.divide((left * right).sum(axis=0), spread, out=correlation, where=spread > 1e-9)
    return correlation


def keep_useful(
    numbers: Float64[np.ndarray, "n a"], species: Int64[np.ndarray, " n"], genera: Int64[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Records with all numbers, of genera in which two species or more differ."""
    known = np.isfinite(numbers).all(axis=1) & (species >= 0) & (genera >= 0)
    kept: Bool[np.ndarray, " n"] = np.zeros_like(known)
    if not known.any():
        return kept
    codes, groups = recode(species[known]), recode(genera[known])
    means = average_groups(numbers[known].astype(np.float64), codes)[codes]
    spread = np.abs(centre_in_groups(means, groups)).max(axis=1)
    varies = np.bincount(groups, weights=spread) > 1e-9
    kept[known] = varies[groups]
    return kept
