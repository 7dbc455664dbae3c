from __future__ import annotations

import numpy as np
import pytest

from indexer.index.background import Background, measure_background
from tests.corpora import angles


def test_percentiles_of_the_plane_follow_the_arc_cosine() -> None:
    values = angles(*np.random.default_rng(0).uniform(0, 360, 3000))
    background = measure_background(3000, lambda at: values[at], seed=0)
    scores = np.cos(np.radians([150, 90, 30])).astype(np.float32)
    np.testing.assert_allclose(background.percentiles(scores), [100 / 6, 50, 500 / 6], atol=1)


def test_one_vector_has_no_percentile() -> None:
    background = measure_background(1, lambda at: angles(0)[at], seed=0)
    assert background.n_pairs == 0
    assert np.isnan(background.percentiles(np.array([0.5], np.float32))).all()


def test_percentiles_resolve_the_top() -> None:
    assert Background(levels=(0, 1), scores=(0, 1), n_pairs=5).percentiles(np.array([0.9995], np.float32)) == (
        pytest.approx(99.95, abs=1e-3)
    )
