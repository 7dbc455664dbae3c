"""Images unlike anything in their taxon: labels, tracks, blank frames, or another species altogether.

A record's likeness to its taxon is the mean cosine with the taxon's other occurrences (each occurrence counts once), of
centred vectors; at the deepest rank at which there are eight. Its score is how many robust standard deviations that
likeness lies below the taxon's median (median absolute deviation; Rousseeuw & Croux 1993), the deviation of small taxa
being drawn towards that of all as if ten more records had it. A rare form of a species, as its one juvenile, is unlike
most of it but like some: a record counts as a stranger only if, besides, none of its nearest neighbours is of its
taxon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from explorer.geometry.grouping import collapse_occurrences, recode
from explorer.geometry.mislabels import count_occurrences
from explorer.geometry.neighbours import Neighbours, sum_rows

LEAST_DEVIATIONS = 3.5
MIN_PEERS = 8
"""Other occurrences of a taxon that a record is compared with, at least."""
_SHRINK = 10
_BLOCK = 8_192
_TO_DEVIATION = 1.4826


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """A record unlike its taxon.

    Attributes:
        place: The record.
        rank: Of the taxon, as a place in `RANKS`.
        deviations: How many robust standard deviations its likeness lies below the median of its taxon.
        likeness: Its mean cosine with the taxon's other occurrences, centred.
        median: That of the taxon's records.
    """

    place: int
    rank: int
    deviations: float
    likeness: float
    median: float


def find_strangers(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    neighbours: Neighbours,
    *,
    least_deviations: float = LEAST_DEVIATIONS,
) -> tuple[tuple[Stranger, ...], int]:
    """The strangers, the strangest first, and how many records could be compared.

    Args:
        vectors: Centred, of unit length.
        occurrences: A code per record.
        lineages: Each record's taxon at each rank; -1 where it is not known.
        neighbours: Of every record.
        least_deviations: To be listed.
    """
    left = np.ones(len(vectors), dtype=bool)
    found: list[Stranger] = []
    for rank in reversed(range(lineages.shape[1])):
        places, likeness, median, deviations = _compare(vectors, occurrences, lineages[:, rank], left)
        left[places] = False
        near = neighbours.places[places]
        has_own = ((near >= 0) & (lineages[near, rank] == lineages[places, rank, None])).any(axis=1)
        found += [
            Stranger(
                place=int(places[one]),
                rank=rank,
                deviations=float(deviations[one]),
                likeness=float(likeness[one]),
                median=float(median[one]),
            )
            for one in np.flatnonzero((deviations >= least_deviations) & ~has_own)
        ]
    return tuple(sorted(found, key=lambda one: -one.deviations)), int((~left).sum())


def _compare(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    taxa: Int64[np.ndarray, " n"],
    left: np.ndarray,
) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Of the records that are left and have peers at one rank: place, likeness, median of the taxon, deviations."""
    counts = count_occurrences(taxa, occurrences, int(taxa.max(initial=0)) + 1)
    wanted = np.zeros(len(counts), dtype=bool)
    wanted[taxa[left & (taxa >= 0)]] = True
    members = np.flatnonzero((taxa >= 0) & (wanted & (counts > MIN_PEERS))[taxa])
    if not len(members):
        return members, np.empty(0), np.empty(0), np.empty(0)
    codes = recode(taxa[members])
    likeness = measure_likeness(vectors[members], occurrences[members], codes)
    median = find_medians(likeness, codes)
    spread = _TO_DEVIATION * find_medians(np.abs(likeness - median[codes]), codes)
    pooled = _TO_DEVIATION * float(np.median(np.abs(likeness - median[codes])))
    n = np.bincount(codes)
    scale = np.sqrt((n * spread**2 + _SHRINK * pooled**2) / (n + _SHRINK))
    below = median[codes] - likeness
    deviations = np.divide(below, scale[codes], out=np.zeros(len(members)), where=scale[codes] > 1e-9)
    asked = left[members]
    return members[asked], likeness[asked], median[codes][asked], deviations[asked]


def measure_likeness(
    vectors: Float32[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Each record's mean cosine with the other occurrences of its group; codes run from 0 without gaps."""
    units = collapse_occurrences(vectors, occurrences, None, codes)
    sums = sum_rows(units.vectors, units.species, int(codes.max()) + 1)
    n_others = np.bincount(units.species)[codes] - 1
    likeness = np.empty(len(vectors))
    for start, stop in _blocks(len(vectors)):
        part = slice(start, stop)
        others = sums[codes[part]] - units.vectors[units.of_records[part]]
        likeness[part] = np.einsum("nd,nd->n", vectors[part], others)
    averaged: Float64[np.ndarray, " n"] = likeness / n_others
    return averaged


def find_medians(values: Float64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " g"]:
    """The median of each group; codes run from 0 without gaps."""
    order = np.lexsort((values, codes))
    counts = np.bincount(codes)
    starts = np.cumsum(counts) - counts
    low, high = order[starts + (counts - 1) // 2], order[starts + counts // 2]
    medians: Float64[np.ndarray, " g"] = (values[low] + values[high]) / 2
    return medians


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, _BLOCK):
        yield start, min(start + _BLOCK, n)
