"""Retrieval: the nearest rows that may stand in an answer, as many as are wanted or as there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from explorer.diversity import NOT_SPREAD, Candidates, Diversity, admit, pick_diverse
from explorer.snapshot import Snapshot
from indexer.index.calibration import Similarity
from indexer.index.facts import Modality
from indexer.removals import is_among

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int64

_GROWTH = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be found.

    Attributes:
        n: rows at most.
        allowed: rows that may answer, ascending and none of them removed; None is every one.
        all_images: whether the images of one occurrence each take a place.
        diversity: how the answer is spread out.
        similarity: by which queries without a text are answered; those with one always by the raw cosine.
    """

    n: int
    allowed: Int64[np.ndarray, " m"] | None = None
    all_images: bool = False
    diversity: Diversity = NOT_SPREAD
    similarity: Similarity = Similarity.CALIBRATED

    @property
    def n_pool(self) -> int:
        """Rows that are looked for, from which `n` are picked."""
        return self.diversity.pool_size(self.n)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Rows that answer a query, best first.

    Attributes:
        scores: cosines; descending unless the rows were picked for diversity.
        is_exact: whether everything that may answer was compared.
        recall: 1 where it was; else as measured when the index was built, None where it was not measured.
        is_complete: whether nothing could be added, however many were wanted.
    """

    rows: Int64[np.ndarray, " n"]
    scores: Float32[np.ndarray, " n"]
    is_exact: bool
    recall: float | None
    is_complete: bool


def find_nearest(
    seen: Snapshot,
    vectors: Float32[np.ndarray, "q d"],
    modalities: Sequence[Modality],
    excluded: Sequence[Int64[np.ndarray, " o"]],
    wanted: Wanted,
) -> list[Ranking]:
    """What answers each query vector; `excluded` gives, for each, the rows that may not, ascending."""
    import numpy as np

    fetch = wanted.n_pool + max((len(rows) for rows in excluded), default=0)
    rankings: dict[int, Ranking] = {}
    for modality in Modality:
        asked = [i for i, found in enumerate(modalities) if found is modality]
        pages = _ask_index(seen, vectors[np.array(asked, int)], modality, fetch, wanted) if asked else []
        for i, page in zip(asked, pages, strict=True):
            rankings[i] = _Answering(seen, vectors[i], modality, excluded[i], wanted).go_on(page, fetch)
    return [rankings[i] for i in range(len(vectors))]


def find_above(
    seen: Snapshot,
    vector: Float32[np.ndarray, " d"],
    modality: Modality,
    least: float,
    excluded: Int64[np.ndarray, " o"],
    wanted: Wanted,
) -> Ranking:
    """Every row that scores `least` or more, exactly; several images of an occurrence are not put together yet."""
    similarity = choose_similarity(wanted.similarity, modality)
    found = seen.index.search_above(vector, least, allowed=wanted.allowed, hidden=seen.removed, similarity=similarity)
    keep = ~is_among(found.rows[0], excluded)
    return Ranking(rows=found.rows[0][keep], scores=found.scores[0][keep], is_exact=True, recall=1.0, is_complete=True)


def choose_similarity(asked: Similarity, modality: Modality) -> Similarity:
    """Which cosine answers: calibration is of images, and texts found less by it in every way that was tried."""
    return asked if modality is Modality.IMAGE else Similarity.RAW


def choose_rows(seen: Snapshot, ranking: Ranking, excluded: Int64[np.ndarray, " o"], wanted: Wanted) -> Ranking:
    """The rows of a ranking that make the answer."""
    import numpy as np

    places = _admit(seen, ranking, excluded, wanted)
    if wanted.diversity.diverse:
        vectors = seen.indexed.read_vectors(ranking.rows[places])
        places = places[pick_diverse(ranking.scores[places], vectors, wanted.n, wanted.diversity.diverse)]
    return _take(ranking, np.asarray(places[: wanted.n]))


def score_rows_of(
    seen: Snapshot, vector: Float32[np.ndarray, " d"], rows: Int64[np.ndarray, " m"], similarity: Similarity
) -> Float32[np.ndarray, " m"]:
    """The exact score of each given row with a query vector; nan where the index does not hold it."""
    import numpy as np

    found = seen.index.search(vector[None], max(len(rows), 1), allowed=np.unique(rows), similarity=similarity)
    is_hit = found.rows[0] >= 0
    held, scores = found.rows[0][is_hit], found.scores[0][is_hit]
    order = np.argsort(held)
    result = np.full(len(rows), np.nan, np.float32)
    is_held = is_among(rows, held[order])
    result[is_held] = scores[order][np.searchsorted(held[order], rows[is_held])]
    return result


def _admit(
    seen: Snapshot, ranking: Ranking, excluded: Int64[np.ndarray, " o"], wanted: Wanted
) -> Int64[np.ndarray, " p"]:
    rows, diversity = ranking.rows, wanted.diversity
    candidates = Candidates(
        scores=ranking.scores,
        occurrences=None if wanted.all_images else seen.indexed.occurrences[rows],
        species=seen.indexed.species[rows] if diversity.per_species else None,
        vectors_at=lambda places: seen.indexed.read_vectors(rows[places]),
        seeds=seen.indexed.read_vectors(excluded) if diversity.no_duplicates and len(excluded) else None,
    )
    return admit(candidates, wanted.n_pool, diversity)


def _take(ranking: Ranking, places: Int64[np.ndarray, " p"]) -> Ranking:
    return replace(ranking, rows=ranking.rows[places], scores=ranking.scores[places])


def _ask_index(
    seen: Snapshot,
    vectors: Float32[np.ndarray, "q d"],
    modality: Modality,
    fetch: int,
    wanted: Wanted,
) -> list[Ranking]:
    """The nearest rows of each query as the index gives them."""
    allowed, similarity = wanted.allowed, choose_similarity(wanted.similarity, modality)
    found = seen.index.search(
        vectors, fetch, allowed=allowed, hidden=seen.removed, modality=modality, similarity=similarity
    )
    n_available = len(seen.rows) if allowed is None else len(allowed)
    pages = []
    for rows, scores in zip(found.rows, found.scores, strict=True):
        is_row = rows >= 0
        pages.append(
            Ranking(
                rows=rows[is_row],
                scores=scores[is_row],
                is_exact=found.is_exact,
                recall=found.recall,
                is_complete=fetch >= n_available,
            )
        )
    return pages


class _Answering:
    """One query under way: asks for more until enough may stand beside each other, or there is no more."""

    def __init__(
        self,
        seen: Snapshot,
        vector: Float32[np.ndarray, " d"],
        modality: Modality,
        excluded: Int64[np.ndarray, " o"],
        wanted: Wanted,
    ) -> None:
        self._seen = seen
        self._vector = vector
        self._modality = modality
        self._excluded = excluded
        self._wanted = wanted
        self._allowed = wanted.allowed
        self._settled: Ranking | None = None

    def go_on(self, page: Ranking, fetch: int) -> Ranking:
        """The answer that begins with what the index gave first for `fetch` rows."""
        while True:
            ranking = self._join(page)
            places = _admit(self._seen, ranking, self._excluded, self._wanted)
            if len(places) >= self._wanted.n_pool or page.is_complete:
                return choose_rows(self._seen, ranking, self._excluded, self._wanted)
            if not self._leave_out_full_species(ranking, places):
                fetch *= _GROWTH
            wanted = replace(self._wanted, allowed=self._allowed)
            (page,) = _ask_index(self._seen, self._vector[None], self._modality, fetch, wanted)

    def _join(self, page: Ranking) -> Ranking:
        """What is settled and what the index gave, less what may not answer, best first."""
        import numpy as np

        keep = ~is_among(page.rows, self._excluded)
        rows, scores = page.rows[keep], page.scores[keep]
        if self._settled is None:
            return replace(page, rows=rows, scores=scores)
        rows = np.concatenate([self._settled.rows, rows])
        scores = np.concatenate([self._settled.scores, scores])
        order = np.argsort(-scores, kind="stable")
        is_exact = page.is_exact and self._settled.is_exact
        recall = page.recall if is_exact or self._settled.is_exact else self._settled.recall
        return replace(page, rows=rows[order], scores=scores[order], is_exact=is_exact, recall=recall)

    def _leave_out_full_species(self, ranking: Ranking, places: Int64[np.ndarray, " p"]) -> bool:
        """Search on without the species that have all the hits they may have; whether there were any new ones.

        Otherwise a large species near the query would have to be fetched whole to get behind it.
        """
        import numpy as np

        most = self._wanted.diversity.per_species
        if most is None:
            return False
        species = self._seen.indexed.species
        of_admitted = species[ranking.rows[places]]
        names, counts = np.unique(of_admitted[of_admitted >= 0], return_counts=True)
        full = names[counts >= most]
        before = self._seen.rows if self._allowed is None else self._allowed
        self._settled = _take(ranking, places[is_among(of_admitted, full)])
        self._allowed = before[~is_among(species[before], full)]
        return len(self._allowed) < len(before)
