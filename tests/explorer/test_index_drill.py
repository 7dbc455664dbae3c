from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.drill_index import DrillSettings, Tell, make_corpus, run_drill, run_job

SETTINGS = DrillSettings(
    seconds=6, n_pairs=400, n_appended=60, dimension=32, n_threads=8, exact_up_to=300, calibrate=False
)


def test_searches_see_neither_errors_nor_gaps_nor_removed_records_while_a_job_changes_everything(
    tmp_path: Path,
) -> None:
    path = tmp_path / "drill.corpus"
    make_corpus(path, SETTINGS)

    def start_job(tell: Tell) -> Callable[[], None]:
        over = threading.Event()
        job = threading.Thread(target=run_job, args=(path, SETTINGS, tell, over.is_set))
        job.start()

        def wait() -> None:
            over.set()
            job.join()

        return wait

    outcome = run_drill(path, SETTINGS, start_job)
    assert outcome["errors"] == []
    assert outcome["missing"] == []
    assert outcome["stale"] == []
    assert outcome["known_neighbours_asked"] > 50
    assert outcome["removed_pairs_asked"] > 5
    assert outcome["news"] >= 4
