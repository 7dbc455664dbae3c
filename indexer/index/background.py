"""Scores of random pairs of a space: what "ordinary" looks like there, so that a score can be read as a percentile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

BACKGROUND_PAIRS = 100_000
# Finer towards the top, where the scores of neighbours lie: 1 % steps, then 0.1 %, then 0.01 %.
BACKGROUND_LEVELS = (
    *(i / 100 for i in range(99)),
    *(0.99 + i / 1000 for i in range(9)),
    *(0.999 + i / 10_000 for i in range(11)),
)
_BLOCK = 10_000


@dataclass(frozen=True, kw_only=True)
class Background:
    """Scores of random pairs of different records of a space.

    Attributes:
        levels: shares of pairs, ascending in [0, 1].
        scores: the cosine below which that share of pairs lies.
        n_pairs: how many pairs were drawn; 0 where the space holds fewer than two vectors.
    """

    levels: tuple[float, ...]
    scores: tuple[float, ...]
    n_pairs: int

    def percentiles(self, scores: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The percentage of random pairs that score lower, in [0, 100]; nan where no pair could be drawn."""
        import numpy as np

        if not self.n_pairs:
            return np.full(len(scores), np.nan)
        result: Float64[np.ndarray, " n"] = 100 * np.interp(scores, self.scores, self.levels)
        return result

    def score_at(self, percentile: float) -> float:
        """The least score that reaches a percentile in [0, 100]; -1 where no pair could be drawn."""
        import numpy as np

        return float(np.interp(percentile / 100, self.levels, self.scores)) if self.n_pairs else -1.0

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Background:
        """The background that `dataclasses.asdict` wrote."""
        levels, scores = tuple(stored["levels"]), tuple(stored["scores"])
        return cls(levels=levels, scores=scores, n_pairs=stored["n_pairs"])


def measure_background(
    n: int,
    vectors_at: Callable[[Int64[np.ndarray, " m"]], Float32[np.ndarray, "m d"]],
    *,
    seed: int,
    n_pairs: int = BACKGROUND_PAIRS,
) -> Background:
    """Quantiles of the cosine over random pairs of different records (design fact 2: a raw cosine means little).

    Args:
        n: vectors there are.
        vectors_at: gives the unit vectors at positions in [0, n).
        seed: of the pairs.
        n_pairs: pairs drawn.
    """
    import numpy as np

    if n < 2:
        return Background(levels=BACKGROUND_LEVELS, scores=(0.0,) * len(BACKGROUND_LEVELS), n_pairs=0)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, n_pairs)
    second = (first + rng.integers(1, n, n_pairs)) % n
    scores = np.concatenate(
        [
            np.einsum("nd,nd->n", vectors_at(first[start : start + _BLOCK]), vectors_at(second[start : start + _BLOCK]))
            for start in range(0, n_pairs, _BLOCK)
        ]
    )
    quantiles = tuple(float(score) for score in np.quantile(scores, BACKGROUND_LEVELS))
    return Background(levels=BACKGROUND_LEVELS, scores=quantiles, n_pairs=n_pairs)
