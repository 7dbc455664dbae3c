"""A calibrated index: both cosines from one set of vectors, against every vector compared in float64."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from explorer.query import build_query
from explorer.search import Searcher
from indexer.corpus import Corpus, Space
from indexer.errors import CorpusError
from indexer.files import read_json
from indexer.index.calibration import Similarity
from indexer.index.facts import Modality
from indexer.index.opened import VectorIndex, open_index
from indexer.index.settings import BuildSettings
from indexer.index.storage import LENGTHS
from indexer.job import refresh_index
from indexer.records import append_records
from indexer.vectors import append_vectors, load_vectors
from tests.corpora import make_vector_corpus

K = 10
N = 1_600


def draw_cone(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Species that differ in 24 faint dimensions, beneath 4 wide ones, in a narrow cone; and the species."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, 40, n)
    centres = np.random.default_rng(99).normal(size=(40, 24)) * 0.3
    faint = centres[species] + rng.normal(size=(n, 24)) * 0.25
    vectors = np.hstack([faint, rng.normal(size=(n, 4)) * 2, np.full((n, 4), 3.0)])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), species


def make_corpus(path: Path, exact_up_to: int) -> tuple[Corpus, Space]:
    vectors, species = draw_cone()
    columns = {"species": [f"Aus s{number:02d}" for number in species]}
    return make_vector_corpus(path, vectors, columns=columns, exact_up_to=exact_up_to)


@pytest.fixture(scope="module", params=[100, 10_000], ids=["lists", "exact"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Space]:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "a.corpus", request.param)


@pytest.fixture(scope="module")
def index(made: tuple[Corpus, Space]) -> VectorIndex:
    return open_index(made[1])


@pytest.fixture(scope="module")
def raw(made: tuple[Corpus, Space]) -> np.ndarray:
    return load_vectors(made[1]).values


def true_scores(index: VectorIndex, raw: np.ndarray, queries: np.ndarray, similarity: Similarity) -> np.ndarray:
    if similarity is Similarity.RAW:
        return np.asarray(queries.astype(np.float64) @ raw.T)
    assert index.calibration is not None
    moved, asked = (index.calibration.apply(vectors)[0].astype(np.float64) for vectors in (raw, queries))
    return np.asarray(asked @ moved.T)


def ask(raw: np.ndarray, n: int) -> np.ndarray:
    """Some records as queries."""
    return np.asarray(raw[np.random.default_rng(5).choice(len(raw), n, replace=False)])


def test_the_calibration_is_kept_and_stated(index: VectorIndex) -> None:
    assert index.calibration is not None
    assert index.facts.calibration is not None
    assert index.facts.calibration["is_kept"] is True
    assert index.facts.calibration["gain_low"] > 0


@pytest.mark.parametrize("similarity", Similarity)
@pytest.mark.parametrize("n_queries", [1, 20])
@pytest.mark.parametrize("share", [None, 0.5, 0.02, 0.001])
def test_both_similarities_find_what_comparing_everything_finds(
    index: VectorIndex, raw: np.ndarray, similarity: Similarity, n_queries: int, share: float | None
) -> None:
    rng = np.random.default_rng(7)
    allowed = None if share is None else np.sort(rng.choice(N, int(share * N), replace=False))
    queries = ask(raw, n_queries)
    modality = Modality.TEXT if similarity is Similarity.RAW else Modality.IMAGE
    found = index.search(queries, K, allowed=allowed, similarity=similarity, modality=modality)
    truth = true_scores(index, raw, queries, similarity)
    if allowed is not None:
        others = np.setdiff1d(np.arange(N), allowed)
        truth[:, others] = -np.inf
    n_expected = K if allowed is None else min(K, len(allowed))
    assert ((found.rows >= 0).sum(axis=1) == n_expected).all()
    recalls = []
    for i in range(n_queries):
        rows = found.rows[i][:n_expected]
        assert len(set(rows)) == n_expected
        np.testing.assert_allclose(found.scores[i][:n_expected], truth[i, rows], atol=2e-3)
        assert (np.diff(found.scores[i][:n_expected]) <= 1e-6).all()
        best = np.sort(truth[i])[::-1][n_expected - 1]
        recalls.append((truth[i, rows] >= best - 1e-3).mean())
    assert np.mean(recalls) >= (1.0 if found.is_exact else 0.8 if n_queries == 1 else 0.95), np.mean(recalls)


@pytest.mark.parametrize("similarity", Similarity)
@pytest.mark.parametrize("share", [None, 0.02])
def test_everything_above_a_score_is_found(
    index: VectorIndex, raw: np.ndarray, similarity: Similarity, share: float | None
) -> None:
    allowed = None if share is None else np.arange(0, N, round(1 / share))
    query = ask(raw, 1)[0]
    truth = true_scores(index, raw, query[None], similarity)[0]
    least = float(np.quantile(truth, 0.97))
    found = index.search_above(query, least, allowed=allowed, similarity=similarity)
    considered = np.arange(N) if allowed is None else allowed
    surely, perhaps = (considered[truth[considered] >= least + margin] for margin in (1e-3, -1e-3))
    assert set(surely) <= set(found.rows[0]) <= set(perhaps)
    np.testing.assert_allclose(found.scores[0], truth[found.rows[0]], atol=2e-3)


def test_calibrated_neighbours_share_their_species_more_often(index: VectorIndex, raw: np.ndarray) -> None:
    _, species = draw_cone()
    shares = {}
    for similarity in Similarity:
        queries = ask(raw, 300)
        own = np.random.default_rng(5).choice(N, 300, replace=False)
        found = index.search(queries, 2, similarity=similarity).rows
        nearest = np.where(found[:, 0] == own, found[:, 1], found[:, 0])
        shares[similarity] = (species[nearest] == species[own]).mean()
    assert shares[Similarity.CALIBRATED] > shares[Similarity.RAW] + 0.1


def test_appended_records_are_calibrated_as_those_before(tmp_path: Path) -> None:
    corpus, space = make_corpus(tmp_path / "a.corpus", exact_up_to=100)
    before = open_index(space)
    added, species = draw_cone(200, seed=8)

    ids = [f"new{i}" for i in range(200)]
    records = pa.table(
        {
            "record_id": ids,
            "occurrence_id": ids,
            "uri": pa.nulls(200, pa.string()),
            "species": [f"Aus s{number:02d}" for number in species],
        }
    )
    with corpus.lock():
        rows = append_records(corpus, records, [None] * 200)
        append_vectors(space, np.array(rows, np.int64), added)
        refresh_index(corpus, space, lambda line: None, settings=BuildSettings(exact_up_to=100))
    after = open_index(space)
    assert after.facts.n == N + 200
    assert before.calibration is not None
    assert after.calibration is not None
    np.testing.assert_array_equal(before.calibration.transform, after.calibration.transform)
    np.testing.assert_allclose(after.vectors_at(np.array(rows)), after.calibration.apply(added)[0], atol=2e-3)
    found = after.search(added[:5], 1, allowed=np.array(rows))
    np.testing.assert_array_equal(found.rows[:, 0], rows[:5])
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=2e-3)


def test_without_a_calibration_both_similarities_are_one(tmp_path: Path) -> None:
    vectors, _ = draw_cone(200)
    _, space = make_vector_corpus(tmp_path / "a.corpus", vectors)
    index = open_index(space)
    assert index.calibration is None
    first, second = (index.search(vectors[:7], 5, similarity=similarity) for similarity in Similarity)
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_lengths_of_another_number_are_noticed(tmp_path: Path) -> None:
    _, space = make_corpus(tmp_path / "a.corpus", exact_up_to=10_000)
    file = space.folder / str(read_json(space.index_path)["folder"]) / LENGTHS
    times = file.stat()
    np.save(file, np.ones(5, np.float32))

    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CorpusError, match=LENGTHS):
        open_index(space)


def test_a_searcher_answers_records_calibrated_unless_told_otherwise(made: tuple[Corpus, Space]) -> None:
    _, species = draw_cone()
    shares = {}
    for similarity in Similarity:
        searcher = Searcher(*made, similarity=similarity)
        found = [searcher.search(build_query(like=[f"r{row}"]), k=1).hits[0] for row in range(60)]
        shares[similarity] = np.mean([species[hit.row] == species[row] for row, hit in enumerate(found)])
        assert all(hit.percentile > 95 for hit in found)
    assert shares[Similarity.CALIBRATED] > shares[Similarity.RAW] + 0.1
    default = Searcher(*made).search(build_query(like=["r0"]), k=5)
    calibrated = Searcher(*made, similarity=Similarity.CALIBRATED).search(build_query(like=["r0"]), k=5)
    assert [hit.row for hit in default.hits] == [hit.row for hit in calibrated.hits]
