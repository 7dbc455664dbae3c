"""How far off a wrong name is in the taxonomy, and the names of higher ranks that a species' score stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64

SCALE = 100.0
"""Inverse temperature of the softmax: CLIP's is held at 100 at most and ends there (Radford et al. 2021)."""


def measure_distance(
    lineages: Int64[np.ndarray, "n r"], guesses: Int64[np.ndarray, "n r"]
) -> Float64[np.ndarray, " n"]:
    """Ranks between the leaf and the lowest common ancestor: 0 for the right species, 1 for its genus, and so on.

    The height of the lowest common ancestor as the mistakes of a classifier are weighed by it (Bertinetto et al. 2020,
    section 4), counted in ranks. Two lineages share a rank where both name it, alike; the deepest such rank counts, so
    that a rank which is missing in between changes nothing. Ranks that no lineage names are not counted.

    Args:
        lineages: code of the taxon at each rank, highest rank first; negative where it is not named.
        guesses: the lineages that were answered.

    Returns:
        Whole numbers from 0 to the number of ranks; nan for a picture whose own leaf is not named.
    """
    used = _used_ranks(lineages)
    return _measure(lineages[:, used], guesses[:, used])


def expect_distance(lineages: Int64[np.ndarray, "n r"], classes: Int64[np.ndarray, "c r"]) -> Float64[np.ndarray, " n"]:
    """The distance of each picture to a class picked at random; nan as in `measure_distance`."""
    used = _used_ranks(lineages)
    rows, back = np.unique(lineages[:, used], axis=0, return_inverse=True)
    others = classes[:, used]
    means = np.array([_measure(np.broadcast_to(row, others.shape), others).mean() for row in rows])
    expected: Float64[np.ndarray, " n"] = means[back.reshape(-1)]
    return expected


def _used_ranks(lineages: Int64[np.ndarray, "n r"]) -> Bool[np.ndarray, " r"]:
    used: Bool[np.ndarray, " r"] = np.any(lineages >= 0, axis=0)
    return used


def _measure(own: Int64[np.ndarray, "n r"], other: Int64[np.ndarray, "n r"]) -> Float64[np.ndarray, " n"]:
    n_ranks = own.shape[1]
    if n_ranks == 0:
        return np.full(len(own), np.nan)
    shared = (own >= 0) & (own == other)
    depths = np.where(shared, np.arange(1, n_ranks + 1), 0).max(axis=1)
    result: Float64[np.ndarray, " n"] = np.where(own[:, -1] >= 0, n_ranks - depths, np.nan)
    return result


def sum_mass(
    scores: Float[np.ndarray, "n c"], parents: Int64[np.ndarray, " c"], *, scale: float = SCALE
) -> Float64[np.ndarray, "n p"]:
    """The probability of each higher taxon: the softmax over species, summed within it (as pybioclip does).

    Args:
        scores: cosine of each picture with each species' text.
        parents: the higher taxon of each species, 0 and up; negative for a species that names none, which is left out.
        scale: inverse temperature.
    """
    from scipy.special import softmax

    known = parents >= 0
    mass = softmax(scale * scores.astype(np.float64), axis=1)[:, known]
    n_parents = int(parents.max()) + 1 if known.any() else 0
    belongs = np.zeros((int(known.sum()), n_parents))
    belongs[np.arange(len(belongs)), parents[known]] = 1
    summed: Float64[np.ndarray, "n p"] = mass @ belongs
    return summed
