"""What the nearest neighbours tell of a space: hubs, local dimension, and whether relatives lie together.

- Hubness: the skewness of N_10, how often a record is among the ten nearest of others (Radovanović et al. 2010). A
  graph of random neighbours has that of a binomial distribution, about 0.32. It is measured among one record of each of
  at most 8,000 occurrences, because it depends on how many there are.
- Intrinsic dimension: TwoNN (Facco et al. 2017): the ratio of the distances to the second and the first neighbour has
  distribution F with -log(1 - F(r)) = d log r; the slope is fitted through the origin, without the tenth of greatest
  ratios, as theirs. Among the same records, by Euclidean distance of unit vectors. As every such figure it is that of
  the scale at which neighbours lie: more records look closer.
- Agreement at a rank: the share of records whose nearest neighbour of another occurrence has the same taxon, over
  records whose taxon has another occurrence at all. A neighbour without a name at the rank is passed over. Chance is
  that of a random record of another occurrence; p comes from names shuffled over occurrences.

Intervals are those of the jackknife over twenty blocks of occurrences that are left out as those who ask. Records that
are linked by nearest neighbours share a block: with blocks at random the intervals were too short (88-92 % of them held
the truth), and with blocks left out as neighbours too they were too long (98-100 %). In simulations 93-97 % hold it,
but those of the hubness only 83 % where hubs are strong (a skewness of 2): a few records decide there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude, find_error, find_ratio
from explorer.geometry.grouping import assign_folds, recode
from explorer.geometry.neighbours import Neighbours, centre_vectors, find_neighbours, pick_records
from indexer.terms import RANKS

K = 10
N_GRAPH = 8_000
"""Occurrences among which hubs and dimension are measured, at most."""
N_ASKED = 1_000
"""Occurrences of which the agreement is measured, at most; all records answer."""
N_BLOCKS = 20
MIN_ANSWERS = 20
DISCARDED = 0.1
"""Share of the greatest distance ratios that the fit of the intrinsic dimension leaves out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """The nearest neighbours of records of different occurrences among themselves.

    Attributes:
        vectors: of unit length.
        places: of each record's neighbours, nearest first.
        blocks: block of each record.
    """

    vectors: Float32[np.ndarray, "n d"]
    places: Int64[np.ndarray, "n k"]
    blocks: Int64[np.ndarray, " n"]


def keep_first(
    places: Int64[np.ndarray, "q m"], is_allowed: Bool[np.ndarray, "q m"], k: int
) -> Int64[np.ndarray, "q k"]:
    """The first k allowed places of each row, in their order; -1 fills up."""
    order = np.argsort(~is_allowed, axis=1, kind="stable")[:, :k]
    kept: Int64[np.ndarray, "q k"] = np.where(
        np.take_along_axis(is_allowed, order, axis=1), np.take_along_axis(places, order, axis=1), -1
    )
    return kept


def draw_graph(vectors: Float32[np.ndarray, "n d"], *, seed: int = 0) -> Graph:
    """The graph of records that are all of different occurrences."""
    everything = np.arange(len(vectors))
    places = find_neighbours(vectors, everything, everything, k=min(K, len(vectors) - 1)).places
    return Graph(vectors=vectors, places=places, blocks=assign_linked(everything, places[:, 0], seed=seed))


def assign_linked(
    asked: Int64[np.ndarray, " q"], nearest: Int64[np.ndarray, " q"], *, seed: int = 0
) -> Int64[np.ndarray, " q"]:
    """A block for each of those that are asked; what their nearest neighbours link shares one."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = int(max(asked.max(), nearest.max())) + 1
    links = csr_matrix((np.ones(len(asked), dtype=np.int8), (asked, nearest)), shape=(n, n))
    components = recode(connected_components(links, directed=False)[1][asked].astype(np.int64))
    # What a great hub links would be one block; it is broken up.
    is_large = (np.bincount(components) > max(2, len(asked) / N_BLOCKS))[components]
    components[is_large] = components.max() + 1 + np.arange(is_large.sum())
    shuffled = np.random.default_rng([seed, 31]).permutation(int(components.max()) + 1)[components]
    return assign_folds(recode(shuffled), N_BLOCKS)


def estimate_over_blocks(blocks: Int64[np.ndarray, " q"], find: Callable[[Bool[np.ndarray, " q"]], float]) -> Estimate:
    """A figure of those that are asked, with the error of leaving out each block; `find` is told who is left."""
    found = np.unique(blocks)
    without = np.array([find(blocks != block) for block in found])
    return Estimate(
        value=find(np.ones(len(blocks), dtype=bool)),
        error=find_error(without),
        degrees=max(1, len(found) - 1),
        shuffled=np.empty(0),
    )


def measure_neighbourhoods(
    vectors: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    *,
    n_shuffles: int = 199,
    seed: int = 0,
) -> tuple[Finding | Skipped, ...]:
    """`hubness`, `intrinsic_dimension` and `agreement` of each rank, of the vectors as they are and `…_centred`.

    Args:
        vectors: Of unit length, one per record.
        occurrences: A code per record; at least 30 different ones.
        lineages: Each record's taxon at each rank; -1 where it is not known.
        n_shuffles: Of the null of the agreement; 0 for none.
        seed: Fixes all draws.
    """
    chosen = pick_records(occurrences, n_most=N_GRAPH, seed=seed)
    used = Used(n=len(chosen), n_groups=len(chosen), left_out=len(vectors) - len(chosen))
    centred = centre_vectors(vectors)
    found: list[Finding | Skipped] = []
    for rows, ending in ((vectors, ""), (centred, "_centred")):
        graph = draw_graph(np.asarray(rows[chosen], dtype=np.float32), seed=seed)
        found += [_conclude_hubness(graph, used, ending), _conclude_dimension(graph, used, ending)]
        found += measure_agreement(rows, occurrences, lineages, ending=ending, n_shuffles=n_shuffles, seed=seed)
    return tuple(found)


def find_skewness(values: Float64[np.ndarray, " n"]) -> float:
    """The third central moment over the second to the power of 3 / 2; nan where all are equal."""
    apart = values - values.mean()
    return find_ratio(float((apart**3).mean()), float((apart**2).mean() ** 1.5))


def estimate_hubness(graph: Graph) -> Estimate:
    """The skewness of N_10."""
    counts = np.bincount(graph.places[graph.places >= 0], minlength=len(graph.places)).astype(np.float64)
    return estimate_over_blocks(graph.blocks, lambda kept: find_skewness(counts[kept]))


def find_twonn(ratios: Float64[np.ndarray, " n"]) -> float:
    """The intrinsic dimension from the ratios of second to first distances (Facco et al. 2017)."""
    ordered = np.sort(ratios)
    n = len(ordered)
    n_kept = int(n * (1 - DISCARDED))
    logs = np.log(ordered[:n_kept])
    heights = -np.log(1 - np.arange(1, n_kept + 1) / n)
    return find_ratio((logs * heights).sum(), (logs**2).sum())


def estimate_dimension(graph: Graph) -> Estimate:
    """The intrinsic dimension; records that coincide with their neighbour are left out."""
    first, second = (measure_distances(graph, place) for place in (0, 1))
    apart = first > 1e-4
    ratios = np.maximum(second[apart] / first[apart], 1)
    return estimate_over_blocks(graph.blocks[apart], lambda kept: find_twonn(ratios[kept]))


def measure_distances(graph: Graph, place: int) -> Float64[np.ndarray, " n"]:
    """The Euclidean distance of each record to its neighbour of that place; not from cosines, against rounding."""
    distances = np.empty(len(graph.places))
    for start in range(0, len(distances), 2_000):
        part = slice(start, start + 2_000)
        gaps = graph.vectors[part].astype(np.float64) - graph.vectors[graph.places[part, place]]
        distances[part] = np.linalg.norm(gaps, axis=1)
    return distances


def _conclude_hubness(graph: Graph, used: Used, ending: str) -> Finding:
    n = len(graph.places)
    share = K / (n - 1)
    chance = (1 - 2 * share) / np.sqrt((n - 1) * share * (1 - share))
    before = "after centring, " if ending else ""
    return conclude(
        estimate_hubness(graph),
        name=(f"hubness{ending}", ""),
        chance=float(chance),
        side=Side.GREATER,
        bounds=(-np.inf, np.inf),
        used=used,
        say=lambda numbers: (
            f"How unevenly records turn up among the {K} nearest of others, {before}as a skewness: {numbers}; "
            f"{chance:.2f} without hubs, and above about 1 a few records answer many questions."
        ),
    )


def _conclude_dimension(graph: Graph, used: Used, ending: str) -> Finding:
    before = "after centring, " if ending else ""
    d = graph.vectors.shape[1]
    return conclude(
        estimate_dimension(graph),
        name=(f"intrinsic_dimension{ending}", ""),
        chance=d,
        side=Side.LESS,
        bounds=(0, np.inf),
        used=used,
        say=lambda numbers: (
            f"Around a record, {before}its neighbours spread in about this many directions (TwoNN, of {d:,}): "
            f"{numbers}."
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """Which occurrences were asked at one rank, and what answered.

    Attributes:
        taxa: of every occurrence, -1 where it has no name.
        asked: occurrences.
        nearest: of each, the nearest occurrence that has a name.
    """

    taxa: Int64[np.ndarray, " o"]
    asked: Int64[np.ndarray, " q"]
    nearest: Int64[np.ndarray, " q"]

    def find(self, taxa: Int64[np.ndarray, " o"]) -> float:
        """The share that agrees, were these the taxa."""
        return float((taxa[self.asked] == taxa[self.nearest]).mean())

    def find_chance(self) -> float:
        """The mean chance of another occurrence with a name to share the taxon."""
        counts = np.bincount(self.taxa[self.taxa >= 0])
        return float((counts[self.taxa[self.asked]] - 1).mean() / (counts.sum() - 1))

    def estimate(self, *, n_shuffles: int, seed: int) -> Estimate:
        """The share that agrees, with its error and its null."""
        agrees = self.taxa[self.asked] == self.taxa[self.nearest]
        blocks = assign_linked(self.asked, self.nearest, seed=seed)
        rng = np.random.default_rng([seed, 33])
        named = np.flatnonzero(self.taxa >= 0)
        shuffled = np.empty(n_shuffles)
        taxa = self.taxa.copy()
        for i in range(n_shuffles):
            taxa[named] = self.taxa[rng.permutation(named)]
            shuffled[i] = self.find(taxa)
        return replace(estimate_over_blocks(blocks, lambda kept: float(agrees[kept].mean())), shuffled=shuffled)


def measure_agreement(
    rows: Float32[np.ndarray, "n d"],
    occurrences: Int64[np.ndarray, " n"],
    lineages: Int64[np.ndarray, "n 7"],
    *,
    ending: str = "",
    n_shuffles: int = 199,
    seed: int = 0,
) -> list[Finding | Skipped]:
    """The agreement of nearest neighbours at each rank, kingdom to species.

    Args:
        rows: Of unit length.
        occurrences: A code per record.
        lineages: Each record's taxon at each rank; -1 where it is not known.
        ending: Of the statistic's name.
        n_shuffles: 0 for no null.
        seed: Fixes the draws.
    """
    codes = np.unique(occurrences, return_inverse=True)[1]
    chosen = pick_records(codes, n_most=N_ASKED, seed=seed)
    neighbours = find_neighbours(rows, codes, chosen, k=K)
    found: list[Finding | Skipped] = []
    for place, rank in enumerate(RANKS):
        answered = _answer(codes, lineages[:, place], chosen, neighbours)
        if isinstance(answered, str):
            found.append(Skipped(statistic=f"agreement{ending}", column=rank, reason=answered))
        else:
            found.append(_conclude_agreement(answered, rank, ending, len(rows), n_shuffles=n_shuffles, seed=seed))
    return found


def _answer(
    codes: Int64[np.ndarray, " n"],
    taxa: Int64[np.ndarray, " n"],
    chosen: Int64[np.ndarray, " q"],
    neighbours: Neighbours,
) -> Answered | str:
    """What answered at one rank, or why nothing can."""
    of_occurrences = np.full(int(codes.max()) + 1, -1)
    np.maximum.at(of_occurrences, codes, taxa)
    counts = np.bincount(of_occurrences[of_occurrences >= 0], minlength=1)
    if (counts > 0).sum() < 2:
        return "the records name fewer than two taxa at this rank"
    asked = codes[chosen]
    useful = (of_occurrences[asked] >= 0) & (counts[np.maximum(of_occurrences[asked], 0)] > 1)
    places = neighbours.places[useful]
    nearest = np.where(places >= 0, codes[places], -1)
    named = keep_first(nearest, (nearest >= 0) & (of_occurrences[nearest] >= 0), 1)[:, 0]
    answers = named >= 0
    if answers.sum() < MIN_ANSWERS:
        return f"{int(answers.sum())} occurrences have a taxon that another shares, and {MIN_ANSWERS} are needed"
    return Answered(taxa=of_occurrences, asked=asked[useful][answers], nearest=named[answers])


def _conclude_agreement(
    answered: Answered, rank: str, ending: str, n_records: int, *, n_shuffles: int, seed: int
) -> Finding:
    chance, before = answered.find_chance(), "After centring, the" if ending else "The"
    n = len(answered.asked)
    return conclude(
        answered.estimate(n_shuffles=n_shuffles, seed=seed),
        name=(f"agreement{ending}", rank),
        chance=chance,
        side=Side.GREATER,
        bounds=(0, 1),
        used=Used(n=n, n_groups=n, left_out=n_records - n),
        say=lambda numbers: (
            f"{before} nearest photograph of another occurrence is of the same {rank} with this share: {numbers}; "
            f"by chance {chance:.2g}."
        ),
    )
