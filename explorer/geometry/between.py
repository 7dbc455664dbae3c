"""Between species: whether a trait lies in a space, over and above what kinship gives.

BioCLIP 2 (Gu et al. 2025, section 5.4) shows ecology between species on plots (finches by beak, fishes by fresh water)
and gives no statistic for it; none of these could be checked against theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from explorer.geometry.ecology import MIN_GENERA, conclude_ecology, estimate_ecology, keep_useful
from explorer.geometry.finding import Finding, Skipped, Used
from explorer.geometry.partitioning import STATISTIC, VariancePartition, measure_partition
from explorer.geometry.phylogeny import SpeciesDistances
from explorer.geometry.species_means import SpeciesMeans
from explorer.geometry.trait_distances import STATISTICS, measure_distances
from explorer.geometry.trait_neighbours import APART, measure_neighbours, name_neighbours
from explorer.geometry.trait_probes import HELD_OUT, name_probe, probe_trait
from explorer.geometry.trait_sample import TraitSample, sample_trait, skip_statistics
from explorer.geometry.traits import Trait, TraitKind

SPECIES_RHO = "species_rho"


@dataclass(frozen=True, kw_only=True)
class BetweenSpecies:
    """What a trait has to do with where species lie.

    Attributes:
        column: The trait.
        findings: In the order of the questions: neighbours, probes, distances, variance.
        skipped: What could not be measured, and why.
        partition: How the variance is shared between trait and taxonomy; None where that could not be measured.
        reading: What the trait is: its kind, its species, a warning where it is none of species.
    """

    column: str
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    partition: VariancePartition | None
    reading: str


def measure_between(
    means: SpeciesMeans,
    trait: Trait,
    *,
    kinship: SpeciesDistances | None = None,
    n_shuffles: int = 199,
    seed: int = 0,
) -> BetweenSpecies:
    """Every statistic of a trait that these species allow.

    The p of all of them asks the same: do the species of one genus (one family, where too few genera have species that
    differ) stand in the right order? Traits that only follow the taxonomy give even p. The values themselves hold what
    kinship gives as well, except where they say otherwise.

    Args:
        means: The species.
        trait: One value for each of them.
        kinship: Distances of the species in a tree, in the same order; by default taxonomic distances.
        n_shuffles: Of every null; 0 for none.
        seed: Fixes all draws and shuffles.
    """
    reading = _introduce(trait)
    sample = sample_trait(means, trait, n_shuffles=n_shuffles, seed=seed)
    if isinstance(sample, str):
        skipped = tuple(skip_statistics(_list_names(trait), trait.column, sample))
        return BetweenSpecies(column=trait.column, findings=(), skipped=skipped, partition=None, reading=reading)
    found: list[Finding | Skipped] = [measure_neighbours(sample, apart) for apart in APART]
    found += [probe_trait(sample, rank) for rank in HELD_OUT]
    if not sample.n_values:
        found.append(_probe_inside_genera(sample, n_shuffles, seed))
    found += measure_distances(sample, kinship)
    parts = measure_partition(sample)
    found.append(parts if isinstance(parts, Skipped) else parts[1])
    return BetweenSpecies(
        column=trait.column,
        findings=tuple(one for one in found if isinstance(one, Finding)),
        skipped=tuple(one for one in found if isinstance(one, Skipped)),
        partition=None if isinstance(parts, Skipped) else parts[0],
        reading=reading,
    )


def _list_names(trait: Trait) -> tuple[str, ...]:
    is_numeric = trait.kind is TraitKind.NUMERIC
    neighbours = tuple(name_neighbours(is_numeric, apart) for apart in APART)
    probes = tuple(name_probe(is_numeric, rank) for rank in HELD_OUT)
    return (*neighbours, *probes, *((SPECIES_RHO,) if is_numeric else ()), *STATISTICS, STATISTIC)


def _introduce(trait: Trait) -> str:
    if trait.kind is TraitKind.NUMERIC:
        return f"{trait.column} is a number; its ranks are compared."
    text = f"{trait.column} has {len(trait.names)} values."
    if trait.purity < 0.9:
        text += (
            f" Only {trait.purity:.0%} of a species' occurrences carry its commonest value, which stands for the "
            "species here; ask about variation inside species as well."
        )
    return text


def _probe_inside_genera(sample: TraitSample, n_shuffles: int, seed: int) -> Finding | Skipped:
    """`ecology.probe_ecology` on the means of species: vectors and numbers relative to their genus."""
    numbers, species = sample.values[:, None], sample.origins
    estimates = estimate_ecology(sample.principal, numbers, species, sample.genera, n_shuffles=n_shuffles, seed=seed)
    if estimates is None:
        reason = f"fewer than {MIN_GENERA} genera have two species that differ in it"
        return Skipped(statistic=SPECIES_RHO, column=sample.column, reason=reason)
    n = int(sample.means.counts[keep_useful(numbers, species, sample.genera)].sum())
    used = Used(n=n, n_groups=estimates.used.n_groups, left_out=sample.n_records - n)
    return conclude_ecology(estimates.of_species, sample.column, used, of_species=True)
