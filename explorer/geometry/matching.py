"""Matched pairs: records of two sets that look most alike, as mimics do, or the sexes of one species."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float32, Int64

from explorer.geometry.contrast import Sets

N_RANDOM_PAIRS = 20_000


class Kin(StrEnum):
    """Which records may be matched with each other."""

    ANY = "any"
    SAME_SPECIES = "same-species"
    OTHER_SPECIES = "other-species"


@dataclass(frozen=True, kw_only=True)
class MatchedPair:
    """Two records, one of each set, each of which is the other's nearest in the other set.

    Attributes:
        first: Place of the record of the first set.
        second: Of the second.
        score: Cosine of the vectors about the middle of the two sets, in [-1, 1].
        percentile: Share of random pairs across the sets that score lower, in [0, 100].
    """

    first: int
    second: int
    score: float
    percentile: float


def match_pairs(
    sets: Sets,
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    species: Int64[np.ndarray, " n"],
    *,
    kin: Kin = Kin.ANY,
    n_most: int = 5_000,
    seed: int = 0,
) -> tuple[MatchedPair, ...]:
    """Records of the two sets that are each other's nearest in the other set, the most alike first.

    Compared are the vectors about the middle between the means of the two sets, so that what all of them share does not
    make every pair alike. Images of one occurrence are never matched.

    Args:
        sets: Of n records.
        vectors: One row per record.
        occurrences: A code per record.
        species: The same for species, below 0 where not known; such records match only where all may.
        kin: Which may match: all, those of one species (as its sexes), or those of different species (as mimics).
        n_most: Of a larger set so many records are drawn at random.
        seed: Fixes the draw.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for side in (False, True):
        places = sets.records[sets.is_second[sets.units.of_records] == side]
        sides.append(np.sort(rng.choice(places, n_most, replace=False)) if len(places) > n_most else places)
    first, second = sides
    middle = (vectors[first].mean(axis=0) + vectors[second].mean(axis=0)) / 2
    scores = _normalise(vectors[first] - middle) @ _normalise(vectors[second] - middle).T
    is_barred = occurrences[first][:, None] == occurrences[second]
    if kin is not Kin.ANY:
        is_same = species[first][:, None] == species[second]
        is_barred |= (species[first] < 0)[:, None] | (species[second] < 0)
        is_barred |= ~is_same if kin is Kin.SAME_SPECIES else is_same
    if is_barred.all():
        return ()
    background = np.sort(scores.ravel()[rng.integers(0, scores.size, N_RANDOM_PAIRS)])
    scores[is_barred] = -np.inf
    nearest = scores.argmax(axis=1)
    mutual = np.flatnonzero(
        (scores.argmax(axis=0)[nearest] == np.arange(len(first))) & np.isfinite(scores[np.arange(len(first)), nearest])
    )
    found = scores[mutual, nearest[mutual]]
    percentiles = 100 * np.searchsorted(background, found) / len(background)
    return tuple(
        MatchedPair(
            first=int(first[mutual[i]]),
            second=int(second[nearest[mutual[i]]]),
            score=float(found[i]),
            percentile=float(percentiles[i]),
        )
        for i in np.argsort(-found, kind="stable")
    )


def _normalise(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32[np.ndarray, "n d"] = rows / np.where(lengths > 0, lengths, 1)
    return unit
