"""Time to the first result of a text search: in a fresh process, and in one that runs already.

    .venv/bin/python benchmarks/first_result.py

The corpus holds 100,000 records with a few columns and no images, in two spaces of vectors in clusters: one of the
bundled encoder, and one of 768 dimensions, as BioCLIP 2 has. Both indexes are exact.

- cold: `python -m explorer search CORPUS "a juvenile bird" -k 10 --format json` as a new process, in the space of the
  bundled encoder; the same in a new process that notes the time after each step; and, as the floor, a new process that
  only runs `import torch, open_clip`.
- warm: `explorer.search.Searcher.search` in this process, in the space of 768 dimensions, the text vector given; of
  that the index and the columns of the hits, each asked alone; beside it, the bundled encoder on the same text.

Medians, and the range. Goals: cold at most 6 s, warm at most 50 ms.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from explorer.search import Searcher
    from indexer.corpus import Corpus
    from indexer.encoders import Encoder

TEXT = "a juvenile bird"
DIMENSION = 768
N_CLUSTERS = 500
FLOOR = "import torch, open_clip"
STEPS = """
import sys, time
from pathlib import Path
marks = [("start", time.time())]
mark = lambda name: marks.append((name, time.time()))
from explorer.query import build_query
from explorer.search import Searcher
from indexer.corpus import open_corpus
import explorer.cli
mark("our modules")
import numpy, torch
mark("import torch")
import indexer.encoders
indexer.encoders._import_open_clip()
mark("import open_clip")
corpus = open_corpus(Path(sys.argv[1]))
searcher = Searcher(corpus, corpus.open_space("bundled"))
searcher.encoder
mark("model")
query = build_query(text=sys.argv[2])
searcher.encode(query)
mark("text")
searcher.index
mark("faiss and index")
searcher.search(query)
mark("tables and search")
print(";".join(f"{name}={at - before:.3f}" for (_, before), (name, at) in zip(marks, marks[1:])))
"""


def make_corpus(path: Path, n_records: int, encoder: Encoder) -> Corpus:
    """A corpus of n records in clusters, in the spaces `bundled` and `wide`."""
    import numpy as np
    import pyarrow as pa

    from indexer.corpus import create_corpus
    from indexer.job import refresh_index
    from indexer.records import admit_columns, append_records
    from indexer.vectors import append_vectors

    cluster = np.random.default_rng(0).integers(0, N_CLUSTERS, n_records)
    records = pa.table(
        {
            "record_id": [f"record-{i}" for i in range(n_records)],
            "occurrence_id": [f"occurrence-{i // 2}" for i in range(n_records)],
            "uri": pa.nulls(n_records, pa.string()),
            "scientificName": [f"Genus{i // 5} species{i}" for i in cluster],
            "genus": [f"Genus{i // 5}" for i in cluster],
            "lifeStage": [("adult", "juvenile")[i % 2] for i in range(n_records)],
            "year": pa.array(1950 + cluster % 70, pa.int64()),
        }
    )
    corpus = create_corpus(path)
    with corpus.lock():
        admit_columns(corpus, records.schema)
        rows = np.array(append_records(corpus, records, [None] * n_records), np.int64)
        for name, dimension, spec in (("bundled", encoder.spec.dimension, encoder.spec), ("wide", DIMENSION, None)):
            space = corpus.add_space(name, dimension=dimension, encoder=spec)
            append_vectors(space, rows, draw_clusters(cluster, dimension))
            refresh_index(corpus, space, lambda line: None)
    return corpus


def draw_clusters(cluster: np.ndarray, dimension: int) -> Float32[np.ndarray, "n d"]:
    """Unit vectors around one centre per cluster: cosine 0.8 with it on average."""
    import numpy as np

    rng = np.random.default_rng(1)
    centres = rng.standard_normal((N_CLUSTERS, dimension), dtype=np.float32)
    around = rng.standard_normal((len(cluster), dimension), dtype=np.float32)
    vectors = centres[cluster] + 0.75 * around
    unit: Float32[np.ndarray, "n d"] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def time_process(arguments: Sequence[str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a new Python process, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stdout


class GivenText:
    """Stands in for an encoder whose text vector is known already, so that only the search is timed."""

    def __init__(self, vector: Float32[np.ndarray, " d"]) -> None:
        self._vector = vector

    def encode_texts(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """The one vector, for each text."""
        import numpy as np

        return np.tile(self._vector, (len(texts), 1))


def open_searcher(corpus: Corpus) -> tuple[Searcher, Float32[np.ndarray, " d"]]:
    """A searcher of the wide space, and the vector that stands for its text."""
    import numpy as np

    from explorer.search import Searcher

    vector = draw_clusters(np.zeros(1, int), DIMENSION)[0]
    searcher = Searcher(corpus, corpus.open_space("wide"))
    searcher._encoder = GivenText(vector)  # type: ignore[assignment]
    return searcher, vector


def say(name: str, seconds: Sequence[float], *, unit: str = "s") -> str:
    """Median and range of some times."""
    factor = 1000 if unit == "ms" else 1
    low, middle, high = (factor * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"  {name:34} {middle:8.2f} {unit} ({low:.2f}-{high:.2f})"


def measure_cold(corpus: Corpus, n_runs: int) -> list[str]:
    """The lines on fresh processes."""
    command = ["-m", "explorer", "search", str(corpus.path), TEXT, "-k", "10", "--format", "json", "--space", "bundled"]
    searches, floors, steps = [], [], []
    time_process(command)
    for _ in range(n_runs):
        searches.append(time_process(command))
        floors.append(time_process(["-c", FLOOR]))
        steps.append(
            dict(pair.split("=") for pair in time_process(["-c", STEPS, str(corpus.path), TEXT])[2].split(";"))
        )
    lines = [f"cold, {n_runs} new processes, interleaved; goal: search at most 6 s"]
    for name, runs in (("search", searches), (f"python -c '{FLOOR}'", floors)):
        lines += [say(f"{name}, wall", [run[0] for run in runs]), say(f"{name}, CPU", [run[1] for run in runs])]
    return lines + [say(f"  of which {step}", [float(run[step]) for run in steps]) for step in steps[0]]


def measure_warm(corpus: Corpus, encoder: Encoder, n_runs: int) -> list[str]:
    """The lines on this process."""
    from explorer.query import build_query

    searcher, vector = open_searcher(corpus)
    query = build_query(text=TEXT)
    works: dict[str, Callable[[], object]] = {
        "search, text vector given": lambda: searcher.search(query),
        "  of which the index": lambda: searcher.index.search(vector[None], 10),
        "  of which the columns of 10 hits": lambda: corpus.read_rows(list(range(0, 100, 10))),
        "bundled encoder on the text": lambda: encoder.encode_texts([TEXT]),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for i in range(n_runs + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if i:  # the first opens and loads
                times[name].append(time.perf_counter() - started)
    head = f"warm, {n_runs} searches of {DIMENSION} dimensions; goal: search and encoder together at most 50 ms"
    return [head, *(say(name, seconds, unit="ms") for name, seconds in times.items())]


def main() -> None:
    """The figures, printed."""
    parser = argparse.ArgumentParser(description="Time to the first result of a text search, cold and warm.")
    parser.add_argument("--records", type=int, default=100_000, help="records of the corpus (default: 100000)")
    parser.add_argument("--cold-runs", type=int, default=5, help="new processes of each kind (default: 5)")
    parser.add_argument("--warm-runs", type=int, default=50, help="searches (default: 50)")
    asked = parser.parse_args()

    from indexer.encoders import load_encoder

    encoder = load_encoder("bundled", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder, "wide.corpus"), asked.records, encoder)
        print(f"{asked.records:,} records; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print("\n".join(measure_warm(corpus, encoder, asked.warm_runs)))
        print("\n".join(measure_cold(corpus, asked.cold_runs)))


if __name__ == "__main__":
    main()
