"""One row per species: where it lies among the others, and its lineage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from explorer.geometry.grouping import UNKNOWN, collapse_occurrences
from indexer.terms import RANKS

GENUS, FAMILY = RANKS.index("genus"), RANKS.index("family")


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesMeans:
    """The species of some records.

    Attributes:
        taxa: Each species' code, ascending.
        directions: From the mean of all species to its own, as unit vectors: the cosine of two is their likeness once
            what all share is set aside. A species is the mean of its occurrences, each of which counts once. Zero for
            species that lie in the middle, as all do where all vectors are the same.
        lineages: Of each species, kingdom to species; -1 where a rank is not known.
        counts: Records of each species.
        places: Per record the row of its species, -1 where that is not known.
    """

    taxa: Int64[np.ndarray, " g"]
    directions: Float64[np.ndarray, "g d"]
    lineages: Int64[np.ndarray, "g 7"]
    counts: Int64[np.ndarray, " g"]
    places: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.taxa)

    def take(self, chosen: Bool[np.ndarray, " g"]) -> SpeciesMeans:
        """The chosen species alone; their directions stay as they are."""
        fresh = np.append(np.where(chosen, np.cumsum(chosen) - 1, UNKNOWN), UNKNOWN)
        return SpeciesMeans(
            taxa=self.taxa[chosen],
            directions=self.directions[chosen],
            lineages=self.lineages[chosen],
            counts=self.counts[chosen],
            places=fresh[np.where(self.places >= 0, self.places, len(self))],
        )


def average_species(
    vectors: Float[np.ndarray, "n d"], occurrences: Int64[np.ndarray, " n"], lineages: Int64[np.ndarray, "n 7"]
) -> SpeciesMeans:
    """The species of the records.

    Args:
        vectors: One row per record.
        occurrences: A code per record, 0 or more.
        lineages: Each record's taxa, kingdom to species, as codes; -1 where a rank is not known. Records without a
            species are left out.
    """
    known = lineages[:, -1] >= 0
    taxa, first, back = np.unique(lineages[known, -1], return_index=True, return_inverse=True)
    places = np.full(len(lineages), UNKNOWN, dtype=np.int64)
    places[known] = back
    of_species = lineages[known][first].copy()
    for rank in range(len(RANKS) - 1):  # a record with holes must not hide what another of its species names
        np.maximum.at(of_species[:, rank], back, lineages[known, rank])
    units = collapse_occurrences(vectors, occurrences, None, places)
    means = _average(units.vectors, units.species, len(taxa))
    return SpeciesMeans(
        taxa=taxa.astype(np.int64),
        directions=_find_directions(means),
        lineages=of_species,
        counts=np.bincount(back, minlength=len(taxa)).astype(np.int64),
        places=places,
    )


def _average(vectors: Float[np.ndarray, "m d"], species: Int64[np.ndarray, " m"], n: int) -> Float64[np.ndarray, "g d"]:
    from scipy.sparse import csr_matrix

    kept = np.flatnonzero(species >= 0)
    shares = (1 / np.bincount(species[kept], minlength=n).clip(1))[species[kept]].astype(vectors.dtype)
    chosen = csr_matrix((shares, (species[kept], kept)), shape=(n, len(vectors)))
    means: Float64[np.ndarray, "g d"] = np.asarray(chosen @ vectors, dtype=np.float64)
    return means


def _find_directions(means: Float64[np.ndarray, "g d"]) -> Float64[np.ndarray, "g d"]:
    if not len(means):
        return means
    scale = np.abs(means).max()
    rows = means - means.mean(axis=0)
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    directions: Float64[np.ndarray, "g d"] = np.zeros_like(rows)
    np.divide(rows, lengths, out=directions, where=lengths > 1e-6 * scale)
    return directions


def reduce_dimensions(rows: Float64[np.ndarray, "g d"], n_most: int) -> Float64[np.ndarray, "g k"]:
    """The rows, centred, in their leading principal directions; a mere rotation where those are all there are."""
    centred = rows - rows.mean(axis=0)
    if rows.shape[1] <= n_most:
        found: Float64[np.ndarray, "g k"] = centred
        return found
    n, d = centred.shape
    products = centred.T @ centred if d <= n else centred @ centred.T
    values, basis = np.linalg.eigh(products)
    values, basis = values[::-1][:n_most].clip(0), basis[:, ::-1][:, :n_most]
    reduced: Float64[np.ndarray, "g k"] = centred @ basis if d <= n else basis * np.sqrt(values)
    return reduced


def draw_species(groups: Int64[np.ndarray, " g"], n_most: int, rng: np.random.Generator) -> Bool[np.ndarray, " g"]:
    """The choice of about `n_most` rows, whole groups at random, those below 0 each a group of its own."""
    keys = np.where(groups >= 0, groups, int(groups.max(initial=0)) + 1 + np.arange(len(groups)))
    taxa, back, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = rng.permutation(len(taxa))
    fits = np.cumsum(counts[order]) <= n_most
    fits[0] = True
    kept = np.zeros(len(taxa), dtype=bool)
    kept[order[fits]] = True
    chosen: Bool[np.ndarray, " g"] = kept[back]
    return chosen
