"""How much of the differences between species a trait explains, the taxonomy explains, and both explain together.

Variation partitioning by redundancy analysis (Borcard, Legendre & Drapeau 1992) with adjusted R² (Peres-Neto et al.
2006, eq. 5), as `varpart` of the R package vegan does: species' directions are the response, the trait (its ranks, or
an indicator for each category) one set of predictors, an indicator for each genus the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Skipped, find_error
from explorer.geometry.grouping import centre_in_groups, recode
from explorer.geometry.trait_sample import TraitSample, number_groups

MIN_FREE = 8
"""Degrees of freedom that must be left once trait and taxonomy are fitted."""
STATISTIC = "variance_trait"
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class VariancePartition:
    """Shares of the variance of species' directions, by adjusted R².

    Unbiased, so each of them may lie a little below 0; they add up to 1.

    Attributes:
        column: The trait.
        rank: Of the taxonomy, "genus" or "family".
        trait: By the trait alone, given the taxonomy.
        shared: By either.
        taxonomy: By the taxonomy alone, given the trait.
        rest: By neither.
        reading: One sentence for a person.
    """

    column: str
    rank: str
    trait: float
    shared: float
    taxonomy: float
    rest: float
    reading: str


def partition_variance(
    rows: Float64[np.ndarray, "g d"], predictors: Float64[np.ndarray, "g q"], groups: Int64[np.ndarray, " g"]
) -> Float64[np.ndarray, " 4"]:
    """Shares of the variance of the rows by the predictors alone, both, the groups alone, and neither.

    nan where fewer than one degree of freedom is left, or the rows do not vary.
    """
    n, n_groups = len(rows), len(np.unique(groups))
    response, trait = rows - rows.mean(axis=0), predictors - predictors.mean(axis=0)
    inside, trait_inside = (centre_in_groups(values, recode(groups)) for values in (response, trait))
    total, within = float((response**2).sum()), float((inside**2).sum())
    explained, rank = _project(response, trait)
    explained_inside, rank_inside = _project(inside, trait_inside)
    if total <= 0 or n - n_groups - rank_inside < 1:
        return np.full(4, np.nan)
    by_trait = _adjust(explained / total, n, rank)
    by_groups = _adjust(1 - within / total, n, n_groups - 1)
    by_both = _adjust(1 - (within - explained_inside) / total, n, n_groups - 1 + rank_inside)
    return np.array([by_both - by_groups, by_trait + by_groups - by_both, by_both - by_trait, 1 - by_both])


def _adjust(share: float, n: int, n_predictors: int) -> float:
    """Ezekiel's adjusted R²."""
    return 1 - (1 - share) * (n - 1) / (n - n_predictors - 1)


def _find_basis(predictors: Float64[np.ndarray, "g q"]) -> Float64[np.ndarray, "g r"]:
    """An orthonormal basis of the predictors, which are centred."""
    basis, sizes, _ = np.linalg.svd(predictors, full_matrices=False)
    kept: Float64[np.ndarray, "g r"] = basis[:, sizes > 1e-9 * np.sqrt(len(predictors))]
    return kept


def _project(response: Float64[np.ndarray, "g d"], predictors: Float64[np.ndarray, "g q"]) -> tuple[float, int]:
    """The sum of squares that the predictors explain, and their rank."""
    basis = _find_basis(predictors)
    return float(((basis.T @ response) ** 2).sum()), basis.shape[1]


def measure_partition(sample: TraitSample) -> tuple[VariancePartition, Finding] | Skipped:
    """The partition for the rank inside which values are shuffled, and the share of the trait alone as a finding.

    Images beyond the mean of a species, noise and all, count to the rest. The null shuffles the trait inside the taxa,
    which the taxonomy's share does not notice.
    """
    groups = number_groups(sample.exchanged)
    n_groups = int(groups.max()) + 1
    predictors = _make_predictors(sample)
    if len(sample) - n_groups - predictors.shape[1] < MIN_FREE:
        reason = (
            f"{len(sample)} species in {n_groups} groups by {sample.exchange_rank} leave fewer than {MIN_FREE} degrees "
            "of freedom"
        )
        return Skipped(statistic=STATISTIC, column=sample.column, reason=reason)
    shares = partition_variance(sample.rows, predictors, groups)
    without = np.array(
        [
            partition_variance(sample.rows[kept], predictors[kept], groups[kept])[0]
            for kept in (sample.blocks != block for block in range(int(sample.blocks.max()) + 1))
        ]
    )
    estimate = Estimate(
        value=float(shares[0]),
        error=find_error(without),
        degrees=len(without) - 1,
        shuffled=_shuffle(sample, predictors, groups),
    )
    sentence = (
        f"Of the differences between species {sample.column} explains this share (adjusted R²) over and above the "
        f"{sample.exchange_rank}: {{numbers}}"
    )
    finding = sample.conclude(estimate, STATISTIC, chance=0.0, bounds=(-1, 1), sentence=sentence)
    return _make_partition(sample, shares), finding


def _make_partition(sample: TraitSample, shares: Float64[np.ndarray, " 4"]) -> VariancePartition:
    trait, shared, taxonomy, rest = (float(share) for share in shares)
    return VariancePartition(
        column=sample.column,
        rank=sample.exchange_rank,
        trait=trait,
        shared=shared,
        taxonomy=taxonomy,
        rest=rest,
        reading=(
            f"Of the variance of species' directions, {trait:.2f} goes with {sample.column} alone, {taxonomy:.2f} with "
            f"the {sample.exchange_rank} alone, {shared:.2f} with either, which no data of this kind can tell apart, "
            f"and {rest:.2f} with neither."
        ),
    )


def _make_predictors(sample: TraitSample) -> Float64[np.ndarray, "g q"]:
    if not sample.n_values:
        return sample.values[:, None]
    predictors: Float64[np.ndarray, "g q"] = (sample.values[:, None] == np.arange(1, sample.n_values)).astype(
        np.float64
    )
    return predictors


def _shuffle(
    sample: TraitSample, predictors: Float64[np.ndarray, "g q"], groups: Int64[np.ndarray, " g"]
) -> Float64[np.ndarray, " p"]:
    """The share of the trait alone for each shuffle.

    Inside groups a shuffle turns an orthonormal basis of the predictors into one of the shuffled predictors, so that no
    fit has to be repeated; what the groups explain stays as it is.
    """
    n, n_groups = len(groups), int(groups.max()) + 1
    response = sample.rows - sample.rows.mean(axis=0)
    inside = centre_in_groups(response, groups)
    basis = _find_basis(centre_in_groups(predictors, groups))
    rank = basis.shape[1]
    explained = np.empty(len(sample.shuffles))
    for start in range(0, len(explained), _CHUNK):
        chosen = sample.shuffles[start : start + _CHUNK]
        stacked = basis[chosen].transpose(0, 2, 1).reshape(-1, n)
        explained[start : start + _CHUNK] = ((stacked @ inside) ** 2).reshape(len(chosen), -1).sum(axis=1)
    total, within = float((response**2).sum()), float((inside**2).sum())
    by_groups = _adjust(1 - within / total, n, n_groups - 1)
    shares: Float64[np.ndarray, " p"] = 1 - (within - explained) / total * (n - 1) / (n - n_groups - rank) - by_groups
    return shares
