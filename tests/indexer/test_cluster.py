from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float16

from indexer.check import check_corpus
from indexer.cluster import ClusterSettings, RayEngine, WorkerPlan, join_cluster, plan_workers
from indexer.corpus import Corpus, open_corpus
from indexer.errors import ClusterError, EncoderError
from indexer.index.filling import encode_part, fill_here, merge_part
from indexer.index.lists import make_lists, train_centroids
from indexer.index.opened import open_index
from indexer.job import IndexSettings, Listener, index_images
from indexer.vectors import load_vectors
from tests.indexer.photographs import paint_noise

TWO = ClusterSettings(n_workers=2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of two CPUs on this machine; its address."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        # Ray would leave its workers what others leave of the processor.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        leave = join_cluster(None)
        import ray

        yield ray.get_runtime_context().gcs_address
        leave()
    assert list(home.rglob("*")) == []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of images, some of which cannot be read."""
    folder = paint_noise(tmp_path_factory.mktemp("source") / "noise", 1100)
    for number in range(0, 1100, 97):
        (folder / f"{number:05d}.png").write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tiny_encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """What the local engine makes of them."""
    path = tmp_path_factory.mktemp("corpora") / "local.corpus"
    return index_images(
        IndexSettings(source=source, corpus=path, model=tiny_encoder, with_map=False), Listener()
    ).corpus


def run(source: Path, path: Path, model: str) -> Corpus:
    settings = IndexSettings(source=source, corpus=path, model=model, with_map=False, cluster=TWO)
    return index_images(settings, Listener()).corpus


def assert_equal(corpus: Corpus, local: Corpus) -> None:
    """The records, refusals, vectors and hits are those of the local engine."""
    columns = ["row", "record_id", "sha256", "width", "thumbnail"]
    assert corpus.read_columns(columns).equals(local.read_columns(columns))
    assert corpus.rejected_path.read_bytes() == local.rejected_path.read_bytes()
    found, expected = (load_vectors(each.open_space()) for each in (corpus, local))
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert (found.values * expected.values).sum(axis=1).min() >= 0.9999
    queries = expected.values[::50]
    hits, truth = (open_index(each.open_space()).search(queries, 10).rows for each in (corpus, local))
    np.testing.assert_array_equal(hits, truth)
    assert check_corpus(corpus).faults == ()


def find_busy_worker() -> int | None:
    """A process that embeds a shard just now."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::") and b"ShardEncoder" in title and b".submit" in title:
                return int(folder.name)
    return None


def kill_busy_worker(killed: list[int], is_over: threading.Event) -> None:
    """Kill the first worker that is seen at work, and note it."""
    while not is_over.wait(0.002):
        worker = find_busy_worker()
        if worker is not None:
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)
            return


def start_and_kill_job(command: Sequence[str], first_vectors: Path) -> str:
    """Start a job and kill it as soon as it has committed vectors; what it said."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        while job.poll() is None and not first_vectors.is_dir():
            time.sleep(0.002)
        job.kill()
        return job.stdout.read().decode() if job.stdout else ""


def test_a_killed_job_resumed_with_a_worker_killed_ends_as_with_the_local_engine(
    cluster: str, source: Path, local: Corpus, tiny_encoder: str, tmp_path: Path
) -> None:
    path = tmp_path / "ray.corpus"
    command = [sys.executable, "-m", "explorer", "index", str(source), "--corpus", str(path), "--model", tiny_encoder]
    command += ["--no-map", "--engine", "ray", "--address", cluster, "--workers", "2"]
    said = start_and_kill_job(command, path / "spaces" / "tiny" / "vectors.lance" / "_versions")
    assert "computes on 2 Ray workers of 1 CPU" in said, said
    assert 0 < len(load_vectors(open_corpus(path).open_space()).rows) < len(load_vectors(local.open_space()).rows)

    killed: list[int] = []
    is_over = threading.Event()
    killer = threading.Thread(target=kill_busy_worker, args=(killed, is_over))
    killer.start()
    try:
        corpus = run(source, path, tiny_encoder)
    finally:
        is_over.set()
        killer.join()
    assert killed
    assert_equal(corpus, local)


@pytest.mark.usefixtures("cluster")
def test_what_is_wrong_with_a_model_in_a_worker_reaches_the_user(source: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "open_clip_config.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"open_clip_config\.json"):
        run(source, tmp_path / "ray.corpus", f"local-dir:{model}")


class Deadly:
    """Stands for an encoder whose process dies at every shard, as for want of memory."""

    def __init__(self, **given: Any) -> None:
        pass

    def __call__(self, shard: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        return shard


@pytest.mark.usefixtures("cluster")
def test_a_shard_that_kills_every_worker_ends_the_job_with_what_to_do(
    source: Path, tiny_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.cluster.ShardEncoder", Deadly)
    monkeypatch.setattr("indexer.cluster.RETRIES", 0)
    with pytest.raises(ClusterError, match=r"a worker died once at the same task.*--workers"):
        run(source, tmp_path / "ray.corpus", tiny_encoder)


def draw_vectors(n: int) -> Float16[np.ndarray, "n 32"]:
    values = np.random.default_rng(0).standard_normal((n, 32))
    unit: Float16[np.ndarray, "n 32"] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    return unit


def assert_same_answers(index: Any, whole: Any, vectors: Float16[np.ndarray, "n 32"]) -> None:
    assert index.ntotal == whole.ntotal == len(vectors)
    index.nprobe = whole.nprobe = whole.nlist
    found, expected = (each.search(vectors[:50].astype(np.float32), 10) for each in (index, whole))
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("n_bits", [1, 2, 4])
def test_parts_merged_in_any_order_are_the_lists_filled_at_once(n_bits: int) -> None:
    vectors = draw_vectors(1000)
    centroids = train_centroids(vectors, 10, device="cpu", seed=0)
    whole, merged = make_lists(centroids, n_bits), make_lists(centroids, n_bits)
    assigned = fill_here(whole, vectors, None, device="cpu")
    for start, stop in ((300, 999), (999, 1000), (0, 300)):
        part, lists = encode_part(centroids, n_bits, vectors[start:stop], None)
        np.testing.assert_array_equal(lists, assigned[start:stop])
        merge_part(merged, part, start)
    assert_same_answers(merged, whole, vectors)


@pytest.mark.usefixtures("cluster")
def test_lists_filled_on_workers_are_those_filled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.cluster.PART", 700)
    vectors = draw_vectors(2000)
    centroids = train_centroids(vectors, 20, device="cpu", seed=0)
    whole, merged = make_lists(centroids, 1), make_lists(centroids, 1)
    assigned = fill_here(whole, vectors, None, device="cpu")
    with RayEngine(TWO, device="cpu", announce=lambda line: None) as engine:
        np.testing.assert_array_equal(engine.fill_lists(merged, vectors, None, device="cpu"), assigned)
    assert_same_answers(merged, whole, vectors)


def test_workers_are_planned_after_the_machines() -> None:
    def plan(nodes: list[dict[str, float]], device: str = "auto", **asked: float) -> WorkerPlan:
        return plan_workers(nodes, ClusterSettings(**asked), device)  # type: ignore[arg-type]

    assert plan([{"CPU": 2}], n_workers=2) == WorkerPlan(n_workers=2, cpus=1, gpus=0)
    assert plan([{"CPU": 16}]) == WorkerPlan(n_workers=4, cpus=4, gpus=0)
    assert plan([{"CPU": 2}]) == WorkerPlan(n_workers=1, cpus=2, gpus=0)
    assert plan([{"CPU": 16}], n_workers=64) == WorkerPlan(n_workers=16, cpus=1, gpus=0)
    assert plan([{"CPU": 5}, {"CPU": 3}], n_workers=2) == WorkerPlan(n_workers=2, cpus=3, gpus=0)
    assert plan([{"CPU": 16, "GPU": 2}, {"CPU": 8}]) == WorkerPlan(n_workers=2, cpus=8, gpus=1)
    assert plan([{"CPU": 16, "GPU": 2}], gpus_per_worker=0.5) == WorkerPlan(n_workers=4, cpus=4, gpus=0.5)
    assert plan([{"CPU": 16, "GPU": 2}], gpus_per_worker=0.5, n_workers=3) == WorkerPlan(n_workers=3, cpus=4, gpus=0.5)
    assert plan([{"CPU": 16, "GPU": 2}], device="cpu") == WorkerPlan(n_workers=4, cpus=4, gpus=0)
    assert plan([{"CPU": 16, "GPU": 2}], gpus_per_worker=1).describe() == "2 Ray workers of 8 CPU and 1 GPU"


def test_more_gpus_than_a_machine_has_are_refused() -> None:
    with pytest.raises(ClusterError, match=r"--gpus-per-worker 1: the cluster's machines have 2 CPU and 0 GPU"):
        plan_workers([{"CPU": 2}], ClusterSettings(gpus_per_worker=1), "auto")
    with pytest.raises(ClusterError, match="have nothing, on which"):
        plan_workers([], ClusterSettings(), "auto")
