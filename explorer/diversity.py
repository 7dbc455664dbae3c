"""Diversity: which of the nearest records make an answer that does not say one thing many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.errors import QueryError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float32, Float64, Int64

DUPLICATE_SCORE = 0.98
"""Cosine from which two images count as one picture twice: a copy of another size or compression."""

POOL_FACTOR, POOL_LEAST = 10, 100
"""Maximal marginal relevance picks k of the 10 k nearest records, at least 100."""

_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How an answer is spread out; by default not at all. QueryError for a value that has no meaning.

    Attributes:
        per_species: most hits of one species (`species`, else `scientificName`); None is any number. Records without
            such a name are not limited.
        diverse: how much unlikeness to the hits before counts against nearness to the query, in [0, 1]; 0 is nearness
            alone. See `pick_diverse`.
        no_duplicates: leaves out what scores `DUPLICATE_SCORE` or more with a better hit or with a queried record.
    """

    per_species: int | None = None
    diverse: float = 0.0
    no_duplicates: bool = False

    def __post_init__(self) -> None:
        if self.per_species is not None and self.per_species < 1:
            raise QueryError(f"--per-species {self.per_species}: at least 1 hit of a species must be allowed.")
        if not 0 <= self.diverse <= 1:
            raise QueryError(f"--diverse {self.diverse:g}: from 0 (the nearest) to 1 (the most unlike) is allowed.")

    def pool_size(self, k: int) -> int:
        """How many records k hits are picked from."""
        return max(POOL_FACTOR * k, POOL_LEAST) if self.diverse else k

    def describe(self) -> str:
        """What is left out, in words; empty where nothing is. The pick among what is left leaves nothing out."""
        parts = [f"at most {self.per_species} of a species"] if self.per_species else []
        return " and ".join(parts + ["no near-duplicates"] * self.no_duplicates)


NOT_SPREAD = Diversity()


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What an answer is picked from, best first.

    Attributes:
        scores: nearness to the query, descending.
        occurrences: a number that the images of one occurrence share; None lets each stand for itself.
        species: a number that the records of a species share, negative where none is known; None where it is not asked.
        vectors_at: the unit vectors at given places among the candidates; called only where hits are compared.
        seeds: unit vectors that hits must not repeat either.
    """

    scores: Float32[np.ndarray, " n"]
    occurrences: Int64[np.ndarray, " n"] | None
    species: Int64[np.ndarray, " n"] | None
    vectors_at: Callable[[Int64[np.ndarray, " m"]], Float32[np.ndarray, "m d"]]
    seeds: Float32[np.ndarray, "s d"] | None = None


def admit(candidates: Candidates, n: int, diversity: Diversity) -> Int64[np.ndarray, " p"]:
    """The places of the n best candidates that may stand beside each other, best first.

    Walks down the candidates and admits each one unless a better one forbids it. So the answer depends on nothing below
    the last one admitted: more candidates only ever lengthen it.
    """
    import numpy as np

    places = np.arange(len(candidates.scores))
    if candidates.occurrences is not None:
        places = places[is_first(candidates.occurrences)]
    if not diversity.no_duplicates and (diversity.per_species is None or candidates.species is None):
        return places[:n]
    limit = _SpeciesLimit(candidates, diversity)
    pictures = _Pictures(candidates, diversity)
    admitted: list[int] = []
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        pictures.read(block)
        for i, place in enumerate(block.tolist()):
            if len(admitted) < n and limit.has_room(place) and pictures.is_new(i):
                admitted.append(place)
                limit.count(place)
                pictures.keep(i)
    return np.array(admitted, np.int64)


class _SpeciesLimit:
    def __init__(self, candidates: Candidates, diversity: Diversity) -> None:
        self._species = candidates.species if diversity.per_species is not None else None
        self._most = diversity.per_species or 0
        self._counts: dict[int, int] = {}

    def has_room(self, place: int) -> bool:
        return self._species is None or self._counts.get(int(self._species[place]), 0) < self._most

    def count(self, place: int) -> None:
        if self._species is not None and self._species[place] >= 0:
            name = int(self._species[place])
            self._counts[name] = self._counts.get(name, 0) + 1


class _Pictures:
    """The pictures that were admitted, and whether another is one of them again."""

    def __init__(self, candidates: Candidates, diversity: Diversity) -> None:
        self._vectors_at = candidates.vectors_at if diversity.no_duplicates else None
        self._kept = candidates.seeds

    def read(self, places: Int64[np.ndarray, " b"]) -> None:
        """Take a block of candidates up; they are then named by their place in it."""
        import numpy as np

        if self._vectors_at is None:
            return
        self._block = self._vectors_at(places)
        self._is_new = np.ones(len(places), bool)
        if self._kept is not None:
            self._leave_out(self._kept)

    def is_new(self, i: int) -> bool:
        return self._vectors_at is None or bool(self._is_new[i])

    def keep(self, i: int) -> None:
        import numpy as np

        if self._vectors_at is not None:
            own = self._block[i : i + 1]
            self._kept = own if self._kept is None else np.concatenate([self._kept, own])
            self._leave_out(own)

    def _leave_out(self, kept: Float32[np.ndarray, "m d"]) -> None:
        self._is_new &= ~(self._block @ kept.T >= DUPLICATE_SCORE).any(axis=1)


def is_first(labels: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether each label is the first of its kind."""
    import numpy as np

    first = np.zeros(len(labels), bool)
    first[np.unique(labels, return_index=True)[1]] = True
    return first


def pick_diverse(
    scores: Float32[np.ndarray, " n"], vectors: Float32[np.ndarray, "n d"], k: int, diverse: float
) -> Int64[np.ndarray, " p"]:
    """The places of k candidates by maximal marginal relevance, in the order in which they are picked.

    Carbonell & Goldstein (1998, SIGIR, 335-336): the next hit is the one of the greatest lambda * Sim1(candidate,
    query) - (1 - lambda) * max Sim2(candidate, picked), with lambda = 1 - `diverse`. Cosines of texts with images and
    of images with each other lie on different scales, and both on a narrow part of theirs; so that one `diverse` means
    the same in every space, Sim1 and Sim2 are stretched to [0, 1] over the candidates.

    Args:
        scores: nearness of each candidate to the query, descending.
        vectors: of unit length.
        k: how many are picked; all where there are fewer.
        diverse: in [0, 1].
    """
    import numpy as np

    n_picked = min(k, len(scores))
    if not n_picked:
        return np.empty(0, np.int64)
    likeness = vectors @ vectors.T
    off_diagonal = likeness[~np.eye(len(likeness), dtype=bool)]
    relevance = _stretch(scores, scores)
    redundancy = _stretch(likeness, off_diagonal)
    picked = [0]
    worst = redundancy[0].copy()
    while len(picked) < n_picked:
        merit = (1 - diverse) * relevance - diverse * worst
        merit[picked] = -np.inf
        picked.append(int(np.argmax(merit)))
        np.maximum(worst, redundancy[picked[-1]], out=worst)
    return np.array(picked, np.int64)


def _stretch(values: Float32[np.ndarray, "*shape"], over: Float32[np.ndarray, " m"]) -> Float64[np.ndarray, "*shape"]:
    """The values with the least of `over` at 0 and its greatest at 1; all 0 where these are equal."""
    import numpy as np

    low, high = (float(over.min()), float(over.max())) if over.size else (0.0, 0.0)
    if not high > low:
        return np.zeros(values.shape)
    stretched: Float64[np.ndarray, "*shape"] = (values.astype(np.float64) - low) / (high - low)
    return stretched
