"""Searching under a filter: recall@10, hits and time of every way, for filters of every size and place.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/filters.py --n 500000 --out filters.csv

Cells: {random records, a taxon around the query, a taxon far from it} x {50, 5, 0.5, 0.05 %}. The vectors are those of
`clustered_vectors`, in taxonomic order, float16, mapped. One thread; CPU time per query; queries are new images of
indexed occurrences. In one run, over the same vectors and filters:

- ours: `VectorIndex.search`, with the plan it took, and how many queries it answered exactly.
- post-filter 3x: our lists without a filter, three times as many hits as would do on average, filtered afterwards.
- IVF default: faiss `IndexIVFFlat` with the selector at the n_probe that is enough without a filter.
- HNSW: faiss `IndexHNSWFlat` (M = 32, efSearch = 256) with the selector.

The two baselines hold float32 copies: 2 x 3 KB per vector.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.clustered_vectors import ClusteredVectors, draw_queries, make_clustered_vectors
from indexer.corpus import Space
from indexer.index.background import Background
from indexer.index.facts import KIND_RABITQ, IndexFacts, Modality, SearchSettings
from indexer.index.lists import assign_lists, fill_lists, load_faiss, make_lists, measure_imbalance, train_centroids
from indexer.index.opened import VectorIndex
from indexer.index.scanning import scan
from indexer.index.storage import StoredIndex

if TYPE_CHECKING:
    from jaxtyping import Float32, Int64

K = 10
SHARES = (0.5, 0.05, 0.005, 0.0005)
KINDS = ("random", "near taxon", "far taxon")
DIMENSION = 768
N_PROBE, REFINE_FACTOR = 64, 200

Answer = Callable[["Float32[np.ndarray, ' d']", "Int64[np.ndarray, ' m']"], tuple["Int64[np.ndarray, ' k']", str]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way in one cell.

    Attributes:
        kind, share: of the filter; `none` and 1 for an unfiltered search.
        way: how it was answered.
        recall: share of the true 10 found, in [0, 1].
        p50: CPU milliseconds of the median query.
        n_short: queries that got fewer than 10 hits.
        plans: what the answers say of themselves, with their number.
    """

    kind: str
    share: float
    way: str
    recall: float
    p50: float
    n_short: int
    plans: str


def open_ours(vectors: ClusteredVectors) -> VectorIndex:
    """Our index over the vectors, its settings given: 64 lists, 200 candidates per hit."""
    values = vectors.values
    n = len(values)
    n_lists = round(3 * n**0.5)
    centroids = train_centroids(values, n_lists, device="cpu", seed=0)
    lists = make_lists(centroids, 1)
    fill_lists(lists, values, assign_lists(centroids, values, device="cpu"))
    settings = SearchSettings(n_probe=N_PROBE, refine_factor=REFINE_FACTOR)
    facts = IndexFacts(
        kind=KIND_RABITQ,
        reason="a benchmark",
        n=n,
        dimension=values.shape[1],
        n_lists=n_lists,
        n_bits=1,
        bytes_in_memory=n * (lists.code_size + 8),
        parameters=dict.fromkeys(Modality, settings),
        recall={},
        goal=0.99,
        background=Background(levels=(), scores=(), n_pairs=0),
        n_ordered=n,
        calibration=None,
        n_trained=n,
        list_imbalance=measure_imbalance(lists),
        trained_imbalance=measure_imbalance(lists),
        vectors_version=1,
        built_with="",
    )
    space = Space(name="benchmark", folder=Path(), dimension=values.shape[1], encoder=None)
    stored = StoredIndex(space=space, facts=facts, folder=Path(), digests={}, digest="")
    return VectorIndex(stored, vectors=values, rows=np.arange(n), taxa=b"", lists=lists, lengths=None, calibration=None)


def draw_filters(
    kind: str, share: float, places: Int64[np.ndarray, " q"], n: int, rng: np.random.Generator
) -> Iterator[Int64[np.ndarray, " m"]]:
    """The rows that may answer each query."""
    m = max(K, int(share * n))
    scattered = np.sort(rng.choice(n, m, replace=False))
    for place in map(int, places):
        if kind == "random":
            yield scattered
            continue
        start = min(max(0, place - int(rng.integers(m))), n - m)
        if kind == "far taxon":
            start = (place + n // 4 + int(rng.integers(max(1, n // 2 - m)))) % (n - m + 1)
            if start <= place < start + m:
                start = place + 1 if place + 1 + m <= n else max(0, place - m)
        yield np.arange(start, start + m)


def measure(
    cell: tuple[str, float],
    way: str,
    answer: Answer,
    queries: Float32[np.ndarray, "q d"],
    filters: list[Int64[np.ndarray, " m"]],
    truth: list[Int64[np.ndarray, " k"]],
) -> Cell:
    """Every query of a cell answered in one way."""
    times, found, said = [], [], []
    for query, allowed in zip(queries, filters, strict=True):
        start = time.process_time()
        rows, plan = answer(query, allowed)
        times.append(time.process_time() - start)
        found.append(rows[rows >= 0])
        said.append(plan)
    recalls = [len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True)]
    return Cell(
        kind=cell[0],
        share=cell[1],
        way=way,
        recall=float(np.mean(recalls)),
        p50=1e3 * float(np.median(times)),
        n_short=sum(len(f) < min(K, len(a)) for f, a in zip(found, filters, strict=True)),
        plans=", ".join(f"{said.count(plan)} {plan}" for plan in sorted(set(said))),
    )


def list_ways(index: VectorIndex, vectors: ClusteredVectors, *, with_baselines: bool) -> dict[str, Answer]:
    """The ways that are compared."""
    faiss = load_faiss()
    n = len(vectors.values)

    def ours(query: Any, allowed: Any) -> tuple[Any, str]:
        found = index.search(query[None], K, allowed=allowed)
        return found.rows[0], f"{found.plan}{' (exact)' if found.is_exact else ''}"

    def post(query: Any, allowed: Any) -> tuple[Any, str]:
        found = index.search(query[None], min(n, 3 * K * n // len(allowed)))
        return found.rows[0][np.isin(found.rows[0], allowed)][:K], found.plan

    ways: dict[str, Answer] = {"ours": ours, "post-filter 3x": post}
    if not with_baselines:
        return ways
    flat = faiss.index_factory(DIMENSION, f"IVF{index.facts.n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    graph = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
    flat.train(np.asarray(vectors.values[:: max(1, n // (64 * index.facts.n_lists))], np.float32))
    for start in range(0, n, 20_000):
        block = np.asarray(vectors.values[start : start + 20_000], np.float32)
        flat.add(block)
        graph.add(block)

    def with_selector(baseline: Any, make: Callable[[Any], Any]) -> Answer:
        def answer(query: Any, allowed: Any) -> tuple[Any, str]:
            mask = np.zeros(n, bool)
            mask[allowed] = True
            bitmap = np.packbits(mask, bitorder="little")
            return baseline.search(query[None], K, params=make(faiss.IDSelectorBitmap(bitmap)))[1][0], ""

        return answer

    ways["IVF default"] = with_selector(flat, lambda sel: faiss.SearchParametersIVF(nprobe=N_PROBE, sel=sel))
    ways["HNSW"] = with_selector(graph, lambda sel: faiss.SearchParametersHNSW(efSearch=256, sel=sel))
    return ways


def run(n: int, n_queries: int, folder: Path, *, with_baselines: bool) -> Iterator[Cell]:
    """Every way in every cell."""
    rng = np.random.default_rng(5)
    vectors = make_clustered_vectors(n, DIMENSION, file=folder / "vectors.npy")
    places = np.sort(rng.choice(n, n_queries, replace=False))
    queries = draw_queries(vectors, places)
    index = open_ours(vectors)
    everything = [np.arange(n)] * n_queries
    truth = [scan(vectors.values, query[None], K)[1][0] for query in queries]
    yield measure(
        ("none", 1.0), "ours", lambda q, _: (index.search(q[None], K).rows[0], "ivf"), queries, everything, truth
    )
    ways = list_ways(index, vectors, with_baselines=with_baselines)
    for share in SHARES:
        for kind in KINDS:
            filters = list(draw_filters(kind, share, places, n, rng))
            truth = [
                a[scan(np.take(vectors.values, a, axis=0), q[None], K)[1][0]]
                for q, a in zip(queries, filters, strict=True)
            ]
            for way, answer in ways.items():
                yield measure((kind, share), way, answer, queries, filters, truth)


def main() -> None:
    """Print the table, and write it as CSV where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="vectors")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--no-baselines", action="store_true", help="leave IVF and HNSW out")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    load_faiss().omp_set_num_threads(1)
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        for cell in run(chosen.n, chosen.queries, Path(folder), with_baselines=not chosen.no_baselines):
            print(
                f"{cell.kind:10s} {100 * cell.share:6.2f} %  {cell.way:15s} recall {cell.recall:.4f}  "
                f"p50 {cell.p50:8.2f} ms  short {cell.n_short:3d}  {cell.plans}",
                flush=True,
            )
            cells.append(asdict(cell))
    if chosen.out:
        with chosen.out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(cells[0]))
            writer.writeheader()
            writer.writerows(cells)


if __name__ == "__main__":
    main()
