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


def test_a_job_killed_at_random_moments_ends_with_the_same_vectors(tmp_path: Path, tiny_encoder: str) -> None:
    source = paint_noise(tmp_path / "noise", 1100)
    for number in range(0, 1100, 97):
        (source / f"{number:05d}.png").write_bytes(b"not an image")
    command = [sys.executable, "-m", "tests.indexer.kill_drill", str(source), str(tmp_path / "killed"), tiny_encoder]
    # One thread: the jobs are so small that a second one only makes them slower where the cores are busy.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(N_KILLS), "0"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"{N_KILLS} kills" in done.stdout
    undisturbed = open_corpus(tmp_path / "timing.corpus")
    expected = load_vectors(undisturbed.open_space())
    records = undisturbed.read_columns(["row", "record_id", "sha256"])
    rejected = undisturbed.rejected_path.read_bytes()
    for path in sorted(tmp_path.glob("killed-*")):
        corpus = open_corpus(path)
        vectors = load_vectors(corpus.open_space())
        np.testing.assert_array_equal(vectors.rows, expected.rows)
        np.testing.assert_array_equal(vectors.values, expected.values)
        assert corpus.read_columns(["row", "record_id", "sha256"]).equals(records)
        assert corpus.rejected_path.read_bytes() == rejected
        assert check_corpus(corpus).faults == ()
