"""Requests: how a question is to be answered, and what is said where the answer is shorter than was asked."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.diversity import NOT_SPREAD, Diversity
from explorer.filters import EVERY_RECORD, Filter
from indexer.errors import QueryError

N_HITS = 10


@dataclass(frozen=True, kw_only=True)
class Request:
    """What may answer, and how much of it. QueryError for a value that has no meaning.

    Attributes:
        k: hits wanted; fewer come back only where fewer may answer. None is `N_HITS`, or every one where `above` says
            where to stop.
        record_filter: which records may answer; applied before the search.
        all_images: several images of one occurrence each take a place; otherwise the best stands for all.
        include_queried: whether records that the query names may answer it.
        diversity: how the answer is spread out.
        above: the percentile that a hit must reach (see `explorer.search.Hit`), in [0, 100]; found exactly. None is no
            bound.
    """

    k: int | None = None
    record_filter: Filter = EVERY_RECORD
    all_images: bool = False
    include_queried: bool = False
    diversity: Diversity = NOT_SPREAD
    above: float | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise QueryError(f"-k {self.k}: at least 1 hit must be asked for.")
        if self.above is None:
            return
        if not 0 <= self.above <= 100:
            raise QueryError(f"--above {self.above:g}: a percentile from 0 to 100 is allowed, e.g. --above 99.9")
        if self.k is None and self.diversity.diverse:
            raise QueryError("--diverse: picks among what is found, so it needs a number of hits. Give -k too.")

    @property
    def n_wanted(self) -> int | None:
        """The most hits that may come back; None where all that reach `above` may."""
        return N_HITS if self.k is None and self.above is None else self.k

    def explain_shortage(self, n_hits: int, n_matching: int) -> str | None:
        """Why there are fewer hits than were asked for; None where there are as many."""
        if self.n_wanted is not None and n_hits >= self.n_wanted:
            return None
        if not n_matching:
            return "no hit: no record passes the filter"
        reach = f" reach percentile {self.above:g}" if self.above is not None else " match"
        spread = self.diversity.describe()
        limits = f" with {spread}" if spread else ""
        may_answer = f"({n_matching:,} images may answer)"
        if self.n_wanted is None:
            return None if n_hits else f"no hit: no records{reach}{limits} {may_answer}"
        return f"only {n_hits} hits: no more records{reach}{limits} {may_answer}"
