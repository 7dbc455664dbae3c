"""Vectors that lie as real embeddings do: in a cone, clustered by taxon, in taxonomic order. For the other benchmarks.

The spectrum follows the 1,030 BioCLIP 2 vectors of `../shared/data/vectors` (participation ratio 70, mean cosine of
random pairs 0.59): Gaussian noise would make every index look worse than it is, and a few dense clusters better.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float16, Float32, Int64

CENTRE_LENGTH = 0.77
# Shares of the variance about the centre that each level of the tree carries, and how many taxa divide it.
LEVELS = (("order", 0.15, 20), ("family", 0.15, 5), ("genus", 0.17, 5), ("species", 0.18, 8))
OCCURRENCE_SHARE, IMAGE_SHARE = 0.20, 0.15
IMAGES_PER_OCCURRENCE = 3
_BLOCK = 20_000


@dataclass(frozen=True, kw_only=True)
class ClusteredVectors:
    """Unit vectors in taxonomic pre-order.

    Attributes:
        values: in memory, or mapped from a file.
        species: number of each vector's species, ascending.
    """

    values: Float16[np.ndarray, "n d"]
    species: Int64[np.ndarray, " n"]


def make_clustered_vectors(
    n: int, dimension: int = 768, *, seed: int = 0, file: Path | None = None
) -> ClusteredVectors:
    """n vectors of 4,000 species in 500 genera, 100 families and 20 orders; species sizes follow Zipf's law.

    Args:
        n: vectors wanted.
        dimension: of each.
        seed: of everything.
        file: an .npy file to write them to and map them from; in memory where None.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    scale = _standard_deviations(dimension)
    centre = rng.standard_normal(dimension, dtype=np.float32)
    centre *= CENTRE_LENGTH / np.linalg.norm(centre)
    middles = centre[None]
    for _, share, n_children in LEVELS:
        middles = np.repeat(middles, n_children, axis=0)
        middles = middles + _noise(rng, len(middles), scale, share)
    species = _draw_species(rng, n, len(middles))
    shape = (n, dimension)
    values = np.lib.format.open_memmap(file, "w+", np.float16, shape) if file else np.empty(shape, np.float16)
    for start in range(0, n, _BLOCK):
        own = species[start : start + _BLOCK]
        occurrences = _noise(rng, -(-len(own) // IMAGES_PER_OCCURRENCE), scale, OCCURRENCE_SHARE)
        block = middles[own] + np.repeat(occurrences, IMAGES_PER_OCCURRENCE, axis=0)[: len(own)]
        block += _noise(rng, len(own), scale, IMAGE_SHARE)
        values[start : start + _BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return ClusteredVectors(values=values, species=species)


def draw_queries(
    vectors: ClusteredVectors, places: Int64[np.ndarray, " q"], *, seed: int = 1
) -> Float32[np.ndarray, "q d"]:
    """New images of the occurrences at some places: near to them, and not in the index."""
    import numpy as np

    rng = np.random.default_rng(seed)
    values = vectors.values[places].astype(np.float32)
    values += _noise(rng, len(places), _standard_deviations(values.shape[1]), IMAGE_SHARE)
    result: Float32[np.ndarray, "q d"] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return result


def _standard_deviations(dimension: int) -> Float32[np.ndarray, " d"]:
    """Per dimension, of the vectors about their centre: what is left of unit length, in the real spectrum's form."""
    import numpy as np

    place = np.arange(dimension) * 768 / dimension
    variances = (1 + place / 12) ** -0.6 * np.exp(-place / 110)
    variances[0] *= 3.5
    variances *= (1 - CENTRE_LENGTH**2) / variances.sum()
    result: Float32[np.ndarray, " d"] = np.sqrt(variances).astype(np.float32)
    return result


def _noise(
    rng: np.random.Generator, n: int, scale: Float32[np.ndarray, " d"], share: float
) -> Float32[np.ndarray, "n d"]:
    import numpy as np

    drawn: Float32[np.ndarray, "n d"] = rng.standard_normal((n, len(scale)), dtype=np.float32) * scale
    drawn *= np.float32(share**0.5)
    return drawn


def _draw_species(rng: np.random.Generator, n: int, n_species: int) -> Int64[np.ndarray, " n"]:
    import numpy as np

    weights = rng.permutation(1 / np.arange(1, n_species + 1) ** 0.8)
    result: Int64[np.ndarray, " n"] = np.sort(rng.choice(n_species, n, p=weights / weights.sum()))
    return result
