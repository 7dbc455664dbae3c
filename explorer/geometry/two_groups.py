"""Two groups of units, told apart by a direction that never saw the units on which it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.finding import CONFIDENCE, Estimate, find_error
from explorer.geometry.grouping import recode, shuffle_in_groups

N_FOLDS = 8
MIN_FOLDS = 3
"""Leaving out a fold, and another for the interval, must leave one to fit on."""
JOINT_SHARE = 0.1
"""See `find_second_order_error`."""
STEP_SPREAD = 0.25
"""Assumed variance of the step between strata, of that of the units inside: so the largest stratum counts at most 4,
one with two units of either group 0.8. It may not be estimated, for weights that follow the labels spoil the shuffles.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoGroups:
    """Units of two groups.

    Attributes:
        rows: One per unit.
        values: Its group, 0 or 1.
        strata: Inside which the groups are compared, as species; coded from 0 without gaps, each in one fold.
        folds: What is held out together; coded from 0 without gaps.
        swaps: Inside which groups may be shuffled, each in one stratum: the stratum, or the occurrence that has both.
        has_whole_strata: Whether the strata are what is independent, as taxa are that are held out whole.
    """

    rows: Float64[np.ndarray, "m d"]
    values: Int64[np.ndarray, " m"]
    strata: Int64[np.ndarray, " m"]
    folds: Int64[np.ndarray, " m"]
    swaps: Int64[np.ndarray, " m"]
    has_whole_strata: bool

    def list_folds(self) -> list[Bool[np.ndarray, " m"]]:
        """The units of each fold."""
        return [self.folds == fold for fold in range(int(self.folds.max(initial=-1)) + 1)]

    def count_pairs(self) -> Int64[np.ndarray, " s"]:
        """Pairs of one unit of either group, no unit in two of them, that each stratum holds."""
        n_strata = int(self.strata.max(initial=-1)) + 1
        counts = [np.bincount(self.strata[self.values == value], minlength=n_strata) for value in (0, 1)]
        pairs: Int64[np.ndarray, " s"] = np.minimum(*counts)
        return pairs

    def shuffle(self, n_shuffles: int, rng: np.random.Generator) -> Int64[np.ndarray, "p m"]:
        """The groups as they are, then shuffled."""
        places = shuffle_in_groups(self.swaps, n_shuffles=n_shuffles, rng=rng)
        shuffled: Int64[np.ndarray, "p m"] = np.vstack([self.values[None], self.values[places]])
        return shuffled


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Units placed along directions that were fitted without their fold.

    Attributes:
        scores: In standard deviations of the units that the direction was fitted on; a column per labelling, the true
            one first, the others shuffled.
        labels: The labellings.
        without: With the true labels, once more for each fold, or two folds, that are left out of everything; their own
            units are nan. Two are left out only where there are four folds or more.
    """

    scores: Float64[np.ndarray, "m p"]
    labels: Int64[np.ndarray, "p m"]
    without: Mapping[tuple[int, ...], Float64[np.ndarray, " m"]]


def weigh_strata(values: Int64[np.ndarray, " m"], strata: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " s"]:
    """The weight of each stratum, 1 / (1/n0 + 1/n1 + 1/4); 0 where it lacks a group (see `STEP_SPREAD`).

    It is what a step's precision would be, were its variance between strata a quarter of that of the units inside (the
    weights of a random-effects mean, DerSimonian & Laird 1986, with the ratio of the variances given).
    """
    n_strata = int(strata.max(initial=-1)) + 1
    n0, n1 = (np.bincount(strata[values == value], minlength=n_strata) for value in (0, 1))
    weights = np.zeros(n_strata)
    both = (n0 > 0) & (n1 > 0)
    weights[both] = 1 / (1 / n0[both] + 1 / n1[both] + STEP_SPREAD)
    return weights


def weigh_units(
    labels: Int64[np.ndarray, "p m"], strata: Int64[np.ndarray, " m"], weights: Float64[np.ndarray, " s"]
) -> Float64[np.ndarray, "p m"]:
    """What to multiply the units by so that their sum is the weighted mean, over strata, of the step from 0 to 1.

    Every labelling has the same number of either group in each stratum.
    """
    n_strata = len(weights)
    n0, n1 = (np.bincount(strata[labels[0] == value], minlength=n_strata).clip(1) for value in (0, 1))
    shares = weights / max(weights.sum(), np.finfo(float).tiny)
    factors: Float64[np.ndarray, "p m"] = np.where(labels == 1, (shares / n1)[strata], -(shares / n0)[strata])
    return factors


def hold_out(groups: TwoGroups, *, is_whitened: bool = False, n_shuffles: int = 199, seed: int = 0) -> HeldOut:
    """Each unit's place along the direction between the groups, fitted on the other folds.

    The direction is the weighted mean over strata of the step between the group means. Whitened, it is Fisher's linear
    discriminant (Hastie, Tibshirani & Friedman 2009, eq. 4.10) with the covariance shrunk as Ledoit & Wolf (2004) have
    it. That of all units stands for the one inside the groups: in one stratum it gives the same direction (the two
    differ by a multiple of the step's outer product; Sherman-Morrison), and it does not depend on the labels, so that
    one inverse serves all shuffles.

    Args:
        groups: Three folds or more.
        is_whitened: Whether to divide by the covariance.
        n_shuffles: Of the labels, inside `TwoGroups.swaps`.
        seed: Fixes them.
    """
    labels = groups.shuffle(n_shuffles, np.random.default_rng([seed, len(groups.values)]))
    factors = weigh_units(labels, groups.strata, weigh_strata(groups.values, groups.strata))
    fits = _Fits(groups, factors, is_whitened=is_whitened)
    scores = np.empty((len(groups.rows), len(labels)))
    for fold, part in enumerate(fits.parts):
        scores[part] = fits.place((fold,), slice(None))[part]
    without: dict[tuple[int, ...], Float64[np.ndarray, " m"]] = {}
    for n_left in (2, 3) if len(fits.parts) > MIN_FOLDS else (2,):
        for left in combinations(range(len(fits.parts)), n_left):
            along = fits.place(left, slice(1))[:, 0]
            for fold in left:
                rest = tuple(other for other in left if other != fold)
                places = without.setdefault(rest, np.full(len(along), np.nan))
                places[fits.parts[fold]] = along[fits.parts[fold]]
    return HeldOut(scores=scores, labels=labels, without=without)


class _Fits:
    """Directions fitted without some folds: sums over the folds that are left, so that the units are read once."""

    def __init__(self, groups: TwoGroups, factors: Float64[np.ndarray, "p m"], *, is_whitened: bool) -> None:
        self.parts = groups.list_folds()
        self._rows, self._folds = groups.rows, groups.folds
        self._steps = np.stack([factors[:, part] @ groups.rows[part] for part in self.parts])
        self._metric = _Metric(groups.rows, self.parts) if is_whitened else None

    def place(self, left_out: tuple[int, ...], labellings: slice) -> Float64[np.ndarray, "m p"]:
        """Units along the directions of some labellings, in standard deviations of the fitted ones along the first.

        Units that were not left out are nan. Rounded, so that units with the
        same vector tie whichever way their products were summed.
        """
        kept = np.setdiff1d(np.arange(len(self.parts)), left_out)
        directions = self._steps[kept][:, labellings].sum(axis=0)
        if self._metric is not None:
            directions = self._metric.solve(directions, kept)
        is_left = np.isin(self._folds, left_out)
        first = self._rows @ directions[0]
        middle, spread = first[~is_left].mean(), first[~is_left].std()
        placed = np.full((len(first), len(directions)), np.nan)
        placed[is_left] = (self._rows[is_left] @ directions.T - middle) / (spread if spread > 0 else 1.0)
        rounded: Float64[np.ndarray, "m p"] = placed.round(9)
        return rounded


class _Metric:
    """The shrunk covariance of all units but some folds', in the space that the units span."""

    def __init__(self, rows: Float64[np.ndarray, "m d"], parts: list[Bool[np.ndarray, " m"]]) -> None:
        from sklearn.covariance import ledoit_wolf_shrinkage

        self._shrinkage, self._d = float(ledoit_wolf_shrinkage(rows)), rows.shape[1]
        # Beyond the span of the units the covariance is that of the shrinkage alone, and no step leads there.
        self._span = np.linalg.svd(rows, full_matrices=False)[2] if len(rows) < self._d else np.eye(self._d)
        inside = rows @ self._span.T
        self._counts = np.array([part.sum() for part in parts])
        self._sums = np.stack([inside[part].sum(axis=0) for part in parts])
        self._products = np.stack([inside[part].T @ inside[part] for part in parts])

    def solve(self, steps: Float64[np.ndarray, "p d"], kept: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "p d"]:
        """The inverse of the covariance of some folds times each step."""
        from scipy.linalg import cho_factor, cho_solve

        n, mean = self._counts[kept].sum(), self._sums[kept].sum(axis=0) / self._counts[kept].sum()
        covariance = self._products[kept].sum(axis=0) / n - np.outer(mean, mean)
        level = np.trace(covariance) / self._d
        covariance *= 1 - self._shrinkage
        # A flat covariance, as of three units in one line, must not stop the solver.
        covariance[np.diag_indices(len(mean))] += max(self._shrinkage, 1e-9) * level + np.finfo(float).tiny
        solved: Float64[np.ndarray, "p d"] = cho_solve(cho_factor(covariance), self._span @ steps.T).T @ self._span
        return solved


def find_area(
    scores: Float64[np.ndarray, " m"], values: Int64[np.ndarray, " m"], strata: Int64[np.ndarray, " m"]
) -> float:
    """The chance that a unit of group 1 stands above one of group 0 of its stratum; ties count half.

    Mann and Whitney's U of each stratum over its pairs; the mean over strata with the weights of `weigh_strata`. nan
    where no stratum has both groups.
    """
    weights = weigh_strata(values, strata)
    n0, n1 = (np.bincount(strata[values == value], minlength=len(weights)) for value in (0, 1))
    is_one = values == 1
    sums = np.bincount(strata[is_one], weights=rank_inside(scores, strata)[is_one], minlength=len(weights))
    areas = (sums - n1 * (n1 + 1) / 2) / (n0 * n1).clip(1)
    return float((weights * areas).sum() / weights.sum()) if weights.any() else np.nan


def rank_inside(scores: Float64[np.ndarray, " m"], strata: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """The rank of each unit's score among those of its stratum, from 1; ties share their mean rank."""
    order = np.lexsort((scores, strata))
    starts_stratum = np.diff(strata[order], prepend=-1) != 0
    starts_tie = starts_stratum | (np.diff(scores[order], prepend=np.nan) != 0)
    starts = np.flatnonzero(starts_stratum)[np.cumsum(starts_stratum) - 1]
    ties = np.cumsum(starts_tie) - 1
    places = np.bincount(ties, weights=np.arange(len(order)) - starts) / np.bincount(ties)
    ranks = np.empty(len(order))
    ranks[order] = places[ties] + 1
    return ranks


def find_effect(
    scores: Float64[np.ndarray, " m"], values: Int64[np.ndarray, " m"], strata: Int64[np.ndarray, " m"]
) -> float:
    """The step from group 0 to 1 inside strata, over the pooled standard deviation inside the groups (Cohen's d).

    Strata weigh as in `weigh_strata`. nan where no group has two units in a stratum, or all units there are alike.
    """
    weights = weigh_strata(values, strata)
    cells = recode(2 * strata + values)
    counts = np.bincount(cells)
    means = np.bincount(cells, weights=scores) / counts
    degrees = len(scores) - len(counts)
    spread = np.sqrt(((scores - means[cells]) ** 2).sum() / degrees) if degrees > 0 else 0.0
    step = float(weigh_units(values[None], strata, weights)[0] @ scores)
    return step / float(spread) if spread > 0 and weights.any() else np.nan


Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Of scores, groups and strata."""


def estimate_area(groups: TwoGroups, found: HeldOut) -> Estimate:
    """`find_area` of held-out places."""
    return _bound_area(_estimate(groups, found, find_area), groups)


def estimate_effect(groups: TwoGroups, found: HeldOut) -> Estimate:
    """`find_effect` of held-out places."""
    return _estimate(groups, found, find_effect)


def _estimate(groups: TwoGroups, found: HeldOut, statistic: Statistic) -> Estimate:
    """A statistic of held-out places; its error is that of leaving out folds in turn, from the fits as well."""
    values = [
        statistic(scores, labels, groups.strata) for scores, labels in zip(found.scores.T, found.labels, strict=True)
    ]
    without = {}
    for left, places in found.without.items():
        kept = ~np.isin(groups.folds, left)
        without[left] = statistic(places[kept], groups.values[kept], groups.strata[kept])
    error, n_folds = find_second_order_error(values[0], without)
    return Estimate(value=values[0], error=error, degrees=n_folds - 1, shuffled=np.array(values[1:]))


def find_second_order_error(value: float, without: Mapping[tuple[int, ...], float]) -> tuple[float, int]:
    """The standard error of a statistic, and the number of folds, from its values without each fold and each two.

    The jackknife counts what pairs of folds contribute together twice, what three do three times, and so on (Efron &
    Stein 1981, Ann. Statist. 9, 586); of units placed along directions that other units gave that is much: its 95 %
    intervals cover 97 to 98 %. What the pairs show could be taken off (Efron & Stein, section 5), but three and four
    folds matter together too, and are seen in each of their pairs. So `JOINT_SHARE` of it is taken off, with which they
    cover 94 to 97 % of simulations (benchmarks/geometry_axes.py). Without pairs the jackknife stands as it is.
    """
    singles = np.array([found for left, found in without.items() if len(left) == 1])
    n = len(singles)
    variance = find_error(singles) ** 2
    pairs = {left: found for left, found in without.items() if len(left) == 2}
    if not pairs:
        return float(np.sqrt(variance)), n
    alone = {left[0]: found for left, found in without.items() if len(left) == 1}
    joint = np.array([n * value - (n - 1) * (alone[i] + alone[j]) + (n - 2) * found for (i, j), found in pairs.items()])
    joint_part = float(((joint - joint.mean()) ** 2).sum()) / (n * (n - 1))
    return float(np.sqrt(max(variance - JOINT_SHARE * joint_part, variance / 2))), n


def judge_scores(groups: TwoGroups, scores: Float64[np.ndarray, " m"], *, n_shuffles: int, seed: int) -> Estimate:
    """`find_area` of places along a direction that was not fitted on these units; the interval leaves out folds."""
    labels = groups.shuffle(n_shuffles, np.random.default_rng([seed, len(groups.values)]))
    areas = [find_area(scores, one, groups.strata) for one in labels]
    kept = [~part for part in groups.list_folds()]
    without = np.array([find_area(scores[part], groups.values[part], groups.strata[part]) for part in kept])
    estimate = Estimate(
        value=areas[0], error=find_error(without), degrees=len(without) - 1, shuffled=np.array(areas[1:])
    )
    return _bound_area(estimate, groups)


def _bound_area(estimate: Estimate, groups: TwoGroups) -> Estimate:
    """The estimate, with an interval also where every pair is in the right order and no fold shows an error.

    It then ends where as many independent pairs, or strata if these are held out whole, would all be right in 2.5 % of
    samples (Clopper & Pearson 1934).
    """
    from scipy.stats import t

    if estimate.error != 0 or estimate.value not in (0.0, 1.0):
        return estimate
    pairs = groups.count_pairs()
    n = int((pairs > 0).sum()) if groups.has_whole_strata else int(pairs.sum())
    tail = (1 - CONFIDENCE) / 2
    return replace(estimate, error=(1 - tail ** (1 / n)) / float(t.ppf(1 - tail, estimate.degrees)))
