"""Reliability: how often an answer of a given share of the votes is right, learned from answers whose truth is known.

Platt's scaling (Platt 1999) for each rank: a logistic regression on the share of the votes and on how close the nearest
voters are, so that a record of a species which the corpus lacks, whose voters agree but lie far off, is not believed.
What is stated of it (the reliability curve and the expected calibration error) comes from answers that the regression
was not fitted on (5 folds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explorer.taxonomy import N_RANKS, Descent
from indexer.terms import RANKS

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float64, Int64

LEAST_ANSWERS = 50
"""Held-out occurrences that a rank needs to be calibrated."""
N_FOLDS = 5
N_BINS = 10
N_DRAWS = 500
_CLIP = 0.005
# Against runaway weights where every answer is right or none; the features are standardised.
_REGULARISATION = 100.0


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Answers of like confidence.

    Attributes:
        confidence: their mean confidence, in [0, 1].
        right: share of them that is right.
        weight: share of all answers that they are.
    """

    confidence: float
    right: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class RankReliability:
    """The calibration of one rank.

    Attributes:
        intercept, coefficients: log odds that the answer is right = intercept + coefficients · features.
        n: held-out occurrences with an answer at this rank.
        accuracy: share of these answers that is right, at the mixture of seen and unseen taxa that is assumed.
        error: expected calibration error over 10 bins of equal weight, out of fold, in [0, 1].
        error_low, error_high: its 95 % interval over occurrences (bootstrap).
        curve: the bins, by confidence.
    """

    intercept: float
    coefficients: tuple[float, ...]
    n: int
    accuracy: float
    error: float
    error_low: float
    error_high: float
    curve: tuple[CurvePoint, ...]

    def rate(self, features: Float64[np.ndarray, "e f"]) -> Float64[np.ndarray, " e"]:
        """The probability that each answer is right."""
        from scipy.special import expit

        rated: Float64[np.ndarray, " e"] = expit(self.intercept + features @ list(self.coefficients))
        return rated

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RankReliability:
        """The reliability that `dataclasses.asdict` wrote."""
        curve = tuple(CurvePoint(**point) for point in stored["curve"])
        return cls(**{**stored, "curve": curve, "coefficients": tuple(stored["coefficients"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Answers whose truth is known.

    Attributes:
        descent: what was answered.
        closeness: the nearest voter's score, for each kind of voter.
        own: the true lineage of each question, as taxa; -1 where it is not known.
        weights: how much each answer counts, 0 or more.
        groups: questions about one occurrence share a number.
    """

    descent: Descent
    closeness: Float64[np.ndarray, "e v"]
    own: Int64[np.ndarray, "e 7"]
    weights: Float64[np.ndarray, " e"]
    groups: Int64[np.ndarray, " e"]

    def judge(self, rank: int) -> tuple[Int64[np.ndarray, " a"], Bool[np.ndarray, " a"]]:
        """The questions that have an answer and a truth at a rank, and whether the answer is right."""
        import numpy as np

        found = np.flatnonzero((self.descent.path[:, rank] >= 0) & (self.own[:, rank] >= 0) & (self.weights > 0))
        return found, self.descent.path[found, rank] == self.own[found, rank]


def fit_ranks(answers: Answers, *, seed: int = 0) -> dict[str, RankReliability]:
    """The calibration of each rank that has enough answers."""
    found = {}
    for rank, name in enumerate(RANKS):
        asked, is_right = answers.judge(rank)
        groups = answers.groups[asked]
        if len(set(groups.tolist())) < LEAST_ANSWERS:
            continue
        features = make_features(answers.descent.shares[asked, rank], answers.closeness[asked])
        found[name] = _fit_rank(features, is_right, answers.weights[asked], groups, seed)
    return found


def make_features(
    shares: Float64[np.ndarray, " e"], closeness: Float64[np.ndarray, "e v"]
) -> Float64[np.ndarray, "e f"]:
    """What the confidence is read from: the log odds of the share, and the nearest voters' scores."""
    import numpy as np
    from scipy.special import logit

    return np.column_stack([logit(np.clip(shares, _CLIP, 1 - _CLIP)), closeness])


def rate_answers(
    descent: Descent, closeness: Float64[np.ndarray, "e v"], ranks: Mapping[str, RankReliability]
) -> Float64[np.ndarray, "e 7"]:
    """The confidence of each answer at each rank, in [0, 1]; nan where there is no answer, or no calibration.

    A higher taxon is right wherever a lower one is: its confidence is never below that one's.
    """
    import numpy as np

    rated = np.full(descent.path.shape, np.nan)
    for rank, name in enumerate(RANKS):
        if name in ranks:
            answered = descent.path[:, rank] >= 0
            features = make_features(descent.shares[answered, rank], closeness[answered])
            rated[answered, rank] = ranks[name].rate(features)
    lower = np.full(len(rated), np.nan)
    for rank in reversed(range(N_RANKS)):
        lower = np.fmax(lower, rated[:, rank])
        rated[:, rank] = np.where(np.isnan(rated[:, rank]), np.nan, lower)
    return rated


def expect_error(
    confidence: Float64[np.ndarray, " e"], is_right: Bool[np.ndarray, " e"], weights: Float64[np.ndarray, " e"]
) -> float:
    """The expected calibration error: the mean distance of confidence and share right, over bins of equal weight."""
    points = draw_curve(confidence, is_right, weights)
    return sum(point.weight * abs(point.confidence - point.right) for point in points)


def draw_curve(
    confidence: Float64[np.ndarray, " e"], is_right: Bool[np.ndarray, " e"], weights: Float64[np.ndarray, " e"]
) -> tuple[CurvePoint, ...]:
    """The reliability curve over 10 bins of equal weight; answers of one confidence fall into one bin."""
    import numpy as np

    bins = _bin(confidence, weights)
    sums = [np.bincount(bins, of) for of in (weights, weights * confidence, weights * is_right)]
    return tuple(
        CurvePoint(confidence=float(said / weight), right=float(right / weight), weight=float(weight / weights.sum()))
        for weight, said, right in zip(*sums, strict=True)
        if weight > 0
    )


def _bin(confidence: Float64[np.ndarray, " e"], weights: Float64[np.ndarray, " e"]) -> Int64[np.ndarray, " e"]:
    import numpy as np

    order = np.argsort(confidence, kind="stable")
    passed = np.cumsum(weights[order]) / weights.sum()
    places = np.minimum(np.searchsorted(passed, np.arange(1, N_BINS) / N_BINS), len(order) - 1)
    return np.searchsorted(np.unique(confidence[order][places]), confidence, side="left")


def _fit_rank(
    features: Float64[np.ndarray, "e f"],
    is_right: Bool[np.ndarray, " e"],
    weights: Float64[np.ndarray, " e"],
    groups: Int64[np.ndarray, " e"],
    seed: int,
) -> RankReliability:
    import numpy as np

    unfitted = _rate_unfitted(features, is_right, weights, groups, seed)
    low, high = _bound_error(unfitted, is_right, weights, groups, seed)
    intercept, coefficients = _fit_logistic(features, is_right, weights)
    return RankReliability(
        intercept=intercept,
        coefficients=coefficients,
        n=len(np.unique(groups)),
        accuracy=float(np.average(is_right, weights=weights)),
        error=expect_error(unfitted, is_right, weights),
        error_low=low,
        error_high=high,
        curve=draw_curve(unfitted, is_right, weights),
    )


def _rate_unfitted(
    features: Float64[np.ndarray, "e f"],
    is_right: Bool[np.ndarray, " e"],
    weights: Float64[np.ndarray, " e"],
    groups: Int64[np.ndarray, " e"],
    seed: int,
) -> Float64[np.ndarray, " e"]:
    """The confidence of each answer from a regression on the other folds; a group lies in one fold."""
    import numpy as np
    from scipy.special import expit

    _, numbers = np.unique(groups, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)[numbers.reshape(-1)] % N_FOLDS
    rated = np.zeros(len(features))
    for fold in range(N_FOLDS):
        kept = folds != fold
        intercept, coefficients = _fit_logistic(features[kept], is_right[kept], weights[kept])
        rated[~kept] = expit(intercept + features[~kept] @ list(coefficients))
    return rated


def _fit_logistic(
    features: Float64[np.ndarray, "e f"], is_right: Bool[np.ndarray, " e"], weights: Float64[np.ndarray, " e"]
) -> tuple[float, tuple[float, ...]]:
    """Intercept and coefficients; where all answers are right, or none is, Laplace's rule of succession alone."""
    import numpy as np
    from scipy.special import logit
    from sklearn.linear_model import LogisticRegression

    n_features = features.shape[1]
    if is_right.all() or not is_right.any():
        return float(logit((is_right.sum() + 1) / (len(is_right) + 2))), (0.0,) * n_features
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1)
    model = LogisticRegression(C=_REGULARISATION, max_iter=1_000)
    model.fit((features - centre) / scale, is_right, sample_weight=weights * len(weights) / weights.sum())
    coefficients = model.coef_[0] / scale
    return float(model.intercept_[0] - coefficients @ centre), tuple(float(value) for value in coefficients)


def _bound_error(
    confidence: Float64[np.ndarray, " e"],
    is_right: Bool[np.ndarray, " e"],
    weights: Float64[np.ndarray, " e"],
    groups: Int64[np.ndarray, " e"],
    seed: int,
) -> tuple[float, float]:
    """A 95 % interval of the expected calibration error: the percentiles of resampled occurrences."""
    import numpy as np

    _, numbers = np.unique(groups, return_inverse=True)
    bins = _bin(confidence, weights)
    n_groups, n_bins = int(numbers.max()) + 1, int(bins.max()) + 1
    cells = numbers.reshape(-1) * n_bins + bins
    held, gaps = (
        np.bincount(cells, of, n_groups * n_bins).reshape(n_groups, n_bins)
        for of in (weights, weights * (confidence - is_right))
    )
    drawn = np.random.default_rng(seed + 1).multinomial(n_groups, np.full(n_groups, 1 / n_groups), N_DRAWS)
    errors = np.abs(drawn @ gaps).sum(axis=1) / np.maximum((drawn @ held).sum(axis=1), np.finfo(float).tiny)
    low, high = np.quantile(errors, (0.025, 0.975))
    return float(low), float(high)
