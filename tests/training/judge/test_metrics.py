"""Measures of rankings: by hand, against scikit-learn, and their chance levels by trying every order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from training.judge.metrics import (
    average_precision,
    expect_average_precision,
    expect_recall,
    measure_precision,
    measure_precision_at_hits,
    measure_recall,
    measure_top_k,
)


def test_top_k_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.5], [0.3, 0.2, 0.1]])
    answers = np.array([1, 1, -1])
    np.testing.assert_array_equal(measure_top_k(scores, answers, 1), [1, 0, np.nan])
    np.testing.assert_array_equal(measure_top_k(scores, answers, 2), [1, 0, np.nan])
    np.testing.assert_array_equal(measure_top_k(scores, answers, 3), [1, 1, np.nan])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_an_encoder_that_sees_no_difference_gets_chance(k: int) -> None:
    scores = np.ones((6, 4))
    np.testing.assert_allclose(measure_top_k(scores, np.arange(6) % 4, k), k / 4)


def test_average_precision_is_that_of_scikit_learn_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(6, size=(40, 15)).astype(float)
    relevant = rng.random((40, 15)) < 0.3
    relevant[:, 0] = True
    plain = [average_precision_score(truth, row) for truth, row in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(average_precision(scores, relevant), plain)
    np.testing.assert_allclose(np.nanmean(measure_precision_at_hits(scores, relevant), axis=1), plain)


def test_average_precision_at_k_counts_the_first_k_alone() -> None:
    scores, relevant = np.array([[5.0, 4, 3, 2, 1]]), np.array([[True, False, True, True, False]])
    assert average_precision(scores, relevant, k=3)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(scores, relevant, k=2)[0] == pytest.approx(1 / 2)


def test_average_precision_at_k_does_not_hang_on_the_order_in_which_tied_answers_are_listed() -> None:
    scores = np.array([[3.0, 2, 2, 2, 1], [3, 2, 2, 2, 1]])
    relevant = np.array([[False, True, False, False, True], [False, False, False, True, True]])
    first, second = average_precision(scores, relevant, k=3)
    # Two of the three tied answers are among the first three: 2/3 of a hit, at a precision of 1/4.
    assert first == second == pytest.approx(2 / 3 * 1 / 4 / 2)
    blind = average_precision(np.ones((1, 100)), np.arange(100)[None] < 20, k=50)
    assert blind[0] == pytest.approx(50 / 100 * 20 / 100)


def test_recall_and_precision_are_means_over_the_orders_of_tied_answers() -> None:
    scores, relevant = np.array([[3.0, 2, 2, 2, 1]]), np.array([[False, True, True, False, True]])
    assert measure_recall(scores, relevant, 2)[0] == pytest.approx(2 / 3)
    assert measure_precision(scores, relevant, 2)[0] == pytest.approx(1 / 3)
    assert measure_recall(scores, relevant, 3)[0] == 1
    assert measure_precision(scores, relevant, 3)[0] == pytest.approx(4 / 9)


def test_recall_and_precision_by_hand() -> None:
    scores = np.array([[5.0, 4, 3, 2], [5, 4, 3, 2], [5, 4, 3, 2]])
    relevant = np.array([[False, True, True, False], [True, False, False, False], [False] * 4])
    np.testing.assert_array_equal(measure_recall(scores, relevant, 1), [0, 1, np.nan])
    np.testing.assert_array_equal(measure_recall(scores, relevant, 2), [1, 1, np.nan])
    np.testing.assert_array_equal(measure_precision(scores, relevant, 2), [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(measure_precision(scores, relevant, 8), [0.25, 0.125, np.nan])


@pytest.mark.parametrize("n_relevant", [1, 2, 4])
def test_chance_levels_are_the_means_over_every_order(n_relevant: int) -> None:
    orders = np.array(list(permutations(range(6)))).astype(float)
    relevant = np.broadcast_to(np.arange(6) < n_relevant, orders.shape)
    r, n = np.array([n_relevant]), np.array([6])
    assert expect_average_precision(r, n)[0] == pytest.approx(average_precision(orders, relevant).mean())
    assert expect_recall(r, n, 2)[0] == pytest.approx(measure_recall(orders, relevant, 2).mean())


def test_where_nothing_is_relevant_there_is_no_chance_level() -> None:
    assert np.isnan(expect_average_precision(np.array([0]), np.array([5]))[0])
    assert np.isnan(expect_recall(np.array([0]), np.array([5]), 1)[0])
    assert np.isnan(average_precision(np.ones((1, 3)), np.zeros((1, 3), bool))[0])
