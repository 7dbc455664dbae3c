"""Measures of rankings, one value per question, and what a random ranking gets.

Ties are settled as an average over all orders of the tied answers (top-k, recall@k, precision@k, and what AP@k counts
of a tie across the k-th), or by the precision at the end of the tie (average precision, as scikit-learn does). So the
order in which answers are listed never matters, and an encoder that gives the same vector for everything gets no more
than chance; at AP@k, where the end of the tie may lie beyond the k-th, nearly so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64


def measure_top_k(
    scores: Float[np.ndarray, "n c"], answers: Int64[np.ndarray, " n"], k: int
) -> Float64[np.ndarray, " n"]:
    """Whether the right answer is among the k best scores of its row: 1 or 0, between them for ties across the k-th.

    Rows with a negative answer give nan.
    """
    known = answers >= 0
    own = np.take_along_axis(scores, np.where(known, answers, 0)[:, None], axis=1)
    above = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    hits = np.clip((k - above) / np.maximum(tied, 1), 0, 1)
    result: Float64[np.ndarray, " n"] = np.where(known, hits, np.nan)
    return result


def average_precision(
    scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"], *, k: int | None = None
) -> Float64[np.ndarray, " q"]:
    """Average precision of each row's ranking by falling score; nan where nothing is relevant.

    The mean, over the relevant answers, of the share of relevant ones among all answers that score at least as high
    (Manning, Raghavan & Schütze 2008, section 8.4). A score of -inf takes an answer out; none such may be relevant.

    Args:
        scores: higher is better.
        relevant: what should be found.
        k: counts the first k alone, divided by the number of relevant ones or by k if that is less (AP@k); of a tie
            across the k-th the share that fits in.
    """
    ranking = _rank(scores, relevant)
    found, counted = relevant.sum(axis=1), ranking.hits.astype(float)
    if k is not None:
        counted *= np.clip((k - ranking.starts) / (ranking.ends + 1 - ranking.starts), 0, 1)
        found = np.minimum(found, k)
    precisions: Float64[np.ndarray, " q"] = np.full(len(counted), np.nan)
    np.divide((ranking.precision * counted).sum(axis=1), found, out=precisions, where=found > 0)
    return precisions


def measure_precision_at_hits(
    scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]
) -> Float64[np.ndarray, "q n"]:
    """For each relevant answer the share of relevant ones down to it; nan for the others. A row's mean is its AP."""
    ranking = _rank(scores, relevant)
    result = np.full(scores.shape, np.nan)
    np.put_along_axis(result, ranking.order, np.where(ranking.hits, ranking.precision, np.nan), axis=1)
    return result


@dataclass(frozen=True, kw_only=True)
class _Ranking:
    """Answers, best first.

    Attributes:
        order: their places before they were ranked.
        hits: whether each is relevant.
        starts, ends: places of the first and of the last that score as each does.
        precision: share of relevant ones down to the last of its tie.
    """

    order: Int64[np.ndarray, "q n"]
    hits: Bool[np.ndarray, "q n"]
    starts: Int64[np.ndarray, "q n"]
    ends: Int64[np.ndarray, "q n"]
    precision: Float64[np.ndarray, "q n"]


def _rank(scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]) -> _Ranking:
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    starts, ends = _bound_ties(np.take_along_axis(scores, order, axis=1))
    precision = np.take_along_axis(np.cumsum(hits, axis=1), ends, axis=1) / (ends + 1)
    return _Ranking(order=order, hits=hits, starts=starts, ends=ends, precision=precision)


def _bound_ties(scores: Float[np.ndarray, "q n"]) -> tuple[Int64[np.ndarray, "q n"], Int64[np.ndarray, "q n"]]:
    """Of falling scores, the places of the first and of the last that equal each."""
    n = scores.shape[1]
    changes = scores[:, 1:] != scores[:, :-1]
    edge = np.ones((len(scores), 1), bool)
    starts = np.maximum.accumulate(np.where(np.hstack([edge, changes]), np.arange(n), 0), axis=1)
    last = np.where(np.hstack([changes, edge]), np.arange(n), n)
    ends = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return starts, ends


def measure_recall(
    scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"], k: int
) -> Float64[np.ndarray, " q"]:
    """Whether any of the first k is relevant: 1 or 0, between them for ties; nan where nothing is relevant.

    This is the recall@k of metric learning (Jégou et al. 2011; Song et al. 2016), not the share of all relevant ones.
    """
    tie = _meet_kth(scores, relevant, k)
    hits: Float64[np.ndarray, " q"] = (tie.hits_above + tie.hits_tied > 0).astype(float)
    cut = (tie.hits_above == 0) & (tie.room < tie.n_tied)
    hits[cut] = 1 - _miss(tie.n_tied[cut], tie.hits_tied[cut], tie.room[cut])
    result: Float64[np.ndarray, " q"] = np.where(relevant.any(axis=1), hits, np.nan)
    return result


def measure_precision(
    scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"], k: int
) -> Float64[np.ndarray, " q"]:
    """Share of relevant ones among the first k, in [0, 1]; nan where nothing is relevant."""
    tie = _meet_kth(scores, relevant, k)
    shares = (tie.hits_above + tie.room * tie.hits_tied / tie.n_tied) / k
    result: Float64[np.ndarray, " q"] = np.where(relevant.any(axis=1), shares, np.nan)
    return result


@dataclass(frozen=True, kw_only=True)
class _Tie:
    """Of each row the answers that score as the k-th does, and those above them.

    Attributes:
        hits_above: relevant answers above the tie.
        n_tied, hits_tied: answers in the tie, and the relevant ones among them; 1 or more answers.
        room: how many of the tie are among the first k; 1 or more.
    """

    hits_above: Int64[np.ndarray, " q"]
    n_tied: Int64[np.ndarray, " q"]
    hits_tied: Int64[np.ndarray, " q"]
    room: Int64[np.ndarray, " q"]


def _meet_kth(scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"], k: int) -> _Tie:
    k = min(k, scores.shape[1])
    kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, tied = scores > kth, scores == kth
    return _Tie(
        hits_above=(above & relevant).sum(axis=1),
        n_tied=tied.sum(axis=1),
        hits_tied=(tied & relevant).sum(axis=1),
        room=k - above.sum(axis=1),
    )


def _miss(n: Int64[np.ndarray, " q"], r: Int64[np.ndarray, " q"], k: Int64[np.ndarray, " q"]) -> Any:
    """How often k of n, drawn without putting back, hold none of the r relevant ones (hypergeometric)."""
    from scipy.stats import hypergeom

    return hypergeom.pmf(0, n, r, k)


def expect_average_precision(
    n_relevant: Float[np.ndarray, " q"], n_answers: Float[np.ndarray, " q"]
) -> Float64[np.ndarray, " q"]:
    """The mean average precision of a random order (Bestgen 2015, equation 2); nan where nothing is relevant.

    With R relevant of N: ((R - 1) / (N - 1) · (N - H_N) + H_N) / N, H_N the N-th harmonic number.
    """
    from scipy.special import digamma

    r, n = np.asarray(n_relevant, float), np.asarray(n_answers, float)
    harmonic = digamma(n + 1) + np.euler_gamma
    expected: Float64[np.ndarray, " q"] = ((r - 1) / np.maximum(n - 1, 1) * (n - harmonic) + harmonic) / n
    return np.where(r > 0, expected, np.nan)


def expect_recall(
    n_relevant: Float[np.ndarray, " q"], n_answers: Float[np.ndarray, " q"], k: int
) -> Float64[np.ndarray, " q"]:
    """How often the first k of a random order hold a relevant one (hypergeometric); nan where nothing is relevant."""
    r, n = np.asarray(n_relevant, int), np.asarray(n_answers, int)
    expected: Float64[np.ndarray, " q"] = np.where(r > 0, 1 - _miss(n, r, np.minimum(k, n)), np.nan)
    return expected
