from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.errors import CorpusError
from indexer.files import read_json, write_json
from indexer.neighbours import Background, build_index, indexed_rows, is_current, measure_background, open_index
from indexer.vectors import Vectors, append_vectors, load_vectors
from tests.corpora import angles, make_vector_corpus


def clustered(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, d))
    return (centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32)


def test_an_exact_index_gives_the_cosine(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    found = open_index(space).search(angles(0), 3)
    assert found.rows.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(found.scores[0], np.cos(np.radians([0, 30, 60])), atol=1e-3)


def test_an_approximate_index_states_a_recall_that_holds(tmp_path: Path) -> None:
    vectors = clustered(4000, 24)
    _, space = make_vector_corpus(tmp_path / "i.corpus", vectors, exact_up_to=500)
    index = open_index(space)
    assert index.facts.kind == "ivf"
    assert index.facts.recall_low <= index.facts.recall <= index.facts.recall_high
    stored = load_vectors(space)
    queries = stored.values[::40]
    truth = np.argsort(-(queries @ stored.values.T), axis=1)[:, 1:11]
    answer = index.search(queries, 11).rows
    recall = np.mean([len(np.intersect1d(a, t)) / 10 for a, t in zip(answer, truth, strict=True)])
    assert recall >= 0.95


def test_a_filter_is_answered_exactly_by_an_approximate_index(tmp_path: Path) -> None:
    vectors = clustered(3000, 16)
    _, space = make_vector_corpus(tmp_path / "i.corpus", vectors, exact_up_to=500)
    stored = load_vectors(space)
    allowed = np.arange(7, 3000, 150)
    found = open_index(space).search(stored.values[:5], 10, allowed=allowed)
    truth = allowed[np.argsort(-(stored.values[:5] @ stored.values[allowed].T), axis=1)[:, :10]]
    np.testing.assert_array_equal(found.rows, truth)


def test_fewer_allowed_than_asked_are_marked_as_missing(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    found = open_index(space).search(angles(0), 3, allowed=np.array([2]))
    assert found.rows.tolist() == [[2, -1, -1]]
    assert np.isnan(found.scores[0, 1:]).all()


@pytest.mark.parametrize("exact_up_to", [10_000, 500])
def test_an_index_tells_its_rows(tmp_path: Path, exact_up_to: int) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", clustered(1000, 8), exact_up_to=exact_up_to)
    np.testing.assert_array_equal(indexed_rows(open_index(space)), np.arange(1000))


def test_an_index_is_behind_after_an_append_and_current_after_a_rebuild(tmp_path: Path) -> None:
    corpus, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    assert is_current(space)
    append_vectors(space, np.array([3]), angles(90))
    assert not is_current(space)
    build_index(space, announce=lambda line: None)
    assert is_current(space)
    assert open_index(space).search(angles(90), 1).rows.tolist() == [[3]]
    assert len(list(space.folder.glob("index-*.faiss"))) == 1
    assert corpus.count_records() == 3


def test_an_opened_index_goes_on_answering_after_a_rebuild(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    before = open_index(space)
    append_vectors(space, np.array([3]), angles(90))
    build_index(space, announce=lambda line: None)
    assert before.search(angles(90), 1).rows.tolist() == [[2]]


def test_an_index_of_another_length_is_noticed(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    write_json(space.index_path, {**read_json(space.index_path), "n": 4})
    with pytest.raises(CorpusError, match="holds 3 vectors of 2 dimensions, not 4 of 2"):
        open_index(space)


def test_percentiles_of_the_plane_follow_the_arc_cosine() -> None:
    rng = np.random.default_rng(0)
    values = angles(*rng.uniform(0, 360, 3000))
    background = measure_background(Vectors(rows=np.arange(3000), values=values, version=1), seed=0)
    scores = np.cos(np.radians([150, 90, 30])).astype(np.float32)
    np.testing.assert_allclose(background.percentiles(scores), [100 / 6, 50, 500 / 6], atol=1)


def test_one_vector_has_no_percentile() -> None:
    background = measure_background(Vectors(rows=np.arange(1), values=angles(0), version=1), seed=0)
    assert background.n_pairs == 0
    assert np.isnan(background.percentiles(np.array([0.5], np.float32))).all()


def test_percentiles_resolve_the_top() -> None:
    assert Background(levels=(0, 1), scores=(0, 1), n_pairs=5).percentiles(np.array([0.9995], np.float32)) == (
        pytest.approx(99.95, abs=1e-3)
    )
