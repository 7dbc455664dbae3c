"""SimpleShot: against a plain loop, with examples and questions of different occurrences."""

from __future__ import annotations

import numpy as np
import pytest

from training.judge.few_shot import draw_shots, judge_few_shot, list_classes, score_by_means


def test_the_nearest_mean_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    support, labels, queries = rng.normal(size=(12, 5)), np.repeat([2, 5, 9], 4), rng.normal(size=(20, 5))
    centre = support.mean(axis=0)

    def place(vector: np.ndarray) -> np.ndarray:
        placed: np.ndarray = (vector - centre) / np.linalg.norm(vector - centre)
        return placed

    means = [np.mean([place(vector) for vector in support[labels == label]], axis=0) for label in (2, 5, 9)]
    plain = [[-(np.linalg.norm(place(query) - mean) ** 2) for mean in means] for query in queries]
    np.testing.assert_allclose(score_by_means(support, labels, queries), plain, atol=1e-12)


def test_a_shift_of_the_whole_space_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    support, queries, shift = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)), rng.normal(size=4)
    labels = np.arange(6) % 3
    moved = score_by_means(support + shift, labels, queries + shift)
    np.testing.assert_allclose(moved, score_by_means(support, labels, queries), atol=1e-12)


def test_a_given_centre_is_taken_off() -> None:
    support, queries = np.array([[2.0, 1], [1, 2]]), np.array([[3.0, 1]])
    scores = score_by_means(support, np.array([0, 1]), queries, centre=np.array([1.0, 1]))
    np.testing.assert_allclose(scores, [[0, -2]], atol=1e-12)


def test_examples_and_questions_share_no_occurrence() -> None:
    rng = np.random.default_rng(2)
    labels, groups = rng.integers(-1, 5, 200), rng.integers(60, size=200)
    for n_shots in (1, 5):
        classes = list_classes(labels, groups, n_shots=n_shots)
        for shots in draw_shots(labels, groups, n_shots=n_shots, n_folds=5):
            assert not set(groups[shots.support]) & set(groups[shots.queries])
            shown, counts = np.unique(labels[shots.support], return_counts=True)
            assert shown.tolist() == classes.tolist()
            assert (counts == n_shots).all()
            for label in classes:
                of_class = groups[shots.support][labels[shots.support] == label]
                assert len(set(of_class)) == n_shots


def test_classes_without_an_occurrence_to_spare_take_no_part() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, -1])
    groups = np.array([0, 1, 2, 3, 3, 4, 5, 6])
    assert list_classes(labels, groups, n_shots=1).tolist() == [0, 2]
    assert list_classes(labels, groups, n_shots=2).tolist() == [0]
    result = judge_few_shot(np.eye(8, dtype=np.float32), labels, groups, n_shots=2)
    assert np.isnan(result.correct).all()


def test_classes_apart_are_named_right_and_noise_is_named_at_chance() -> None:
    rng = np.random.default_rng(3)
    labels, groups = np.arange(400) % 4, np.arange(400)
    apart = np.eye(4)[labels] + 0.01 * rng.normal(size=(400, 4))
    noise = rng.normal(size=(400, 4))
    found = judge_few_shot(apart.astype(np.float32), labels, groups, n_shots=1)
    guessed = judge_few_shot(noise.astype(np.float32), labels, groups, n_shots=5)
    assert found.chance == 0.25
    assert np.nanmin(found.correct) == 1
    assert np.nanmean(guessed.correct) == pytest.approx(0.25, abs=0.05)
    assert np.isfinite(guessed.by_fold).sum() == 5 * (400 - 20)


def test_the_draws_of_examples_are_fixed_by_the_seed() -> None:
    rng = np.random.default_rng(4)
    vectors, labels, groups = rng.normal(size=(90, 6)).astype(np.float32), rng.integers(6, size=90), np.arange(90)
    first, again, other = (judge_few_shot(vectors, labels, groups, n_shots=1, seed=seed).by_fold for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)
