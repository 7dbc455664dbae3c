"""Whether species that differ in a trait lie far apart, over and above what their kinship gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from explorer.geometry.distances import (
    Distances,
    centre_plainly,
    centre_unbiased,
    correlate,
    correlate_partly,
    measure_angles,
)
from explorer.geometry.finding import Estimate, Finding, Side, Skipped, Used, conclude, find_error
from explorer.geometry.grouping import assign_folds
from explorer.geometry.phylogeny import SpeciesDistances, measure_taxonomy
from explorer.geometry.species_means import GENUS, SpeciesMeans, draw_species
from explorer.geometry.trait_sample import (
    MIN_SPECIES,
    N_BLOCKS,
    TraitSample,
    find_independent,
    skip_statistics,
)

N_COMPARED = 800
"""Species whose pairs are compared at most; whole genera are drawn where there are more."""
STATISTICS = ("dcor", "partial_dcor", "mantel", "partial_mantel")
KINSHIP_STATISTICS = ("kinship_dcor", "kinship_mantel")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Triple:
    """Distances of species in the space, in the trait and in the tree, each centred in both ways."""

    space: tuple[Distances, Distances]
    kinship: tuple[Distances, Distances]

    @classmethod
    def centre(cls, space: Distances, kinship: Distances) -> _Triple:
        return cls(
            space=(centre_unbiased(space), centre_plainly(space)),
            kinship=(centre_unbiased(kinship), centre_plainly(kinship)),
        )

    def correlate(self, trait: Distances) -> Float64[np.ndarray, " 4"]:
        """The four statistics, in the order of their names."""
        found = []
        for space, kinship, centred in zip(
            self.space, self.kinship, (centre_unbiased(trait), centre_plainly(trait)), strict=True
        ):
            plain = correlate(space, centred)
            found += [plain, correlate_partly(plain, correlate(space, kinship), correlate(centred, kinship))]
        return np.array(found)

    def correlate_shuffled(self, trait: Distances, shuffles: Int64[np.ndarray, "p g"]) -> Float64[np.ndarray, "p 4"]:
        """The same for shuffled traits.

        Shuffling changes neither the centring nor the length of the trait's distances, and a product with something
        centred does not see whether the other side is: so the trait's distances are moved as they are.
        """
        fixed = np.stack([one.ravel() for one in (*self.space, *self.kinship)])
        lengths = np.sqrt((fixed**2).sum(axis=1))
        own = np.array([np.linalg.norm(centre_unbiased(trait)), np.linalg.norm(centre_plainly(trait))] * 2)
        scale = lengths * own
        between = [correlate(space, kinship) for space, kinship in zip(self.space, self.kinship, strict=True)]
        found = np.zeros((len(shuffles), len(STATISTICS)))
        for row, places in enumerate(shuffles):
            products = fixed @ trait[np.ix_(places, places)].ravel()
            r = np.divide(products, scale, out=np.zeros(4), where=scale > 0)
            for way in (0, 1):
                found[row, 2 * way] = r[way]
                found[row, 2 * way + 1] = correlate_partly(r[way], between[way], r[2 + way])
        return found


def measure_distances(sample: TraitSample, kinship: SpeciesDistances | None = None) -> list[Finding | Skipped]:
    """Distance correlation and Mantel's r between space and trait, each as it is and given the kinship of the species.

    Distances are √(2 - 2 cos) in the space, the difference of ranks for numbers, and 0 or 1 for categories. Where there
    are more than 800 species, whole genera are drawn. The four share their shuffles: inside genera, since partial
    Mantel tests that shuffle over all species reject too often where both sides follow a tree (Guillot & Rousset 2013).

    Args:
        sample: The species.
        kinship: Distances of all species of the corpus in a tree, in the order of the `SpeciesMeans` from which the
            sample was made; species without are left out. By default taxonomic distances.
    """
    known = np.ones(len(sample), dtype=bool) if kinship is None else kinship.is_known[sample.origins]
    kept = _draw(known, sample.genera, np.random.default_rng([sample.seed, 3]))
    used = sample if kept.all() else sample.take(kept)
    if used is None:
        reason = f"fewer than {MIN_SPECIES} of its species, or of one value alone, are in the tree"
        return list(skip_statistics(STATISTICS, sample.column, reason))
    related = _relate(kinship, used.means, used.origins)
    if len(used) < known.sum():
        used = replace(used, note=f"{used.note}; pairs of more species were not compared")
    estimates = _estimate_all(used, related.distances)
    return [_conclude(used, one, name, related.source) for one, name in zip(estimates, STATISTICS, strict=True)]


def _draw(
    known: Bool[np.ndarray, " g"], genera: Int64[np.ndarray, " g"], rng: np.random.Generator
) -> Bool[np.ndarray, " g"]:
    """The known species, or whole genera of them where they are more than 800."""
    kept = known.copy()
    if known.sum() > N_COMPARED:
        kept[known] = draw_species(genera[known], N_COMPARED, rng)
    return kept


def _relate(
    kinship: SpeciesDistances | None, means: SpeciesMeans, origins: Int64[np.ndarray, " m"]
) -> SpeciesDistances:
    """The distances of the species that were taken from these places; taxonomic where no others are given."""
    if kinship is None:
        return measure_taxonomy(means.lineages)
    return replace(kinship, distances=kinship.distances[np.ix_(origins, origins)])


def _estimate_all(sample: TraitSample, related: Distances) -> list[Estimate]:
    space, trait = measure_angles(sample.rows), _measure_values(sample)
    triple = _Triple.centre(space, related)
    values = triple.correlate(trait)
    shuffled = triple.correlate_shuffled(trait, sample.shuffles)
    without = []
    for block in range(int(sample.blocks.max()) + 1):
        pairs = np.ix_(sample.blocks != block, sample.blocks != block)
        without.append(_Triple.centre(space[pairs], related[pairs]).correlate(trait[pairs]))
    parts = np.array(without)
    return [
        Estimate(
            value=float(values[place]),
            error=find_error(parts[:, place]),
            degrees=len(parts) - 1,
            shuffled=shuffled[:, place],
        )
        for place in range(len(STATISTICS))
    ]


def _measure_values(sample: TraitSample) -> Distances:
    one, other = sample.values[:, None], sample.values[None]
    distances: Distances = (one != other).astype(np.float64) if sample.n_values else np.abs(one - other)
    return distances


def _conclude(sample: TraitSample, estimate: Estimate, statistic: str, source: str) -> Finding:
    measure = "Mantel correlation" if "mantel" in statistic else "bias-corrected squared distance correlation"
    given = f", given {source}" if statistic.startswith("partial") else ""
    sentence = f"Differences in {sample.column} go with distances in the space{given}, {measure}: {{numbers}}"
    return sample.conclude(estimate, statistic, chance=0.0, bounds=(-1, 1), sentence=sentence)


def measure_kinship(
    means: SpeciesMeans, kinship: SpeciesDistances | None = None, *, n_shuffles: int = 199, seed: int = 0
) -> list[Finding | Skipped]:
    """How well distances in the space follow the kinship of the species, whatever their traits.

    Here the kinship itself is in question, so that shuffles move the species over the whole tree.

    Args:
        means: The species.
        kinship: Their distances in a tree, in the same order; by default taxonomic distances.
        n_shuffles: 0 for no null.
        seed: Fixes the draw of species, where there are more than 800, and the shuffles.
    """
    rng = np.random.default_rng([seed, 4])
    known: Bool[np.ndarray, " g"] = np.asarray(means.directions.any(axis=1))
    if kinship is not None:
        known = known & kinship.is_known
    kept = _draw(known, means.lineages[:, GENUS], rng)
    used = means.take(kept)
    related = _relate(kinship, used, np.flatnonzero(kept))
    if kept.sum() < MIN_SPECIES or np.ptp(related.distances[np.triu_indices(len(used), 1)]) == 0:
        reason = f"{int(kept.sum())} species have a known {related.source}, and {MIN_SPECIES} that differ are needed"
        return list(skip_statistics(KINSHIP_STATISTICS, "", reason))
    estimates = _estimate_kinship(used, related.distances, n_shuffles, rng)
    note = "; more were not compared" if kept.sum() < known.sum() else ""
    return [
        _conclude_kinship(means, used, one, name, (related.source, note))
        for one, name in zip(estimates, KINSHIP_STATISTICS, strict=True)
    ]


def _estimate_kinship(
    means: SpeciesMeans, related: Distances, n_shuffles: int, rng: np.random.Generator
) -> list[Estimate]:
    space, blocks = measure_angles(means.directions), _block(means)
    ways = (centre_unbiased, centre_plainly)
    fixed = [centre(space) for centre in ways]
    scales = [
        float(np.linalg.norm(one) * np.linalg.norm(centre(related))) for one, centre in zip(fixed, ways, strict=True)
    ]
    stacked = np.stack([one.ravel() / scale for one, scale in zip(fixed, scales, strict=True)])
    orders = (rng.permutation(len(means)) for _ in range(n_shuffles))
    shuffled = np.array([stacked @ related[np.ix_(order, order)].ravel() for order in orders]).reshape(n_shuffles, 2)
    pairs = [np.ix_(blocks != block, blocks != block) for block in range(int(blocks.max()) + 1)]
    without = np.array([[correlate(centre(space[kept]), centre(related[kept])) for centre in ways] for kept in pairs])
    return [
        Estimate(
            value=correlate(fixed[way], centre(related)),
            error=find_error(without[:, way]),
            degrees=len(without) - 1,
            shuffled=shuffled[:, way],
        )
        for way, centre in enumerate(ways)
    ]


def _block(means: SpeciesMeans) -> Int64[np.ndarray, " g"]:
    groups = find_independent(means.lineages)
    return assign_folds(groups, min(N_BLOCKS, int(groups.max()) + 1))


def _conclude_kinship(
    means: SpeciesMeans, used: SpeciesMeans, estimate: Estimate, statistic: str, words: tuple[str, str]
) -> Finding:
    measure = "Mantel correlation" if "mantel" in statistic else "bias-corrected squared distance correlation"
    n = int(used.counts.sum())
    source, note = words

    def say(numbers: str) -> str:
        return (
            f"Distances between species in the space follow {source}, {measure}: {numbers} ({len(used):,} species"
            f"{note}; they were shuffled freely)."
        )

    return conclude(
        estimate,
        name=(statistic, ""),
        chance=0.0,
        side=Side.GREATER,
        bounds=(-1, 1),
        used=Used(n=n, n_groups=len(np.unique(find_independent(used.lineages))), left_out=len(means.places) - n),
        say=say,
    )
