"""Species whose photographs fall in two clusters, as two species under one name or two kinds of photographs do.

A species' occurrences (the mean of each one's records) are projected on the direction in which they vary most, and
Hartigan's dip asks whether that distribution has more than one mode. Projecting does not make modes: for normally
distributed vectors of any covariance the coordinates are again those of one normal sample. Clusters that differ in a
direction of small variance are not seen. Which occurrence is in which cluster is the best split of the coordinates in
two (least squares).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from explorer.geometry.dip import find_dip, rate_dip
from explorer.geometry.grouping import collapse_occurrences, recode
from explorer.geometry.many_tests import adjust_p
from explorer.geometry.mislabels import count_occurrences

MIN_OCCURRENCES = 10
MIN_SHARE = 0.1
"""Share of a species' occurrences that the smaller cluster must hold."""
MOST_FALSE = 0.05
"""Share of the listed species that may be false discoveries (Benjamini & Hochberg 1995)."""
N_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Split:
    """A species in two clusters.

    Attributes:
        species: Its code.
        sizes: Occurrences of the smaller and the larger cluster.
        dip: Hartigan's dip.
        p: Of the dip, against an even spread.
        q: p adjusted for all species that were tested.
        smaller: Places of records in the midst of the smaller cluster.
        larger: The same for the larger one.
    """

    species: int
    sizes: tuple[int, int]
    dip: float
    p: float
    q: float
    smaller: tuple[int, ...]
    larger: tuple[int, ...]


def find_splits(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    *,
    most_false: float = MOST_FALSE,
) -> tuple[tuple[Split, ...], int]:
    """The species in two clusters, the greatest dip first, and how many species were tested.

    Args:
        vectors: One row per record.
        occurrences: A code per record.
        species: A code per record; those below 0 are left out.
        most_false: The greatest q that is listed.
    """
    tested = _test_species(vectors, occurrences, species)
    found = [
        replace(one, q=q)
        for one, q in zip(tested, adjust_p(tested), strict=True)
        if q <= most_false and one.sizes[0] >= MIN_SHARE * sum(one.sizes)
    ]
    return tuple(sorted(found, key=lambda one: -one.dip)), len(tested)


def _test_species(
    vectors: Float32[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], species: Int64[np.ndarray, " n"]
) -> list[Split]:
    known = np.flatnonzero(species >= 0)
    counts = count_occurrences(species, occurrences, int(species.max(initial=0)) + 1)
    members = known[counts[species[known]] >= MIN_OCCURRENCES]
    if not len(members):
        return []
    codes = recode(species[members])
    units = collapse_occurrences(vectors[members], occurrences[members], None, codes)
    first = members[np.unique(units.of_records, return_index=True)[1]]
    order = np.argsort(units.species, kind="stable")
    bounds = np.cumsum(np.bincount(units.species))
    return [_test(units.vectors[own], first[own], int(species[first[own[0]]])) for own in np.split(order, bounds[:-1])]


def _test(rows: Float32[np.ndarray, "n d"], places: Int64[np.ndarray, " n"], species: int) -> Split:
    """One species; its q is not known yet."""
    along = project_on_first(rows)
    dip = find_dip(along)
    n_low = split_in_two(along)
    order = np.argsort(along, kind="stable")
    parts = sorted((order[:n_low], order[n_low:]), key=len)
    shown = [tuple(places[_find_midst(along, part)].tolist()) for part in parts]
    return Split(
        species=species,
        sizes=(len(parts[0]), len(parts[1])),
        dip=dip,
        p=rate_dip(dip, len(along)),
        q=float("nan"),
        smaller=shown[0],
        larger=shown[1],
    )


def project_on_first(rows: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """Coordinates along the first principal component; all 0 where the rows are the same."""
    centred = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    along: Float64[np.ndarray, " n"] = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    return along if values[-1] > 1e-9 else np.zeros(len(rows))


def split_in_two(values: Float64[np.ndarray, " n"]) -> int:
    """How many of the smallest values make the one part of the split in two with the least squares inside."""
    ordered = np.sort(values)
    n = len(ordered)
    sizes = np.arange(1, n)
    sums = np.cumsum(ordered)[:-1]
    between = (sums / sizes - ordered.mean()) ** 2 * sizes * n / (n - sizes)
    return int(between.argmax()) + 1


def _find_midst(along: Float64[np.ndarray, " n"], part: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " s"]:
    """The occurrences of a cluster that are nearest to its median."""
    chosen: Int64[np.ndarray, " s"] = part[np.argsort(np.abs(along[part] - np.median(along[part])), kind="stable")]
    return chosen[:N_SHOWN]
