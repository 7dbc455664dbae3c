"""Intervals by resampling occurrences: pictures of one specimen are no independent evidence, so they move together.

Percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over clusters. Every estimate keeps its draws, so that two
encoders judged on the same pictures under the same `Resampling` can be subtracted draw by draw: a paired comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64, UInt8

N_DRAWS = 1000
LEVEL = 0.95
"""Of the intervals: 95 %."""
MIN_GROUPS = 5
"""Occurrences from which on a figure gets an interval: of fewer, resamples are too much alike to tell its width."""
BLOCK = 125
"""Draws that are computed at once."""

Statistic = Callable[["Float32[np.ndarray, 'b g']"], "Float64[np.ndarray, ' b']"]
"""A figure of each draw, from how often the draw holds each occurrence; nan where it cannot be computed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: on all pictures; nan where it cannot be computed.
        low, high: ends of the 95 % interval; nan with fewer than `MIN_GROUPS` occurrences, but for a share of 0 or 1
            (see `widen_certainty`).
        draws: the figure in each resample, in the order of the `Resampling`.
        n_groups: occurrences that it rests on.
    """

    value: float
    low: float
    high: float
    draws: Float64[np.ndarray, " b"]
    n_groups: int

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference; both must come of the same `Resampling`. Without an interval where one has none."""
        n_groups = min(self.n_groups, other.n_groups)
        return summarise_draws(self.value - other.value, self.draws - other.draws, n_groups=n_groups)


class Resampling:
    """Draws of occurrences with replacement, as many as there are; the same for the same occurrences and seed.

    Attributes:
        groups: the occurrence of each picture, 0 to `n_groups` - 1.
        n_groups: occurrences.
        n_draws: resamples.
    """

    def __init__(self, groups: Any, *, n_draws: int = N_DRAWS, seed: int = 0) -> None:
        """`groups` holds any value per picture, as an occurrence id: equal values are one occurrence."""
        codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        self.groups: Int64[np.ndarray, " n"] = codes.astype(np.int64)
        self.n_groups = int(codes.max()) + 1 if len(codes) else 0
        self.n_draws = n_draws
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._counts: UInt8[np.ndarray, "b g"] = np.stack(
            [self._draw(rng) for _ in range(n_draws)] or [np.empty(0, np.uint8)]
        )

    def _draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, " g"]:
        if not self.n_groups:
            return np.empty(0, np.uint8)
        drawn = rng.integers(self.n_groups, size=self.n_groups)
        return np.bincount(drawn, minlength=self.n_groups).astype(np.uint8)

    def blocks(self) -> Iterator[Float32[np.ndarray, "b g"]]:
        """How often each draw holds each occurrence, a block of draws at a time."""
        for start in range(0, self.n_draws, BLOCK):
            yield self._counts[start : start + BLOCK].astype(np.float32)

    def estimate(self, statistic: Statistic) -> Estimate:
        """The figure on all pictures, with its interval."""
        value = float(statistic(np.ones((1, self.n_groups), np.float32))[0])
        draws = np.concatenate([statistic(block) for block in self.blocks()])
        return summarise_draws(value, draws, n_groups=self.n_groups)

    def blocks_with_looks(
        self, n_looks: int
    ) -> Iterator[tuple[Float32[np.ndarray, "b g"], Float64[np.ndarray, "b l"]]]:
        """Beside each block of draws how often each draw holds each of several looks at the pictures."""
        drawn = np.random.default_rng([self._seed, n_looks]).integers(n_looks, size=(self.n_draws, n_looks))
        counts = (drawn[:, :, None] == np.arange(n_looks)).sum(axis=1).astype(np.float64)
        for number, block in enumerate(self.blocks()):
            yield block, counts[number * BLOCK :][: len(block)]


def summarise_draws(value: float, draws: Float64[np.ndarray, " b"], *, n_groups: int) -> Estimate:
    """The estimate with the percentiles of its draws; draws that are nan are left out.

    `n_groups` counts the occurrences that the figure rests on; of fewer than `MIN_GROUPS` there is no interval.
    """
    finite = draws[np.isfinite(draws)]
    tail = 100 * (1 - LEVEL) / 2
    low, high = (
        np.percentile(finite, [tail, 100 - tail]) if len(finite) and n_groups >= MIN_GROUPS else (np.nan, np.nan)
    )
    return Estimate(value=value, low=float(low), high=float(high), draws=draws, n_groups=n_groups)


def estimate_mean(values: Float64[np.ndarray, "n ..."], resampling: Resampling, *, most: float = 1.0) -> Estimate:
    """The mean of one value per picture, or of several looks at each; pictures with nan do not count.

    Looks, as draws of examples, are resampled beside the occurrences, so that the interval holds their luck too. Values
    lie from 0, the least that they can be, to `most`; where all are the one or the other, see `widen_certainty`.
    """
    looks = values.reshape(len(values), -1)
    counts = np.isfinite(looks)
    sums = np.stack([_sum_groups(look, resampling) for look in np.where(counts, looks, 0.0).T], axis=1)
    sizes = np.stack([_sum_groups(look, resampling) for look in counts.T.astype(float)], axis=1)

    def average(weights: Any, shares: Any) -> Float64[np.ndarray, " b"]:
        above, below = (((weights @ table) * shares).sum(axis=1) for table in (sums, sizes))
        means: Float64[np.ndarray, " b"] = _divide(above, below)
        return means

    n_groups = int((sizes > 0).any(axis=1).sum())
    estimate = _estimate_looks(average, looks.shape[1], resampling, n_groups=n_groups)
    return _widen_equal(estimate, looks[counts], most=most)


def _estimate_looks(
    average: Callable[[Any, Any], Any], n_looks: int, resampling: Resampling, *, n_groups: int
) -> Estimate:
    value = float(average(np.ones((1, resampling.n_groups), np.float32), np.ones((1, n_looks)))[0])
    draws = np.concatenate([average(block, shares) for block, shares in resampling.blocks_with_looks(n_looks)])
    return summarise_draws(value, draws, n_groups=n_groups)


def _widen_equal(estimate: Estimate, values: Float64[np.ndarray, " n"], *, most: float) -> Estimate:
    if not len(values) or values.max() != values.min():
        return estimate
    return widen_certainty(estimate, n_trials=estimate.n_groups, most=most)


def widen_certainty(estimate: Estimate, *, n_trials: int, most: float = 1.0) -> Estimate:
    """The estimate of a mean of values from 0 to `most`; at either end with the interval of Clopper & Pearson (1934).

    There every resample is the same, and the percentiles would promise certainty. Each occurrence counts as one trial.
    """
    if estimate.value not in (0.0, most) or n_trials == 0:
        return estimate
    reach = most * (1 - ((1 - LEVEL) / 2) ** (1 / n_trials))
    low, high = (0.0, reach) if estimate.value == 0 else (most - reach, most)
    return replace(estimate, low=low, high=high)


def estimate_class_mean(
    values: Float64[np.ndarray, "n ..."], classes: Int64[np.ndarray, " n"], resampling: Resampling
) -> Estimate:
    """The mean over classes of each class's mean share, as balanced accuracy is: every class counts the same.

    Pictures with nan, or with a negative class, do not count. A class that a resample does not hold is left out of its
    mean, and the draws are centred (see `centre_draws`). Looks and certainty are treated as in `estimate_mean`.
    """
    from scipy.sparse import csr_matrix

    looks = np.where(classes[:, None] >= 0, values.reshape(len(values), -1), np.nan)
    counts = np.isfinite(looks)
    names, codes = np.unique(classes, return_inverse=True)
    shape = (len(names), resampling.n_groups)
    tables = [
        [csr_matrix((column, (codes, resampling.groups)), shape=shape) for column in table.T]
        for table in (np.where(counts, looks, 0.0), counts.astype(float))
    ]

    def average(weights: Any, shares: Any) -> Float64[np.ndarray, " b"]:
        above, below = (
            np.sum([(look @ weights.T) * share for look, share in zip(table, shares.T, strict=True)], axis=0)
            for table in tables
        )
        means = _divide(above, below)
        balanced: Float64[np.ndarray, " b"] = _divide(np.nansum(means, axis=0), np.isfinite(means).sum(axis=0))
        return balanced

    n_groups = len(np.unique(resampling.groups[counts.any(axis=1)]))
    estimate = centre_draws(_estimate_looks(average, looks.shape[1], resampling, n_groups=n_groups))
    return _widen_equal(estimate, looks[counts], most=1.0)


def centre_draws(estimate: Estimate) -> Estimate:
    """The estimate of a share with its draws moved so that their mean is its value, and the interval with them.

    Where a mean over classes leaves out those that a draw does not hold, the draws are biased: an encoder that gives
    one of 20 classes as its only answer gets 1/20, and 1/13 of the 13 classes of a resample.
    """
    finite = np.isfinite(estimate.draws)
    if not finite.any():
        return estimate
    moved = estimate.draws + (estimate.value - estimate.draws[finite].mean())
    centred = summarise_draws(estimate.value, moved, n_groups=estimate.n_groups)
    low, high = (float(np.clip(end, 0, 1)) for end in (centred.low, centred.high))
    return replace(centred, low=low, high=high)


def _sum_groups(values: Float64[np.ndarray, " n"], resampling: Resampling) -> Float64[np.ndarray, " g"]:
    sums: Float64[np.ndarray, " g"] = np.bincount(resampling.groups, weights=values, minlength=resampling.n_groups)
    return sums


def _divide(above: Any, below: Any) -> Any:
    """The quotient; nan where the divisor is 0."""
    result = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below) > 0)
    return result
