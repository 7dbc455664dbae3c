"""Mistakes weighed by the taxonomy: by hand, with ranks missing, and the mass of higher taxa."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from training.judge.hierarchy import expect_distance, measure_distance, sum_mass

LINEAGES = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]])
"""Family, genus and species of four species: two of a genus, one of their family, one of another family."""


@pytest.mark.parametrize(("own", "guess", "distance"), [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3), (3, 2, 3)])
def test_the_distance_is_the_number_of_ranks_to_the_shared_taxon(own: int, guess: int, distance: int) -> None:
    assert measure_distance(LINEAGES, LINEAGES[[guess] * 4])[own] == distance


def test_a_rank_that_is_missing_in_between_changes_nothing() -> None:
    own, guess = np.array([[0, -1, 0], [0, 0, 1]]), np.array([[0, -1, 0], [0, -1, 2]])
    np.testing.assert_array_equal(measure_distance(own, guess), [0, 2])


def test_ranks_that_nobody_names_are_not_counted() -> None:
    own = np.array([[-1, 0, 0], [-1, 0, 1]])
    np.testing.assert_array_equal(measure_distance(own, own[::-1]), [1, 1])


def test_a_picture_without_a_species_has_no_distance() -> None:
    own = np.array([[0, 0, -1], [0, 0, 0]])
    np.testing.assert_array_equal(measure_distance(own, np.array([[0, 0, 0], [0, 0, 0]])), [np.nan, 0])


def test_chance_is_the_mean_over_all_guesses() -> None:
    plain = [
        np.mean([measure_distance(LINEAGES, LINEAGES[[guess] * 4])[own] for guess in range(4)]) for own in range(4)
    ]
    np.testing.assert_allclose(expect_distance(LINEAGES, LINEAGES), plain)


def test_the_mass_of_a_higher_taxon_is_that_of_its_species() -> None:
    scores = np.array([[0.2, 0.1, 0.3, 0.0]], np.float32)
    parts = softmax(100 * scores.astype(float), axis=1)[0]
    mass = sum_mass(scores, np.array([0, 0, 1, -1]))
    np.testing.assert_allclose(mass, [[parts[0] + parts[1], parts[2]]])
