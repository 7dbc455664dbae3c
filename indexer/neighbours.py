"""The FAISS index of a space: built, measured, stored, searched. FAISS ids are rows; scores are cosines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError
from indexer.files import publish, read_json
from indexer.vectors import Vectors, load_vectors, open_vectors

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64, Int64

    from indexer.corpus import Space

EXACT_UP_TO = 200_000
RECALL_GOAL = 0.98
RECALL_AT = 10
RECALL_QUERIES = 500
BACKGROUND_PAIRS = 100_000
# Finer towards the top, where the scores of neighbours lie: 1 % steps, then 0.1 %, then 0.01 %.
BACKGROUND_LEVELS = (
    *(i / 100 for i in range(99)),
    *(0.99 + i / 1000 for i in range(9)),
    *(0.999 + i / 10_000 for i in range(11)),
)


@dataclass(frozen=True, kw_only=True)
class Background:
    """Scores of random pairs of different records of a space: what "ordinary" looks like there.

    Attributes:
        levels: shares of pairs, ascending in [0, 1].
        scores: the cosine below which that share of pairs lies.
        n_pairs: how many pairs were drawn; 0 where the space holds fewer than two vectors.
    """

    levels: tuple[float, ...]
    scores: tuple[float, ...]
    n_pairs: int

    def percentiles(self, scores: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The percentage of random pairs that score lower, in [0, 100]; nan where no pair could be drawn."""
        import numpy as np

        if not self.n_pairs:
            return np.full(len(scores), np.nan)
        result: Float64[np.ndarray, " n"] = 100 * np.interp(scores, self.scores, self.levels)
        return result


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """What is known of an index; stored as `index.json`.

    Attributes:
        kind: `exact` or `ivf`.
        reason: why that kind was chosen.
        n: vectors in it.
        n_lists: inverted lists; 0 for an exact index.
        n_probe: lists that an unfiltered search visits; 0 for an exact index.
        recall: share of the true 10 nearest neighbours found, in [0, 1]; 1 for an exact index by construction.
        recall_low, recall_high: its 95 % interval over the queries.
        n_queries: queries that recall was measured on; 0 for an exact index.
        background: scores of random pairs.
        vectors_version: version of `vectors.lance` that it holds.
    """

    kind: str
    reason: str
    n: int
    n_lists: int
    n_probe: int
    recall: float
    recall_low: float
    recall_high: float
    n_queries: int
    background: Background
    vectors_version: int

    @property
    def is_exact(self) -> bool:
        """Whether an unfiltered search visits every vector."""
        return self.kind == "exact"


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The nearest rows of each query, best first; -1 (score nan) where fewer than k rows could be found."""

    rows: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]


class VectorIndex:
    """An opened index. Safe to search from several threads."""

    def __init__(self, faiss_index: Any, facts: IndexFacts, digest: str) -> None:
        self._index = faiss_index
        self.facts = facts
        self.digest = digest

    def search(
        self, queries: Float32[np.ndarray, "q d"], k: int, *, allowed: Int64[np.ndarray, " m"] | None = None
    ) -> Neighbours:
        """The k nearest rows of each query by cosine.

        With `allowed` the search visits every list and answers from those rows alone, so that it is exact and
        gives min(k, m) rows; without it an IVF index answers at its measured recall.
        """
        import numpy as np

        parameters, keep_alive = self._parameters(allowed)
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, np.float32), min(k, max(self.facts.n, 1)), params=parameters
        )
        del keep_alive
        scores[rows < 0] = np.nan
        return Neighbours(rows=rows, scores=scores)

    def _parameters(self, allowed: Int64[np.ndarray, " m"] | None) -> tuple[Any, Any]:
        """Search parameters, and what FAISS points into and Python must keep alive during the search."""
        import numpy as np

        faiss = _load_faiss()

        if allowed is None:
            return (None if self.facts.is_exact else faiss.SearchParametersIVF(nprobe=self.facts.n_probe)), None
        mask = np.zeros(int(allowed.max(initial=-1)) + 1, bool)
        mask[allowed] = True
        bitmap = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(bitmap)
        if self.facts.is_exact:
            return faiss.SearchParameters(sel=selector), (selector, bitmap)
        return faiss.SearchParametersIVF(sel=selector, nprobe=self.facts.n_lists), (selector, bitmap)


def build_index(
    space: Space,
    *,
    announce: Callable[[str], None],
    exact_up_to: int = EXACT_UP_TO,
    recall_goal: float = RECALL_GOAL,
    seed: int = 0,
) -> IndexFacts | None:
    """Index all vectors of a space and store it; what was built, or None while the space has no vector.

    Args:
        space: whose vectors are indexed; the caller holds the corpus's lock.
        announce: is told the choice and its reason, and the measured recall.
        exact_up_to: rows up to which the index is exact; above it is IVF with a measured recall.
        recall_goal: recall@10 that the number of probed lists is tuned to, in (0, 1].
        seed: of the random pairs, the recall queries and k-means.
    """
    if open_vectors(space) is None:
        return None
    vectors = load_vectors(space)
    background = measure_background(vectors, seed=seed)
    if len(vectors.rows) <= exact_up_to:
        index, facts = _build_exact(vectors, background, exact_up_to)
    else:
        index, facts = _build_ivf(vectors, background, exact_up_to, recall_goal, seed)
    announce(f"index of {space.name}: {facts.kind}, because {facts.reason}")
    if not facts.is_exact:
        announce(
            f"index of {space.name}: recall@{RECALL_AT} {facts.recall:.4f} "
            f"({facts.recall_low:.4f}-{facts.recall_high:.4f}, {facts.n_queries} queries) "
            f"at {facts.n_probe} of {facts.n_lists} lists"
            + ("" if facts.recall >= recall_goal else f"; the goal of {recall_goal} was not met")
        )
    publish(space.index_path, "index", ".faiss", lambda part: _write_index(index, part), asdict(facts))
    return facts


def open_index(space: Space) -> VectorIndex:
    """The stored index, memory-mapped; CorpusError where there is none or its file is not the described one."""
    faiss = _load_faiss()
    if not space.index_path.exists():
        raise CorpusError(f"{space.name}: has no index yet. Run `morphospace index` again to build it.")
    facts, file, digest = read_index_facts(space)
    if not file.exists():
        raise CorpusError(f"{file}: the index file is missing. Run `morphospace index` again to build it anew.")
    index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    if index.d != space.dimension or index.ntotal != facts.n:
        raise CorpusError(
            f"{file}: holds {index.ntotal} vectors of {index.d} dimensions, not {facts.n} of {space.dimension}. "
            "Remove it and run `morphospace index` again."
        )
    return VectorIndex(index, facts, digest)


def read_index_facts(space: Space) -> tuple[IndexFacts, Path, str]:
    """The stored description of an index, its file, and the file's SHA-256."""
    stored = read_json(space.index_path)
    file, digest = space.folder / stored.pop("file"), stored.pop("digest")
    background = stored.pop("background")
    levels, scores = tuple(background["levels"]), tuple(background["scores"])
    facts = IndexFacts(**stored, background=Background(levels=levels, scores=scores, n_pairs=background["n_pairs"]))
    return facts, file, digest


def is_current(space: Space) -> bool:
    """Whether the stored index holds every vector of the space."""
    dataset = open_vectors(space)
    if dataset is None or not space.index_path.exists():
        return dataset is None
    facts, file, _ = read_index_facts(space)
    return file.exists() and facts.n == dataset.count_rows()


def indexed_rows(index: VectorIndex) -> Int64[np.ndarray, " n"]:
    """The rows that an index holds, ascending."""
    import numpy as np

    faiss = _load_faiss()

    opened = faiss.downcast_index(index._index)
    if index.facts.is_exact:
        return np.sort(faiss.vector_to_array(opened.id_map))
    lists = opened.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
        for i in range(opened.nlist)
        if lists.list_size(i)
    ]
    return np.sort(np.concatenate(parts))


def measure_background(vectors: Vectors, *, seed: int, n_pairs: int = BACKGROUND_PAIRS) -> Background:
    """Quantiles of the cosine over random pairs of different records (design fact 2: a raw cosine means little)."""
    import numpy as np

    n = len(vectors.rows)
    if n < 2:
        return Background(levels=BACKGROUND_LEVELS, scores=(0.0,) * len(BACKGROUND_LEVELS), n_pairs=0)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, n_pairs)
    second = (first + rng.integers(1, n, n_pairs)) % n
    scores = np.concatenate(
        [
            np.einsum("nd,nd->n", vectors.values[a], vectors.values[b])
            for a, b in zip(_blocks(first), _blocks(second), strict=True)
        ]
    )
    quantiles = tuple(float(score) for score in np.quantile(scores, BACKGROUND_LEVELS))
    return Background(levels=BACKGROUND_LEVELS, scores=quantiles, n_pairs=n_pairs)


def _blocks(values: Int64[np.ndarray, " n"], size: int = 10_000) -> list[Int64[np.ndarray, " m"]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _build_exact(vectors: Vectors, background: Background, exact_up_to: int) -> tuple[Any, IndexFacts]:
    faiss = _load_faiss()
    index = faiss.IndexIDMap(faiss.IndexFlatIP(vectors.values.shape[1]))
    index.add_with_ids(vectors.values, vectors.rows)
    facts = IndexFacts(
        kind="exact",
        reason=f"{len(vectors.rows):,} vectors <= {exact_up_to:,}",
        n=len(vectors.rows),
        n_lists=0,
        n_probe=0,
        recall=1.0,
        recall_low=1.0,
        recall_high=1.0,
        n_queries=0,
        background=background,
        vectors_version=vectors.version,
    )
    return index, facts


def _build_ivf(
    vectors: Vectors, background: Background, exact_up_to: int, recall_goal: float, seed: int
) -> tuple[Any, IndexFacts]:
    import numpy as np

    faiss = _load_faiss()

    n, dimension = vectors.values.shape
    n_lists = max(1, round(4 * sqrt(n)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1
    sample = np.random.default_rng(seed).choice(n, min(n, 64 * n_lists), replace=False)
    index.train(vectors.values[np.sort(sample)])
    index.add_with_ids(vectors.values, vectors.rows)
    n_probe, found = _tune_probes(index, vectors, recall_goal, seed)
    low, high = _interval(found, seed)
    facts = IndexFacts(
        kind="ivf",
        reason=f"{n:,} vectors > {exact_up_to:,}",
        n=n,
        n_lists=n_lists,
        n_probe=n_probe,
        recall=float(found.mean()),
        recall_low=low,
        recall_high=high,
        n_queries=len(found),
        background=background,
        vectors_version=vectors.version,
    )
    return index, facts


def _tune_probes(index: Any, vectors: Vectors, goal: float, seed: int) -> tuple[int, Float64[np.ndarray, " q"]]:
    """The fewest lists (by doubling) that reach the goal, and the recall of each query there."""
    import numpy as np

    faiss = _load_faiss()

    rng = np.random.default_rng(seed + 2)
    picked = rng.choice(len(vectors.rows), min(RECALL_QUERIES, len(vectors.rows)), replace=False)
    queries, own = vectors.values[picked], vectors.rows[picked]
    everything = faiss.SearchParametersIVF(nprobe=index.nlist)
    truth = _without_own(index.search(queries, RECALL_AT + 1, params=everything)[1], own)
    n_probe = 1
    while True:
        answer = _without_own(
            index.search(queries, RECALL_AT + 1, params=faiss.SearchParametersIVF(nprobe=n_probe))[1], own
        )
        found = np.array([len(np.intersect1d(a, t)) / len(t) for a, t in zip(answer, truth, strict=True)])
        if found.mean() >= goal or n_probe == index.nlist:
            return n_probe, found
        n_probe = min(2 * n_probe, index.nlist)


def _without_own(rows: Int64[np.ndarray, "q k"], own: Int64[np.ndarray, " q"]) -> list[Int64[np.ndarray, " m"]]:
    return [found[(found != row) & (found >= 0)][:RECALL_AT] for found, row in zip(rows, own, strict=True)]


def _interval(found: Float64[np.ndarray, " q"], seed: int) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean over queries."""
    import numpy as np

    rng = np.random.default_rng(seed + 3)
    means = found[rng.integers(0, len(found), (1000, len(found)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _load_faiss() -> Any:
    """FAISS, untyped: its stubs give the C++ signatures, which its Python wrappers do not have."""
    import faiss

    return faiss


def _write_index(index: Any, path: Path) -> None:
    faiss = _load_faiss()
    faiss.write_index(index, str(path))
