"""Searching an opened index: every plan against brute force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32, Int64

from benchmarks.clustered_vectors import make_clustered_vectors
from indexer.corpus import Corpus, Space
from indexer.errors import CorpusError
from indexer.files import read_json, write_json
from indexer.index import planning
from indexer.index.building import build_index
from indexer.index.facts import Modality
from indexer.index.opened import VectorIndex, open_index
from indexer.index.planning import Plan
from indexer.index.refining import refine_until_sure
from indexer.index.scanning import scan, scan_above, scan_places, widen
from indexer.index.selections import MAX_SPANS, merge_spans, select_positions, select_spans
from indexer.index.settings import BuildSettings
from tests.corpora import angles, make_vector_corpus

N, D = 4_000, 32


@dataclass(frozen=True, kw_only=True)
class Indexed:
    corpus: Corpus
    space: Space
    index: VectorIndex
    values: Float32[np.ndarray, "n d"]
    species: Int64[np.ndarray, " n"]

    def truth(self, queries: Float32[np.ndarray, "q d"], allowed: Int64[np.ndarray, " m"], k: int) -> Any:
        """Rows of the k best of the allowed rows, by brute force."""
        scores = queries @ self.values[allowed].T
        return allowed[np.argsort(-scores, axis=1, kind="stable")[:, :k]]


def make_indexed(path: Path, exact_up_to: int) -> Indexed:
    made = make_clustered_vectors(N, D)
    shuffled = np.random.default_rng(3).permutation(N)  # rows in no order, as records come
    species = made.species[shuffled]
    columns: dict[str, list[Any]] = {
        "genus": [f"Genus{s // 8:04d}" for s in species],
        "species": [f"Genus{s // 8:04d} sp{s:04d}" for s in species],
        "vernacularName": ["Odd one" if s % 97 == 0 else None for s in species],
    }
    values = made.values[shuffled].astype(np.float32)
    corpus, space = make_vector_corpus(path, values, columns=columns)
    space.index_path.unlink()
    with corpus.lock():
        names = corpus.read_columns(list(columns))
        settings = BuildSettings(exact_up_to=exact_up_to, calibrate=False)
        build_index(space, announce=lambda line: None, columns=names, settings=settings)
    index = open_index(space)
    rows = np.arange(N)
    return Indexed(corpus=corpus, space=space, index=index, values=index.vectors_at(rows), species=species)


@pytest.fixture(scope="module", params=["exact", "lists"])
def indexed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    return make_indexed(tmp_path_factory.mktemp(request.param) / "i.corpus", N if request.param == "exact" else 500)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    return make_indexed(tmp_path_factory.mktemp("l") / "l.corpus", 500)


def recall(found: Int64[np.ndarray, "q k"], truth: Int64[np.ndarray, "q k"]) -> float:
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("n_queries", [1, 20])
def test_every_filter_gives_the_nearest_rows_that_it_allows(indexed: Indexed, n_queries: int) -> None:
    queries = indexed.values[:: N // n_queries][:n_queries]
    rng = np.random.default_rng(0)
    for share in (0.5, 0.05, 0.005):
        allowed = np.sort(rng.choice(N, int(share * N), replace=False))
        found = indexed.index.search(queries, 10, allowed=allowed)
        assert recall(found.rows, indexed.truth(queries, allowed, 10)) >= 0.99
        assert np.isin(found.rows, allowed).all()
        expected = np.einsum("qkd,qd->qk", indexed.values[found.rows], queries)
        np.testing.assert_allclose(found.scores, expected, atol=1e-5)


def test_a_clade_is_one_range_and_answered_exactly(indexed: Indexed) -> None:
    genus = f"Genus{indexed.species[7] // 8:04d}"
    spans = indexed.index.find_taxon(f" {genus.upper()} ")
    assert len(spans) == 1
    members = np.flatnonzero(indexed.species // 8 == indexed.species[7] // 8)
    np.testing.assert_array_equal(indexed.index.rows_of_taxon(genus), members)
    for arguments in ({"span": spans}, {"allowed": members}):
        found = indexed.index.search(indexed.values[:3], len(members) + 5, **arguments)
        assert (found.plan, found.is_exact, found.recall) == (Plan.RANGE, True, 1.0)
        np.testing.assert_array_equal(
            np.sort(found.rows[:, : len(members)], axis=1), np.broadcast_to(members, (3, len(members)))
        )
        assert (found.rows[:, len(members) :] == -1).all()
        assert np.isnan(found.scores[:, len(members) :]).all()


def test_a_name_that_stands_in_many_places_is_found_in_all(indexed: Indexed) -> None:
    members = np.flatnonzero(indexed.species % 97 == 0)
    np.testing.assert_array_equal(indexed.index.rows_of_taxon("odd one"), members)
    assert indexed.index.find_taxon("Nobody") == ()
    assert len(indexed.index.rows_of_taxon("Nobody")) == 0


def test_hidden_rows_never_answer(indexed: Indexed) -> None:
    query = indexed.values[:1]
    best = indexed.index.search(query, 3).rows[0]
    for hidden in (np.sort(best), np.sort(np.concatenate([best, np.setdiff1d(np.arange(0, N, 20), best)]))):
        left = np.setdiff1d(np.arange(N), hidden)
        found = indexed.index.search(query, 10, hidden=hidden)
        assert not np.isin(found.rows, hidden).any()
        assert (found.rows >= 0).all()
        among = indexed.index.search(query, 10, allowed=np.arange(0, N, 2), hidden=hidden)
        np.testing.assert_array_equal(among.rows, indexed.truth(query, left[left % 2 == 0], 10))


def test_a_range_search_gives_everything_above_a_score_best_first(indexed: Indexed) -> None:
    query = indexed.values[11]
    scores = indexed.values @ query
    least = float(np.sort(scores)[-40])
    found = indexed.index.search_above(query, least - 1e-6)
    assert found.is_exact
    np.testing.assert_array_equal(np.sort(found.rows[0]), np.flatnonzero(scores >= least - 1e-6))
    assert (np.diff(found.scores[0]) <= 0).all()
    some = np.arange(0, N, 3)
    narrowed = indexed.index.search_above(query, least - 1e-6, allowed=some)
    np.testing.assert_array_equal(np.sort(narrowed.rows[0]), np.intersect1d(found.rows[0], some))
    assert indexed.index.search_above(query, 2.0).rows.shape == (1, 0)


def test_an_unfiltered_search_of_lists_is_labelled_with_its_recall(lists: Indexed) -> None:
    found = lists.index.search(lists.values[:50], 10)
    assert (found.plan, found.is_exact) == (Plan.LISTS, False)
    assert found.recall == lists.index.facts.recall_of(Modality.IMAGE)
    assert recall(found.rows, lists.truth(lists.values[:50], np.arange(N), 10)) >= 0.9


def test_a_filtered_search_of_lists_is_exact_or_sure(lists: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LISTS_COST", 0.0)
    queries = lists.values[:40]
    allowed = np.arange(0, N, 2)
    found = lists.index.search(queries, 10, allowed=allowed)
    assert (found.plan, found.is_exact, found.recall) == (Plan.FILTERED_LISTS, False, None)
    assert (found.rows >= 0).all()
    assert recall(found.rows, lists.truth(queries, allowed, 10)) >= 0.99
    strange = -lists.values[:1]  # everything is far from it, so that no candidate is sure
    far = lists.index.search(strange, 10, allowed=allowed)
    np.testing.assert_array_equal(far.rows, lists.truth(strange, allowed, 10))


def test_asking_for_nearly_everything_is_answered_exactly(lists: Indexed) -> None:
    found = lists.index.search(lists.values[:1], N + 7)
    assert (found.plan, found.is_exact) == (Plan.EXACT, True)
    np.testing.assert_array_equal(np.sort(found.rows[0]), np.arange(N))


@pytest.mark.parametrize("n", [1, 2])
def test_a_tiny_index_answers(tmp_path: Path, n: int) -> None:
    _, space = make_vector_corpus(tmp_path / "t.corpus", angles(*range(n)))
    index = open_index(space)
    assert index.search(angles(0), 5).rows.shape == (1, n)
    nothing = index.search(angles(0), 5, allowed=np.empty(0, np.int64))
    assert (nothing.rows == -1).all()
    assert nothing.is_exact


def test_rows_that_the_index_does_not_hold_are_passed_over(indexed: Indexed) -> None:
    found = indexed.index.search(indexed.values[:1], 2, allowed=np.array([3, N, N + 50]))
    assert found.rows.tolist() == [[3, -1]]
    with pytest.raises(CorpusError, match=f"row {N} is not in the index"):
        indexed.index.vectors_at(np.array([1, N]))


def test_a_truncated_file_of_vectors_is_noticed(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    file = next(space.folder.glob("index-*/vectors.npy"))
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CorpusError, match="index"):
        open_index(space)


def test_an_index_of_another_length_is_noticed(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    write_json(space.index_path, {**read_json(space.index_path), "n": 4})
    with pytest.raises(CorpusError, match=r"vectors\.npy: holds .*3.*not .*4"):
        open_index(space)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _, space = make_vector_corpus(tmp_path / "a.corpus", angles(0, 30, 60))
    next(space.folder.glob("index-*/rows.npy")).unlink()
    with pytest.raises(CorpusError, match=r"rows\.npy.*missing"):
        open_index(space)


def test_widening_keeps_every_number() -> None:
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = bits[np.isfinite(bits)]
    np.testing.assert_array_equal(widen(finite), finite.astype(np.float32))


@pytest.mark.parametrize("d", [1, 3, 24])
@pytest.mark.parametrize("n_queries", [2, 7])
def test_scanning_agrees_with_a_plain_product(d: int, n_queries: int) -> None:
    rng = np.random.default_rng(d)
    values = rng.standard_normal((3_000, d)).astype(np.float16)
    queries = rng.standard_normal((n_queries, d)).astype(np.float32)
    product = queries @ values.astype(np.float32).T
    places = np.sort(rng.choice(3_000, 500, replace=False))
    np.testing.assert_allclose(scan(values, queries, 5)[0], -np.sort(-product)[:, :5], rtol=1e-5, atol=1e-5)
    for is_dense in (True, False):
        scores, found = scan_places(values, places, queries, 5, is_dense=is_dense)
        np.testing.assert_allclose(scores, -np.sort(-product[:, places])[:, :5], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(product, found, 1), scores, rtol=1e-5, atol=1e-5)
    least = float(product[0].max()) / 2
    assert len(scan_above(values, queries[0], least)[1]) == pytest.approx((product[0] >= least).sum(), abs=1)


def test_ranges_are_merged_and_cut() -> None:
    assert merge_spans([(5, 7), (0, 2), (1, 4), (9, 9), (7, 8)]) == ((0, 4), (5, 8))
    selection = select_spans([(0, 5), (8, 10)], 12)
    assert selection.n == 7
    assert selection.without(np.array([0, 2, 9])).spans == ((1, 2), (3, 5), (8, 9))
    many = selection.without(np.arange(0, 10, 2))
    np.testing.assert_array_equal(many.positions, [1, 3, 9])
    assert select_positions(np.array([4, 3, 5]), 12).spans == ((3, 6),)
    scattered = select_positions(np.arange(0, 4 * MAX_SPANS, 2), 200)
    assert scattered.spans is None
    assert select_positions(np.empty(0, np.int64), 12).n == 0


def test_refining_stops_early_only_where_the_rest_cannot_pass() -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(1, -1, 2_000).astype(np.float32)
    values = np.stack([scores, np.sqrt(1 - scores**2)], axis=1).astype(np.float16)
    query = np.array([1, 0], np.float32)
    truth = set(np.argsort(-values[:, 0].astype(np.float32), kind="stable")[:10].tolist())
    for spread, is_expected_sure in ((0.005, True), (1.0, False)):
        estimates = scores + spread * rng.standard_normal(2_000).astype(np.float32)
        order = np.argsort(-estimates)
        _, found, is_sure = refine_until_sure(values, query, order, estimates[order], 10)
        assert is_sure is is_expected_sure
        assert len(truth & set(found.tolist())) >= 9
