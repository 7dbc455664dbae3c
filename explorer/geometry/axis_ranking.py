"""Records along an axis: their positions, what is left of them inside species, and which to show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from explorer.geometry.finding import Finding, Skipped
from explorer.geometry.grouping import collapse_occurrences, recode

BETWEEN = "axis_between_species"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """How a place along a direction becomes a position: (vector · direction - origin) / spread."""

    origin: float
    spread: float


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisRanking:
    """Records along an axis.

    Attributes:
        positions: In standard deviations of the records from their mean, when the axis was made.
        residuals: The same without the mean of the record's species (of its occurrences), so without all of taxonomy;
            nan where the species is not known.
        percentiles: Of the position among these records, in [0, 100], equal ones counting half.
    """

    positions: Float64[np.ndarray, " n"]
    residuals: Float64[np.ndarray, " n"]
    percentiles: Float64[np.ndarray, " n"]


def find_scale(along: Float64[np.ndarray, " n"]) -> Scale:
    """The mean and the standard deviation of places along a direction; 1 for the latter where all are alike."""
    spread = float(along.std())
    return Scale(origin=float(along.mean()), spread=spread if spread > 1e-9 else 1.0)


def rank_records(
    along: Float64[np.ndarray, " n"],
    scale: Scale,
    occurrences: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
) -> AxisRanking:
    """Every record's position, and what is left of it inside its species.

    Args:
        along: Product of each record's vector and the direction.
        scale: Of the axis.
        occurrences: A code per record.
        species: The same for species, below 0 where not known.
    """
    from scipy.stats import rankdata

    positions = (along - scale.origin) / scale.spread
    residuals = np.full(len(positions), np.nan)
    known = species >= 0
    if known.any():
        units = collapse_occurrences(positions[known, None], occurrences[known], None, species[known])
        taxa, codes = np.unique(units.species, return_inverse=True)
        means = np.bincount(codes, weights=units.vectors[:, 0]) / np.bincount(codes)
        residuals[known] = positions[known] - means[np.searchsorted(taxa, species[known])]
    percentiles = 100 * (rankdata(positions) - 0.5) / max(len(positions), 1)
    return AxisRanking(positions=positions, residuals=residuals, percentiles=percentiles)


def pick_quantiles(
    positions: Float64[np.ndarray, " n"], occurrences: Int64[np.ndarray, " n"], *, n_places: int, n_each: int
) -> list[tuple[float, Int64[np.ndarray, " e"]]]:
    """For evenly spaced percentiles from 0 to 100, the records nearest to each, of different occurrences.

    Args:
        positions: Along the axis; those that are nan are never picked.
        occurrences: A code per record; no occurrence is picked twice.
        n_places: Percentiles, both ends among them.
        n_each: Records at each, fewer where there are no more.
    """
    known = np.flatnonzero(np.isfinite(positions))
    order = known[np.argsort(positions[known], kind="stable")]
    used: set[int] = set()
    picked = []
    for percentile in np.linspace(0, 100, n_places):
        middle = percentile / 100 * (len(order) - 1)
        nearest = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
        chosen: list[int] = []
        for record in nearest.tolist():
            if len(chosen) == n_each:
                break
            if int(occurrences[record]) not in used:
                used.add(int(occurrences[record]))
                chosen.append(record)
        picked.append((float(percentile), np.array(sorted(chosen, key=lambda record: positions[record]), np.int64)))
    return picked


def measure_taxonomy(
    positions: Float64[np.ndarray, " n"],
    occurrences: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    name: str,
) -> Finding | Skipped:
    """Share of the variance of positions that lies between species: the intraclass correlation of a random model.

    Value and interval are those of the one-way analysis of variance, the interval with the harmonic mean of the
    species' sizes (Thomas & Hultquist 1978, Ann. Statist. 6, 582; Searle, Casella & McCulloch 1992, section 3.6).
    A large share says that the ends of the axis are kinds of animals or plants, rather than states of one.
    """
    from scipy.stats import f as ratio

    known = species >= 0
    units = collapse_occurrences(positions[known, None], occurrences[known], None, species[known])
    codes = recode(units.species) if len(units) else units.species
    counts = np.bincount(codes)
    g, n = len(counts), len(codes)
    if g < 2 or n <= g:
        reason = (
            f"there are {n:,} occurrences of {g:,} named species; two species and one of two occurrences are needed"
        )
        return Skipped(statistic=BETWEEN, column=name, reason=reason)
    along = units.vectors[:, 0]
    means = np.bincount(codes, weights=along) / counts
    within = float(((along - means[codes]) ** 2).sum()) / (n - g)
    between = float((counts * (means - along.mean()) ** 2).sum()) / (g - 1)
    typical = (n - float((counts**2).sum()) / n) / (g - 1)
    above = (between - within) / typical
    value = max(above, 0.0) / (max(above, 0.0) + within) if within > 0 or above > 0 else np.nan
    harmonic = g / float((1 / counts).sum())
    seen = harmonic * float(means.var(ddof=1)) / within if within > 0 else np.inf
    ends = [seen / float(ratio.ppf(tail, g - 1, n - g)) for tail in (0.975, 0.025)]
    low, high = (float(np.clip((end - 1) / (end - 1 + harmonic), 0, 1)) if np.isfinite(end) else 1.0 for end in ends)
    return Finding(
        statistic=BETWEEN,
        column=name,
        value=float(value),
        low=low,
        high=high,
        chance=0.0,
        null_low=np.nan,
        null_high=np.nan,
        p=np.nan,
        n=int(known.sum()),
        n_groups=g,
        left_out=int((~known).sum()),
        reading=(
            f"Of the variance of positions along the axis {value:.2f} [{low:.2f}, {high:.2f}] lies between species, "
            "the rest inside them."
        ),
    )
