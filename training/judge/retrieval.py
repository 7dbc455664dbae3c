"""Search, by picture and by name: what stands first, with the intervals that each of the two allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.judge.bootstrap import Estimate, summarise_draws, widen_certainty
from training.judge.metrics import (
    average_precision,
    expect_average_precision,
    expect_recall,
    measure_precision,
    measure_precision_at_hits,
    measure_recall,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

    from training.judge.bootstrap import Resampling

RECALL_AT = (1, 5, 10)
PRECISION_AT = 10
BLOCK = 256
"""Queries that are compared with all pictures at once."""

MAP = "mean average precision"


@dataclass(frozen=True, kw_only=True)
class PictureSearch:
    """How search by picture went; one value per picture in question, nan for one that has nothing to find.

    Attributes:
        values: measure → value per picture.
        expected: measure → what a random order gets, per picture.
    """

    values: Mapping[str, Float64[np.ndarray, " n"]]
    expected: Mapping[str, Float64[np.ndarray, " n"]]


@dataclass(frozen=True, kw_only=True)
class NameSearch:
    """How search by the names of many classes went.

    Attributes:
        values: measure → value per name, nan for a name that has nothing to find.
        at_pictures: for each picture the precision down to its place in the ranking by its own name; the mean over a
            class's pictures is its average precision.
        chance: measure → mean of what a random order gets.
    """

    values: Mapping[str, Float64[np.ndarray, " q"]]
    at_pictures: Float64[np.ndarray, " n"]
    chance: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class WordSearch:
    """How search by one text went: estimates and what a random order gets, by measure."""

    estimates: Mapping[str, Estimate]
    chance: Mapping[str, float]


def name_measures() -> tuple[str, ...]:
    """The measures of a search, in the order in which they are told."""
    return (MAP, *(f"recall@{k}" for k in RECALL_AT), f"precision@{PRECISION_AT}")


def search_by_picture(
    vectors: Float32[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"]
) -> PictureSearch:
    """Each picture asks for those of its own label among all labelled pictures of other occurrences.

    Args:
        vectors: unit vectors.
        labels: what counts as found; negative leaves a picture out, as question and as answer.
        groups: occurrence of each picture; its own occurrence is never an answer.

    What is searched among is the same for each question, so an interval over questions holds for this collection.
    """
    places = np.flatnonzero(labels >= 0)
    values = {name: np.full(len(labels), np.nan) for name in name_measures()}
    n_relevant, n_answers = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for start in range(0, len(places), BLOCK):
        asked = places[start : start + BLOCK]
        own = groups[asked][:, None] == groups[places][None, :]
        relevant = (labels[asked][:, None] == labels[places][None, :]) & ~own
        scores = np.where(own, -np.inf, vectors[asked] @ vectors[places].T)
        for name, found in _measure_ranking(scores, relevant).items():
            values[name][asked] = found
        n_relevant[asked], n_answers[asked] = relevant.sum(axis=1), (~own).sum(axis=1)
    has_any = n_relevant > 0
    expected = {name: np.full(len(labels), np.nan) for name in name_measures()}
    for name, chances in _expect_ranking(n_relevant[has_any], n_answers[has_any]).items():
        expected[name][has_any] = chances
    return PictureSearch(values=values, expected=expected)


def _measure_ranking(
    scores: Float32[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]
) -> dict[str, Float64[np.ndarray, " q"]]:
    return {
        MAP: average_precision(scores, relevant),
        **{f"recall@{k}": measure_recall(scores, relevant, k) for k in RECALL_AT},
        f"precision@{PRECISION_AT}": measure_precision(scores, relevant, PRECISION_AT),
    }


def _expect_ranking(
    n_relevant: Float64[np.ndarray, " q"], n_answers: Float64[np.ndarray, " q"]
) -> dict[str, Float64[np.ndarray, " q"]]:
    return {
        MAP: expect_average_precision(n_relevant, n_answers),
        **{f"recall@{k}": expect_recall(n_relevant, n_answers, k) for k in RECALL_AT},
        f"precision@{PRECISION_AT}": n_relevant / np.maximum(n_answers, PRECISION_AT),
    }


def search_by_names(
    text_vectors: Float32[np.ndarray, "q d"], vectors: Float32[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]
) -> NameSearch:
    """Text number i asks for the pictures of label i among all labelled pictures.

    To resample the pictures searched among would flatter names of few pictures: those that a draw leaves out cannot be
    missed, and a picture drawn twice helps itself. So `at_pictures` leaves the ranking as it is.
    """
    places = np.flatnonzero(labels >= 0)
    values = {name: np.full(len(text_vectors), np.nan) for name in name_measures()}
    at_pictures = np.full(len(labels), np.nan)
    n_relevant = np.bincount(labels[places], minlength=len(text_vectors)).astype(float)
    for start in range(0, len(text_vectors), BLOCK):
        block = slice(start, min(start + BLOCK, len(text_vectors)))
        scores = text_vectors[block] @ vectors[places].T
        relevant = labels[places][None, :] == np.arange(block.start, block.stop)[:, None]
        for name, found in _measure_ranking(scores, relevant).items():
            values[name][block] = found
        rows, columns = np.nonzero(relevant)
        at_pictures[places[columns]] = measure_precision_at_hits(scores, relevant)[rows, columns]
    asked = n_relevant[n_relevant > 0]
    expected = _expect_ranking(asked, np.full(len(asked), float(len(places))))
    chance = {name: float(values.mean()) for name, values in expected.items()}
    return NameSearch(values=values, at_pictures=at_pictures, chance=chance)


def search_by_word(
    text_vector: Float32[np.ndarray, " d"],
    vectors: Float32[np.ndarray, "n d"],
    wanted: Bool[np.ndarray, " n"],
    among: Bool[np.ndarray, " n"],
    resampling: Resampling,
) -> WordSearch:
    """One text asks for the wanted pictures among many.

    The occurrences searched among are resampled: the interval is that of the same text asked of another collection of
    this kind. An occurrence drawn twice stands in the ranking twice, tied with itself. Fit for words that many pictures
    answer to; see `search_by_names` for the others.

    Args:
        text_vector: of the text.
        vectors: unit vectors of the pictures.
        wanted: what should be found.
        among: what is searched among.
        resampling: of all pictures.
    """
    places = np.flatnonzero(among)
    ranking = _Ranking.of(vectors[places] @ text_vector, wanted[places], resampling.groups[places])
    whole = ranking.measure(np.ones((1, resampling.n_groups), np.float32))
    blocks = [ranking.measure(weights) for weights in resampling.blocks()]
    estimates = {
        name: widen_certainty(
            summarise_draws(
                float(value[0]),
                np.concatenate([block[name] for block in blocks]),
                n_groups=ranking.count_groups(name),
            ),
            n_trials=ranking.count_trials(name),
        )
        for name, value in whole.items()
    }
    expected = _expect_ranking(np.array([float(wanted[places].sum())]), np.array([float(len(places))]))
    return WordSearch(estimates=estimates, chance={name: float(expected[name][0]) for name in estimates})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranking:
    """The answers to one text, best first, ready to be measured under weights.

    Attributes:
        groups: occurrence of each answer.
        is_relevant: whether it should be found.
        tie_ends: the place of the last answer of each score.
        found: places of the relevant ones.
        ends: of each place in `found`, the place of the last answer that scores the same.
        hits_before: of each place in `found`, how many of `found` stand at or before its end.
    """

    groups: Int64[np.ndarray, " n"]
    is_relevant: Bool[np.ndarray, " n"]
    tie_ends: Int64[np.ndarray, " t"]
    found: Int64[np.ndarray, " r"]
    ends: Int64[np.ndarray, " r"]
    hits_before: Int64[np.ndarray, " r"]

    @classmethod
    def of(
        cls, scores: Float32[np.ndarray, " n"], relevant: Bool[np.ndarray, " n"], groups: Int64[np.ndarray, " n"]
    ) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        found = np.flatnonzero(relevant[order])
        ends = np.searchsorted(-scores[order], -scores[order][found], side="right") - 1
        return cls(
            groups=groups[order],
            is_relevant=relevant[order],
            tie_ends=np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1),
            found=found,
            ends=ends,
            hits_before=np.searchsorted(found, ends, side="right") - 1,
        )

    def measure(self, weights: Float32[np.ndarray, "b g"]) -> dict[str, Float64[np.ndarray, " b"]]:
        """Average precision and precision@k in each draw; nan in a draw that holds nothing relevant."""
        counts = weights[:, self.groups]
        upto = np.cumsum(counts, axis=1)
        own = counts[:, self.found]
        n_found = own.sum(axis=1).astype(np.float64)
        hits = np.cumsum(own, axis=1)[:, self.hits_before]
        above = upto[:, self.ends]
        precision = np.divide(hits, above, out=np.zeros_like(hits), where=above > 0)
        is_there = n_found > 0
        average = np.divide((own * precision).sum(axis=1), n_found, out=np.full(len(own), np.nan), where=is_there)
        first = np.where(is_there, self._count_first(counts, PRECISION_AT) / PRECISION_AT, np.nan)
        return {MAP: average, f"precision@{PRECISION_AT}": first}

    def count_groups(self, measure: str) -> int:
        """Occurrences whose draw moves a measure: those to be found, or all."""
        return len(np.unique(self.groups[self.found] if measure == MAP else self.groups))

    def count_trials(self, measure: str) -> int:
        """Occurrences that a measure rests on: those to be found, or those that stand first."""
        counted = self.groups[self.found] if measure == MAP else self.groups[:PRECISION_AT]
        return len(np.unique(counted))

    def _count_first(self, counts: Float32[np.ndarray, "b n"], k: int) -> Float64[np.ndarray, " b"]:
        """Relevant answers among the first k of each draw, the mean over all orders of tied ones."""
        # Occurrences that a draw leaves out push the k-th back; two thirds are in, so a few k nearly always suffice.
        near = self.tie_ends[: int(np.searchsorted(self.tie_ends, 8 * k + 64)) + 1]
        if not (counts[:, : near[-1] + 1].sum(axis=1) >= k).all():
            near = self.tie_ends
        counts = counts[:, : near[-1] + 1]
        relevant = counts * self.is_relevant[: near[-1] + 1]
        upto, found = (np.cumsum(table, axis=1)[:, near] for table in (counts, relevant))
        tied, hits, taken = (np.diff(table, axis=1, prepend=0) for table in (upto, found, np.minimum(upto, k)))
        shares = np.divide(hits, tied, out=np.zeros_like(hits), where=tied > 0)
        counted: Float64[np.ndarray, " b"] = (taken * shares).sum(axis=1).astype(np.float64)
        return counted
