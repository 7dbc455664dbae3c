"""Correlations of distances against dcor, scikit-bio and residuals."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.geometry.distances import (
    correlate_distances,
    correlate_distances_given,
    correlate_mantel,
    correlate_mantel_given,
    measure_angles,
)


def draw(seed: int, n: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three sets of rows, the first two of which share something."""
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(n, 3))
    return one, one[:, :2] + rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + one[:, :1]


def measure(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2)))


def wave() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for everyone who wants to check the constants below."""
    i = np.arange(24)[:, None]
    one = np.sin(i * np.array([1.0, 2.3, 3.1]))
    other = one[:, :2] + np.cos(i * np.array([0.7, 1.9]))
    return measure(one), measure(other), measure(np.sin(i * np.array([1.3, 0.4])) + one[:, :1])


def test_distance_correlations_are_those_of_dcor() -> None:
    # dcor 0.7: u_distance_correlation_sqr(one, other), partial_distance_correlation(one, other, third).
    # Constants, since importing dcor compiles for ten seconds.
    one, other, third = wave()
    assert correlate_distances(one, other) == pytest.approx(0.3997310815142544, abs=1e-9)
    assert correlate_distances_given(one, other, third) == pytest.approx(0.37736955436318054, abs=1e-9)


def test_distance_correlation_is_that_of_plain_loops() -> None:
    # Székely & Rizzo 2013, equations 2.3 to 2.10.
    one, other, _ = (measure(rows) for rows in draw(0))
    n = 24

    def centre(distances: np.ndarray) -> np.ndarray:
        means, mean = distances.mean(axis=1), distances.mean()
        centred = np.empty((n, n))
        for i in range(n):
            for j in range(n):
                inside = distances[i, j] - means[i] - means[j] + mean - distances[i, j] / n
                centred[i, j] = n / (n - 1) * (means[i] - mean if i == j else inside)
        return centred

    def multiply(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum() - n / (n - 2) * (np.diag(a) * np.diag(b)).sum())

    a, b = centre(one), centre(other)
    expected = multiply(a, b) / np.sqrt(multiply(a, a) * multiply(b, b))
    assert correlate_distances(one, other) == pytest.approx(expected, abs=1e-9)


def test_mantel_is_that_of_scikit_bio() -> None:
    # scikit-bio 0.7.4: skbio.stats.distance.mantel(one, other, permutations=0)
    one, other, _ = wave()
    assert correlate_mantel(one, other) == pytest.approx(0.39427990313380396, abs=1e-9)


def test_partial_mantel_is_the_correlation_of_residuals() -> None:
    one, other, third = (measure(rows)[np.triu_indices(24, 1)] for rows in draw(2))
    x = np.column_stack([np.ones_like(third), third])
    left, right = (side - x @ np.linalg.lstsq(x, side, rcond=None)[0] for side in (one, other))
    found = correlate_mantel_given(*(measure(rows) for rows in draw(2)))
    assert found == pytest.approx(np.corrcoef(left, right)[0, 1], abs=1e-9)


def test_the_same_distances_correlate_fully_and_constant_ones_not_at_all() -> None:
    one, _, _ = draw(3)
    assert correlate_distances(measure(one), 3 * measure(one)) == pytest.approx(1)
    assert correlate_mantel(measure(one), 3 * measure(one)) == pytest.approx(1)
    constant = np.ones((24, 24)) - np.eye(24)
    assert correlate_mantel(measure(one), constant) == 0
    assert correlate_mantel_given(measure(one), measure(one), measure(one)) == 0


def test_independent_rows_have_a_distance_correlation_of_zero_on_average() -> None:
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found.append(correlate_distances(measure(rng.normal(size=(12, 3))), measure(rng.normal(size=(12, 2)))))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)


def test_a_dependence_that_is_no_line_shows() -> None:
    x = np.linspace(-1, 1, 40)
    assert correlate_distances(measure(x[:, None]), measure(x[:, None] ** 2)) > 0.15


def test_angles_do_not_depend_on_a_turn() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(10, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    np.testing.assert_allclose(measure_angles(rows), measure(rows), atol=1e-7)
    np.testing.assert_allclose(measure_angles(rows @ turn), measure_angles(rows), atol=1e-7)
