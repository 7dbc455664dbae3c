"""The nearest records of other occurrences, against a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry import neighbours
from explorer.geometry.neighbours import centre_vectors, find_all_neighbours, find_neighbours, pick_records
from tests.explorer.geometry.samples import make_species, unit


def search_plainly(vectors: np.ndarray, occurrences: np.ndarray, query: int, k: int) -> list[int]:
    scores = vectors @ vectors[query]
    found: list[int] = []
    for place in np.argsort(-scores, kind="stable"):
        if occurrences[place] not in {occurrences[query], *occurrences[found]}:
            found.append(int(place))
        if len(found) == k:
            break
    return (found + [-1] * k)[:k]


@pytest.mark.parametrize(("n", "n_occurrences"), [(60, 12), (300, 300), (4_000, 2_000), (6_000, 20), (300, 3)])
def test_neighbours_are_the_nearest_record_of_each_other_occurrence(n: int, n_occurrences: int) -> None:
    rng = np.random.default_rng(0)
    vectors, occurrences = unit(rng.normal(size=(n, 6))), rng.integers(0, n_occurrences, n)
    queries = rng.choice(n, 15, replace=False)
    found = find_neighbours(vectors, occurrences, queries, k=5)
    assert found.recall == 1
    for line, query in enumerate(queries):
        expected = search_plainly(vectors, occurrences, query, 5)
        assert found.places[line].tolist() == expected
        there = np.array(expected) >= 0
        np.testing.assert_allclose(found.scores[line][there], vectors[expected][there] @ vectors[query], atol=1e-6)
        assert np.isneginf(found.scores[line][~there]).all()


def test_an_occurrence_with_many_images_does_not_hide_the_others() -> None:
    angles = np.concatenate([[0.0], np.linspace(0.01, 0.1, 90), [0.5, 0.6]])
    vectors = unit(np.column_stack([np.cos(angles), np.sin(angles)]))
    occurrences = np.concatenate([[0], np.ones(90), [2, 3]]).astype(np.int64)
    assert find_neighbours(vectors, occurrences, np.array([0]), k=3).places.tolist() == [[1, 91, 92]]


def test_searching_in_cells_finds_nearly_all_and_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = make_species(0, n_species=60, n_each=40, d=16)
    vectors = unit(vectors @ np.linalg.qr(np.random.default_rng(1).normal(size=(24, 24)))[0][:16])
    occurrences = np.arange(len(vectors)) // 2
    exact = find_all_neighbours(vectors, occurrences, k=5)
    monkeypatch.setattr(neighbours, "N_EXACT", 100)
    monkeypatch.setattr(neighbours, "N_CELLS_SEARCHED", 8)
    monkeypatch.setattr(neighbours, "N_PRINCIPAL", 16)
    found = find_all_neighbours(vectors, occurrences, k=5)
    same = (occurrences[exact.places][:, :, None] == occurrences[found.places][:, None, :]).any(axis=2).mean()
    assert found.recall == pytest.approx(same, abs=0.06)
    assert 0.8 < found.recall <= 1
    np.testing.assert_allclose(found.scores[:, 0], (vectors * vectors[found.places[:, 0]]).sum(axis=1), atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 1e-6).all()
    assert (occurrences[found.places] != occurrences[:, None]).all()


def test_centred_vectors_have_unit_length_and_one_in_the_mean_stays_zero() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(50, 4)) + 2)
    np.testing.assert_allclose(np.linalg.norm(centre_vectors(rows), axis=1), 1, atol=1e-5)
    assert not centre_vectors(np.ones((5, 3), dtype=np.float32)).any()


def test_one_record_of_each_occurrence_is_picked() -> None:
    occurrences = np.repeat(np.arange(30), np.arange(1, 31))
    chosen = pick_records(occurrences, n_most=100, seed=0)
    assert sorted(occurrences[chosen]) == list(range(30))
    assert len(pick_records(occurrences, n_most=7, seed=0)) == 7
    assert (pick_records(occurrences, n_most=100, seed=1) != chosen).any()
