"""The candidates that short codes name are compared exactly, until it is plain that no better one is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.index.scanning import cut, scan

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Float64, Int64

    from indexer.index.calibration import RawVectors

FIRST_COMPARED = 160
"""Candidates compared before the first look whether they suffice; twice as many each time thereafter."""

TOLERATED_MISSES = 0.01
"""Share of the k hits that may be expected to lie among what was not compared."""


def refine_until_sure(
    vectors: Float16[np.ndarray, "n d"] | RawVectors,
    query: Float32[np.ndarray, " d"],
    candidates: Int64[np.ndarray, " c"],
    estimates: Float32[np.ndarray, " c"],
    k: int,
) -> tuple[Float32[np.ndarray, " m"], Int64[np.ndarray, " m"], bool]:
    """Scores and positions of the k best candidates, best first, and whether those left out can be ruled out.

    A line fitted to what was compared so far tells what an estimate is worth for this query: how much of the score it
    explains, and with what error (RaBitQ's has about one spread for all vectors of a query: Gao & Long 2024, theorem
    3.2). From it follows how many of the others are expected to pass the k-th best. Far from the query many vectors
    score alike, the estimates order them badly, and few queries become sure.

    Args:
        vectors: by position.
        query: what is compared.
        candidates: positions, best estimate first; -1 beyond the last.
        estimates: of their scores.
        k: wanted; at most as many as there are candidates come back.
    """
    import numpy as np

    n_candidates = int((candidates >= 0).sum())
    scores = np.empty(n_candidates, np.float32)
    n_compared, n_next = 0, max(FIRST_COMPARED, 2 * k)
    is_sure = False
    while n_compared < n_candidates and not is_sure:
        stop = min(n_next, n_candidates)
        found, places = scan(cut(vectors, candidates[n_compared:stop]), query[None], stop - n_compared)
        scores[n_compared + places[0]] = found[0]
        n_compared, n_next = stop, 2 * stop
        if k <= n_compared < n_candidates:
            n_missed = _expect_misses(scores[:n_compared], estimates[:n_candidates], k)
            is_sure = n_missed <= TOLERATED_MISSES * k
    best = np.argsort(-scores[:n_compared], kind="stable")[:k]
    return scores[best], candidates[best], is_sure


def _expect_misses(scores: Float32[np.ndarray, " s"], estimates: Float32[np.ndarray, " c"], k: int) -> float:
    """How many vectors that were not compared are expected to score above the k-th best that was.

    Those beyond the candidates are counted as if there were as many again, each as likely as the last candidate.
    """
    import numpy as np

    compared, others = np.split(estimates.astype(np.float64), [len(scores)])
    covariance = np.cov(compared, scores)
    slope = covariance[0, 1] / covariance[0, 0] if covariance[0, 0] > 0 else 0.0
    offset = float(scores.mean() - slope * compared.mean())
    spread = float((scores - (offset + slope * compared)).std())
    kth = float(np.partition(scores, len(scores) - k)[len(scores) - k])
    chances = _upper_tail((kth - (offset + slope * others)) / max(spread, 1e-9))
    return float(chances.sum() + len(estimates) * chances[-1])


def _upper_tail(deviations: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    """Chance of a normal deviate above each value (Chiani et al. 2003, eq. 14); a third at and below zero."""
    import numpy as np

    squares = np.maximum(deviations, 0) ** 2
    chances: Float64[np.ndarray, " c"] = np.exp(-squares / 2) / 12 + np.exp(-2 * squares / 3) / 4
    return chances
