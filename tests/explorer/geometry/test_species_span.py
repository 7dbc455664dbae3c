"""The share of within-species variation in the span of the species, on vectors whose share is known."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.species_span import count_dimensions, has_species_for, measure_span
from tests.explorer.geometry.planted import plant


def test_variation_that_lies_evenly_in_space_has_the_share_of_a_random_direction() -> None:
    planted = plant(0)
    found = measure_span(planted.vectors, planted.species, n_dimensions=(4,), n_shuffles=19)[0]
    assert found.chance == pytest.approx(4 / 12)
    assert found.low < 4 / 12 < found.high
    assert found.value == pytest.approx(4 / 12, abs=0.04)
    assert found.n == 480
    assert found.n_groups == 60
    assert "4 directions (of 12)" in found.reading


@pytest.mark.parametrize(("inside", "share"), [(slice(0, 2), 1.0), (slice(2, 5), 0.0)])
def test_variation_inside_or_outside_the_span_has_a_share_of_one_or_none(inside: slice, share: float) -> None:
    rng = np.random.default_rng(0)
    species = np.repeat(np.arange(40), 10)
    means = np.zeros((40, 5))
    means[:, :2] = 3 * rng.normal(size=(40, 2))
    noise = np.zeros((400, 5))
    noise[:, inside] = rng.normal(size=noise[:, inside].shape)
    found = measure_span(means[species] + noise, species, n_dimensions=(2,), n_shuffles=0)[0]
    assert found.value == pytest.approx(share, abs=0.01)


def test_intervals_hold_the_true_share_as_often_as_they_promise() -> None:
    found = [
        measure_span(planted.vectors, planted.species, n_dimensions=(4,), n_shuffles=0)[0]
        for planted in (plant(seed, d=8, n_each=6, n_genera=12) for seed in range(40))
    ]
    covered = np.mean([one.low <= 4 / 8 <= one.high for one in found])
    assert covered >= 0.85
    assert np.mean([one.value for one in found]) == pytest.approx(4 / 8, abs=0.01)


def test_species_names_that_mean_nothing_are_rejected_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 60, 6)) * np.array([4, 2, 1, 1, 1, 1])
    names = np.repeat(np.arange(12), 5)
    p = [measure_span(one, names, n_dimensions=(2,), n_shuffles=19, seed=i)[0].p for i, one in enumerate(rows)]
    assert 0.015 <= np.mean(np.array(p) <= 0.05) <= 0.095


def test_turning_and_scaling_the_space_changes_nothing() -> None:
    planted = plant(3)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 12)))[0]
    one, other = (
        measure_span(rows, planted.species, n_dimensions=(None, 3), n_shuffles=9)
        for rows in (planted.vectors, 7 * planted.vectors @ turn + 2)
    )
    for a, b in zip(one, other, strict=True):
        assert [a.value, a.low, a.p] == pytest.approx([b.value, b.low, b.p])
    assert [found.statistic for found in one] == ["span_share", "span3_share"]


def test_as_many_dimensions_are_taken_as_hold_nine_tenths_of_the_variance() -> None:
    assert count_dimensions(np.diag([6.0, 3.0, 1.0, -2.0])) == 2
    assert count_dimensions(np.diag([6.0, 2.9, 1.1])) == 3
    assert count_dimensions(np.zeros((3, 3))) == 1


def test_one_record_per_species_or_too_few_species_give_no_figure() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 4))
    assert measure_span(rows, np.arange(40)) == ()
    assert measure_span(rows, np.arange(40) % 7) == ()
    assert measure_span(rows, np.full(40, -1)) == ()


def test_a_fixed_number_of_dimensions_needs_twice_as_many_differences_between_species() -> None:
    assert [has_species_for(10, n) for n in (26, 27)] == [False, True]
    rows = np.random.default_rng(0).normal(size=(20 * 4, 16))
    found = measure_span(rows, np.arange(80) % 20, n_dimensions=(10, None, 7), n_shuffles=3)
    assert [one.statistic for one in found] == ["span_share", "span7_share"]
    assert measure_span(rows, np.arange(80) % 20, n_dimensions=(10,), n_shuffles=3) == ()


def test_the_sentence_says_what_p_does_not_ask() -> None:
    planted = plant(0)
    with_p, without = (
        measure_span(planted.vectors, planted.species, n_dimensions=(3,), n_shuffles=n)[0].reading for n in (3, 0)
    )
    assert with_p.endswith(
        "p only asks whether species are groups at all; for orthogonality compare the interval with 0.25."
    )
    assert "p only" not in without


def test_vectors_that_are_all_the_same_have_neither_share_nor_p() -> None:
    found = measure_span(np.ones((60, 8)), np.repeat(np.arange(10), 6), n_shuffles=9)[0]
    assert np.isnan([found.value, found.low, found.null_low, found.p]).all()
    assert "p =" not in found.reading


def test_an_occurrence_with_many_images_counts_once() -> None:
    planted = plant(4, n_each=4)
    images = np.random.default_rng(0).permutation(np.repeat(np.arange(240), np.arange(240) % 9 + 1))
    one = measure_span(planted.vectors, planted.species, n_dimensions=(4,), n_shuffles=9)[0]
    other = measure_span(
        planted.vectors[images], planted.species[images], occurrences=images, n_dimensions=(4,), n_shuffles=9
    )[0]
    assert [one.value, one.low, one.p] == pytest.approx([other.value, other.low, other.p])
    assert other.n == len(images)


def test_spans_in_main_axes_are_those_of_all_axes_and_thinning_is_said() -> None:
    rng = np.random.default_rng(0)
    species = np.repeat(np.arange(60), 8)
    spread = np.concatenate([np.full(20, 1.0), np.full(280, 0.05)])
    means = np.concatenate([3 * rng.normal(size=(60, 4)), np.zeros((60, 296))], axis=1)
    rows = means[species] + rng.normal(size=(480, 300)) * spread
    found = measure_span(rows, species, n_dimensions=(4,), n_shuffles=9)[0]
    # 4 of the 20 wide directions; the narrow ones hold 280 * 0.05² = 0.7 beside them.
    assert found.value == pytest.approx(4 / 20.7, abs=0.02)
    assert found.chance == pytest.approx(4 / 300)
    many = measure_span(
        rng.normal(size=(3000, 3)), np.repeat(np.arange(10), 300), n_dimensions=(2,), n_shuffles=0, seed=1
    )[0]
    assert (many.n, many.left_out) == (2500, 500)
    assert many.reading.endswith("(from 2,500 of 3,000 occurrences, drawn at random).")
