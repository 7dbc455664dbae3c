"""Search: against scikit-learn, without the query's own occurrence, and resampled as if pictures were repeated."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.training.judge.spaces import draw_unit_rows
from training.judge.bootstrap import Resampling
from training.judge.retrieval import MAP, search_by_names, search_by_picture, search_by_word


def test_search_by_picture_is_scikit_learns_without_the_own_occurrence() -> None:
    rng = np.random.default_rng(0)
    vectors, labels, groups = draw_unit_rows(40, 6, seed=0), rng.integers(-1, 4, 40), np.arange(40) // 2
    result = search_by_picture(vectors, labels, groups)
    for place in range(40):
        others = (groups != groups[place]) & (labels >= 0)
        truth = labels[others] == labels[place]
        if labels[place] < 0 or not truth.any():
            assert np.isnan(result.values[MAP][place])
            continue
        scores = vectors[others] @ vectors[place]
        assert result.values[MAP][place] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
        assert result.values["recall@1"][place] == truth[scores.argmax()]
        assert result.values["precision@10"][place] == truth[np.argsort(-scores)[:10]].mean()


def test_a_picture_is_not_found_by_another_of_its_own_occurrence() -> None:
    vectors = np.repeat(draw_unit_rows(6, 8, seed=1), 2, axis=0)
    result = search_by_picture(vectors, np.array([0, 0, 1, 1, 2, 2] * 2), np.arange(12) // 2)
    assert np.isfinite(result.values[MAP]).all()
    alone = search_by_picture(vectors, np.arange(12) // 2, np.arange(12) // 2)
    assert np.isnan(alone.values[MAP]).all()


def test_noise_gets_the_chance_that_is_stated() -> None:
    rng = np.random.default_rng(2)
    vectors, labels = draw_unit_rows(1200, 32, seed=2), rng.integers(6, size=1200)
    result = search_by_picture(vectors, labels, np.arange(1200))
    for measure, values in result.values.items():
        assert np.nanmean(values) == pytest.approx(np.nanmean(result.expected[measure]), abs=0.04), measure


def test_the_mean_over_a_names_pictures_is_its_average_precision() -> None:
    rng = np.random.default_rng(3)
    texts, vectors, labels = draw_unit_rows(4, 6, seed=3), draw_unit_rows(50, 6, seed=4), rng.integers(-1, 4, 50)
    result = search_by_names(texts, vectors, labels)
    known = labels >= 0
    for label in range(4):
        plain = average_precision_score(labels[known] == label, vectors[known] @ texts[label])
        assert result.values[MAP][label] == pytest.approx(plain, abs=1e-6)
        assert result.at_pictures[labels == label].mean() == pytest.approx(plain, abs=1e-6)
    assert np.isnan(result.at_pictures[~known]).all()


def test_a_resampled_word_search_is_one_among_repeated_pictures() -> None:
    rng = np.random.default_rng(5)
    vectors, text, groups = draw_unit_rows(60, 5, seed=5), draw_unit_rows(1, 5, seed=6)[0], np.arange(60) // 3
    vectors[7] = vectors[31]
    wanted, among = rng.random(60) < 0.4, rng.random(60) < 0.9
    wanted &= among
    resampling = Resampling(groups, n_draws=25)
    result = search_by_word(text, vectors, wanted, among, resampling)
    scores = vectors @ text
    assert result.estimates[MAP].value == pytest.approx(average_precision_score(wanted[among], scores[among]))
    for draw, counts in enumerate(np.concatenate(list(resampling.blocks())).astype(int)):
        rows = np.repeat(np.flatnonzero(among), counts[groups[among]])
        plain = average_precision_score(wanted[rows], scores[rows])
        assert result.estimates[MAP].draws[draw] == pytest.approx(plain, abs=1e-5)
        first = rows[np.argsort(-scores[rows], kind="stable")[:10]]
        assert result.estimates["precision@10"].draws[draw] == pytest.approx(wanted[first].mean(), abs=0.11)


def test_a_perfect_word_is_not_taken_for_certain() -> None:
    vectors = np.eye(2, dtype=np.float32)[np.arange(30) % 2]
    resampling = Resampling(np.arange(30))
    result = search_by_word(vectors[0], vectors, np.arange(30) % 2 == 0, np.ones(30, bool), resampling)
    perfect = result.estimates[MAP]
    assert perfect.value == perfect.high == 1
    assert perfect.low == pytest.approx(0.025 ** (1 / 15))
    assert result.chance["precision@10"] == 0.5
