"""Similarity: the score of given records with a query, where a search would only give the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from explorer.query import Query
from explorer.retrieval import score_rows_of
from explorer.search import Searcher

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Scores beside rows.

    Attributes:
        rows: ascending; those of the asked that are indexed.
        scores: cosine with the query.
        percentiles: as `explorer.search.Hit` explains.
    """

    rows: Int64[np.ndarray, " n"]
    scores: Float32[np.ndarray, " n"]
    percentiles: Float64[np.ndarray, " n"]

    def by_row(self) -> dict[int, tuple[float, float]]:
        """Score and percentile of each row."""
        triples = zip(self.rows.tolist(), self.scores.tolist(), self.percentiles.tolist(), strict=True)
        return {row: (score, percentile) for row, score, percentile in triples}


def score_rows(searcher: Searcher, query: Query, rows: Int64[np.ndarray, " m"]) -> Similarity:
    """The exact similarity of each given row; every one is compared, whatever the index."""
    import numpy as np

    vector, seen = searcher.encode(query), searcher.look()
    scores = score_rows_of(seen, vector, rows, searcher.similarity_of(query))
    is_held = ~np.isnan(scores)
    order = np.argsort(rows[is_held])
    held, scores = rows[is_held][order], scores[is_held][order]
    return Similarity(rows=held, scores=scores, percentiles=searcher.rate(seen, query, vector, scores))
