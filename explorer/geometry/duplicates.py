"""Photographs that are nearly the same though their records are of different occurrences.

What "nearly the same" is differs from encoder to encoder, so that the threshold is measured in each space: how alike
are the nearest photographs of one species (of any, where fewer than 30 records have one) from different occurrences? On
the scale of log(1 - cosine), of centred vectors, its median and its spread on the side of the more alike give the
normal distribution of which fewer than half a record would be beyond the threshold. The quarter of the records that are
most alike may all be duplicates without moving the median; the more there are, the wider is the spread taken and the
fewer are found, but cosines of 0.9995 count always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from explorer.geometry.neighbours import Neighbours

IDENTICAL = 0.9995
"""Cosine of centred vectors from which two photographs always count as one."""
LEAST_DEVIATIONS = 4.0
MIN_REFERENCE = 30
_QUARTILE = 0.6745
"""Of the normal distribution, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Records that show nearly the same.

    Attributes:
        places: Two records or more, ascending.
        score: The greatest cosine, of centred vectors, of two of them.
    """

    places: tuple[int, ...]
    score: float


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """All near-duplicates.

    Attributes:
        groups: The most alike first.
        threshold: Cosine, of centred vectors, from which two records were put together.
        n_reference: Records that the threshold was measured on; 0 where it is `IDENTICAL` because too few were there.
    """

    groups: tuple[Copies, ...]
    threshold: float
    n_reference: int


def find_duplicates(neighbours: Neighbours, species: Int64[np.ndarray, " n"]) -> Duplicates:
    """Groups of records of different occurrences whose vectors are nearly the same.

    Args:
        neighbours: Of every record, in centred vectors.
        species: A code per record; below 0 where it is not known.
    """
    threshold, n_reference = measure_threshold(neighbours, species)
    rows, columns = np.nonzero((neighbours.scores >= threshold) & (neighbours.places >= 0))
    partners, scores = neighbours.places[rows, columns], neighbours.scores[rows, columns]
    groups: dict[int, list[int]] = {}
    labels = _join(len(species), rows, partners)
    for place in np.union1d(rows, partners).tolist():
        groups.setdefault(int(labels[place]), []).append(place)
    best: dict[int, float] = {}
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        best[int(labels[row])] = max(best.get(int(labels[row]), -1.0), score)
    found = [Copies(places=tuple(places), score=min(best[label], 1.0)) for label, places in groups.items()]
    return Duplicates(
        groups=tuple(sorted(found, key=lambda one: (-one.score, one.places))),
        threshold=threshold,
        n_reference=n_reference,
    )


def measure_threshold(neighbours: Neighbours, species: Int64[np.ndarray, " n"]) -> tuple[float, int]:
    """The cosine from which two photographs count as one, and on how many records it was measured."""
    from scipy.stats import norm

    reference = _gather_reference(neighbours, species)
    if len(reference) < MIN_REFERENCE:
        return IDENTICAL, 0
    apart = np.log(np.maximum(1 - reference.astype(np.float64), 1e-7))
    lower, median = np.quantile(apart, [0.25, 0.5])
    reach = max(LEAST_DEVIATIONS, float(norm.isf(0.5 / len(species)))) * (median - lower) / _QUARTILE
    return float(min(1 - np.exp(median - reach), IDENTICAL)), len(reference)


def _gather_reference(neighbours: Neighbours, species: Int64[np.ndarray, " n"]) -> np.ndarray:
    """Each record's cosine with the nearest of its species, or with the nearest of any where few have one."""
    places = neighbours.places
    same = (places >= 0) & (species[places] == species[:, None]) & (species[:, None] >= 0)
    has_one = same.any(axis=1)
    if has_one.sum() >= MIN_REFERENCE:
        return np.asarray(neighbours.scores[np.flatnonzero(has_one), same.argmax(axis=1)[has_one]])
    return np.asarray(neighbours.scores[:, 0][places[:, 0] >= 0])


def _join(n: int, rows: Int64[np.ndarray, " e"], partners: Int64[np.ndarray, " e"]) -> np.ndarray:
    """The group of each record, linked records being in one."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    links = csr_matrix((np.ones(len(rows), dtype=np.int8), (rows, partners)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1])
