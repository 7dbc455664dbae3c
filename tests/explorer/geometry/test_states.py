"""What is compared inside species: occurrences, pairs and batches, and the noise of steps between states."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from explorer.geometry.grouping import cap_groups, collapse_occurrences
from explorer.geometry.states import States, gather_states, measure_squares
from explorer.geometry.steps import average_steps, measure_middles, measure_steps, square_steps
from explorer.geometry.variants import choose_contrast, list_contrasts
from tests.explorer.geometry.planted import plant_images


def test_an_occurrence_counts_once_for_each_of_its_species_and_values() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    units = collapse_occurrences(
        vectors, np.array([5, 5, 2, 2, 2, 7]), np.array([0, 0, 0, 1, -1, 1]), np.array([3, 3, 1, 1, 1, -1])
    )
    assert units.vectors.dtype == np.float32
    np.testing.assert_allclose(units.vectors, [[8, 9], [4, 5], [6, 7], [1, 2], [10, 11]])
    assert units.occurrences.tolist() == [0, 0, 0, 1, 2]
    assert units.species.tolist() == [1, 1, 1, 3, -1]
    assert units.values is not None
    assert units.values.tolist() == [-1, 0, 1, 0, 1]
    assert units.counts.tolist() == [1, 1, 1, 2, 1]
    np.testing.assert_allclose(units.average(np.array([1, np.nan, 2, 3, np.nan, 4.0])), [np.nan, 2, 3, 1, 4])
    assert len(collapse_occurrences(vectors[:0], np.zeros(0, int), None, np.zeros(0, int))) == 0


def test_where_there_is_too_much_the_largest_groups_are_thinned_first() -> None:
    codes = np.repeat(np.arange(4), [1, 3, 30, 300])
    kept = cap_groups(codes, rng=np.random.default_rng(0), n_most=34, n_each=100)
    assert np.bincount(codes[kept]).tolist() == [1, 3, 15, 15]
    assert np.bincount(codes[cap_groups(codes, rng=np.random.default_rng(0))]).tolist() == [1, 3, 30, 250]


def test_occurrences_with_both_states_are_pairs_where_more_species_show_them() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    # Species 0: two pairs and an occurrence with one state; species 1: two pairs.
    species = np.repeat([0, 1], [6, 6])
    occurrences = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    codes = np.array([0, 1, 0, 1, 0, 0, 1, 0, 0, 1, -1, -1])
    states = gather_states(vectors, species, codes, occurrences=occurrences)
    assert states is not None
    assert states.pairs is not None
    assert np.bincount(states.pairs).tolist() == [2, 2, 2, 2]
    assert (states.used.n, states.used.n_groups, states.used.left_out) == (8, 2, 4)
    for places in states.shuffle(20, 0):
        assert (states.pairs[places] == states.pairs).all()
    alone = gather_states(vectors, species, codes)
    assert alone is not None
    assert alone.pairs is None
    assert gather_states(vectors, species, np.full(12, -1)) is None
    assert gather_states(vectors, np.arange(12), codes) is None


def test_states_are_compared_and_shuffled_inside_batches_and_unknown_batches_stay_out() -> None:
    images = plant_images(0, n_each=24, batch=1.0)
    batches = np.where(images.species == 3, -1, images.batches)
    states = gather_states(
        images.vectors, images.species, images.states, occurrences=images.occurrences, batches=batches
    )
    assert states is not None
    assert states.n_species <= 23
    for places in states.shuffle(5, 0):
        assert (states.groups[places] == states.groups).all()
    whole = gather_states(images.vectors, images.species, images.states, batches=np.full(len(batches), -1))
    assert whole is None


def test_an_occurrence_goes_with_the_batch_of_most_of_its_records() -> None:
    species, codes = np.zeros(13, dtype=int), np.array([0] * 5 + [1] * 4 + [0] * 2 + [1] * 2)
    occurrences = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7])
    batches = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    states = gather_states(np.eye(13), species, codes, occurrences=occurrences, batches=batches)
    assert states is not None
    assert states.used.left_out == 1
    assert len(states.species_of_groups) == 2


def split_in_halves(rows: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means of disjoint parts of the rows, every way to choose them."""
    places = set(range(len(rows)))
    return [
        (rows[list(one)].mean(axis=0), rows[list(other)].mean(axis=0))
        for one in combinations(places, size)
        for other in combinations(places - set(one), size)
    ]


@pytest.mark.parametrize("is_paired", [False, True])
def test_squared_steps_are_the_mean_product_over_all_ways_to_split_the_occurrences(is_paired: bool) -> None:
    images = plant_images(1, n_genera=3, n_per_genus=1, n_each=5, d=8, step=1.0, is_paired=is_paired)
    states = images.gather()
    squared, variances = measure_squares(states, states.values[None])
    for species in range(3):
        first, second = (states.rows[(states.species == species) & (states.values == state)] for state in (0, 1))
        if is_paired:
            halves = split_in_halves(states.gaps[np.arange(15) // 5 == species], 1)
            products = [one @ other for one, other in halves]
        else:
            products = [
                (b_one - a_one) @ (b_other - a_other)
                for a_one, a_other in split_in_halves(first, 1)
                for b_one, b_other in split_in_halves(second, 1)
            ]
        assert squared[0, species] == pytest.approx(np.mean(products))
        expected = first.var(axis=0, ddof=1).sum() + second.var(axis=0, ddof=1).sum()
        assert variances[0, species] == pytest.approx(expected)


@pytest.mark.parametrize("is_paired", [False, True])
@pytest.mark.parametrize("by_batch", [False, True])
def test_steps_and_their_noise_agree_however_they_are_computed(is_paired: bool, by_batch: bool) -> None:
    images = plant_images(2, n_genera=6, n_each=14, step=1.0, is_paired=is_paired, most_images=3)
    states = images.gather(by_batch=by_batch)
    steps = measure_steps(states)
    np.testing.assert_allclose(average_steps(states, states.values, states.rows), steps.means, atol=1e-12)
    assert square_steps(states, states.values[None])[0] == pytest.approx((steps.means**2).sum())
    noise = np.bincount(steps.species, weights=steps.weights * (steps.residuals**2).sum(axis=1))
    if not by_batch:
        squared, _ = measure_squares(states, states.values[None])
        np.testing.assert_allclose((steps.means**2).sum(axis=1) - noise, squared[0], atol=1e-9)
    middles = measure_middles(states, states.rows)
    assert (middles.degrees == steps.degrees).all()
    assert middles.multiples.mean() == pytest.approx(steps.multiples.mean() / (1 if is_paired else 4))


def test_the_noise_of_a_step_is_the_variance_of_its_mean() -> None:
    steps, noises = [], []
    for seed in range(300):
        found = measure_steps(
            plant_images(seed, n_genera=1, n_per_genus=1, n_each=8, d=8, is_paired=seed % 2 == 0).gather()
        )
        steps.append((found.means**2).sum())
        noises.append((found.weights * (found.residuals**2).sum(axis=1)).sum())
    for paired in (0, 1):
        assert np.mean(steps[paired::2]) == pytest.approx(np.mean(noises[paired::2]), rel=0.15)


def test_the_states_of_some_species_are_the_same_states() -> None:
    states = plant_images(3, n_genera=5, is_paired=True).gather()
    drawn = states.draw_species(4, seed=0)
    assert isinstance(drawn, States)
    assert drawn.n_species == 4
    assert drawn.pairs is not None
    assert len(drawn.genera) == 4
    whole = measure_steps(states).means
    assert all(np.isclose(whole, step).all(axis=1).any() for step in measure_steps(drawn).means)
    assert states.draw_species(10, seed=0) is states


def test_a_column_with_more_than_two_values_gives_each_common_one_against_the_rest() -> None:
    values: list[str | None] = ["adult", "larva", "pupa"] * 8 + [None]
    species = np.array(([0] * 3 + [1] * 3) * 4 + [0])
    contrasts = list_contrasts("lifeStage", values, species)
    assert [one.column for one in contrasts] == [
        "lifeStage",
        "lifeStage: adult",
        "lifeStage: larva",
        "lifeStage: pupa",
    ]
    assert contrasts[2].names == ("not larva", "larva")
    assert contrasts[2].codes.tolist() == [0, 1, 0] * 8 + [-1]
    assert len(list_contrasts("sex", ["f", "m"] * 4, np.zeros(8, dtype=int))) == 1
    assert list_contrasts("sex", ["f"] * 8, np.zeros(8, dtype=int)) == ()


def test_a_contrast_counts_occurrences_and_not_their_images() -> None:
    values = ["f", "f", "m", "m", "m"]
    assert choose_contrast("sex", values, np.zeros(5, dtype=int)) is not None
    assert choose_contrast("sex", values, np.zeros(5, dtype=int), np.array([0, 0, 1, 2, 3])) is None
