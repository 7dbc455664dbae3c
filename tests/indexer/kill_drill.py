"""SIGKILL at random moments of an index job, each followed by a check and a fresh start of the same job.

Run as a program (`python -m tests.indexer.kill_drill SOURCE CORPUS MODEL N_KILLS SEED`); with 0 kills the job dies
instead just before, and just after, each single one of its commits. The program loads the libraries once
and forks every job from there, because a job that starts from nothing spends ten seconds on imports that nothing can
go wrong in. The parent starts no thread and touches no table, so that forking is safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

DIED = 77
"""Exit status of a job that ended itself at a commit."""


def run_job(source: Path, corpus: Path, model: str) -> None:
    from indexer.job import IndexSettings, Listener, index_images

    index_images(IndexSettings(source=source, corpus=corpus, model=model, with_map=False), Listener())


def check(corpus: Path) -> None:
    from indexer.check import check_corpus
    from indexer.corpus import open_corpus

    if (corpus / "corpus.json").exists():
        faults = check_corpus(open_corpus(corpus)).faults
        if faults:
            sys.exit(f"after a kill: {faults}")


def fork(task: Callable[[], None]) -> int:
    """Run a task in a child process; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        task()
        status = 0
    finally:
        os._exit(status)


def wait(child: int, seconds: float | None) -> int | None:
    """The exit status of a child, or None where it is still running after that time."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is None or time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def drill(source: Path, corpus: Path, model: str, n_kills: int, seed: int) -> None:
    """Kill `n_kills` jobs at random moments, then let the last one finish."""
    rng = random.Random(seed)
    corpora = 0
    kills = 0
    seconds = time_one_job(source, corpus.with_name("timing.corpus"), model)
    while kills < n_kills:
        target = corpus.with_name(f"{corpus.name}-{corpora}")
        job = fork(lambda target=target: run_job(source, target, model))  # type: ignore[misc]
        if wait(job, rng.uniform(0, seconds)) is not None:
            corpora += 1
            continue
        os.kill(job, signal.SIGKILL)
        os.waitpid(job, 0)
        kills += 1
        if wait(fork(lambda target=target: check(target)), None) != 0:  # type: ignore[misc]
            sys.exit(f"the check failed after kill {kills}")
    for number in range(corpora + 1):
        target = corpus.with_name(f"{corpus.name}-{number}")
        if wait(fork(lambda target=target: run_job(source, target, model)), None) != 0:  # type: ignore[misc]
            sys.exit(f"{target} did not finish")
    print(f"{kills} kills over {corpora + 1} corpora; an undisturbed job takes {seconds:.1f} s")  # noqa: T201


def die_at_commit(number: int, *, after: bool) -> None:
    """From now on end this process at its `number`th commit: a file put in place, or a version of a table."""
    import lance

    count = 0

    def deadly(commit: Callable[..., object]) -> Callable[..., object]:
        def act(*args: object, **settings: object) -> object:
            nonlocal count
            count += 1
            if count == number and not after:
                os._exit(DIED)
            result = commit(*args, **settings)
            if count == number:
                os._exit(DIED)
            return result

        return act

    Path.replace = deadly(Path.replace)  # type: ignore[method-assign, assignment]
    lance.write_dataset = deadly(lance.write_dataset)  # type: ignore[assignment]


def drill_commits(source: Path, corpus: Path, model: str) -> None:
    """Let a job die at each of its commits, on both sides of it; check, and finish the job, each time."""
    time_one_job(source, corpus.with_name("timing.corpus"), model)
    number, deaths = 1, 0
    while True:
        for after in (False, True):
            target = corpus.with_name(f"{corpus.name}-{number}-{after}")
            status = wait(fork(lambda: run_to_death(source, target, model, number, after=after)), None)  # noqa: B023
            if status == 0:
                print(f"{deaths} deaths at {number - 1} commits")  # noqa: T201
                return
            deaths += status == DIED
            finished = wait(fork(lambda: check_and_finish(source, target, model)), None)  # noqa: B023
            if status != DIED or finished != 0:
                sys.exit(f"commit {number}, after={after}: ended with {status}, then {finished}")
        number += 1


def check_and_finish(source: Path, corpus: Path, model: str) -> None:
    check(corpus)
    run_job(source, corpus, model)


def run_to_death(source: Path, corpus: Path, model: str, number: int, *, after: bool) -> None:
    die_at_commit(number, after=after)
    run_job(source, corpus, model)


def time_one_job(source: Path, corpus: Path, model: str) -> float:
    started = time.monotonic()
    if wait(fork(lambda: run_job(source, corpus, model)), None) != 0:
        sys.exit("the undisturbed job failed")
    return time.monotonic() - started


if __name__ == "__main__":
    import faiss  # noqa: F401
    import lance  # noqa: F401
    import simplejpeg  # noqa: F401

    import indexer.encoders

    indexer.encoders._import_open_clip()
    place = (Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    if int(sys.argv[4]):
        drill(*place, int(sys.argv[4]), int(sys.argv[5]))
    else:
        drill_commits(*place)
