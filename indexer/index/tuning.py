"""How widely an approximate index must be searched: recall@10 measured against exact search, and tuned to a goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.index.facts import RECALL_AT, Modality, Recall, SearchSettings
from indexer.index.lists import load_faiss
from indexer.index.matrix import read_blocks

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float16, Float32, Float64, Int64

RECALL_GOAL = 0.98
RECALL_QUERIES = 500

REFINE_FACTORS = {Modality.IMAGE: (2, 4, 8, 16, 40), Modality.TEXT: (4, 10, 20, 40)}
"""Candidates per hit that are tried, fewest first. At 100,000 x 768 images needed 4, texts 20 to 40 (0.84 at 4)."""

REFINE_COST = 10
"""What the exact score of a candidate costs, in short codes looked at: about 0.5 against 0.05 microseconds."""

# Neighbours beyond the tenth tell which records tie with it.
_TRUTH_DEPTH = 4 * RECALL_AT
_SAME_SCORE = 1e-6


@dataclass(frozen=True, kw_only=True)
class HeldQueries:
    """Queries whose true neighbours are known.

    Attributes:
        vectors: of unit length.
        own: the position of the record that a query is made from, which is no neighbour of itself; -1 for none.
        true_positions: of the nearest, best first; -1 beyond the last.
        is_true: which of those are among the 10 nearest, or tie with the tenth.
        described: what the queries are, in words.
    """

    vectors: Float32[np.ndarray, "q d"]
    own: Int64[np.ndarray, " q"]
    true_positions: Int64[np.ndarray, "q t"]
    is_true: Bool[np.ndarray, "q t"]
    described: str


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Settings found for a modality, and the recall measured there."""

    settings: SearchSettings
    recall: Recall


def hold_records(
    vectors: Float16[np.ndarray, "n d"], *, seed: int, start: int = 0, described: str = "records held out"
) -> HeldQueries:
    """Random records from position `start` on as queries (at most 500), with their true neighbours among all."""
    import numpy as np

    rng = np.random.default_rng(seed + 2)
    n = len(vectors) - start
    own = np.sort(start + rng.choice(n, min(RECALL_QUERIES, n), replace=False))
    return _hold(vectors, np.asarray(vectors[own], np.float32), own, described)


def hold_texts(vectors: Any, queries: Float32[np.ndarray, "q d"], described: str) -> HeldQueries:
    """The vectors of texts as queries, with their true neighbours among the vectors of `Matrix.raw`."""
    import numpy as np

    return _hold(vectors, queries, np.full(len(queries), -1), described)


def tune(index: Any, queries: HeldQueries, modality: Modality, *, goal: float, seed: int) -> Tuned:
    """The cheapest search (lists visited, candidates refined) that reaches the goal; the best there is where none does.

    Lists are doubled. One search per number of lists gives the recall of every refine factor: a true neighbour is
    found where it stands among the candidates, because their exact scores decide then.

    Args:
        index: a FAISS IVF index whose ids are positions.
        queries: to measure on.
        modality: what the queries are made from.
        goal: recall@10 in (0, 1].
        seed: of the interval.
    """
    factors = REFINE_FACTORS[modality]
    best: tuple[tuple[bool, float, float], SearchSettings, Float64[np.ndarray, " q"]] | None = None
    n_probe = 1
    while True:
        candidates = _find_candidates(index, queries, n_probe, max(factors))
        codes = n_probe * index.ntotal / index.nlist
        for factor in factors:
            found = _measure(candidates, queries, factor)
            is_met, cost = bool(found.mean() >= goal), codes + REFINE_COST * RECALL_AT * factor
            merit = (is_met, 0.0 if is_met else float(found.mean()), -cost)
            if best is None or merit > best[0]:
                best = merit, SearchSettings(n_probe=n_probe, refine_factor=factor), found
        if n_probe == index.nlist or (best and best[0][0] and 2 * codes > -best[0][2]):
            break
        n_probe = min(2 * n_probe, index.nlist)
    assert best is not None
    return Tuned(settings=best[1], recall=_summarise(best[2], queries.described, seed))


def measure_recall(index: Any, queries: HeldQueries, settings: SearchSettings, *, seed: int) -> Recall:
    """Recall@10 of the queries at given settings."""
    candidates = _find_candidates(index, queries, settings.n_probe, settings.refine_factor)
    return _summarise(_measure(candidates, queries, settings.refine_factor), queries.described, seed)


def _hold(
    vectors: Any,
    queries: Float32[np.ndarray, "q d"],
    own: Int64[np.ndarray, " q"],
    described: str,
) -> HeldQueries:
    import numpy as np

    scores, positions = _search_exactly(vectors, queries, _TRUTH_DEPTH + 1)
    positions[positions == own[:, None]] = -1
    scores[positions < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    scores, positions = (np.take_along_axis(values, order, axis=1) for values in (scores, positions))
    tenth = scores[:, [min(RECALL_AT, scores.shape[1]) - 1]]
    is_true = (positions >= 0) & (scores >= tenth - _SAME_SCORE)
    return HeldQueries(
        vectors=queries, own=own, true_positions=positions, is_true=is_true, described=f"{len(queries):,} {described}"
    )


def _search_exactly(
    vectors: Any, queries: Float32[np.ndarray, "q d"], k: int
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    faiss = load_faiss()

    heap = faiss.ResultHeap(len(queries), min(k, len(vectors)), keep_max=True)
    for first, block in read_blocks(vectors):
        scores, found = faiss.knn(queries, block, min(heap.k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, found + first)
    heap.finalize()
    return heap.D, heap.I


def _find_candidates(index: Any, queries: HeldQueries, n_probe: int, factor: int) -> Int64[np.ndarray, "q c"]:
    """The positions that the codes rank best, the query's own left out; as many as the largest factor refines."""
    import numpy as np

    faiss = load_faiss()

    n_wanted = factor * RECALL_AT
    parameters = faiss.SearchParametersIVF(nprobe=n_probe)
    _, found = index.search(queries.vectors, min(n_wanted + 1, index.ntotal), params=parameters)
    is_own = found == queries.own[:, None]
    order = np.argsort(is_own, axis=1, kind="stable")
    candidates: Int64[np.ndarray, "q c"] = np.take_along_axis(np.where(is_own, -1, found), order, axis=1)
    return candidates[:, :n_wanted]


def _measure(candidates: Int64[np.ndarray, "q c"], queries: HeldQueries, factor: int) -> Float64[np.ndarray, " q"]:
    """Per query the share of the 10 true neighbours (of all there are, where fewer) among the refined candidates."""
    import numpy as np

    kept = candidates[:, : factor * RECALL_AT]
    n_found = np.array(
        [
            np.isin(true[is_true], found, assume_unique=True).sum()
            for true, is_true, found in zip(queries.true_positions, queries.is_true, kept, strict=True)
        ]
    )
    n_true = np.minimum(RECALL_AT, (queries.true_positions >= 0).sum(axis=1))
    shares: Float64[np.ndarray, " q"] = np.minimum(n_found, n_true) / np.maximum(n_true, 1)
    shares[n_true == 0] = 1.0
    return shares


def _summarise(found: Float64[np.ndarray, " q"], described: str, seed: int) -> Recall:
    """The mean over queries with its 95 % bootstrap interval."""
    import numpy as np

    rng = np.random.default_rng(seed + 3)
    means = found[rng.integers(0, len(found), (1000, len(found)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Recall(value=float(found.mean()), low=float(low), high=float(high), n_queries=len(found), queries=described)
