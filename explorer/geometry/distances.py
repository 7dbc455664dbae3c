"""Correlations between distances of the same species: distance correlation, Mantel, and both given a third distance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

Distances = Float64[np.ndarray, "g g"]


def measure_angles(directions: Float64[np.ndarray, "g d"]) -> Distances:
    """Distances between unit vectors, √(2 - 2 cos): Euclidean, as distance correlation asks."""
    squares = 2 - 2 * (directions @ directions.T).clip(-1, 1)
    distances: Distances = np.sqrt(squares)
    np.fill_diagonal(distances, 0.0)
    return distances


def centre_unbiased(distances: Distances) -> Distances:
    """The U-centred distances (Székely & Rizzo 2014, definition 2): rows sum to 0, and so does the diagonal.

    Args:
        distances: Symmetric, 0 on the diagonal, of four species or more.
    """
    n = len(distances)
    sums = distances.sum(axis=0)
    centred: Distances = distances - sums[:, None] / (n - 2) - sums[None] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def centre_plainly(distances: Distances) -> Distances:
    """The distances less their mean, 0 on the diagonal."""
    n = len(distances)
    centred: Distances = distances - distances.sum() / (n * (n - 1))
    np.fill_diagonal(centred, 0.0)
    return centred


def correlate(one: Distances, other: Distances) -> float:
    """The cosine of two centred matrices; 0 where one is 0 (Székely & Rizzo 2014, definition 4, does the same)."""
    scale = float(np.sqrt(np.vdot(one, one) * np.vdot(other, other)))
    return float(np.vdot(one, other)) / scale if scale > 0 else 0.0


def correlate_partly(one_other: float, one_third: float, other_third: float) -> float:
    """The correlation of two, given a third (Legendre & Legendre 2012, eq. 10.22); 0 where the third explains one."""
    left = (1 - one_third**2) * (1 - other_third**2)
    return (one_other - one_third * other_third) / float(np.sqrt(left)) if left > 1e-12 else 0.0


def correlate_distances(one: Distances, other: Distances) -> float:
    """The bias-corrected distance correlation R*, 0 on average where the two are independent, so it may lie below 0.

    Székely & Rizzo (2013, eq. 2.10), in the equal form of Székely & Rizzo (2014, section 3.1): like a squared
    correlation, it is 1 for the same distances. Any dependence shows, not only a linear one.
    """
    return correlate(centre_unbiased(one), centre_unbiased(other))


def correlate_distances_given(one: Distances, other: Distances, third: Distances) -> float:
    """The partial distance correlation given a third distance (Székely & Rizzo 2014, definition 4)."""
    a, b, c = (centre_unbiased(distances) for distances in (one, other, third))
    return correlate_partly(correlate(a, b), correlate(a, c), correlate(b, c))


def correlate_mantel(one: Distances, other: Distances) -> float:
    """Mantel's r, Pearson's correlation over pairs of species (Legendre & Legendre 2012, section 10.5.1)."""
    return correlate(centre_plainly(one), centre_plainly(other))


def correlate_mantel_given(one: Distances, other: Distances, third: Distances) -> float:
    """Partial Mantel's r, given a third distance (Smouse, Long & Sokal 1986; Legendre & Legendre 2012, eq. 10.22)."""
    a, b, c = (centre_plainly(distances) for distances in (one, other, third))
    return correlate_partly(correlate(a, b), correlate(a, c), correlate(b, c))
