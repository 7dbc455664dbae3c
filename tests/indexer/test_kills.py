from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from indexer.check import check_corpus
from indexer.corpus import open_corpus
from indexer.vectors import load_vectors
from tests.indexer.photographs import paint_noise

N_KILLS = 20


def drill(tmp_path: Path, source: Path, model: str, n_kills: int) -> str:
    """Run the drill in a process of its own; what it printed."""
    command = [sys.executable, "-m", "tests.indexer.kill_drill", str(source), str(tmp_path / "killed"), model]
    # One thread: the jobs are so small that a second one only makes them slower where the cores are busy.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(n_kills), "0"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_all_are_as_undisturbed(tmp_path: Path) -> None:
    undisturbed = open_corpus(tmp_path / "timing.corpus")
    expected = load_vectors(undisturbed.open_space())
    records = undisturbed.read_columns(["row", "record_id", "sha256"])
    rejected = undisturbed.rejected_path.read_bytes()
    killed = sorted(tmp_path.glob("killed-*"))
    assert killed
    for path in killed:
        corpus = open_corpus(path)
        vectors = load_vectors(corpus.open_space())
        np.testing.assert_array_equal(vectors.rows, expected.rows)
        np.testing.assert_array_equal(vectors.values, expected.values)
        assert corpus.read_columns(["row", "record_id", "sha256"]).equals(records)
        assert corpus.rejected_path.read_bytes() == rejected
        report = check_corpus(corpus)
        assert report.faults == ()


def paint_some_broken(folder: Path, n: int) -> Path:
    source = paint_noise(folder, n)
    for number in range(0, n, 97):
        (source / f"{number:05d}.png").write_bytes(b"not an image")
    return source


def test_a_job_killed_at_random_moments_ends_with_the_same_vectors(tmp_path: Path, tiny_encoder: str) -> None:
    source = paint_some_broken(tmp_path / "noise", 1100)
    assert f"{N_KILLS} kills" in drill(tmp_path, source, tiny_encoder, N_KILLS)
    assert_all_are_as_undisturbed(tmp_path)


def test_a_job_that_dies_beside_any_of_its_commits_ends_with_the_same_vectors(
    tmp_path: Path, tiny_encoder: str
) -> None:
    source = paint_some_broken(tmp_path / "noise", 20)
    assert "deaths at" in drill(tmp_path, source, tiny_encoder, 0)
    assert_all_are_as_undisturbed(tmp_path)
