"""Fusion: one answer out of several spaces, each of which ranks the records in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from explorer.query import Query
from explorer.request import Request
from explorer.retrieval import Ranking, Wanted, choose_rows, find_nearest, score_rows_of
from explorer.search import Hit, Searcher, SearchResult, Standing
from explorer.snapshot import Snapshot
from indexer.errors import QueryError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

RANK_OFFSET = 60
"""The k of reciprocal rank fusion, as Cormack et al. found it to do well and left it."""

DEPTH = 1_000
"""How many records of each space take part, if not ten times as many as hits are wanted; a rank beyond adds < 0.001."""


class Fusion(StrEnum):
    """How the spaces are put together.

    `RANK`: reciprocal rank fusion, the sum over spaces of 1 / (60 + rank) (Cormack, Clarke & Büttcher 2009, SIGIR,
    758-759); no score of one space is compared with another's. `PERCENTILE`: the mean over spaces of the percentile,
    which says how near a record is and not only how many are nearer; equal ones by reciprocal rank. A space that does
    not hold a record counts as 0 in both.
    """

    RANK = "rank"
    PERCENTILE = "percentile"


@dataclass(frozen=True, kw_only=True)
class SpaceQuery:
    """A query as one space is asked: what stands for an image there is a vector of that space."""

    searcher: Searcher
    query: Query


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A space that was asked, and what it ranks.

    Attributes:
        keys: what each row stands for: the number of its occurrence, or itself.
    """

    searcher: Searcher
    query: Query
    seen: Snapshot
    vector: Float32[np.ndarray, " d"]
    allowed: Int64[np.ndarray, " m"] | None
    ranking: Ranking
    keys: Int64[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class _Votes:
    """What each space says of every candidate.

    Attributes:
        rows: what stands for each candidate: the image that is ranked highest in any space.
        ranks: by space and candidate; 0 where the space did not rank it.
        scores, percentiles: of the image ranked there, else of the one that stands for the candidate; nan where the
            space does not hold it.
    """

    rows: Int64[np.ndarray, " c"]
    ranks: Int64[np.ndarray, "s c"]
    scores: Float64[np.ndarray, "s c"]
    percentiles: Float64[np.ndarray, "s c"]


def search_spaces(asked: Sequence[SpaceQuery], request: Request, *, fusion: Fusion = Fusion.RANK) -> SearchResult:
    """The records that all spaces together put first.

    Each space ranks what the request allows; images of one occurrence are put together before, so that a rank counts
    occurrences. What makes the answer diverse compares vectors of the first space.

    Args:
        asked: spaces of one corpus, each at most once; with one, this is `Searcher.answer`.
        request: how the question is to be answered; QueryError for `above`, which one space alone can say.
        fusion: how ranks become one.
    """
    if len(asked) == 1:
        return asked[0].searcher.answer([asked[0].query], request)[0]
    _check(asked, request)
    n_wanted = request.n_wanted or 1
    depth = max(DEPTH, 10 * request.diversity.pool_size(n_wanted))
    vectors = [one.searcher.encode(one.query) for one in asked]
    while True:
        spaces = [_ask(one, vector, request, depth) for one, vector in zip(asked, vectors, strict=True)]
        votes = _collect(spaces)
        chosen, shares = _choose(spaces, votes, request, fusion)
        if len(chosen) >= n_wanted or all(space.ranking.is_complete for space in spaces):
            return _describe(spaces, votes, chosen, shares, request)
        depth *= 4


def fuse_ranks(ranks: Int64[np.ndarray, "s c"]) -> Float64[np.ndarray, " c"]:
    """Reciprocal rank fusion of ranks by space and candidate; 0 stands for not ranked, which adds nothing."""
    import numpy as np

    shares: Float64[np.ndarray, " c"] = np.where(ranks > 0, 1 / (RANK_OFFSET + ranks), 0.0).sum(axis=0)
    return shares


def fuse_percentiles(percentiles: Float64[np.ndarray, "s c"]) -> Float64[np.ndarray, " c"]:
    """The mean over spaces of the percentiles by space and candidate; nan counts as 0."""
    import numpy as np

    means: Float64[np.ndarray, " c"] = np.nan_to_num(percentiles, nan=0.0).mean(axis=0)
    return means


def _check(asked: Sequence[SpaceQuery], request: Request) -> None:
    names = [one.searcher.space.name for one in asked]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise QueryError(f"--space {repeated}: named twice. Name each space once.")
    if request.above is not None:
        raise QueryError(
            f"--above: a percentile of one space, and {len(names)} are asked ({', '.join(names)}). Name one --space."
        )


def _ask(one: SpaceQuery, vector: Float32[np.ndarray, " d"], request: Request, depth: int) -> _Asked:
    import numpy as np

    searcher, query, seen = one.searcher, one.query, one.searcher.look()
    allowed = searcher.find_allowed(seen, request.record_filter)
    wanted = Wanted(n=depth, allowed=allowed, all_images=request.all_images, similarity=searcher.similarity)
    (excluded,) = searcher.find_excluded([query], request)
    (ranking,) = find_nearest(seen, vector[None], [query.modality], [excluded], wanted)
    keys = np.asarray(ranking.rows if request.all_images else seen.indexed.occurrences[ranking.rows])
    return _Asked(searcher=searcher, query=query, seen=seen, vector=vector, allowed=allowed, ranking=ranking, keys=keys)


def _collect(spaces: Sequence[_Asked]) -> _Votes:
    import numpy as np

    keys = np.unique(np.concatenate([space.keys for space in spaces]))
    ranks = np.zeros((len(spaces), len(keys)), np.int64)
    ranked_rows = np.full((len(spaces), len(keys)), -1)
    scores = np.full((len(spaces), len(keys)), np.nan)
    for i, space in enumerate(spaces):
        places = np.searchsorted(keys, space.keys)
        ranks[i, places] = np.arange(1, len(places) + 1)
        ranked_rows[i, places] = space.ranking.rows
        scores[i, places] = space.ranking.scores
    best = np.where(ranks > 0, ranks, np.iinfo(np.int64).max).argmin(axis=0)
    rows = ranked_rows[best, np.arange(len(keys))]
    percentiles = np.empty_like(scores)
    for i, space in enumerate(spaces):
        is_left = ranks[i] == 0
        scores[i, is_left] = score_rows_of(
            space.seen, space.vector, rows[is_left], space.searcher.similarity_of(space.query)
        )
        percentiles[i] = space.searcher.rate(space.seen, space.query, space.vector, scores[i].astype(np.float32))
        percentiles[i, np.isnan(scores[i])] = np.nan
    return _Votes(rows=rows, ranks=ranks, scores=scores, percentiles=percentiles)


def _choose(
    spaces: Sequence[_Asked], votes: _Votes, request: Request, fusion: Fusion
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " c"]]:
    """The candidates that make the answer, best first, and the fused score of every candidate."""
    import numpy as np

    by_rank = fuse_ranks(votes.ranks)
    shares = by_rank if fusion is Fusion.RANK else fuse_percentiles(votes.percentiles)
    order = np.lexsort((votes.rows, votes.ranks[0] == 0, -by_rank, -shares))
    first = spaces[0]
    ranking = Ranking(
        rows=votes.rows[order], scores=shares[order].astype(np.float32), is_exact=True, recall=1.0, is_complete=True
    )
    n_wanted = request.n_wanted or 1
    (excluded,) = first.searcher.find_excluded([first.query], request)
    # Occurrences are put together already: each candidate is one of its own.
    wanted = Wanted(n=n_wanted, all_images=True, diversity=request.diversity)
    chosen = choose_rows(first.seen, ranking, excluded, wanted).rows
    by_row = np.argsort(votes.rows)
    return by_row[np.searchsorted(votes.rows[by_row], chosen)], shares


def _describe(
    spaces: Sequence[_Asked],
    votes: _Votes,
    chosen: Int64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " c"],
    request: Request,
) -> SearchResult:
    import numpy as np

    first = spaces[0]
    means = fuse_percentiles(votes.percentiles)
    allowed = _unite(spaces)
    found = (votes.rows[chosen], shares[chosen].astype(np.float32))
    (hits,) = first.searcher.describe_hits(first.seen, [found], [means[chosen]], allowed)
    shortage = request.explain_shortage(len(hits), len(allowed))
    waiting = [
        f"space {space.searcher.space.name}: {note}"
        for space in spaces
        if (note := space.searcher.explain_waiting(space.seen))
    ]
    recalls = [space.ranking.recall for space in spaces]
    return SearchResult(
        query=first.query,
        hits=tuple(_with_standings(hit, spaces, votes, at) for hit, at in zip(hits, chosen.tolist(), strict=True)),
        n_matching=len(allowed),
        is_exact=all(space.ranking.is_exact for space in spaces),
        recall=None if None in recalls else min(recall for recall in recalls if recall is not None),
        notes=(*([shortage] if shortage else []), *waiting),
    )


def _unite(spaces: Sequence[_Asked]) -> Int64[np.ndarray, " m"]:
    """The rows that may answer in any of the spaces, ascending."""
    import numpy as np

    return np.unique(np.concatenate([space.seen.rows if space.allowed is None else space.allowed for space in spaces]))


def _with_standings(hit: Hit, spaces: Sequence[_Asked], votes: _Votes, at: int) -> Hit:
    standings = tuple(
        Standing(
            space=space.searcher.space.name,
            rank=int(votes.ranks[i, at]) or None,
            score=float(votes.scores[i, at]),
            percentile=float(votes.percentiles[i, at]),
        )
        for i, space in enumerate(spaces)
    )
    return replace(hit, standings=standings)
