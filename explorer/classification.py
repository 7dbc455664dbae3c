"""Classification: which taxon a picture shows, as far down the ranks as the corpus can tell, with honest confidence.

Neighbours, names or both vote (`explorer.votes`); the heaviest lineage is followed down (`explorer.taxonomy`); what a
share of the votes is worth is learned from held-out occurrences (`explorer.held_out`, `explorer.reliability`). The
answer is the deepest rank whose confidence reaches a floor. Where even the nearest record is no nearer than random
pairs of records often are, there is no answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from explorer.electorate import (
    Electorate,
    Question,
    Scope,
    call_voters,
    cast_votes,
    find_voters,
    leave_out,
    list_decisive,
    score_left_out_names,
    score_names,
)
from explorer.held_out import expect_unseen, hold_out
from explorer.reliability import Answers, fit_ranks, rate_answers
from explorer.reliability_store import Reliability, keep_reliability, make_key, read_reliability
from explorer.search import Searcher
from explorer.snapshot import LatestSnapshot, Snapshot
from explorer.taxonomy import N_RANKS, Descent, Taxonomy
from explorer.votes import Ballot, tune_rule
from indexer.errors import QueryError
from indexer.terms import RANKS
from indexer.vectors import read_vectors

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

FLOOR = 0.8
ORDINARY = 95.0
"""Percentile of the nearest record below which nothing is named. Not nearer to 100: of 30 equal species 3 % of random
pairs are of one species, and the nearest relative of a new species lies below those."""
ORDINARY_SHARE = 0.01
"""Held-out occurrences that the level may pass over at most; it is lowered until it does."""


class Verdict(StrEnum):
    """What can be said."""

    NAMED = "named"
    UNSURE = "not sure"
    UNLIKE = "nothing like this here"


@dataclass(frozen=True, kw_only=True)
class RankAnswer:
    """The answer at one rank.

    Attributes:
        share: of the votes, in [0, 1].
        confidence: that it is right, in [0, 1]; None where the rank could not be calibrated.
    """

    rank: str
    name: str
    share: float
    confidence: float | None


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The nearest record that may vote; `percentile` is the share of random pairs of records that are less alike."""

    row: int
    record_id: str
    score: float
    percentile: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What a picture shows.

    Attributes:
        query_id: names the question.
        verdict: whether anything can be said.
        lineage: the heaviest lineage, highest rank first, as far down as any voter names it.
        answer: the deepest rank of it whose confidence reaches the floor; None unless the verdict is `named`.
        nearest: None where no record may vote.
    """

    query_id: str
    verdict: Verdict
    lineage: tuple[RankAnswer, ...]
    answer: RankAnswer | None
    nearest: Nearest | None


class Classifier:
    """Names pictures in one space. Calibrates itself when first asked and whenever the corpus has changed.

    Safe to ask from several threads.
    """

    def __init__(
        self, searcher: Searcher, scope: Scope | None = None, *, announce: Callable[[str], None] = lambda line: None
    ) -> None:
        self._searcher = searcher
        self._scope = scope or Scope()
        self._announce = announce
        self._latest = LatestSnapshot(searcher.corpus, searcher.space)
        self._lock = threading.Lock()
        self._ready: tuple[Electorate, Reliability] | None = None

    def reliability(self) -> Reliability:
        """How far the answers can be believed; fitted now where it is not kept."""
        return self._prepare()[1]

    def classify(
        self, questions: Sequence[Question], *, floor: float = FLOOR, ordinary: float | None = None
    ) -> list[Classification]:
        """What each picture shows.

        Args:
            questions: asked together.
            floor: confidence that an answer needs, in [0, 1].
            ordinary: percentile, in [0, 100], that the nearest record must reach for there to be an answer at all; None
                is `Reliability.ordinary`.
        """
        import numpy as np

        _check_share("--floor", floor, 1)
        _check_share("--ordinary", ordinary or 0, 100)
        if not questions:
            return []
        electorate, reliability = self._prepare()
        ordinary = reliability.ordinary if ordinary is None else ordinary
        vectors = np.stack([question.vector for question in questions])
        rows, scores = find_voters(electorate, questions, vectors)
        ballot = cast_votes(electorate, self._scope.method, rows, scores, score_names(electorate, vectors))
        descent = ballot.count(reliability.rule)
        confidence = rate_answers(descent, _closeness(ballot), reliability.ranks)
        nearest = self._describe_nearest(electorate.seen, rows[:, 0], scores[:, 0])
        return [
            _answer(question, electorate.taxonomy, descent, confidence, place, nearest[place], floor, ordinary)
            for place, question in enumerate(questions)
        ]

    def _prepare(self) -> tuple[Electorate, Reliability]:
        with self._lock:
            seen = self._latest.look()
            if self._ready is None or self._ready[0].seen.stamps != seen.stamps:
                electorate = call_voters(self._searcher, self._scope, seen, self._announce)
                self._ready = electorate, self._calibrate(electorate)
            return self._ready

    def _calibrate(self, electorate: Electorate) -> Reliability:
        """The kept calibration, else a new one, which is kept."""
        space, scope = self._searcher.space, self._scope
        digest = electorate.seen.index.digest
        key = make_key(digest, list_decisive(electorate, scope))
        kept = read_reliability(space, key)
        if kept is not None:
            return kept
        found = self._fit(electorate, digest)
        if not found.ranks and scope.describe():
            self._announce(
                f"{scope.describe()}: too few occurrences to calibrate on ({found.n_held_out}); confidences are those "
                "of the whole corpus"
            )
            whole = Scope(method=scope.method, novelty=scope.novelty)
            return Classifier(self._searcher, whole, announce=self._announce).reliability()
        self._announce(found.describe())
        try:
            keep_reliability(space, key, found)
        except OSError as error:
            self._announce(f"the calibration could not be kept and is fitted again next time ({error})")
        return found

    def _fit(self, electorate: Electorate, digest: str) -> Reliability:
        import numpy as np

        material, scope = electorate.material, self._scope
        held_out = hold_out(material, novelty=scope.novelty)
        self._announce(
            f"calibrating on {len(held_out.rows):,} held-out occurrences, each asked with its own taxa left out too"
        )
        rows, scores = leave_out(electorate, held_out)
        names = score_left_out_names(electorate, held_out, read_vectors(self._searcher.space, held_out.rows.tolist()))
        ballot = cast_votes(electorate, scope.method, rows, scores, names)
        own = material.lineages_of(held_out.rows)[held_out.question]
        as_is = np.flatnonzero(held_out.level == 0)
        rule = tune_rule(ballot.select(as_is), own[as_is])
        answers = Answers(
            descent=ballot.count(rule),
            closeness=_closeness(ballot),
            own=own,
            weights=held_out.weights,
            groups=held_out.question,
        )
        percentiles = electorate.seen.index.facts.background.percentiles(scores[as_is, 0])
        unseen = expect_unseen(material, novelty=scope.novelty)
        return Reliability(
            method=scope.method,
            restriction=scope.describe(),
            index_digest=digest,
            rule=rule,
            n_held_out=len(held_out.rows),
            unseen={RANKS[rank]: chance for rank, chance in unseen.items()},
            ordinary=_choose_ordinary(percentiles),
            ranks=fit_ranks(answers),
        )

    def _describe_nearest(
        self, seen: Snapshot, rows: Int64[np.ndarray, " q"], scores: Float32[np.ndarray, " q"]
    ) -> list[Nearest | None]:
        percentiles = seen.index.facts.background.percentiles(scores)
        found = [row for row in dict.fromkeys(rows.tolist()) if row >= 0]
        ids = self._searcher.corpus.read_rows(found, ["record_id"]).column("record_id").to_pylist() if found else []
        record_ids = dict(zip(found, ids, strict=True))
        return [
            Nearest(row=row, record_id=record_ids[row], score=score, percentile=percentile) if row >= 0 else None
            for row, score, percentile in zip(rows.tolist(), scores.tolist(), percentiles.tolist(), strict=True)
        ]


def _choose_ordinary(percentiles: Float64[np.ndarray, " q"]) -> float:
    """The level below which the nearest record of a question is ordinary, from those of held-out occurrences."""
    import numpy as np

    known = percentiles[~np.isnan(percentiles)]
    return float(min(ORDINARY, np.quantile(known, ORDINARY_SHARE))) if len(known) else 0.0


def _check_share(option: str, value: float, most: int) -> None:
    if not 0 <= value <= most:
        raise QueryError(f"{option} {value:g}: a number from 0 to {most} is allowed.")


def _closeness(ballot: Ballot) -> Float64[np.ndarray, "e v"]:
    import numpy as np

    return np.stack([votes.closeness() for votes in ballot.votes.values()], axis=1)


def _answer(
    question: Question,
    taxonomy: Taxonomy,
    descent: Descent,
    confidence: Float64[np.ndarray, "q 7"],
    place: int,
    nearest: Nearest | None,
    floor: float,
    ordinary: float,
) -> Classification:
    lineage = tuple(
        RankAnswer(
            rank=RANKS[rank],
            name=taxonomy.names[descent.path[place, rank]],
            share=float(descent.shares[place, rank]),
            confidence=None if confidence[place, rank] != confidence[place, rank] else float(confidence[place, rank]),
        )
        for rank in range(N_RANKS)
        if descent.path[place, rank] >= 0
    )
    found = Classification(
        query_id=question.query_id, verdict=Verdict.UNSURE, lineage=lineage, answer=None, nearest=nearest
    )
    if not lineage or (nearest is not None and nearest.percentile < ordinary):
        return replace(found, verdict=Verdict.UNLIKE)
    sure = [each for each in lineage if each.confidence is not None and each.confidence >= floor]
    return replace(found, verdict=Verdict.NAMED, answer=sure[-1]) if sure else found
