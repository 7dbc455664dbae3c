"""How a search is answered: exactly where that is cheap, else through the lists of codes. The costs live here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from indexer.index.facts import IndexFacts, Modality
from indexer.index.selections import Selection

REFERENCE_DIMENSION = 768
"""The costs below were measured with vectors of this dimension; they grow with it."""

SCAN_COST = 0.16
"""Microseconds to compare a query with one float16 vector of a contiguous range, on one AVX2 core."""

GATHER_COST = 0.45
"""Microseconds to fetch one scattered vector from mapped memory and compare it."""

MARKED_COST = 0.009
"""Microseconds to look up in a bitmap whether one vector may answer."""

SPAN_COST = 60.0
"""Microseconds to begin another range."""

LISTS_COST = 5_000.0
"""Microseconds that a filtered search through the lists takes; what can be compared in that time is."""

CANDIDATES_PER_HIT = 40
"""Candidates per hit asked for that are compared at most, however few vectors may answer."""

MAX_CANDIDATES = 4_000
"""Candidates that are compared at most where 10 hits are asked for; a query that is not sure of them is scanned."""

MAX_CANDIDATE_SHARE = 0.25
"""Share of all vectors from which on comparing candidates is no gain over comparing everything."""


class Plan(StrEnum):
    """How a search is answered.

    `EXACT`: every vector compared. `RANGE`: every allowed vector compared, where they lie together. `SUBSET`: every
    allowed vector compared, wherever they lie. `LISTS`: the nearest lists of codes visited, the best candidates
    compared. `FILTERED_LISTS`: the same, visiting lists until enough allowed codes were seen.
    """

    EXACT = "exact"
    RANGE = "range"
    SUBSET = "subset"
    LISTS = "ivf"
    FILTERED_LISTS = "ivf-filtered"

    @property
    def is_exact(self) -> bool:
        """Whether everything that may answer is compared."""
        return self not in (Plan.LISTS, Plan.FILTERED_LISTS)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How wide a filtered search through the lists goes.

    Attributes:
        max_codes: allowed codes after which no further list is visited.
        n_candidates: of the best estimates, how many may be compared.
    """

    max_codes: int
    n_candidates: int


def plan_search(facts: IndexFacts, selection: Selection, *, is_filtered: bool, k: int) -> Plan:
    """How k rows of a selection are found; without a filter the selection is everything but the removed records."""
    exact = plan_scan(selection, is_filtered=is_filtered)
    if facts.is_exact:
        return exact
    widest = CANDIDATES_PER_HIT if is_filtered else max(found.refine_factor for found in facts.parameters.values())
    if k * widest >= MAX_CANDIDATE_SHARE * selection.n:
        return exact
    if is_filtered:
        return exact if estimate_scan(selection, facts.dimension) <= LISTS_COST else Plan.FILTERED_LISTS
    return Plan.LISTS


def plan_scan(selection: Selection, *, is_filtered: bool) -> Plan:
    """How everything in a selection is compared."""
    if not is_filtered:
        return Plan.EXACT
    return Plan.SUBSET if selection.spans is None else Plan.RANGE


def plan_reach(facts: IndexFacts, n_allowed: int, k: int, modality: Modality) -> Reach:
    """How wide the lists are searched under a filter that lets so many vectors answer.

    Twice the share of lists that is visited without a filter: what may answer lies further from the query.
    """
    n_candidates = max(CANDIDATES_PER_HIT * k, min(n_allowed // 50, MAX_CANDIDATES))
    share = 2 * facts.settings_for(modality).n_probe / facts.n_lists
    return Reach(max_codes=max(n_candidates, int(share * n_allowed)), n_candidates=min(n_candidates, n_allowed))


def estimate_scan(selection: Selection, dimension: int) -> float:
    """Microseconds to compare one query with all of a selection."""
    scale = dimension / REFERENCE_DIMENSION
    if selection.spans is not None:
        return SPAN_COST * len(selection.spans) + scale * SCAN_COST * selection.n
    marked = MARKED_COST * selection.n_index + scale * SCAN_COST * selection.n
    return SPAN_COST + min(scale * GATHER_COST * selection.n, marked)


def is_dense(selection: Selection, dimension: int) -> bool:
    """Whether scattered positions are compared faster by a walk over all vectors than by fetching them."""
    return (GATHER_COST - SCAN_COST) * selection.n * dimension / REFERENCE_DIMENSION > MARKED_COST * selection.n_index
