"""How the vectors of a space fill it: how many directions they use, and how evenly.

All figures are of one random record per occurrence, as they are and after centring: the narrow cone in which the
vectors of contrastive models lie makes everything look alike until the mean is taken away (Mu & Viswanath 2018;
Ethayarajh 2019).

- Effective dimension: the participation ratio (tr C)² / tr C² of the second moments C about the origin, or of the
  covariance after centring. Both traces are estimated without bias, from products of different records (about the
  origin) or by the formulas of Himeno & Yamada (2014), which hold for any distribution: with the plain sample
  covariance of n records in d dimensions a round space would seem to have no more than about n d / (n + d).
- Entropy dimension: exp of the entropy of the eigenvalues' shares (Roy & Vetterli 2007, "effective rank"), centred. Its
  bias of order d / n is taken away by the jackknife; below 2 d records it is not given.
- Isotropy: IsoScore (Rudman et al. 2022). It is (participation ratio - 1) / (d - 1), and is computed so; the tests
  check that against the steps of their algorithm.
- Mean cosine: of two records of different occurrences.

How hubs, neighbours and local dimension are measured stands in `neighbourhoods`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude, find_error, find_ratio
from explorer.geometry.neighbourhoods import measure_neighbourhoods
from explorer.geometry.neighbours import pick_records

MIN_OCCURRENCES = 30
N_MOST = 20_000
"""Occurrences that the figures rest on at most."""
N_BLOCKS = 10
ENTROPY_FACTOR = 2
"""Records per dimension that the entropy dimension needs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Sums over blocks of records, from which the figures without any one block follow.

    Attributes:
        rows: the records less a common shift, which no centred figure depends on.
        blocks: block of each record.
        counts: records by block.
        sums: of the records by block.
        products: of each record with itself, x x', by block.
    """

    rows: Float64[np.ndarray, "n d"]
    blocks: Int64[np.ndarray, " n"]
    counts: Int64[np.ndarray, " b"]
    sums: Float64[np.ndarray, "b d"]
    products: Float64[np.ndarray, "b d d"]

    def choose(self, left_out: int | None) -> tuple[Float64[np.ndarray, "m d"], int, np.ndarray, np.ndarray]:
        """Rows, their number, their sum and the sum of their products, without one block."""
        kept = np.arange(len(self.counts)) != (-1 if left_out is None else left_out)
        rows = self.rows if left_out is None else self.rows[self.blocks != left_out]
        return rows, int(self.counts[kept].sum()), self.sums[kept].sum(axis=0), self.products[kept].sum(axis=0)


def gather_moments(rows: Float[np.ndarray, "n d"], *, shift: bool, seed: int = 0) -> Moments:
    """The moments of rows in random blocks; with `shift` their mean is taken away first, against rounding."""
    values = np.asarray(rows, dtype=np.float64)
    if shift:
        values = values - values.mean(axis=0)
    blocks = np.random.default_rng([seed, 21]).permutation(len(values)) % N_BLOCKS
    parts = [values[blocks == block] for block in range(N_BLOCKS)]
    return Moments(
        rows=values,
        blocks=blocks,
        counts=np.array([len(part) for part in parts]),
        sums=np.stack([part.sum(axis=0) for part in parts]),
        products=np.stack([part.T @ part for part in parts]),
    )


def measure_spectrum(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> tuple[Finding | Skipped, ...]:
    """Every figure of the spectrum, of the vectors as they are and centred (statistics named `…_centred`).

    Args:
        vectors: Of unit length, one per record.
        occurrences: A code per record.
        lineages: Each record's taxon at each rank, kingdom to species; -1 where it is not known.
        n_shuffles: Of the null of the agreement at each rank; 0 for none.
        seed: Fixes all draws.

    Returns:
        `effective_dimension`, `effective_dimension_centred`, `entropy_dimension_centred`, `isotropy`,
        `isotropy_centred`, `mean_cosine`, and what `neighbourhoods.measure_neighbourhoods` gives.
    """
    chosen = pick_records(occurrences, n_most=N_MOST, seed=seed)
    used = Used(n=len(chosen), n_groups=len(chosen), left_out=len(vectors) - len(chosen))
    reason = find_obstacle(vectors[chosen])
    if reason:
        return (Skipped(statistic="spectrum", column="", reason=reason),)
    rows = vectors[chosen]
    as_is, centred = gather_moments(rows, shift=False, seed=seed), gather_moments(rows, shift=True, seed=seed)
    return (
        *_conclude_dimensions(as_is, used, centred=False),
        *_conclude_dimensions(centred, used, centred=True),
        _conclude_entropy(centred, used),
        _conclude_cosine(as_is, used),
        *measure_neighbourhoods(vectors, occurrences, lineages, n_shuffles=n_shuffles, seed=seed),
    )


def find_obstacle(rows: Float[np.ndarray, "n d"]) -> str:
    """Why nothing can be said of these rows, one for each occurrence; empty where something can."""
    if len(rows) < MIN_OCCURRENCES:
        return f"there are {len(rows)} occurrences and {MIN_OCCURRENCES} are needed"
    if np.ptp(rows, axis=0).max(initial=0) < 1e-6:
        return "all vectors are the same"
    return ""


def estimate_effective_dimension(moments: Moments, *, centred: bool) -> Estimate:
    """The participation ratio, with the error of leaving out each block of occurrences."""
    find = find_centred_ratio if centred else find_ratio_about_origin
    without = np.array([find(*moments.choose(block)) for block in range(N_BLOCKS)])
    value = find(*moments.choose(None))
    # A ratio of two unbiased figures has a bias of order 1 / n of its own.
    corrected = value - (N_BLOCKS - 1) * (without.mean() - value)
    return Estimate(value=corrected, error=find_error(without), degrees=N_BLOCKS - 1, shuffled=np.empty(0))


def find_ratio_about_origin(
    rows: Float64[np.ndarray, "n d"], n: int, total: Float64[np.ndarray, " d"], products: Float64[np.ndarray, "d d"]
) -> float:
    """(tr M)² / tr M² with M the second moments, both over pairs of different rows."""
    squares = (rows**2).sum(axis=1)
    own = (squares**2).sum()
    return find_ratio(squares.sum() ** 2 - own, (products**2).sum() - own)


def find_centred_ratio(
    rows: Float64[np.ndarray, "n d"], n: int, total: Float64[np.ndarray, " d"], products: Float64[np.ndarray, "d d"]
) -> float:
    """(tr S)² / tr S² without the bias of either (Himeno & Yamada 2014)."""
    mean = total / n
    covariance = (products - n * np.outer(mean, mean)) / (n - 1)
    fourth = ((((rows - mean) ** 2).sum(axis=1)) ** 2).sum() / (n - 1)
    trace_squared, squared_trace = np.trace(covariance) ** 2, (covariance**2).sum()
    above = 2 * squared_trace + (n**2 - 3 * n + 1) * trace_squared - n * fourth
    below = (n - 1) * (n - 2) * squared_trace + trace_squared - n * fourth
    return find_ratio(above, below)


def estimate_entropy_dimension(moments: Moments) -> Estimate:
    """exp of the entropy of the covariance's eigenvalues, without its bias of first order in 1 / n."""
    value = _find_entropy(moments, None)
    without = np.array([_find_entropy(moments, block) for block in range(N_BLOCKS)])
    corrected = value - (N_BLOCKS - 1) * (without.mean() - value)
    return Estimate(
        value=float(np.exp(corrected)),
        error=float(np.exp(corrected)) * find_error(without),
        degrees=N_BLOCKS - 1,
        shuffled=np.empty(0),
    )


def _find_entropy(moments: Moments, left_out: int | None) -> float:
    _, n, total, products = moments.choose(left_out)
    values = np.clip(np.linalg.eigvalsh(products - np.outer(total, total) / n), 0, None)
    shares = values[values > 0] / values.sum()
    return float(-(shares * np.log(shares)).sum())


def estimate_mean_cosine(moments: Moments) -> Estimate:
    """The mean cosine of two different rows of unit length, which the moments were not shifted for."""

    def find(left_out: int | None) -> float:
        rows, n, total, _ = moments.choose(left_out)
        return float(((total**2).sum() - (rows**2).sum()) / (n * (n - 1)))

    without = np.array([find(block) for block in range(N_BLOCKS)])
    return Estimate(value=find(None), error=find_error(without), degrees=N_BLOCKS - 1, shuffled=np.empty(0))


def _conclude_dimensions(moments: Moments, used: Used, *, centred: bool) -> tuple[Finding, Finding]:
    d = moments.rows.shape[1]
    estimate = estimate_effective_dimension(moments, centred=centred)
    ending, after = ("_centred", "After centring, the") if centred else ("", "The")
    isotropy = Estimate(
        value=(estimate.value - 1) / (d - 1),
        error=estimate.error / (d - 1),
        degrees=estimate.degrees,
        shuffled=estimate.shuffled,
    )
    return (
        _conclude(
            estimate,
            f"effective_dimension{ending}",
            (d, (1, np.inf)),
            used,
            lambda numbers: (
                f"{after} vectors vary as if they filled this many of their {d:,} dimensions evenly (participation "
                f"ratio): {numbers}."
            ),
        ),
        _conclude(
            isotropy,
            f"isotropy{ending}",
            (1, (0, np.inf)),
            used,
            lambda numbers: (
                f"{after} vectors spread over the directions of the space with this evenness (IsoScore; 0 is a single "
                f"direction, 1 is all alike): {numbers}."
            ),
        ),
    )


def _conclude_entropy(moments: Moments, used: Used) -> Finding | Skipped:
    n, d = moments.rows.shape
    if n < ENTROPY_FACTOR * d:
        reason = f"there are {n:,} occurrences, and {d:,} dimensions need {ENTROPY_FACTOR * d:,}"
        return Skipped(statistic="entropy_dimension_centred", column="", reason=reason)
    return _conclude(
        estimate_entropy_dimension(moments),
        "entropy_dimension_centred",
        (d, (1, np.inf)),
        used,
        lambda numbers: (
            f"Weak directions counted more than in the participation ratio, the centred vectors fill this many of "
            f"{d:,} dimensions (exp of the entropy): {numbers}."
        ),
    )


def _conclude_cosine(moments: Moments, used: Used) -> Finding:
    return _conclude(
        estimate_mean_cosine(moments),
        "mean_cosine",
        (0, (-1, 1)),
        used,
        lambda numbers: (
            f"Two records of different occurrences have this cosine on average: {numbers}; the further from 0, the "
            "less a raw cosine says."
        ),
    )


def _conclude(
    estimate: Estimate,
    statistic: str,
    scale: tuple[float, tuple[float, float]],
    used: Used,
    say: Callable[[str], str],
) -> Finding:
    """`scale` is chance, as of vectors spread evenly over all directions, and the bounds."""
    chance, bounds = scale
    return conclude(estimate, name=(statistic, ""), chance=chance, side=Side.GREATER, bounds=bounds, used=used, say=say)
