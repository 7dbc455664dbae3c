"""Linear probes: what a straight cut can read, and what grouped folds keep it from reading."""

from __future__ import annotations

import numpy as np
import pytest

from training.judge.linear_probe import probe_labels


def test_a_straight_cut_is_found_on_other_occurrences() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    vectors = rng.normal(size=(120, 5)).astype(np.float32)
    vectors[:, 2] += 8 * labels
    result = probe_labels(vectors, labels, np.arange(120) // 2)
    assert np.mean(result.correct) > 0.98
    assert result.chance == 0.5


def test_noise_is_read_at_chance() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=240)
    result = probe_labels(rng.normal(size=(240, 6)).astype(np.float32), labels, np.arange(240))
    balanced = np.mean([result.correct[labels == label].mean() for label in range(3)])
    assert balanced == pytest.approx(1 / 3, abs=0.1)


def test_what_only_repeats_within_a_group_is_not_read_from_other_groups() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), 6)
    labels = rng.permutation(np.arange(30) % 2)[groups]
    vectors = (rng.normal(size=(30, 40))[groups] + 0.01 * rng.normal(size=(180, 40))).astype(np.float32)
    leaking = probe_labels(vectors, labels, np.arange(180))
    honest = probe_labels(vectors, labels, groups)
    assert np.mean(leaking.correct) > 0.95
    assert np.mean(honest.correct) < 0.75


def test_the_rare_class_counts_as_much_in_the_fit() -> None:
    rng = np.random.default_rng(3)
    labels = (np.arange(300) % 10 == 0).astype(np.int64)
    vectors = rng.normal(size=(300, 3)).astype(np.float32)
    vectors[:, 0] += 1.5 * labels
    result = probe_labels(vectors, labels, np.arange(300))
    assert result.correct[labels == 1].mean() > 0.6


def test_classes_of_one_group_and_pictures_without_a_label_take_no_part() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, -1])
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 6, 7])
    vectors = np.eye(9, 3, dtype=np.float32)
    result = probe_labels(vectors, labels, groups)
    assert result.classes.tolist() == [0, 1]
    assert np.isnan(result.correct[[6, 7, 8]]).all()
    alone = probe_labels(vectors, np.zeros(9, np.int64), groups)
    assert np.isnan(alone.correct).all()
