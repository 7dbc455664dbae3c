"""Search while the index is changed under it: 8 threads ask for 60 s, a job appends, removes, extends and rebuilds.

    .venv/bin/python benchmarks/drill_index.py [--seconds 60] [--records 20000] [--threads 8]

Every record has a twin with the same vector, so that a pair's own vector is known to have both as its nearest
neighbours, whatever the index. The job runs in a process of its own, through the functions that the command line calls.
It says what it is about to change, waits until that is heard, changes it, and says that it is done. So it is known of
each search what it must show:

- no error: no search raises, and none gives fewer hits than asked for;
- no missing neighbour: a pair that was indexed when the search began, and that nobody touched until it ended, is found,
  with and without a filter;
- no stale row: a pair that was removed when the search began, and that nobody touched until it ended, is not among the
  hits.

One thread opens the corpus anew for each search, as the command line does; the others keep one open, as the app does.
Prints the counts as JSON and exits 1 where one of the three is broken.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32

    from explorer.filters import Filter
    from explorer.search import Searcher
    from indexer.corpus import Corpus, Space

HITS = 10
N_CLUSTERS = 40
REMOVED_AT_ONCE = 40
SPACE = "drill"


class Step(StrEnum):
    """What the job does to pairs: `TOUCHING` is said before, the others after."""

    TOUCHING = "touching"
    INDEXED = "indexed"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True)
class News:
    """What the job says.

    Attributes:
        step: what it is about to do, or has done.
        pairs: to which.
        index: the index that stands now, as `kind, trained on n`; empty where it is the former one.
    """

    step: Step
    pairs: tuple[int, ...]
    index: str = ""


Tell = Callable[[News], None]
"""Gives news, and comes back when they have been heard."""


@dataclass(frozen=True, kw_only=True)
class DrillSettings:
    """What a drill is made of.

    Attributes:
        seconds: how long is searched.
        n_pairs: at the start.
        n_appended: pairs that each round of the job appends.
        dimension: of the vectors.
        n_threads: that search.
        exact_up_to: records up to which the index is exact.
        calibrate: whether the index tries a calibration, as it does by default.
        seed: of everything.
    """

    seconds: float = 60.0
    n_pairs: int = 10_000
    n_appended: int = 500
    dimension: int = 128
    n_threads: int = 8
    exact_up_to: int = 2_000
    calibrate: bool = True
    seed: int = 0

    def draw_pairs(self, start: int, stop: int) -> Float32[np.ndarray, "p d"]:
        """One unit vector per pair, in clusters; the same for the same pair wherever it is drawn."""
        import numpy as np

        centres = np.random.default_rng(self.seed).standard_normal((N_CLUSTERS, self.dimension))
        noise = [
            np.random.default_rng((self.seed, pair)).standard_normal(self.dimension) for pair in range(start, stop)
        ]
        vectors = centres[np.arange(start, stop) % N_CLUSTERS] + np.array(noise).reshape(-1, self.dimension)
        unit: Float32[np.ndarray, "p d"] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit


def name_genus(pair: int) -> str:
    """The genus of a pair: one per cluster."""
    return f"Genus{pair % N_CLUSTERS}"


def make_corpus(path: Path, settings: DrillSettings) -> None:
    """The corpus as the drill begins."""
    from indexer.corpus import create_corpus

    corpus = create_corpus(path)
    with corpus.lock():
        space = corpus.add_space(SPACE, dimension=settings.dimension, encoder=None)
    append_pairs(corpus, space, settings, range(settings.n_pairs))


def append_pairs(corpus: Corpus, space: Space, settings: DrillSettings, pairs: range) -> str:
    """Append pairs of twins and bring the index up to date, as a job does; the index that stands then."""
    import numpy as np
    import pyarrow as pa

    from indexer.index.settings import BuildSettings
    from indexer.index.storage import read_index
    from indexer.job import refresh_index
    from indexer.records import admit_columns, append_records
    from indexer.vectors import append_vectors

    ids = [f"{pair}{twin}" for pair in pairs for twin in "ab"]
    columns = {"record_id": ids, "occurrence_id": ids, "genus": [name_genus(pair) for pair in pairs for _ in "ab"]}
    records = pa.table({**columns, "uri": pa.nulls(len(ids), pa.string())})
    with corpus.lock():
        if len(pairs):
            admit_columns(corpus, records.schema)
            rows = append_records(corpus, records, [None] * len(ids))
            vectors = settings.draw_pairs(pairs.start, pairs.stop)
            append_vectors(space, np.array(rows, np.int64), np.repeat(vectors, 2, axis=0))
        asked = BuildSettings(exact_up_to=settings.exact_up_to, calibrate=settings.calibrate)
        refresh_index(corpus, space, lambda line: None, settings=asked)
        facts = read_index(space).facts
    return f"{facts.kind}, trained on {facts.n_trained or facts.n:,}"


def run_job(path: Path, settings: DrillSettings, tell: Tell, is_over: Callable[[], bool]) -> None:
    """Append, remove, bring back and rebuild until it is over."""
    import numpy as np

    from indexer.corpus import open_corpus
    from indexer.removals import remove_records, restore_records

    corpus = open_corpus(path)
    space = corpus.open_space(SPACE)
    rng = np.random.default_rng(settings.seed)
    n_pairs, removed = settings.n_pairs, np.empty(0, np.int64)
    while not is_over():
        going = rng.choice(np.setdiff1d(np.arange(n_pairs), removed), REMOVED_AT_ONCE, replace=False)
        tell(News(step=Step.TOUCHING, pairs=tuple(going.tolist())))
        remove_records(corpus, rows_of(going), reason="drill")
        tell(News(step=Step.REMOVED, pairs=tuple(going.tolist())))
        removed = np.append(removed, going)
        returning = removed[: len(removed) // 3]
        tell(News(step=Step.TOUCHING, pairs=tuple(returning.tolist())))
        restore_records(corpus, rows_of(returning))
        removed = removed[len(returning) :]
        new = range(n_pairs, n_pairs + settings.n_appended)
        index = append_pairs(corpus, space, settings, new)
        n_pairs = new.stop
        tell(News(step=Step.INDEXED, pairs=(*returning.tolist(), *new), index=index))


def rows_of(pairs: Any) -> Any:
    """The rows of both twins of each pair."""
    import numpy as np

    return np.concatenate([2 * pairs, 2 * pairs + 1])


@dataclass(kw_only=True)
class Ledger:
    """What is known of each pair, as the job has told it.

    Attributes:
        n_news: heard so far.
        steps: pair → the last step, and which news said so; a pair that the drill began with is indexed.
        indexes: how often each index was committed.
    """

    n_pairs: int
    n_news: int = 0
    steps: dict[int, tuple[Step, int]] = field(default_factory=dict)
    indexes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, news: News) -> None:
        """Take in news."""
        with self.lock:
            self.n_news += 1
            self.steps |= dict.fromkeys(news.pairs, (news.step, self.n_news))
            if news.index:
                self.indexes[news.index] += 1
                self.n_pairs = max(self.n_pairs, *news.pairs, 0) if news.pairs else self.n_pairs

    def look(self, pairs: Sequence[int]) -> list[tuple[Step, int]]:
        """The last step of each pair."""
        with self.lock:
            return [self.steps.get(pair, (Step.INDEXED, 0)) for pair in pairs]

    def draw(self, rng: np.random.Generator) -> int:
        """A pair to ask for: as often one that was removed lately as any other."""
        with self.lock:
            n = self.n_pairs
            touched = [pair for pair, (step, _) in list(self.steps.items())[-500:] if step is Step.REMOVED]
        return int(rng.choice(touched)) if touched and rng.random() < 0.5 else int(rng.integers(n))


@dataclass(kw_only=True)
class Tally:
    """What the searches came to; lists hold what went wrong, in words."""

    seconds: list[float] = field(default_factory=list)
    n_sure: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def judge(self, pair: int, found: set[int], before: Sequence[tuple[Step, int]], after: object, said: str) -> None:
        """Hold the pairs that a search found against what was known before it, where nothing touched the pair since."""
        step, number = before[0]
        if step is Step.TOUCHING or before != after:
            return
        self.n_sure[step] += 1
        if step is Step.INDEXED and found != {2 * pair, 2 * pair + 1}:
            self.missing.append(f"{said}: pair {pair} (news {number}) gave rows {sorted(found)}")
        if step is Step.REMOVED and found:
            self.stale.append(f"{said}: pair {pair} (removed in news {number}) gave rows {sorted(found)}")


def search_until(
    is_over: Callable[[], bool], opener: Callable[[], Searcher], ledger: Ledger, tally: Tally, settings: DrillSettings
) -> None:
    """Ask for one pair after the other, every other time among its genus alone."""
    import numpy as np

    from explorer.filters import Filter
    from explorer.query import Query, VectorPart

    rng = np.random.default_rng((settings.seed, threading.get_ident()))
    number = 0
    while not is_over():
        number += 1
        pair = ledger.draw(rng)
        query = Query(parts=(VectorPart(vector=settings.draw_pairs(pair, pair + 1)[0], name=f"pair {pair}"),))
        chosen = Filter(taxon=name_genus(pair)) if number % 2 else Filter()
        before = ledger.look([pair])
        started = time.perf_counter()
        try:
            found = ask(opener(), query, chosen)
        except Exception:  # noqa: BLE001 (every error is counted and shown)
            tally.errors.append(traceback.format_exc())
            continue
        tally.seconds.append(time.perf_counter() - started)
        if len(found) < HITS:
            tally.errors.append(f"only {len(found)} hits for pair {pair}, filter {chosen.describe()!r}")
        twins = {row for row in found if row // 2 == pair}
        tally.judge(pair, twins, before, ledger.look([pair]), chosen.describe() or "no filter")


def ask(searcher: Searcher, query: Any, chosen: Filter) -> list[int]:
    """The rows that answer."""
    return [hit.row for hit in searcher.search(query, k=HITS, record_filter=chosen).hits]


def open_searcher(path: Path) -> Searcher:
    """What a command opens."""
    from explorer.search import Searcher
    from indexer.corpus import open_corpus

    corpus = open_corpus(path)
    return Searcher(corpus, corpus.open_space(SPACE))


def run_drill(path: Path, settings: DrillSettings, start_job: Callable[[Tell], Callable[[], None]]) -> dict[str, Any]:
    """Search while the job runs, and count what went wrong.

    Args:
        path: of the corpus that `make_corpus` made.
        settings: those that made it.
        start_job: starts the job, which tells its news; gives back what waits for its end.
    """
    import numpy as np

    ledger, over = Ledger(n_pairs=settings.n_pairs), threading.Event()
    shared = open_searcher(path)
    tallies = [Tally() for _ in range(settings.n_threads)]
    openers: list[Callable[[], Searcher]] = [lambda: open_searcher(path)] + [lambda: shared] * (settings.n_threads - 1)
    threads = [
        threading.Thread(target=search_until, args=(over.is_set, opener, ledger, tally, settings))
        for opener, tally in zip(openers, tallies, strict=True)
    ]
    wait_for_job = start_job(ledger.hear)
    for thread in threads:
        thread.start()
    time.sleep(settings.seconds)
    wait_for_job()
    over.set()
    for thread in threads:
        thread.join()
    seconds = np.array([second for tally in tallies for second in tally.seconds])
    sure = sum((tally.n_sure for tally in tallies), Counter[str]())
    return {
        "searches": len(seconds),
        "p50_ms": round(1e3 * float(np.median(seconds)), 2),
        "p99_ms": round(1e3 * float(np.quantile(seconds, 0.99)), 2),
        "known_neighbours_asked": sure[Step.INDEXED],
        "removed_pairs_asked": sure[Step.REMOVED],
        "news": ledger.n_news,
        "indexes": dict(ledger.indexes),
        "errors": [error for tally in tallies for error in tally.errors],
        "missing": [line for tally in tallies for line in tally.missing],
        "stale": [line for tally in tallies for line in tally.stale],
    }


def start_process(path: Path, settings: DrillSettings, tell: Tell) -> Callable[[], None]:
    """The job in a process of its own; what ends it and raises its error, if it had one."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    over = context.Event()
    process = context.Process(target=_run_in_process, args=(path, settings, theirs, over))
    process.start()
    theirs.close()

    def listen() -> None:
        while True:
            try:
                news = ours.recv()
            except EOFError:
                return
            tell(news)
            ours.send(None)

    listener = threading.Thread(target=listen)
    listener.start()

    def wait() -> None:
        over.set()
        process.join()
        listener.join()
        if process.exitcode:
            sys.exit(f"the job ended with {process.exitcode}")

    return wait


def _run_in_process(path: Path, settings: DrillSettings, pipe: Any, over: Any) -> None:
    def tell(news: News) -> None:
        pipe.send(news)
        pipe.recv()

    run_job(path, settings, tell, over.is_set)


def main() -> None:
    """Run the drill and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=8)
    arguments = parser.parse_args()
    settings = DrillSettings(seconds=arguments.seconds, n_pairs=arguments.records // 2, n_threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drill.corpus"
        make_corpus(path, settings)
        outcome = run_drill(path, settings, lambda tell: start_process(path, settings, tell))
    print(json.dumps(outcome, indent=2))
    sys.exit(1 if outcome["errors"] or outcome["missing"] or outcome["stale"] else 0)


if __name__ == "__main__":
    main()
