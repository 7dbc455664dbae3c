"""Recall against time, memory and building time: our index beside those that others would take.

    uv pip install --python .venv/bin/python --constraint constraints.txt '.[bench]'
    .venv/bin/python -m benchmarks.frontier --work WORK --n 500000            # builds what is missing, then asks all
    .venv/bin/python -m benchmarks.frontier --work WORK --n 500000 --ways ours hnsw32     # these alone
    .venv/bin/python -m benchmarks.frontier --work WORK --n 5000000 --ways ours --build   # memory of a large build

Vectors are those of `clustered_vectors`, 768-d; nobody calibrates. Two kinds of queries: images (new images of indexed
occurrences) and texts (the direction of a species, in a cone of its own that no image lies in: the best image scores
about 0.5). The true neighbours are those of the float16 vectors, compared exactly. Each way is asked at several widths;
the queries that it is judged on tuned nothing.

- ours: `build_index` and `VectorIndex.search`, as it chose its settings for a goal of 0.99 (marked *), and at others.
- flat: faiss `IndexFlatIP`; ivf-flat: faiss `IndexIVFFlat` with as many lists as ours; hnsw32: faiss `IndexHNSWFlat`.
- hnswlib (M = 32, ef_construction = 200), usearch (connectivity 32, float16), lancedb (its IVF_PQ, and its IVF_RQ).

Times of queries: wall time of one thread, one query at a time, the median of all queries of all rounds; rounds go over
all ways in turn. Batches: CPU time of all queries at once on one thread (LanceDB asks one by one). Building: CPU time.
Memory: what must be held to answer, the vectors for the exact comparison of ours left out, as they are mapped (1,536
bytes each, of which a query reads some 40).
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.clustered_vectors import ClusteredVectors, draw_queries, make_clustered_vectors
from indexer.corpus import create_corpus, open_corpus
from indexer.files import write_atomically
from indexer.index.building import build_index
from indexer.index.facts import Modality, SearchSettings
from indexer.index.lists import load_faiss
from indexer.index.opened import open_index
from indexer.index.scanning import scan
from indexer.index.settings import BuildSettings
from indexer.vectors import append_vectors

if TYPE_CHECKING:
    from jaxtyping import Float16, Float32, Int64

DIMENSION = 768
K = 10
GOAL = 0.99
N_QUERIES = 300
BLOCK = 50_000
WIDTHS = (16, 32, 64, 128, 256)
PROBES = (4, 16, 64, 128)

Ask = Callable[["Float32[np.ndarray, 'q d']"], "Int64[np.ndarray, 'q k']"]
"""Queries to the places of their nearest."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What building cost.

    Attributes:
        cpu_seconds: of all threads.
        bytes_per_vector: held in memory to answer.
        peak_bytes: the most that was held while building, mapped files apart; 0 where it was not watched.
        said: by the build.
    """

    cpu_seconds: float
    bytes_per_vector: float
    peak_bytes: int = 0
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """One way at one width: recall and time of either kind of query."""

    way: str
    setting: str
    recall: Mapping[str, float]
    p50_ms: Mapping[str, float]
    batch_qps: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The vectors, the queries and their true neighbours."""

    vectors: ClusteredVectors
    queries: Mapping[str, Float32[np.ndarray, "q d"]]
    truth: Mapping[str, Int64[np.ndarray, "q k"]]

    @property
    def values(self) -> Float16[np.ndarray, "n d"]:
        """The vectors."""
        return self.vectors.values


def draw_texts(vectors: ClusteredVectors, n: int, *, seed: int) -> Float32[np.ndarray, "q d"]:
    """Queries as texts are: the direction of a species about the centre, moved out of the cone of the images."""
    rng = np.random.default_rng([seed, 7])
    fixed = np.random.default_rng(11)
    species = rng.choice(np.unique(vectors.species), n)
    sample = vectors.values[:: max(1, len(vectors.values) // 20_000)].astype(np.float32)
    centre = sample.mean(axis=0)
    gap = fixed.standard_normal(DIMENSION)
    gap -= (gap @ centre) * centre / (centre @ centre)
    gap = 0.35 * centre / np.linalg.norm(centre) + 0.94 * gap / np.linalg.norm(gap)
    texts = np.empty((n, DIMENSION), np.float32)
    for i, one in enumerate(species):
        start, stop = np.searchsorted(vectors.species, [one, one + 1])
        own = vectors.values[start : min(stop, start + 50)].astype(np.float32).mean(axis=0) - centre
        noise = rng.standard_normal(DIMENSION)
        texts[i] = 0.5 * own / np.linalg.norm(own) + 0.75 * gap + 0.43 * noise / np.linalg.norm(noise)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return texts


def prepare(work: Path, n: int) -> Ground:
    """Draw vectors and queries and find the true neighbours, once."""
    file = work / "vectors.npy"
    species = work / "species.npy"
    if not species.exists():
        drawn = make_clustered_vectors(n, DIMENSION, file=file)
        np.save(species, drawn.species)
    vectors = ClusteredVectors(values=np.load(file, mmap_mode="r"), species=np.load(species))
    places = np.sort(np.random.default_rng(5).choice(n, N_QUERIES, replace=False))
    queries = {"image": draw_queries(vectors, places), "text": draw_texts(vectors, N_QUERIES, seed=5)}
    found = work / "truth.npz"
    if not found.exists():
        nearest = {kind: scan(vectors.values, asked, K)[1] for kind, asked in queries.items()}
        np.savez(found, image=nearest["image"], text=nearest["text"])
    return Ground(vectors=vectors, queries=queries, truth=dict(np.load(found)))


def read_blocks(values: Float16[np.ndarray, "n d"]) -> Iterator[tuple[int, Float32[np.ndarray, "m d"]]]:
    """Blocks of the vectors in float32, with the place of the first."""
    for start in range(0, len(values), BLOCK):
        yield start, values[start : start + BLOCK].astype(np.float32)


class Watch:
    """The most memory that this process holds, mapped files apart, looked up ten times a second."""

    def __enter__(self) -> Watch:
        self.peak = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.1):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            held = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(held.split()[1]) * 1024)


def build_ours(ground: Ground, folder: Path) -> Built:
    """A corpus of these vectors, and its index; the time is that of the index alone."""
    corpus = create_corpus(folder / "corpus")
    lines: list[str] = []
    with corpus.lock(), Watch() as watch:
        space = corpus.add_space("clustered", dimension=DIMENSION, encoder=None)
        for start, block in read_blocks(ground.values):
            append_vectors(space, np.arange(start, start + len(block)), block)
        texts = draw_texts(ground.vectors, 500, seed=6)
        settings = BuildSettings(goal=GOAL, calibrate=False, exact_up_to=1_000)
        began = time.process_time()
        facts = build_index(space, announce=lines.append, text_queries=lambda: texts, settings=settings)
        seconds = time.process_time() - began
    assert facts is not None
    return Built(
        cpu_seconds=seconds, bytes_per_vector=facts.bytes_in_memory / facts.n, peak_bytes=watch.peak, said=tuple(lines)
    )


def build_faiss(kind: str, ground: Ground, folder: Path) -> Built:
    """`flat`, `ivf-flat` or `hnsw32` of faiss."""
    faiss = load_faiss()
    n = len(ground.values)
    n_lists = round(3 * n**0.5)
    factory = {"flat": "Flat", "ivf-flat": f"IVF{n_lists},Flat", "hnsw32": "HNSW32,Flat"}[kind]
    began = time.process_time()
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(ground.values[:: max(1, n // (64 * n_lists))].astype(np.float32))
    for _, block in read_blocks(ground.values):
        index.add(block)
    seconds = time.process_time() - began
    faiss.write_index(index, str(folder / "index.faiss"))
    return Built(cpu_seconds=seconds, bytes_per_vector=(folder / "index.faiss").stat().st_size / n)


def build_hnswlib(ground: Ground, folder: Path) -> Built:
    """hnswlib's graph."""
    import hnswlib

    n = len(ground.values)
    began = time.process_time()
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.init_index(max_elements=n, ef_construction=200, M=32)
    for start, block in read_blocks(ground.values):
        index.add_items(block, np.arange(start, start + len(block)))
    seconds = time.process_time() - began
    index.save_index(str(folder / "index.bin"))
    return Built(cpu_seconds=seconds, bytes_per_vector=(folder / "index.bin").stat().st_size / n)


def build_usearch(ground: Ground, folder: Path) -> Built:
    """USearch's graph."""
    from usearch.index import Index

    n = len(ground.values)
    began = time.process_time()
    index = Index(ndim=DIMENSION, metric="ip", dtype="f16", connectivity=32)
    for start, block in read_blocks(ground.values):
        index.add(np.arange(start, start + len(block)), block)
    seconds = time.process_time() - began
    index.save(str(folder / "index.usearch"))
    return Built(cpu_seconds=seconds, bytes_per_vector=(folder / "index.usearch").stat().st_size / n)


def build_lancedb(kind: str, ground: Ground, folder: Path) -> Built:
    """A table of LanceDB with an index of its own: `IVF_PQ` or `IVF_RQ`."""
    import lancedb
    import pyarrow as pa

    n = len(ground.values)

    def tabulate(start: int, block: Any) -> Any:
        values = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), DIMENSION)
        return pa.table({"place": np.arange(start, start + len(block)), "vector": values})

    table: Any = None
    for start, block in read_blocks(ground.values):
        part = tabulate(start, block)
        if table is None:
            table = lancedb.connect(str(folder)).create_table("vectors", part)
        else:
            table.add(part)
    began = time.process_time()
    table.create_index(metric="dot", vector_column_name="vector", index_type=kind, num_partitions=round(3 * n**0.5))
    seconds = time.process_time() - began
    size = sum(file.stat().st_size for file in (folder / "vectors.lance" / "_indices").rglob("*") if file.is_file())
    return Built(cpu_seconds=seconds, bytes_per_vector=size / n)


WAYS: Mapping[str, Callable[[Ground, Path], Built]] = {
    "ours": build_ours,
    "flat": lambda ground, folder: build_faiss("flat", ground, folder),
    "ivf-flat": lambda ground, folder: build_faiss("ivf-flat", ground, folder),
    "hnsw32": lambda ground, folder: build_faiss("hnsw32", ground, folder),
    "hnswlib": build_hnswlib,
    "usearch": build_usearch,
    "lancedb-pq": lambda ground, folder: build_lancedb("IVF_PQ", ground, folder),
    "lancedb-rq": lambda ground, folder: build_lancedb("IVF_RQ", ground, folder),
}


def build(way: str, ground: Ground, work: Path) -> Built:
    """Build a way where it is not there already."""
    stored = work / way / "built.json"
    if stored.exists():
        facts = json.loads(stored.read_text(encoding="utf-8"))
        return Built(**{**facts, "said": tuple(facts["said"])})
    shutil.rmtree(work / way, ignore_errors=True)
    (work / way).mkdir(parents=True)
    built = WAYS[way](ground, work / way)
    write_atomically(stored, lambda path: path.write_text(json.dumps(asdict(built)), encoding="utf-8"))
    return built


def open_ways(work: Path, ways: Sequence[str]) -> Iterator[tuple[str, str, Mapping[str, Ask]]]:
    """Each way at each width: way, setting, and how either kind of query is asked."""
    openers = {"hnswlib": open_hnswlib, "usearch": open_usearch, "lancedb-pq": open_lancedb, "lancedb-rq": open_lancedb}
    for way in ways:
        if way == "ours":
            yield from ((way, setting, asks) for setting, asks in open_ours(work / way))
            continue
        for setting, ask in openers.get(way, open_faiss)(work / way):
            yield way, setting, {"image": ask, "text": ask}


def open_ours(folder: Path) -> Iterator[tuple[str, Mapping[str, Ask]]]:
    """Our index as it chose its own settings, and at others."""
    index = open_index(open_corpus(folder / "corpus").open_space())

    def at(settings: Mapping[Modality, SearchSettings]) -> Mapping[str, Ask]:
        def ask(modality: Modality) -> Ask:
            def answer(queries: Any) -> Any:
                index.facts = replace(index.facts, parameters=settings)
                return index.search(queries, K, modality=modality).rows

            return answer

        return {str(modality): ask(modality) for modality in (Modality.IMAGE, Modality.TEXT)}

    own = dict(index.facts.parameters)
    chosen = [f"{each.n_probe} lists, x{each.refine_factor:g}" for each in (own[Modality.IMAGE], own[Modality.TEXT])]
    yield f"* image {chosen[0]}; text {chosen[1]}", at(own)
    for n_probe in PROBES:
        image = SearchSettings(n_probe=n_probe, refine_factor=4)
        text = SearchSettings(n_probe=n_probe, refine_factor=40)
        yield f"{n_probe} lists, x4; text x40", at({Modality.IMAGE: image, Modality.TEXT: text})


def open_faiss(folder: Path) -> Iterator[tuple[str, Ask]]:
    """An index of faiss."""
    faiss = load_faiss()
    index = faiss.read_index(str(folder / "index.faiss"))
    if folder.name == "flat":
        yield "", lambda queries: index.search(queries, K)[1]
    for width in PROBES if folder.name == "ivf-flat" else WIDTHS if folder.name == "hnsw32" else ():

        def ask(queries: Any, width: int = width) -> Any:
            kind = faiss.SearchParametersIVF if folder.name == "ivf-flat" else faiss.SearchParametersHNSW
            options = {"nprobe": width} if folder.name == "ivf-flat" else {"efSearch": width}
            return index.search(queries, K, params=kind(**options))[1]

        yield f"{'nprobe' if folder.name == 'ivf-flat' else 'efSearch'} {width}", ask


def open_hnswlib(folder: Path) -> Iterator[tuple[str, Ask]]:
    """hnswlib's graph."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.load_index(str(folder / "index.bin"))
    index.set_num_threads(1)
    for width in WIDTHS:

        def ask(queries: Any, width: int = width) -> Any:
            index.set_ef(width)
            return index.knn_query(queries, k=K)[0].astype(np.int64)

        yield f"ef {width}", ask


def open_usearch(folder: Path) -> Iterator[tuple[str, Ask]]:
    """USearch's graph."""
    from usearch.index import Index

    index: Any = Index.restore(str(folder / "index.usearch"))
    for width in WIDTHS:

        def ask(queries: Any, width: int = width) -> Any:
            index.expansion_search = width
            keys = index.search(queries, K, threads=1).keys
            return np.asarray(keys).reshape(len(queries), -1).astype(np.int64)

        yield f"expansion {width}", ask


def open_lancedb(folder: Path) -> Iterator[tuple[str, Ask]]:
    """A table of LanceDB; its queries run on threads of its own."""
    import lancedb

    table: Any = lancedb.connect(str(folder)).open_table("vectors")
    for n_probe, factor in ((16, 4), (64, 4), (64, 20), (128, 40)):

        def ask(queries: Any, n_probe: int = n_probe, factor: int = factor) -> Any:
            found = np.full((len(queries), K), -1)
            for i, query in enumerate(queries):
                asked = table.search(query).distance_type("dot").nprobes(n_probe).refine_factor(factor).limit(K)
                places = asked.select(["place"]).to_arrow().column("place").to_numpy()
                found[i, : len(places)] = places
            return found

        yield f"nprobes {n_probe}, refine {factor}", ask


def measure(ground: Ground, opened: Sequence[tuple[str, str, Mapping[str, Ask]]], n_rounds: int) -> Iterator[Point]:
    """Recall and time of each way, asked in turn."""
    times: dict[tuple[int, str], list[float]] = {}
    for number in range(n_rounds):
        for i, (way, _, asks) in enumerate(opened):
            for kind, queries in ground.queries.items():
                chosen = queries[number::n_rounds][: 20 if way == "flat" else None]
                asks[kind](chosen[:1])
                for query in chosen:
                    began = time.perf_counter()
                    asks[kind](query[None])
                    times.setdefault((i, kind), []).append(time.perf_counter() - began)
    for i, (way, setting, asks) in enumerate(opened):
        recall, rates = {}, {}
        for kind, queries in ground.queries.items():
            began = time.process_time()
            found = asks[kind](queries)
            rates[kind] = len(queries) / (time.process_time() - began)
            shares = [len(np.intersect1d(f, t)) / K for f, t in zip(found, ground.truth[kind], strict=True)]
            recall[kind] = float(np.mean(shares))
        p50 = {kind: 1e3 * median(times[i, kind]) for kind in ground.queries}
        yield Point(way=way, setting=setting, recall=recall, p50_ms=p50, batch_qps=rates)


def describe_point(point: Point) -> str:
    """One line of the table."""
    parts = [
        f"{kind} {point.recall[kind]:.4f} {point.p50_ms[kind]:8.2f} ms {point.batch_qps[kind]:7.0f}/s"
        for kind in point.recall
    ]
    return f"{point.way:11s} {point.setting:38s} " + "   ".join(parts)


def cheapest(points: Sequence[Point], way: str, kind: str, by: str) -> float:
    """The best p50 (`p50_ms`) or rate (`batch_qps`) of a way at a recall of the goal or more; nan where it has none."""
    found = [getattr(p, by)[kind] for p in points if p.way == way and p.recall[kind] >= GOAL - 0.0005]
    return (min(found) if by == "p50_ms" else max(found)) if found else float("nan")


def report(points: Sequence[Point], built: Mapping[str, Built]) -> str:
    """What the issue asks, as ratios."""
    ours = next(p for p in points if p.setting.startswith("*"))
    lines = [
        f"{way:11s} built in {one.cpu_seconds:7.1f} CPU s, {one.bytes_per_vector:7.1f} bytes per vector"
        for way, one in built.items()
    ]
    for kind in ours.recall:
        lines.append(f"\n{kind} queries at recall >= {GOAL} (ours as it chose: {ours.recall[kind]:.4f})")
        for way in built:
            p50, rate = (cheapest(points, way, kind, by) for by in ("p50_ms", "batch_qps"))
            lines.append(
                f"  {way:11s} p50 {p50:8.2f} ms (x{p50 / ours.p50_ms[kind]:6.2f} of ours), "
                f"batch {rate:7.0f}/s (ours x{ours.batch_qps[kind] / rate:.2f})"
            )
    return "\n".join(lines)


def main() -> None:
    """Build, ask, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of vectors and indexes")
    parser.add_argument("--n", type=int, default=500_000)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="these alone")
    parser.add_argument("--build", action="store_true", help="build what is missing, and ask nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    chosen = parser.parse_args()
    work = chosen.work / str(chosen.n)
    work.mkdir(parents=True, exist_ok=True)
    ground = prepare(work, chosen.n)
    built = {}
    for way in chosen.ways:
        built[way] = build(way, ground, work)
        print(way, json.dumps(asdict(built[way])), flush=True)
    if chosen.build:
        return
    load_faiss().omp_set_num_threads(1)
    points = []
    for point in measure(ground, list(open_ways(work, list(built))), chosen.rounds):
        print(describe_point(point), flush=True)
        points.append(point)
    print(report(points, built))
    if chosen.out:
        figures = {
            "n": chosen.n,
            "built": {way: asdict(one) for way, one in built.items()},
            "points": [asdict(p) for p in points],
        }
        write_atomically(chosen.out, lambda path: path.write_text(json.dumps(figures, indent=1), encoding="utf-8"))


if __name__ == "__main__":
    main()
