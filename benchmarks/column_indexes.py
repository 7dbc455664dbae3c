"""Filters with and without scalar indexes over the records' columns.

    .venv/bin/python -m benchmarks.column_indexes [--records 500000]

Records have the columns of a GBIF download and no images. Each condition is asked 15 times through `match_records`, as
a search asks it, before and after `index_columns`; medians of wall time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from explorer.filters import Filter, match_records
from indexer.column_indexes import index_columns
from indexer.corpus import Corpus, create_corpus
from indexer.records import admit_columns, append_records

CONDITIONS = (
    "sex = 'male'",
    "country = 'c5'",
    "country IN ('c5', 'c9')",
    "year >= 2020",
    "decimalLatitude > 89.9",
    "species = 'sp77'",
    "record_id = 'r4242'",
    "sex = 'male' AND year >= 2024",
)
BLOCK = 50_000
N_TIMES = 15


def draw_corpus(path: Path, n: int) -> Corpus:
    """A corpus of n records without images."""
    rng = np.random.default_rng(0)
    corpus = create_corpus(path)
    with corpus.lock():
        for start in range(0, n, BLOCK):
            m = min(BLOCK, n - start)
            ids = [f"r{i}" for i in range(start, start + m)]
            columns = {
                "record_id": ids,
                "occurrence_id": ids,
                "uri": pa.nulls(m, pa.string()),
                "sex": rng.choice(["male", "female", ""], m),
                "country": [f"c{i}" for i in rng.integers(150, size=m)],
                "species": [f"sp{i}" for i in rng.integers(5_000, size=m)],
                "year": rng.integers(1900, 2026, m),
                "decimalLatitude": rng.uniform(-90, 90, m),
            }
            table = pa.table(columns)
            admit_columns(corpus, table.schema)
            append_records(corpus, table, [None] * m)
    return corpus


def ask(corpus: Corpus) -> dict[str, tuple[float, int]]:
    """Milliseconds and records of each condition."""
    found = {}
    for condition in CONDITIONS:
        times = []
        for _ in range(N_TIMES):
            began = time.perf_counter()
            rows = match_records(corpus, Filter(where=condition))
            times.append(time.perf_counter() - began)
        found[condition] = 1e3 * median(times), len(rows)
    return found


def main() -> None:
    """Draw, ask, index, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=500_000)
    n = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder, patch("indexer.column_indexes.LEAST_RECORDS", 1):
        corpus = draw_corpus(Path(folder) / "filters.corpus", n)
        before = ask(corpus)
        began = time.process_time()
        with corpus.lock():
            index_columns(corpus)
        print(f"indexed {n:,} records in {time.process_time() - began:.1f} CPU s")
        after = ask(corpus)
    for condition in CONDITIONS:
        (without, rows), (with_index, same) = before[condition], after[condition]
        assert rows == same
        print(f"{condition:32s} {rows:8,} records  {without:7.1f} -> {with_index:6.1f} ms  x{without / with_index:.1f}")


if __name__ == "__main__":
    main()
