"""Intervals: against plain resampling, against theory, and at the edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from training.judge.bootstrap import (
    MIN_GROUPS,
    Estimate,
    Resampling,
    estimate_class_mean,
    estimate_mean,
    widen_certainty,
)


def test_the_mean_of_independent_values_gets_the_interval_of_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = estimate_mean(values, Resampling(np.arange(400)))
    half = norm.ppf(0.975) * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.25 * half)


def test_pictures_of_one_occurrence_are_not_taken_as_evidence_of_their_own() -> None:
    of_occurrences = np.random.default_rng(1).normal(size=50)
    alone = estimate_mean(of_occurrences, Resampling(np.arange(50)))
    tenfold = estimate_mean(np.repeat(of_occurrences, 10), Resampling(np.repeat(np.arange(50), 10)))
    assert tenfold.high - tenfold.low == pytest.approx(alone.high - alone.low)


def test_the_draws_are_those_of_a_plain_loop_over_resampled_rows() -> None:
    rng = np.random.default_rng(2)
    values, groups = rng.normal(size=30), np.sort(rng.integers(8, size=30))
    values[4] = np.nan
    resampling = Resampling(groups, n_draws=20)
    estimate = estimate_mean(values, resampling)
    counts = np.concatenate(list(resampling.blocks())).astype(int)
    assert (counts.sum(axis=1) == resampling.n_groups).all()
    plain = [np.nanmean(np.repeat(values, own[resampling.groups])) for own in counts]
    np.testing.assert_allclose(estimate.draws, plain)


def test_balanced_draws_are_those_of_a_plain_loop_and_leave_out_classes_that_are_not_drawn() -> None:
    rng = np.random.default_rng(3)
    values, classes, groups = rng.random(12), np.repeat([0, 1, -1, 2], 3), np.arange(12) // 2
    resampling = Resampling(groups, n_draws=30)
    estimate = estimate_class_mean(values, classes, resampling)
    assert estimate.value == pytest.approx(np.mean([values[classes == name].mean() for name in range(3)]))
    plain = []
    for own in np.concatenate(list(resampling.blocks())).astype(int):
        rows = np.repeat(np.arange(12), own[resampling.groups])
        means = [values[rows[classes[rows] == name]].mean() for name in range(3) if (classes[rows] == name).any()]
        plain.append(np.mean(means))
    np.testing.assert_allclose(estimate.draws, np.array(plain) - np.mean(plain) + estimate.value)


def test_one_answer_for_all_gets_chance_within_its_interval_though_resamples_lack_classes() -> None:
    classes = np.repeat(np.arange(20), [3, *[1] * 19])
    right = (classes == 0).astype(float)
    estimate = estimate_class_mean(right, classes, Resampling(np.arange(22)))
    assert estimate.value == pytest.approx(1 / 20)
    assert 0 <= estimate.low < 1 / 20 < estimate.high < 0.1


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_is_not_taken_for_certain(right: bool) -> None:
    estimate = estimate_mean(np.full(40, float(right)), Resampling(np.arange(40) // 2))
    exact = binomtest(20 * right, 20).proportion_ci()
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high))


def test_several_looks_at_each_picture_are_resampled_too() -> None:
    rng = np.random.default_rng(4)
    looks = np.tile(rng.random((1, 5)), (60, 1))  # pictures agree, the looks do not
    resampling = Resampling(np.arange(60))
    estimate = estimate_mean(looks, resampling)
    assert estimate.value == pytest.approx(looks.mean())
    assert estimate_mean(looks.mean(axis=1), resampling).high == pytest.approx(looks.mean())
    assert estimate.draws.std() == pytest.approx(looks[0].std() / np.sqrt(5), rel=0.1)
    even = estimate_class_mean(looks, np.arange(60) % 3, resampling)
    np.testing.assert_allclose(even.draws - even.draws.mean(), estimate.draws - estimate.draws.mean(), atol=1e-12)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(5)
    easy = rng.random(300)
    first, second = (
        estimate_mean(easy + gain, Resampling(np.arange(300))) for gain in (0.0, rng.normal(0.02, 0.02, 300))
    )
    difference = second.minus(first)
    assert first.high > second.low
    assert 0.01 < difference.low < difference.value < difference.high < 0.03


def test_what_cannot_be_computed_is_nan() -> None:
    nothing = estimate_mean(np.full(3, np.nan), Resampling(np.arange(3)))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    alone = estimate_mean(np.array([0.2, 0.4]), Resampling(np.zeros(2)))
    assert alone.value == pytest.approx(0.3)
    assert np.isnan([alone.low, alone.high]).all()


def even_by_place(values: Any, resampling: Resampling) -> Estimate:
    return estimate_class_mean(values, np.arange(len(values)), resampling)


@pytest.mark.parametrize("estimate", [estimate_mean, even_by_place])
def test_an_interval_takes_enough_occurrences_that_count(estimate: Callable[[Any, Resampling], Estimate]) -> None:
    values, resampling = np.linspace(0.1, 0.9, 9), Resampling(np.arange(9))
    values[MIN_GROUPS:] = np.nan
    enough = estimate(values, resampling)
    assert enough.n_groups == MIN_GROUPS
    assert enough.low < enough.value < enough.high
    values[MIN_GROUPS - 1] = np.nan
    few = estimate(values, resampling)
    assert few.n_groups == MIN_GROUPS - 1
    assert np.isnan([few.low, few.high]).all()
    for difference in (few.minus(enough), enough.minus(few)):
        assert np.isfinite(difference.value)
        assert np.isnan([difference.low, difference.high]).all()


def test_only_a_share_at_the_end_of_its_range_is_widened() -> None:
    resampling = Resampling(np.arange(20))
    within = estimate_mean(np.full(20, 0.5), resampling)
    assert (within.low, within.high) == (0.5, 0.5)
    ranks = estimate_mean(np.full(20, 7.0), resampling, most=7)
    assert (ranks.low, ranks.high) == pytest.approx((7 * 0.025 ** (1 / 20), 7))
    one_rank = estimate_mean(np.ones(20), resampling, most=7)
    assert (one_rank.low, one_rank.high) == (1, 1)
    assert widen_certainty(within, n_trials=20) is within
