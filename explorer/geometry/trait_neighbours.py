"""Whether the nearest species share a trait."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, find_error
from explorer.geometry.trait_sample import TraitSample

N_NEIGHBOURS = 10
N_KEPT = 30
"""Neighbours that are looked up, so that enough are left when a block is left out."""
_BLOCK = 512
APART = (None, "genus", "family")
"""What a neighbour must not share."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Nearest:
    """Each species' nearest.

    Attributes:
        places: Nearest first; -1 where there are no more.
        expected: Per species what a random neighbour would give.
    """

    places: Int64[np.ndarray, "g k"]
    expected: Float64[np.ndarray, " g"]


def name_neighbours(is_numeric: bool, apart: str | None) -> str:
    """The name of the statistic."""
    return f"knn_{'gap' if is_numeric else 'agreement'}{f'_other_{apart}' if apart else ''}"


def measure_neighbours(sample: TraitSample, apart: str | None = None) -> Finding | Skipped:
    """How much the 10 nearest other species (by the cosine of their directions) are alike in the trait.

    For categories, the share of neighbours with the species' own value, the values counted alike however many species
    they have (`knn_agreement`). For numbers, the mean difference in rank from the neighbours over that from any species
    (`knn_gap`; 1 is chance, 0 the same value). Neighbours come from other genera or families where `apart` says so;
    species without a known one are then left out.

    Args:
        sample: The species.
        apart: None, "genus" or "family".
    """
    statistic = name_neighbours(sample.n_values == 0, apart)
    groups = {None: np.arange(len(sample)), "genus": sample.genera, "family": sample.families}[apart]
    if len(np.unique(groups[groups >= 0])) < 2:
        reason = f"its species belong to fewer than two {'genera' if apart == 'genus' else 'families'}"
        return Skipped(statistic=statistic, column=sample.column, reason=reason)
    nearest = _find_nearest(sample, groups)
    shuffled = sample.shuffle()
    seen = nearest.places[:, :N_NEIGHBOURS]
    values = np.array([_compare(sample.n_values, one, seen, nearest.expected) for one in shuffled])
    without = [_leave_out(sample, nearest, sample.blocks == block) for block in range(int(sample.blocks.max()) + 1)]
    estimate = Estimate(
        value=float(values[0]),
        error=find_error(np.array(without)),
        degrees=len(without) - 1,
        shuffled=values[1:],
    )
    return _conclude(sample, estimate, nearest, (statistic, apart))


def _conclude(sample: TraitSample, estimate: Estimate, nearest: _Nearest, name: tuple[str, str | None]) -> Finding:
    others = {None: "other species", "genus": "species of other genera", "family": "species of other families"}[name[1]]
    if sample.n_values:
        chance = float(_average_values(sample.n_values, sample.values, nearest.expected))
        sentence = (
            f"Of the {N_NEIGHBOURS} nearest {others} this share has the species' own {sample.column}: {{numbers}}"
        )
        sentence += f"; {chance:.2f} by chance"
        return sample.conclude(estimate, name[0], chance=chance, bounds=(0, 1), sentence=sentence)
    sentence = (
        f"In {sample.column} (by rank) a species differs from its {N_NEIGHBOURS} nearest {others} by this multiple "
        "of its difference from any of them: {numbers}"
    )
    return sample.conclude(estimate, name[0], chance=1.0, side=Side.LESS, bounds=(0, np.inf), sentence=sentence)


def _find_nearest(sample: TraitSample, groups: Int64[np.ndarray, " g"]) -> _Nearest:
    n = len(sample)
    kept = min(N_KEPT, n)
    places = np.empty((n, kept), dtype=np.int64)
    expected = np.empty(n)
    for start in range(0, n, _BLOCK):
        chosen = slice(start, start + _BLOCK)
        allowed = (groups[chosen, None] != groups[None]) & (groups[chosen, None] >= 0) & (groups[None] >= 0)
        scores = np.where(allowed, sample.cosines[chosen], -np.float32(np.inf))
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        places[chosen] = np.where(np.take_along_axis(allowed, best, axis=1), best, -1)
        likeness = _liken(sample.n_values, sample.values[chosen, None], sample.values[None])
        n_allowed = allowed.sum(axis=1)
        expected[chosen] = np.where(n_allowed > 0, (likeness * allowed).sum(axis=1) / n_allowed.clip(1), np.nan)
    return _Nearest(places=places, expected=expected)


def _liken(
    n_values: int, one: Float64[np.ndarray, "a 1"], other: Float64[np.ndarray, "b c"]
) -> Float64[np.ndarray, "a c"]:
    """1 for the same category and 0 for another; the difference of numbers."""
    likeness: Float64[np.ndarray, "a c"] = (one == other).astype(np.float64) if n_values else np.abs(one - other)
    return likeness


def _compare(
    n_values: int,
    values: Float64[np.ndarray, " g"],
    places: Int64[np.ndarray, "g k"],
    expected: Float64[np.ndarray, " g"],
    kept: Bool[np.ndarray, "g k"] | None = None,
) -> float:
    """The statistic; `kept` says which neighbours count, by default all that there are."""
    counted = (places >= 0) & (True if kept is None else kept)
    n = counted.sum(axis=1)
    alike = _liken(n_values, values[:, None], values[places]) * counted
    scores = np.where(n > 0, alike.sum(axis=1) / n.clip(1), np.nan)
    if n_values:
        return _average_values(n_values, values, scores)
    known = np.isfinite(scores)
    return float(scores[known].sum() / expected[known].sum())


def _average_values(n_values: int, values: Float64[np.ndarray, " g"], scores: Float64[np.ndarray, " g"]) -> float:
    """The mean over categories of the mean over their species that have a score."""
    known = np.isfinite(scores)
    codes = values[known].astype(np.int64)
    counts = np.bincount(codes, minlength=n_values)
    sums = np.bincount(codes, weights=scores[known], minlength=n_values)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def _leave_out(sample: TraitSample, nearest: _Nearest, gone: Bool[np.ndarray, " g"]) -> float:
    """The statistic without some species, also as neighbours."""
    stays = (nearest.places >= 0) & ~gone[nearest.places]
    stays &= (np.cumsum(stays, axis=1) <= N_NEIGHBOURS) & ~gone[:, None]
    return _compare(sample.n_values, sample.values, nearest.places, nearest.expected, stays)
